//! What the configuration knows of a policy: a row of a table that it is given.

use crate::{Date, Decode, Diagnostics, Node, NodeRef, Schema, Spanned};
use serde_json::Value;
use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The decoded settings of some policy.
pub type PolicySettings = Arc<dyn Any + Send + Sync>;

/// How one policy's settings are read, compared, shown and documented.
#[derive(Clone, Copy)]
pub struct PolicySchema {
    /// The key it is configured by.
    pub name: &'static str,
    /// Whether it is written under its own name, as other policies are; else it follows from sections of the configuration itself.
    pub is_written: bool,
    /// Reads what the operator wrote; nothing when it was wrong, and then the reason is among the findings.
    pub decode: fn(&Node<'_>, &mut Diagnostics) -> Option<PolicySettings>,
    /// Reports every way in which `inner` (an API or a route) would weaken what `outer` (the defaults or the API) demands.
    pub tighten: fn(outer: &dyn Any, inner: &dyn Any, at: &Node<'_>, &mut Diagnostics),
    /// Reports what is wrong with settings where they are written: what only the place, the routes around it or the whole section tell.
    pub check: fn(&dyn Any, at: &Node<'_>, Level<'_>, &mut Diagnostics),
    /// What is to be looked at again on a day.
    pub dues: fn(&dyn Any) -> Vec<Due>,
    /// The files that are named, whose content the policy is given beside its settings.
    pub files: fn(&dyn Any) -> Vec<PathBuf>,
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

/// Where settings of a policy are written.
#[derive(Clone, Copy, Debug)]
pub enum Level<'l> {
    /// In `defaults`.
    Defaults,
    /// In an API, whose routes have these names.
    Api {
        /// The names of its routes.
        routes: &'l [&'l str],
    },
    /// In a route.
    Route,
}

/// Something in the settings of a policy that an operator means to look at again on a day. It stays in force; the operator is reminded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where in the settings, as the end of a JSON pointer: `/refuse/0/expires`.
    pub place: String,
    /// What it is, and why it is there.
    pub what: String,
    /// Who is to look at it.
    pub owner: Option<Arc<str>>,
    /// The day.
    pub day: Spanned<Date>,
}

/// Settings that a level further in may only make stricter.
pub trait Tighten: Decode + Send + Sync + 'static {
    /// Reports every way in which `inner`, written at `at`, is weaker than `outer`.
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics);

    /// Reports what is wrong with these settings, written at `at`, that decoding each value alone does not show.
    fn check(&self, at: &Node<'_>, level: Level<'_>, diagnostics: &mut Diagnostics) {
        let _ = (at, level, diagnostics);
    }

    /// What is to be looked at again on a day.
    fn dues(&self) -> Vec<Due> {
        Vec::new()
    }

    /// The files that are named, resolved: control reads and watches them and hands their content on.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl PolicySchema {
    /// The row for a policy that follows from sections of the configuration itself.
    #[must_use]
    pub const fn elsewhere(name: &'static str) -> Self {
        Self {
            name,
            is_written: false,
            decode: |_, _| None,
            tighten: |_, _, at, diagnostics| diagnostics.error(at, "these settings belong elsewhere"),
            check: |_, at, _, diagnostics| diagnostics.error(at, "these settings belong elsewhere"),
            dues: |_| Vec::new(),
            files: |_| Vec::new(),
            encode: |_| Value::Null,
            schema: || Value::Null,
        }
    }

    /// The row for a policy whose settings are a `T`.
    #[must_use]
    pub const fn of<T: Tighten>(name: &'static str) -> Self {
        Self {
            name,
            is_written: true,
            decode: |node, diagnostics| Some(Arc::new(T::decode(node, diagnostics)?)),
            tighten: |outer, inner, at, diagnostics| match (outer.downcast_ref::<T>(), inner.downcast_ref::<T>()) {
                (Some(outer), Some(inner)) => T::tighten(outer, inner, at, diagnostics),
                // SECURITY: settings of another policy cannot be compared, so they are refused rather than let through.
                _ => diagnostics.error(at, "these settings belong to another policy"),
            },
            check: |settings, at, level, diagnostics| match settings.downcast_ref::<T>() {
                Some(settings) => settings.check(at, level, diagnostics),
                None => diagnostics.error(at, "these settings belong to another policy"),
            },
            dues: |settings| settings.downcast_ref::<T>().map_or_else(Vec::new, Tighten::dues),
            files: |settings| settings.downcast_ref::<T>().map_or_else(Vec::new, Tighten::files),
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
            match policies.iter().enumerate().find(|(_, row)| row.is_written && row.name == key.key()) {
                Some((policy, row)) => {
                    let settings = (row.decode)(&value, diagnostics);
                    uses.extend(settings.map(|settings| PolicyUse { policy, settings, at: value.keep() }));
                }
                None => diagnostics.unknown_key(
                    &key,
                    keys.iter().copied().chain(policies.iter().filter(|row| row.is_written).map(|row| row.name)),
                ),
            }
        }
        uses.sort_by_key(|one| one.policy);
        Self(uses.into_boxed_slice())
    }
}
