//! Which line of `allow` let a caller through, and by what.

use std::sync::Arc;

/// How many roles of one line are told apart in records.
pub const ROLES_TOLD_MAX: usize = 64;

/// What a line of `allow` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineWords {
    /// Its roles, of which one was enough: `PROVIDER/ROLE`.
    pub roles: Box<[Box<str>]>,
    /// Its scopes, which were all needed.
    pub scopes: Box<[Box<str>]>,
}

/// The line that let a caller through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedBy {
    /// Its number in the route's `allow`, counted from 1.
    pub line: u16,
    /// What it names.
    pub words: Arc<LineWords>,
    /// Which of its roles the caller has, a bit for each in their order; nothing when there are more than [`ROLES_TOLD_MAX`].
    pub held: Option<u64>,
}

impl AllowedBy {
    /// The roles of the line that the caller has; nothing when that is not told.
    #[must_use]
    pub fn roles(&self) -> Option<impl Iterator<Item = &str>> {
        let held = self.held?;
        Some(
            (0..)
                .zip(&self.words.roles)
                .filter(move |(at, _): &(u32, _)| held.checked_shr(*at).unwrap_or(0) & 1 == 1)
                .map(|(_, role)| &**role),
        )
    }
}
