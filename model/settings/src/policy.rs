//! What the configuration knows of a policy: a row of a table that it is given.

use crate::{Decode, Diagnostics, Node, NodeRef, Schema};
use serde_json::Value;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The decoded settings of some policy.
pub type PolicySettings = Arc<dyn Any + Send + Sync>;

/// How one policy's settings are read, compared, shown and documented.
#[derive(Clone, Copy)]
pub struct PolicySchema {
    /// The key it is configured by.
    pub name: &'static str,
    /// Reads what the operator wrote; nothing when it was wrong, and then the reason is among the findings.
    pub decode: fn(&Node<'_>, &mut Diagnostics) -> Option<PolicySettings>,
    /// Reports every way in which `inner` (an API or a route) would weaken what `outer` (the defaults or the API) demands.
    pub tighten: fn(outer: &dyn Any, inner: &dyn Any, at: &Node<'_>, &mut Diagnostics),
    /// The settings in canonical form, defaults visible.
    pub encode: fn(&dyn Any) -> Value,
    /// The JSON schema of the settings.
    pub schema: fn() -> Schema,
}

impl fmt::Debug for PolicySchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicySchema({})", self.name)
    }
}

/// Settings that a level further in may only make stricter.
pub trait Tighten: Decode + Send + Sync + 'static {
    /// Reports every way in which `inner`, written at `at`, is weaker than `outer`.
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics);
}

impl PolicySchema {
    /// The row for a policy whose settings are a `T`.
    #[must_use]
    pub const fn of<T: Tighten>(name: &'static str) -> Self {
        Self {
            name,
            decode: |node, diagnostics| Some(Arc::new(T::decode(node, diagnostics)?)),
            tighten: |outer, inner, at, diagnostics| match (outer.downcast_ref::<T>(), inner.downcast_ref::<T>()) {
                (Some(outer), Some(inner)) => T::tighten(outer, inner, at, diagnostics),
                // SECURITY: settings of another policy cannot be compared, so they are refused rather than let through.
                _ => diagnostics.error(at, "these settings belong to another policy"),
            },
            encode: |settings| settings.downcast_ref::<T>().map_or(Value::Null, Decode::encode),
            schema: T::schema,
        }
    }
}

/// A policy configured at one level.
#[derive(Clone)]
pub struct PolicyUse {
    /// Its row in the table.
    pub policy: usize,
    /// Its settings.
    pub settings: PolicySettings,
    /// Where they were written.
    pub at: NodeRef,
}

impl fmt::Debug for PolicyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: settings are opaque here and may hold what must not be shown.
        write!(f, "PolicyUse({})", self.policy)
    }
}

/// The policies configured at one level, in the order of the table.
#[derive(Clone, Debug, Default)]
pub struct PolicyUses(pub Box<[PolicyUse]>);

impl PolicyUses {
    /// Reads the entries of a section that are not its own `keys`: policies, or unknown keys, which are refused.
    pub(crate) fn decode(node: &Node<'_>, keys: &[&str], diagnostics: &mut Diagnostics) -> Self {
        let policies = diagnostics.policies();
        let mut uses = Vec::new();
        for (key, value) in node.entries().into_iter().flatten().filter(|(key, _)| !keys.contains(&key.key())) {
            match policies.iter().enumerate().find(|(_, row)| row.name == key.key()) {
                Some((policy, row)) => {
                    let settings = (row.decode)(&value, diagnostics);
                    uses.extend(settings.map(|settings| PolicyUse { policy, settings, at: value.keep() }));
                }
                None => diagnostics.unknown_key(&key, keys.iter().copied().chain(policies.iter().map(|row| row.name))),
            }
        }
        uses.sort_by_key(|one| one.policy);
        Self(uses.into_boxed_slice())
    }
}
