//! What is known of one name, and when it is asked for next.

use crate::reach::forbidden;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// A name is not asked for more often than this, whatever its TTL.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And no less often.
const TTL_MAX: Duration = Duration::from_secs(300);
/// How long is waited after a failure; doubled after each, up to the greatest.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long the last good answer is used while there is no other.
const STALE_MAX: Duration = Duration::from_hours(24);
/// How many addresses of an answer are used.
pub(crate) const ADDRESSES_MAX: usize = 64;

/// An answer, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: Duration,
}

/// What has come of asking for a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers of which something is used.
    pub answers: u64,
    /// Failures, and answers of which nothing may be used.
    pub failures: u64,
    /// Addresses in answers that may not be connected to, counted in each answer.
    pub refused: u64,
}

/// What is known of a name.
#[derive(Debug)]
pub(crate) struct NameState {
    /// The addresses of the last good answer, checked, sorted.
    pub(crate) addresses: Vec<IpAddr>,
    /// What is wrong with it, in words.
    pub(crate) trouble: Option<String>,
    /// When it is to be asked for.
    pub(crate) due: Instant,
    /// Whether it is being asked for.
    pub(crate) is_asked: bool,
    /// Whether it has been, with whatever outcome.
    pub(crate) was_asked: bool,
    /// What has come of asking so far.
    pub(crate) counts: Counts,
    /// When the answer in use came.
    pub(crate) answered_at: Option<Instant>,
    failures: u32,
}

impl NameState {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            addresses: Vec::new(),
            trouble: None,
            due: now,
            is_asked: false,
            was_asked: false,
            counts: Counts::default(),
            answered_at: None,
            failures: 0,
        }
    }

    /// Notes what asking brought. `random` spreads what many gateways and names do. Gives whether anything that others see changed.
    pub(crate) fn note(&mut self, name: &str, outcome: Result<Answer, String>, now: Instant, random: u64) -> bool {
        (self.is_asked, self.was_asked) = (false, true);
        let before = (std::mem::take(&mut self.addresses), self.trouble.take());
        match outcome.and_then(|answer| judged(name, answer, &mut self.counts.refused)) {
            Ok(judged) => {
                self.failures = 0;
                self.counts.answers += 1;
                self.answered_at = Some(now);
                self.due = now + jittered(judged.ttl.clamp(TTL_MIN, TTL_MAX), random);
                (self.addresses, self.trouble) = (judged.addresses, judged.trouble);
            }
            Err(problem) => {
                let wait = RETRY_MIN.saturating_mul(1_u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX)).min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                self.counts.failures += 1;
                self.due = now + jittered(wait, random);
                if self.answered_at.is_some_and(|at| now < at + STALE_MAX) {
                    self.addresses.clone_from(&before.0);
                } else {
                    self.answered_at = None;
                }
                self.trouble = Some(problem);
            }
        }
        before != (self.addresses.clone(), self.trouble.clone())
    }
}

struct Judged {
    addresses: Vec<IpAddr>,
    trouble: Option<String>,
    ttl: Duration,
}

/// Takes from an answer what may be used of it. An answer of which nothing may be used is a failure.
fn judged(name: &str, answer: Answer, refused: &mut u64) -> Result<Judged, String> {
    let mut trouble = None;
    let mut addresses: Vec<IpAddr> = answer.addresses.iter().map(IpAddr::to_canonical).collect();
    // The order of an answer means nothing, and many servers change it each time.
    addresses.sort_unstable();
    addresses.dedup();
    addresses.retain(|address| match forbidden(*address) {
        None => true,
        Some(why) => {
            *refused += 1;
            trouble =
                Some(format!("`{name}` resolves to {address}, {why}; that is not connected to unless the configuration names it"));
            false
        }
    });
    if addresses.is_empty() {
        return Err(trouble.unwrap_or_else(|| format!("`{name}` has no address")));
    }
    if addresses.len() > ADDRESSES_MAX {
        trouble = Some(format!("`{name}` has {} addresses; the first {ADDRESSES_MAX} are used", addresses.len()));
        addresses.truncate(ADDRESSES_MAX);
    }
    Ok(Judged { addresses, trouble, ttl: answer.ttl })
}

/// Up to a tenth less.
fn jittered(time: Duration, random: u64) -> Duration {
    time - time.mul_f64((random % 1024) as f64 / 10_240.0)
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES_MAX, Answer, Counts, NameState, STALE_MAX};
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;
    use tokio::time::Instant;

    fn answer(addresses: &[&str], ttl: u64) -> Result<Answer, String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Ok(Answer { addresses, ttl: Duration::from_secs(ttl) })
    }

    fn waits(state: &NameState, now: Instant) -> f64 {
        (state.due - now).as_secs_f64()
    }

    #[test]
    fn an_answer_holds_for_its_ttl_within_bounds_and_a_little_less_at_random() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        for (ttl, least, most) in [(0, 0.9, 1.0), (10, 9.0, 10.0), (86_400, 270.0, 300.0)] {
            for random in [0, 511, 1023, u64::MAX] {
                state.note("n", answer(&["10.0.0.1"], ttl), now, random);
                assert!((least..=most).contains(&waits(&state, now)), "{ttl}: {}", waits(&state, now));
            }
        }
    }

    #[test]
    fn only_what_others_see_is_a_change() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        assert!(state.note("n", answer(&["10.0.0.2", "10.0.0.1"], 5), now, 0));
        assert!(!state.note("n", answer(&["10.0.0.1", "10.0.0.2", "10.0.0.1"], 9), now, 0), "another order is the same answer");
        assert!(state.note("n", answer(&["10.0.0.1"], 5), now, 0));
        assert!(state.note("n", Err("no such name".to_owned()), now, 0));
        assert!(!state.note("n", Err("no such name".to_owned()), now, 0));
    }

    #[test]
    fn the_last_good_answer_is_kept_while_there_is_no_other_but_not_for_ever() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        state.note("n", answer(&["10.0.0.1"], 5), now, 0);
        for later in [Duration::from_secs(5), STALE_MAX - Duration::from_secs(1)] {
            state.note("n", Err("no such name".to_owned()), now + later, 0);
            assert_eq!(state.addresses, [IpAddr::from([10, 0, 0, 1])]);
            assert_eq!(state.trouble.as_deref(), Some("no such name"));
        }
        assert_eq!(state.answered_at, Some(now), "it is as old as it is");
        state.note("n", Err("no such name".to_owned()), now + STALE_MAX, 0);
        assert!(state.addresses.is_empty() && state.answered_at.is_none());
        assert_eq!(state.counts, Counts { answers: 1, failures: 3, refused: 0 });
    }

    #[test]
    fn after_failures_it_is_asked_for_less_and_less_often() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        let waited: Vec<f64> = (0..40)
            .map(|_| {
                state.note("n", Err(String::new()), now, 0);
                waits(&state, now)
            })
            .collect();
        assert_eq!(waited[..8], [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert!(waited.iter().all(|waited| *waited <= 30.0));
    }

    #[test]
    fn f141_what_may_not_be_used_is_left_out_and_told() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        state.note("n", answer(&["127.0.0.1", "10.0.0.1", "::ffff:169.254.169.254"], 5), now, 0);
        assert_eq!(state.addresses, [IpAddr::from([10, 0, 0, 1])]);
        assert!(state.trouble.as_deref().unwrap().contains("`n` resolves to 169.254.169.254"), "{:?}", state.trouble);
        // Nothing that may be used: as if there had been no answer.
        state.note("n", answer(&["127.0.0.1"], 5), now, 0);
        assert_eq!(state.addresses, [IpAddr::from([10, 0, 0, 1])]);
        assert!(state.trouble.as_deref().unwrap().contains("a loopback address"));
        assert_eq!(state.counts, Counts { answers: 1, failures: 1, refused: 3 });
    }

    #[test]
    fn an_answer_without_end_is_cut() {
        let now = Instant::now();
        let mut state = NameState::new(now);
        let many = (0..1000_u32).map(|number| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))).collect();
        state.note("n", Ok(Answer { addresses: many, ttl: Duration::ZERO }), now, 0);
        assert_eq!(state.addresses.len(), ADDRESSES_MAX);
        assert_eq!(state.trouble.as_deref(), Some("`n` has 1000 addresses; the first 64 are used"));
    }
}
