//! What policies said about an exchange, as kept in its record.

/// The position of a policy in the constant table of policies: its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u8);

/// What a policy decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerdictKind {
    /// Nothing against it.
    #[default]
    Continue,
    /// The policy answered itself (for example a preflight).
    Respond,
    /// Refused.
    Reject,
}

impl VerdictKind {
    /// The word used in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Respond => "respond",
            Self::Reject => "reject",
        }
    }
}

/// One policy's verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// Which policy.
    pub policy: PolicyId,
    /// The policy's name, the key it is configured by.
    pub name: &'static str,
    /// What it said.
    pub kind: VerdictKind,
}

/// The verdicts of one exchange in the order they were given. Holds at most 24; more are counted, not kept.
#[derive(Clone, Debug, Default)]
pub struct VerdictLog {
    kept: [PolicyVerdict; 24],
    len: u8,
}

impl VerdictLog {
    /// Adds a verdict.
    pub fn push(&mut self, verdict: PolicyVerdict) {
        if let Some(slot) = self.kept.get_mut(usize::from(self.len)) {
            *slot = verdict;
        }
        self.len = self.len.saturating_add(1);
    }

    /// The kept verdicts in order.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyVerdict> {
        self.kept.iter().take(usize::from(self.len))
    }
}
