//! Lines that allow, as they are asked.

use crate::Vocabulary;
use portcullis_model::{AllowedBy, Grants, LineWords, Mask, ROLES_TOLD_MAX};
use std::sync::Arc;

/// A line: what a caller must have. A kind that is not named is not looked at; one who has all that are named is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// One of these roles, each with its provider.
    pub roles: Vec<(Arc<str>, Arc<str>)>,
    /// All of these scopes.
    pub scopes: Vec<Arc<str>>,
    /// To be one of these consumers.
    pub consumers: Vec<Arc<str>>,
}

/// Lines of which one must allow.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    lines: Box<[Compiled]>,
}

#[derive(Clone, Debug)]
struct Compiled {
    roles: Option<Mask>,
    scopes: Option<Mask>,
    consumers: Option<Box<[u32]>>,
    /// For the record: what it names, and the bits of its roles.
    words: Arc<LineWords>,
    role_bits: Box<[Option<u16>]>,
}

impl Allow {
    /// Compiles lines against the vocabulary that holds their words. A line that names nothing allows nobody.
    #[must_use]
    pub fn compile(lines: &[Line], words: &Vocabulary) -> Self {
        Self { lines: lines.iter().map(|line| Compiled::new(line, words)).collect() }
    }

    /// The first line that allows a caller with these grants; nothing when none does.
    #[must_use]
    pub fn decide(&self, grants: &Grants, consumer: Option<u32>) -> Option<usize> {
        self.lines.iter().position(|line| line.allows(grants, consumer))
    }
}

impl Allow {
    /// As [`decide`](Self::decide), told for the record.
    #[must_use]
    pub fn allowed_by(&self, grants: &Grants, consumer: Option<u32>) -> Option<AllowedBy> {
        let (at, line) = (1..).zip(&self.lines).find(|(_, line)| line.allows(grants, consumer))?;
        let held = |bit: &Option<u16>| bit.is_some_and(|bit| grants.has(bit));
        let all = || (0..).zip(&line.role_bits).fold(0, |all, (at, bit): (u32, _)| all | u64::from(held(bit)) << (at % u64::BITS));
        let held = (line.role_bits.len() <= ROLES_TOLD_MAX).then(all);
        Some(AllowedBy { line: at, words: Arc::clone(&line.words), held })
    }
}

impl Compiled {
    fn new(line: &Line, words: &Vocabulary) -> Self {
        let bit = |(provider, role): &(Arc<str>, Arc<str>)| words.role(provider, role);
        let role_bits: Box<[Option<u16>]> = line.roles.iter().map(bit).collect();
        // SECURITY: a word without a bit can be had by nobody. Of roles, of which one is enough, it is left out; of scopes, which are
        // all needed, it closes the line.
        let roles = role_bits.iter().flatten().copied();
        let scopes: Option<Vec<u16>> = line.scopes.iter().map(|scope| words.scope(scope)).collect();
        let mut consumers: Vec<u32> = line.consumers.iter().filter_map(|name| words.consumer(name)).collect();
        consumers.sort_unstable();
        let named = |(provider, role): &(Arc<str>, Arc<str>)| format!("{provider}/{role}").into();
        let told = LineWords {
            roles: line.roles.iter().map(named).collect(),
            scopes: line.scopes.iter().map(|scope| (**scope).into()).collect(),
        };
        Self {
            words: Arc::new(told),
            roles: (!line.roles.is_empty()).then(|| Mask::of(roles)),
            scopes: (!line.scopes.is_empty()).then(|| scopes.map_or_else(Mask::unreachable, Mask::of)),
            consumers: (!line.consumers.is_empty()).then(|| consumers.into()),
            role_bits,
        }
    }

    fn allows(&self, grants: &Grants, consumer: Option<u32>) -> bool {
        let names_something = self.roles.is_some() || self.scopes.is_some() || self.consumers.is_some();
        names_something
            && self.roles.as_ref().is_none_or(|roles| grants.has_any(roles))
            && self.scopes.as_ref().is_none_or(|scopes| grants.has_all(scopes))
            && self.consumers.as_ref().is_none_or(|some| consumer.is_some_and(|one| some.binary_search(&one).is_ok()))
    }
}
