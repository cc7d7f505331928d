//! How many requests an upstream gets at once: found from how much longer answers take than they have to.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Steps of a ratio: sixteenths.
const STEPS: u64 = 16;
/// Ratios that are told apart: sixteenths up to four, then eighths of each doubling, up to a thousand.
const RATIOS: usize = 128;
/// From here on in eighths of doublings.
const FINE: u64 = 64;
/// Answers that a window needs at the least before it says anything.
const SAMPLES_MIN: u32 = 16;
/// A window takes at least as long.
const WINDOW_MIN: u64 = 100_000;
/// How long the shortest time is remembered; it is found anew meanwhile.
const REMEMBERED: u64 = 30_000_000;
/// The share of the limit that is let through while the shortest time is looked for, as a divisor.
const PROBE_SHARE: u32 = 2;

/// What a limit may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// Where it begins.
    pub first: u32,
    /// How many times as long as the shortest an answer may take, in sixteenths, before there is too much under way.
    pub tolerance: u32,
}

/// The shortest time that an answer of one kind took lately. Requests of different kinds are not compared with each other: one may wait for a minute
/// for something to happen while another is answered from memory.
#[derive(Debug, Default)]
pub struct Baseline {
    /// Microseconds; 0 if none is known.
    current: AtomicU64,
    previous: AtomicU64,
    since: AtomicU64,
    epoch: AtomicU64,
}

impl Baseline {
    /// Notes an answer and says how many times as long as the shortest it took, in sixteenths. What is known from another `epoch` no longer holds.
    fn note(&self, now: u64, micros: u64, epoch: u64) -> u64 {
        let (micros, now) = (micros.max(1), now.max(1));
        if self.epoch.swap(epoch, Ordering::Relaxed) != epoch {
            self.previous.store(0, Ordering::Relaxed);
            self.current.store(0, Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
        }
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 {
            self.since.store(now, Ordering::Relaxed);
        } else if now.saturating_sub(since) > REMEMBERED
            && self.since.compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.previous.store(self.current.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        let current = self.current.load(Ordering::Relaxed);
        if current == 0 || micros < current {
            self.current.store(micros, Ordering::Relaxed);
        }
        let known = [micros, self.current.load(Ordering::Relaxed), self.previous.load(Ordering::Relaxed)];
        let shortest = known.into_iter().filter(|known| *known > 0).min().unwrap_or(micros);
        micros.saturating_mul(STEPS) / shortest
    }
}

/// The limit of one upstream. Workers note answers at the same time; a lost one does no harm.
#[derive(Debug)]
pub struct Concurrency {
    limit: AtomicU32,
    window: AtomicU64,
    /// How long a window takes.
    length: AtomicU64,
    samples: AtomicU32,
    ratios: [AtomicU32; RATIOS],
    /// The most that were under way.
    peak: AtomicU32,
    /// Whether somebody had to wait.
    waited: AtomicU32,
    /// When the shortest time was looked for last; the limit to go back to afterwards.
    probed: AtomicU64,
    resume: AtomicU32,
    /// Answers of this window, whenever their requests began.
    answers: AtomicU32,
    /// The limit before it was lowered by much, 0 if it was not; the answers in ten seconds there were then; and what is done about it.
    lowered: AtomicU32,
    lowered_from: AtomicU64,
    settles: AtomicBool,
    /// Counts how often it showed that the upstream itself has become slower, so that the shortest times known say nothing.
    epoch: AtomicU64,
}

impl Concurrency {
    /// A limit that is where it begins.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            limit: AtomicU32::new(settings.first),
            window: AtomicU64::new(0),
            length: AtomicU64::new(WINDOW_MIN),
            samples: AtomicU32::new(0),
            ratios: [const { AtomicU32::new(0) }; RATIOS],
            peak: AtomicU32::new(0),
            waited: AtomicU32::new(0),
            probed: AtomicU64::new(0),
            resume: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            lowered: AtomicU32::new(0),
            lowered_from: AtomicU64::new(0),
            settles: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
        }
    }

    /// How many may be under way.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Notes that somebody had to wait for a place.
    pub fn note_wait(&self) {
        self.waited.store(1, Ordering::Relaxed);
    }

    /// Notes an answer to a request of the kind that `baseline` knows: it began at `begun` and took `micros`, and with it `under_way` were. Says whether
    /// the limit has changed.
    pub fn note(&self, settings: &Settings, baseline: &Baseline, begun: u64, micros: u64, under_way: u32) -> bool {
        let now = begun.saturating_add(micros);
        let ratio = baseline.note(now, micros, self.epoch.load(Ordering::Relaxed));
        let window = self.window.load(Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
        // What began before the limit was set tells of the limit before.
        if begun >= window {
            if let Some(count) = self.ratios.get(place_of(ratio)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            self.samples.fetch_add(1, Ordering::Relaxed);
            self.peak.fetch_max(under_way, Ordering::Relaxed);
        }
        let due = now.saturating_sub(window) >= self.length.load(Ordering::Relaxed);
        let enough = self.samples.load(Ordering::Relaxed) >= SAMPLES_MIN.min(self.limit());
        if !(due && enough && self.window.compare_exchange(window, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()) {
            return false;
        }
        self.length.store(micros.saturating_mul(2).clamp(WINDOW_MIN, 10 * WINDOW_MIN), Ordering::Relaxed);
        self.turn(settings, now, now.saturating_sub(window))
    }

    /// Ends a window that took `length` and sets the limit for the next.
    fn turn(&self, settings: &Settings, now: u64, length: u64) -> bool {
        let median = self.take_median();
        let (peak, waited) = (self.peak.swap(0, Ordering::Relaxed), self.waited.swap(0, Ordering::Relaxed) == 1);
        let rate = u64::from(self.answers.swap(0, Ordering::Relaxed)) * 100 * WINDOW_MIN / length.max(1);
        let before = self.limit();
        if self.settles.swap(false, Ordering::Relaxed) {
            // What was under way before the limit was lowered has been answered meanwhile.
            return false;
        }
        let next = self.resumed(before, rate, waited).unwrap_or_else(|| {
            let probed = self.probed.load(Ordering::Relaxed);
            if now.saturating_sub(probed) >= REMEMBERED {
                self.probed.store(now, Ordering::Relaxed);
                if waited && probed > 0 {
                    self.resume.store(before, Ordering::Relaxed);
                    return before / PROBE_SHARE;
                }
            }
            let next = next(settings, before, median, peak, waited);
            let reached = before.min(peak);
            if next <= reached / 4 * 3 {
                self.lowered.store(reached, Ordering::Relaxed);
                self.lowered_from.store(rate, Ordering::Relaxed);
                self.settles.store(true, Ordering::Relaxed);
            }
            next
        });
        let next = next.clamp(settings.min, settings.max.max(settings.min));
        self.limit.store(next, Ordering::Relaxed);
        next != before
    }

    /// The limit to go back to: after the shortest time was looked for, or when a lower limit only made for fewer answers. Then requests did not wait
    /// for each other: the upstream itself has become slower, and the shortest times that were known say nothing.
    fn resumed(&self, limit: u32, rate: u64, waited: bool) -> Option<u32> {
        let resume = self.resume.swap(0, Ordering::Relaxed);
        let lowered = self.lowered.swap(0, Ordering::Relaxed);
        if resume > 0 {
            return Some(resume);
        }
        let from = self.lowered_from.load(Ordering::Relaxed);
        // Half way between as many answers as before, and as many fewer as the limit is lower.
        let fewer = from * (u64::from(lowered) + u64::from(limit)) / (2 * u64::from(lowered.max(1)));
        if lowered > 0 && waited && rate < fewer {
            self.epoch.fetch_add(1, Ordering::Relaxed);
            return Some(lowered);
        }
        None
    }

    fn take_median(&self) -> u64 {
        let counts = self.ratios.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
        let all = self.samples.swap(0, Ordering::Relaxed);
        let mut below = 0;
        let median = counts.iter().position(|count| {
            below += count;
            below * 2 >= all
        });
        ratio_at(median.unwrap_or(0))
    }
}

fn place_of(ratio: u64) -> usize {
    let place = if ratio < FINE {
        ratio
    } else {
        let doublings = u64::from(ratio.ilog2()) - 6;
        FINE + doublings * 8 + ((ratio >> (doublings + 3)) & 7)
    };
    usize::try_from(place).unwrap_or(RATIOS).min(RATIOS - 1)
}

fn ratio_at(place: usize) -> u64 {
    let place = place as u64;
    if place < FINE { place } else { (8 + (place - FINE) % 8) << ((place - FINE) / 8 + 3) }
}

/// The limit after a window in which the median answer took `median` sixteenths of the shortest time.
fn next(settings: &Settings, limit: u32, median: u64, peak: u32, waited: bool) -> u32 {
    let tolerance = u64::from(settings.tolerance);
    if median > tolerance {
        // By Little's law so many were at work at once; never less than a quarter, as one window may tell of a moment.
        let reached = u64::from(limit.min(peak.max(1)));
        let fewer = (reached * tolerance / median).max(reached / 4);
        return u32::try_from(fewer).unwrap_or(limit);
    }
    if !waited {
        return limit;
    }
    let more = if median <= u64::midpoint(STEPS, tolerance) { limit / 8 } else { limit / 64 };
    limit.saturating_add(more.max(1))
}

#[cfg(test)]
mod tests {
    use super::{Baseline, place_of, ratio_at};

    #[test]
    fn ratios_are_told_apart_to_an_eighth() {
        for ratio in (0..200).chain([1_000, 5_000, 16_000]) {
            let told = ratio_at(place_of(ratio));
            assert!(told <= ratio && ratio <= told + told / 8, "{ratio} {told}");
        }
        assert_eq!(place_of(u64::MAX), place_of(16_383));
    }

    #[test]
    fn a_shortest_time_that_no_longer_holds_is_forgotten() {
        let (second, baseline) = (1_000_000, Baseline::default());
        assert_eq!((baseline.note(second, 10_000, 0), baseline.note(2 * second, 20_000, 0)), (16, 32));
        let later: Vec<u64> = (40..80).map(|at| baseline.note(at * second, 20_000, 0)).collect();
        assert_eq!((later.first(), later.last()), (Some(&32), Some(&16)));
        assert_eq!(baseline.note(81 * second, 60_000, 1), 16);
        // Numbers without end do not overflow.
        assert_eq!(baseline.note(u64::MAX, u64::MAX, 1), u64::MAX / 60_000);
    }
}
