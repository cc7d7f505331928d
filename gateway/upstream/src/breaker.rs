//! The circuit breaker of an upstream: when too large a share of exchanges fails it is left alone for a while, and then probed.
//! Pure: time is given in.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The longest time that it stays open, as a multiple of the first.
const GROWTH_MAX: u64 = 10;

/// When the circuit is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// When so many per cent of exchanges fail.
    pub failures_percent: u32,
    /// Over so long.
    pub window: Duration,
    /// And when there were at least so many.
    pub requests_min: u32,
    /// For so long the first time; twice as long when the probes fail, and so on, at most ten times as long.
    pub open_for: Duration,
    /// So many exchanges then try whether it works again; when all of them go well the circuit is closed.
    pub probes: u32,
}

/// What the breaker says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Go on.
    Closed,
    /// Go on; whether it works again depends on how it ends.
    Probe,
    /// Do not go on.
    Open,
}

/// The state of one upstream's circuit, shared by all workers.
#[derive(Debug, Default)]
pub struct Breaker {
    /// In microseconds; 0 while closed.
    open_until: AtomicU64,
    /// How many times as long as the first time it is open now.
    growth: AtomicU64,
    probes_begun: AtomicU32,
    probes_passed: AtomicU32,
    /// The number of the half window that is being counted.
    half: AtomicU64,
    /// Exchanges above, failures below; of this half window and of the one before.
    current: AtomicU64,
    previous: AtomicU64,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

impl Breaker {
    /// Asks at `now` whether a request may go on.
    pub fn ask(&self, settings: &BreakerSettings, now: u64) -> Passage {
        let open_until = self.open_until.load(Ordering::Relaxed);
        if open_until == 0 {
            return Passage::Closed;
        }
        if now < open_until {
            return Passage::Open;
        }
        let begun = self
            .probes_begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |begun| (begun < settings.probes.max(1)).then_some(begun + 1));
        match begun {
            Ok(_) => Passage::Probe,
            // Probes that never ended (their clients left) must not keep it open for ever.
            Err(_) if now >= open_until.saturating_add(micros(settings.open_for)) => {
                self.open_until.store(now, Ordering::Relaxed);
                self.begin_probing();
                Passage::Open
            }
            Err(_) => Passage::Open,
        }
    }

    /// Whether it is open or being probed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) != 0
    }

    /// Notes at `now` how an exchange went that had been let through as `passage`. Says whether the circuit was broken by it.
    pub fn note(&self, settings: &BreakerSettings, passage: Passage, failed: bool, now: u64) -> bool {
        match passage {
            Passage::Open => false,
            Passage::Probe if failed => self.break_open(settings, now),
            Passage::Probe => {
                if self.probes_passed.fetch_add(1, Ordering::Relaxed) + 1 >= settings.probes.max(1) {
                    self.current.store(0, Ordering::Relaxed);
                    self.previous.store(0, Ordering::Relaxed);
                    self.growth.store(0, Ordering::Relaxed);
                    self.open_until.store(0, Ordering::Relaxed);
                }
                false
            }
            // What was let through before it was broken tells nothing new.
            Passage::Closed if self.is_open() => false,
            Passage::Closed => {
                self.turn(settings, now);
                let current =
                    self.current.fetch_add((1 << 32) | u64::from(failed), Ordering::Relaxed) + ((1 << 32) | u64::from(failed));
                if !failed {
                    return false;
                }
                let both = current + self.previous.load(Ordering::Relaxed);
                let (all, failures) = (both >> 32, both & u64::from(u32::MAX));
                let broken =
                    all >= u64::from(settings.requests_min) && failures * 100 >= all * u64::from(settings.failures_percent);
                broken && self.break_open(settings, now)
            }
        }
    }

    fn break_open(&self, settings: &BreakerSettings, now: u64) -> bool {
        let growth = (self.growth.load(Ordering::Relaxed) * 2).clamp(1, GROWTH_MAX);
        self.growth.store(growth, Ordering::Relaxed);
        self.open_until.store(now.saturating_add(micros(settings.open_for).saturating_mul(growth)).max(1), Ordering::Relaxed);
        self.begin_probing();
        true
    }

    fn begin_probing(&self) {
        self.probes_passed.store(0, Ordering::Relaxed);
        self.probes_begun.store(0, Ordering::Relaxed);
    }

    /// Begins another half window when it is time.
    fn turn(&self, settings: &BreakerSettings, now: u64) {
        let half = now / (micros(settings.window) / 2).max(1);
        let before = self.half.load(Ordering::Relaxed);
        if half != before && self.half.compare_exchange(before, half, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let counted = self.current.swap(0, Ordering::Relaxed);
            self.previous.store(if half == before + 1 { counted } else { 0 }, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, BreakerSettings, Passage};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000;
    const SETTINGS: BreakerSettings = BreakerSettings {
        failures_percent: 50,
        window: Duration::from_secs(10),
        requests_min: 10,
        open_for: Duration::from_secs(5),
        probes: 2,
    };

    fn run(breaker: &Breaker, count: usize, failed: bool, now: u64) -> usize {
        (0..count)
            .filter(|_| {
                let passage = breaker.ask(&SETTINGS, now);
                breaker.note(&SETTINGS, passage, failed, now);
                passage != Passage::Open
            })
            .count()
    }

    #[test]
    fn it_breaks_at_its_share_and_not_before_there_is_enough_to_judge_by() {
        let breaker = Breaker::default();
        assert_eq!(run(&breaker, 9, true, SECOND), 9);
        assert!(!breaker.is_open());
        assert_eq!(run(&breaker, 100, true, SECOND), 1);
        let mixed = Breaker::default();
        for _ in 0..1000 {
            run(&mixed, 11, false, SECOND);
            run(&mixed, 9, true, SECOND);
        }
        assert!(!mixed.is_open());
    }

    #[test]
    fn it_is_probed_and_closes_when_all_probes_pass() {
        let breaker = Breaker::default();
        run(&breaker, 10, true, SECOND);
        assert_eq!(breaker.ask(&SETTINGS, 5 * SECOND), Passage::Open);
        let probes = [breaker.ask(&SETTINGS, 6 * SECOND), breaker.ask(&SETTINGS, 6 * SECOND), breaker.ask(&SETTINGS, 6 * SECOND)];
        assert_eq!(probes, [Passage::Probe, Passage::Probe, Passage::Open]);
        breaker.note(&SETTINGS, Passage::Probe, false, 6 * SECOND);
        assert!(breaker.is_open());
        breaker.note(&SETTINGS, Passage::Probe, false, 6 * SECOND);
        assert_eq!((breaker.is_open(), breaker.ask(&SETTINGS, 6 * SECOND)), (false, Passage::Closed));
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_up_to_a_bound() {
        let breaker = Breaker::default();
        run(&breaker, 10, true, SECOND);
        let mut now = 6 * SECOND;
        for expected in [10, 20, 40, 50, 50] {
            assert_eq!(breaker.ask(&SETTINGS, now), Passage::Probe);
            assert!(breaker.note(&SETTINGS, Passage::Probe, true, now));
            assert_eq!(breaker.ask(&SETTINGS, now + expected * SECOND - 1), Passage::Open, "{expected}");
            now += expected * SECOND;
        }
    }

    #[test]
    fn probes_that_never_end_are_replaced() {
        let breaker = Breaker::default();
        run(&breaker, 10, true, SECOND);
        assert_eq!((breaker.ask(&SETTINGS, 6 * SECOND), breaker.ask(&SETTINGS, 6 * SECOND)), (Passage::Probe, Passage::Probe));
        assert_eq!(breaker.ask(&SETTINGS, 11 * SECOND), Passage::Open);
        assert_eq!(breaker.ask(&SETTINGS, 11 * SECOND), Passage::Probe);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let breaker = Breaker::default();
        run(&breaker, 9, true, SECOND);
        run(&breaker, 9, true, 30 * SECOND);
        assert!(!breaker.is_open());
    }
}
