//! Active health: what is asked of endpoints, and when an answer changes what is thought of them. The judging is pure.

use crate::errand::Errand;
use std::time::Duration;

/// How the health of an upstream's endpoints is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// What is asked.
    pub errand: Errand,
    /// How often.
    pub interval: Duration,
    /// How long the answer may take, connecting included.
    pub timeout: Duration,
    /// After so many failures in a row an endpoint is unhealthy.
    pub unhealthy_after: u32,
    /// After so many successes in a row it is healthy again.
    pub healthy_after: u32,
}

/// What the checks of one endpoint have come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct HealthJudge {
    in_a_row: u32,
    last_passed: bool,
    verdict: Option<bool>,
}

impl HealthJudge {
    /// Notes a check; gives the verdict if this one decides it. The first check of an endpoint decides alone: nothing is known of it yet.
    pub fn note(&mut self, passed: bool, settings: &HealthSettings) -> Option<bool> {
        self.in_a_row = if passed == self.last_passed { self.in_a_row.saturating_add(1) } else { 1 };
        self.last_passed = passed;
        let needed = if passed { settings.healthy_after } else { settings.unhealthy_after };
        let decides = match self.verdict {
            None => true,
            Some(healthy) => healthy != passed && self.in_a_row >= needed.max(1),
        };
        if decides {
            self.verdict = Some(passed);
        }
        decides.then_some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::{HealthJudge, HealthSettings};
    use crate::errand::Errand;
    use std::time::Duration;

    #[test]
    fn it_takes_so_many_in_a_row_but_for_the_first() {
        let second = Duration::from_secs(1);
        let settings =
            HealthSettings { errand: Errand::Tcp, interval: second, timeout: second, unhealthy_after: 3, healthy_after: 2 };
        let mut judge = HealthJudge::default();
        let checks = [false, true, false, true, true, false, false, true, false, false, false, false];
        let verdicts: Vec<Option<bool>> = checks.iter().map(|passed| judge.note(*passed, &settings)).collect();
        let none = None;
        assert_eq!(verdicts, [Some(false), none, none, none, Some(true), none, none, none, none, none, Some(false), none]);
    }
}
