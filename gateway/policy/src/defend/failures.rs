//! What has failed, counted until it is enough for a lockout; and who has succeeded lately from where.

use super::bans::ClientNetwork;
use super::lockouts::{LockoutPer, Lockouts, Whom};
use portcullis_engines_limiter::{Charge, Rate, Table};
use portcullis_model::Reason;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Whose failures are counted at the same time, and pairs of somebody and an address whose success is remembered. Of more, those are
/// forgotten who have done least.
const FAILING_MAX: usize = 65_536;
const SUCCEEDED_MAX: usize = 65_536;
const PARTS: usize = 64;

/// When somebody is locked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockoutRules {
    /// So many failures;
    pub failures: u32,
    /// within so long.
    pub within: Duration,
    /// The first lockout.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// What is counted by: addresses, accounts (verified callers, and login fields), API keys.
    pub client_ip: bool,
    /// As above.
    pub account: bool,
    /// As above.
    pub key: bool,
    /// Statuses that are failures.
    pub statuses: Box<[u16]>,
    /// From an address where an account has succeeded within so long it is not locked out.
    pub spared_after_success: Duration,
    /// Stores of API keys: a caller of theirs is a key, not an account.
    pub key_stores: Box<[Arc<str>]>,
}

impl LockoutRules {
    /// Whether an answer of this status, for this reason if it is the gateway's own, is a failed attempt.
    #[must_use]
    pub fn is_failure(&self, status: u16, reason: Option<Reason>) -> bool {
        use Reason::{
            AddressRefused, ClientBanned, CredentialsMissing, CrossOriginRefused, LockedOut, LoginFieldInvalid, ProofNonceNeeded,
        };
        // SECURITY: nothing was tried where no credential was shown; and what a page of somebody else's makes a browser send must not
        // lock out whoever looks at it.
        let tried_nothing = matches!(reason, Some(CredentialsMissing | ProofNonceNeeded | CrossOriginRefused | LoginFieldInvalid));
        let is_out_already = matches!(reason, Some(ClientBanned | LockedOut | AddressRefused));
        !tried_nothing && !is_out_already && self.statuses.contains(&status)
    }

    /// Whether lockouts of this kind are in force.
    #[must_use]
    pub fn counts(&self, per: LockoutPer) -> bool {
        match per {
            LockoutPer::ClientIp => self.client_ip,
            LockoutPer::Account | LockoutPer::Login => self.account,
            LockoutPer::Key => self.key,
        }
    }

    /// A caller whose credential has been verified.
    #[must_use]
    pub fn caller<'a>(&self, provider: &'a str, subject: &'a str) -> Whom<'a> {
        let is_key = self.key_stores.iter().any(|store| **store == *provider);
        Whom::Named { per: if is_key { LockoutPer::Key } else { LockoutPer::Account }, realm: provider, name: subject }
    }

    fn rate(&self) -> Option<Rate> {
        let within = u64::try_from(self.within.as_nanos()).unwrap_or(u64::MAX);
        // The last of them is the one that is too many.
        Rate::new(self.failures, within, self.failures.saturating_sub(1)).ok()
    }

    /// Once in the time, and twice at most: a success moves it on, and two of them are no more than two.
    fn success(&self) -> Option<Rate> {
        Rate::new(1, u64::try_from(self.spared_after_success.as_nanos()).unwrap_or(u64::MAX), 2).ok()
    }
}

/// Failures on their way to a lockout, and the lockouts.
#[derive(Default)]
pub struct Failures {
    /// Who is locked out.
    pub lockouts: Lockouts,
    failing: OnceLock<Table>,
    succeeded: OnceLock<Table>,
    under_way: UnderWay,
}

impl Failures {
    /// Counts a failure, by what the rules count. Says whether it was one too many. `now` is nanoseconds of a clock that does not go back.
    pub fn fail(&self, whom: Whom<'_>, status: u16, rules: &LockoutRules, now: u64, now_unix_seconds: u64) -> bool {
        // Whoever is out already does not make it longer: what was under way is no new attempt.
        if !rules.counts(whom.per()) || self.lockouts.locked_until(whom, now_unix_seconds).is_some() {
            return false;
        }
        let table = self.failing();
        let key = table.key(0, &whom);
        if rules.rate().is_some_and(|rate| table.charge(now, &[Charge { key, rate, cost: 1 }]).is_ok()) {
            return false;
        }
        table.reset(key);
        let lengths = (rules.first.as_secs(), rules.longest.as_secs());
        self.lockouts.lock(whom, status, lengths, now_unix_seconds)
    }

    /// Remembers that somebody has succeeded from an address.
    pub fn succeed(&self, whom: Whom<'_>, from: IpAddr, rules: &LockoutRules, now: u64) {
        if let Some(rate) = rules.success() {
            let table = self.succeeded();
            let key = table.key(0, &(whom, ClientNetwork::of(from)));
            // Refused when it is known for as long as it can be.
            let _known = table.charge(now, &[Charge { key, rate, cost: 1 }]);
        }
    }

    /// Whether somebody has succeeded from an address lately.
    #[must_use]
    pub fn has_succeeded(&self, whom: Whom<'_>, from: IpAddr, rules: &LockoutRules, now: u64) -> bool {
        let Some(rate) = rules.success() else { return false };
        let table = self.succeeded();
        table.standing(now, table.key(0, &(whom, ClientNetwork::of(from))), rate).remaining < rate.burst()
    }

    /// Begins an attempt whose outcome is not known yet. `false` when there are as many under way as may still fail: whoever tries many at
    /// once gets no more of them than whoever tries one after the other. Ended by [`Failures::end`].
    #[must_use]
    pub fn begin(&self, whom: Whom<'_>, rules: &LockoutRules, now: u64) -> bool {
        let may_fail = rules.rate().map_or(0, |rate| {
            let table = self.failing();
            table.standing(now, table.key(0, &whom), rate).remaining
        });
        self.under_way.begin(whom, may_fail.saturating_add(1))
    }

    /// Ends an attempt.
    pub fn end(&self, whom: Whom<'_>) {
        self.under_way.end(whom);
    }

    /// Forgets what somebody has failed at.
    pub fn forgive(&self, whom: Whom<'_>) {
        let table = self.failing();
        table.reset(table.key(0, &whom));
    }

    fn failing(&self) -> &Table {
        self.failing.get_or_init(|| Table::new(FAILING_MAX))
    }

    fn succeeded(&self) -> &Table {
        self.succeeded.get_or_init(|| Table::new(SUCCEEDED_MAX))
    }
}

/// Attempts that are under way, by whom. As many at the most as there are requests.
struct UnderWay {
    parts: Box<[Mutex<HashMap<u64, u32>>]>,
    hasher: RandomState,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl UnderWay {
    fn begin(&self, whom: Whom<'_>, at_most: u32) -> bool {
        let Some((key, mut part)) = self.part(whom) else { return false };
        let count = part.entry(key).or_default();
        let may = *count < at_most;
        *count += u32::from(may);
        if *count == 0 {
            part.remove(&key);
        }
        may
    }

    fn end(&self, whom: Whom<'_>) {
        let Some((key, mut part)) = self.part(whom) else { return };
        if let Some(count) = part.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                part.remove(&key);
            }
        }
    }

    fn part(&self, whom: Whom<'_>) -> Option<(u64, MutexGuard<'_, HashMap<u64, u32>>)> {
        let key = self.hasher.hash_one(whom);
        let part = self.parts.get(key as usize % PARTS)?;
        Some((key, part.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Failures, LockoutRules};
    use crate::defend::{LockoutPer, Whom};
    use portcullis_model::Reason;
    use std::net::IpAddr;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;
    const BOB: Whom<'static> = Whom::Named { per: LockoutPer::Login, realm: "app", name: "bob" };

    fn rules(failures: u32) -> LockoutRules {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        LockoutRules {
            failures,
            within: minutes(5),
            first: minutes(15),
            longest: minutes(60),
            client_ip: true,
            account: true,
            key: false,
            statuses: [401, 403].into(),
            spared_after_success: minutes(60),
            key_stores: ["shops".into()].into(),
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_failures_within_the_time_are_a_lockout_and_those_meanwhile_do_not_lengthen_it() {
        let failures = Failures::default();
        let fail = |seconds: u64| failures.fail(BOB, 401, &rules(3), seconds * SECOND, seconds);
        assert_eq!([0, 1, 2, 3, 4, 5].map(fail), [false, false, true, false, false, false]);
        assert_eq!(failures.lockouts.locked_until(BOB, 3), Some(902));
        assert_eq!([902, 903].map(fail), [false, false], "counted anew");
        let slow = Failures::default();
        let fail = |seconds: u64| slow.fail(BOB, 401, &rules(3), seconds * SECOND, seconds);
        assert_eq!([0, 200, 400, 600, 800].map(fail), [false; 5]);
        assert!(Failures::default().fail(BOB, 401, &rules(1), 0, 0));
    }

    #[test]
    fn no_more_attempts_are_under_way_than_may_still_fail() {
        let failures = Failures::default();
        let rules = rules(3);
        let begin = || failures.begin(BOB, &rules, 0);
        assert_eq!([begin(), begin(), begin(), begin()], [true, true, true, false]);
        failures.end(BOB);
        assert!(!failures.fail(BOB, 401, &rules, 0, 0));
        assert!(!begin(), "two are under way, and two may fail");
        failures.end(BOB);
        assert!(begin());
    }

    #[test]
    fn a_success_is_known_for_its_address_alone_and_for_a_while() {
        let failures = Failures::default();
        let (home, other) = (address("2001:db8::1"), address("2001:db8:0:1::1"));
        let knows = |from, seconds: u64| failures.has_succeeded(BOB, from, &rules(3), seconds * SECOND);
        assert!(!knows(home, 1));
        (0..9).for_each(|_| failures.succeed(BOB, home, &rules(3), SECOND));
        assert!(knows(address("2001:db8::2"), 2) && knows(home, 3600) && !knows(other, 2));
        assert!(!knows(home, 2 * 3600 + 2));
        let alice = Whom::Named { per: LockoutPer::Login, realm: "app", name: "alice" };
        assert!(!failures.has_succeeded(alice, home, &rules(3), SECOND));
    }

    #[test]
    fn what_others_make_a_browser_send_and_what_shows_no_credential_is_no_failure() {
        for (status, reason, failed) in [
            (401, Some(Reason::CredentialsInvalid), true),
            (403, Some(Reason::AccessDenied), true),
            (401, None, true),
            (404, None, false),
            (401, Some(Reason::CredentialsMissing), false),
            (401, Some(Reason::ProofNonceNeeded), false),
            (403, Some(Reason::CrossOriginRefused), false),
            (403, Some(Reason::ClientBanned), false),
            (429, Some(Reason::LockedOut), false),
        ] {
            assert_eq!(rules(3).is_failure(status, reason), failed, "{status} {reason:?}");
        }
        assert_eq!(rules(3).caller("shops", "a").per(), LockoutPer::Key);
        assert!(!Failures::default().fail(rules(1).caller("shops", "a"), 403, &rules(1), 0, 0), "not by key here");
    }
}
