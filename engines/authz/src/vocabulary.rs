//! Which roles, scopes and consumers are spoken of, and by which bit or number.

use crate::{Consumers, Line};
use portcullis_model::{Grants, Mask};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many roles and scopes the lines of a configuration may name.
pub const NAMES_MAX: usize = 4096;

/// More than [`NAMES_MAX`] roles and scopes are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VocabularyFull;

/// The words of all lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    roles: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u16>>,
    scopes: BTreeMap<Arc<str>, u16>,
    consumers: BTreeMap<Arc<str>, u32>,
    names: u16,
    people: Arc<Consumers>,
}

impl Vocabulary {
    /// The words of these lines and these consumers. The same lines in the same order give the same bits.
    ///
    /// # Errors
    /// When there are too many.
    pub fn of<'l>(
        lines: impl IntoIterator<Item = &'l Line>,
        consumers: impl IntoIterator<Item = &'l Arc<str>>,
    ) -> Result<Self, VocabularyFull> {
        let mut words = Self::default();
        for line in lines {
            for (provider, role) in &line.roles {
                if words.role(provider, role).is_none() {
                    let bit = words.next_bit()?;
                    words.roles.entry(Arc::clone(provider)).or_default().insert(Arc::clone(role), bit);
                }
            }
            for scope in &line.scopes {
                if !words.scopes.contains_key(scope) {
                    let bit = words.next_bit()?;
                    words.scopes.insert(Arc::clone(scope), bit);
                }
            }
        }
        words.consumers = (0..).zip(consumers).map(|(number, name)| (Arc::clone(name), number)).collect();
        Ok(words)
    }

    /// The same words, and who is which consumer.
    #[must_use]
    pub fn knowing(self, people: Consumers) -> Self {
        Self { people: Arc::new(people), ..self }
    }

    /// Who is which consumer.
    #[must_use]
    pub fn consumers(&self) -> &Consumers {
        &self.people
    }

    fn next_bit(&mut self) -> Result<u16, VocabularyFull> {
        if usize::from(self.names) == NAMES_MAX {
            return Err(VocabularyFull);
        }
        self.names += 1;
        Ok(self.names - 1)
    }

    pub(crate) fn role(&self, provider: &str, role: &str) -> Option<u16> {
        self.roles.get(provider)?.get(role).copied()
    }

    pub(crate) fn scope(&self, scope: &str) -> Option<u16> {
        self.scopes.get(scope).copied()
    }

    /// The bits of any of these roles. Without one of them nobody has it.
    #[must_use]
    pub fn of_roles(&self, roles: &[(Arc<str>, Arc<str>)]) -> Mask {
        Mask::of(roles.iter().filter_map(|(provider, role)| self.role(provider, role)))
    }

    /// The bit of a scope. A scope without one is nobody's.
    #[must_use]
    pub fn of_scope(&self, scope: &str) -> Mask {
        Mask::of(self.scope(scope))
    }

    /// The number of a consumer.
    #[must_use]
    pub fn consumer(&self, name: &str) -> Option<u32> {
        self.consumers.get(name).copied()
    }

    /// A text that is the same for the same words with the same bits, and for no others.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{self:?}")
    }

    /// The words that are granted: roles as `PROVIDER/ROLE`, and scopes.
    #[must_use]
    pub fn granted(&self, grants: &Grants) -> (Vec<String>, Vec<&str>) {
        let mut roles = Vec::new();
        for (provider, of_provider) in &self.roles {
            let granted = of_provider.iter().filter(|(_, bit)| grants.has(**bit));
            roles.extend(granted.map(|(role, _)| format!("{provider}/{role}")));
        }
        (roles, self.scopes.iter().filter(|(_, bit)| grants.has(**bit)).map(|(scope, _)| &**scope).collect())
    }

    /// What a credential of this provider grants. Words that no line names are worth nothing.
    #[must_use]
    pub fn grants<'g>(
        &self,
        provider: &str,
        roles: impl IntoIterator<Item = &'g str>,
        scopes: impl IntoIterator<Item = &'g str>,
    ) -> Grants {
        let mut grants = Grants::none(usize::from(self.names));
        roles.into_iter().filter_map(|role| self.role(provider, role)).for_each(|bit| grants.add(bit));
        scopes.into_iter().filter_map(|scope| self.scope(scope)).for_each(|bit| grants.add(bit));
        grants
    }
}
