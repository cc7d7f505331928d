//! When new work is refused, and which: decided from figures, so that nothing fails by accident.
//!
//! Control takes figures ten times a second and asks [`Judge`]; workers look at what it said. Pressure rises at once, and falls one
//! step at a time after a second of calm.

use std::time::Duration;

/// How often figures are taken.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// For so many samples in a row a worker must be late before that counts: a moment without the processor is no overload.
const LATE_SAMPLES: usize = 3;
/// For so many samples in a row there must be less pressure before it falls by a step.
const CALM_SAMPLES: u32 = 10;

/// The share of memory or descriptors, in percent, from which each step begins, and below which it ends.
const SHARE_BEGINS: [u64; 3] = [80, 90, 95];
const SHARE_ENDS: [u64; 3] = [70, 80, 85];
/// The lag of workers, as a multiple of the target in halves, from which each step begins, and below which it ends.
const LAG_BEGINS: [u64; 3] = [2, 4, 8];
const LAG_ENDS: [u64; 3] = [1, 2, 4];

/// What is refused. Each step includes those before it. Probes and management are always answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// Idle connections: those that wait for a request end, and answers say that their connection ends with them.
    Saving,
    /// New connections: they wait in the kernel's queue, but for a few.
    Holding,
    /// New requests, by 503, wherever another one is being served.
    Refusing,
}

impl Pressure {
    /// Every step, by its number.
    pub const ALL: [Self; 4] = [Self::None, Self::Saving, Self::Holding, Self::Refusing];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Saving => "saving",
            Self::Holding => "holding",
            Self::Refusing => "refusing",
        }
    }
}

/// What is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Memory that the process has.
    pub memory_bytes: u64,
    /// Memory that it may have; 0: not known.
    pub memory_bytes_max: u64,
    /// Descriptors that are open.
    pub descriptors: u64,
    /// Descriptors that may be open; 0: not known.
    pub descriptors_max: u64,
    /// How late the latest worker gets round to what is ready.
    pub lag: Duration,
    /// How late it may be.
    pub lag_target: Duration,
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Memory.
    Memory,
    /// Descriptors.
    Descriptors,
    /// Work: a worker is late.
    Lag,
}

impl Cause {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
            Self::Lag => "lag",
        }
    }
}

/// Decides on the pressure.
#[derive(Debug, Default)]
pub struct Judge {
    pressure: Pressure,
    cause: Option<Cause>,
    lags: [Duration; LATE_SAMPLES],
    calm: u32,
}

impl Judge {
    /// The pressure after these figures, and what is to blame for it.
    pub fn judge(&mut self, figures: &Figures) -> (Pressure, Option<Cause>) {
        self.lags.rotate_left(1);
        if let Some(last) = self.lags.last_mut() {
            *last = figures.lag;
        }
        let lag = self.lags.iter().min().copied().unwrap_or_default();
        let percent = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(0);
        let halves = lag.as_micros().saturating_mul(2) / figures.lag_target.as_micros().max(1);
        let step = |value: u64, begins: [u64; 3], ends: [u64; 3]| step(self.pressure, value, begins, ends);
        let found = [
            (step(percent(figures.memory_bytes, figures.memory_bytes_max), SHARE_BEGINS, SHARE_ENDS), Cause::Memory),
            (step(percent(figures.descriptors, figures.descriptors_max), SHARE_BEGINS, SHARE_ENDS), Cause::Descriptors),
            (step(u64::try_from(halves).unwrap_or(u64::MAX), LAG_BEGINS, LAG_ENDS), Cause::Lag),
        ];
        let (most, cause) = found.into_iter().max_by_key(|(pressure, _)| *pressure).unwrap_or((Pressure::None, Cause::Lag));
        if most >= self.pressure {
            (self.pressure, self.calm) = (most, 0);
            self.cause = (most > Pressure::None).then_some(cause);
        } else {
            self.calm += 1;
            if self.calm >= CALM_SAMPLES {
                self.calm = 0;
                self.pressure = Pressure::ALL.into_iter().rfind(|less| *less < self.pressure).unwrap_or_default();
                self.cause = self.cause.filter(|_| self.pressure > Pressure::None);
            }
        }
        (self.pressure, self.cause)
    }
}

/// The step that a figure alone asks for, when there is pressure already.
fn step(now: Pressure, value: u64, begins: [u64; 3], ends: [u64; 3]) -> Pressure {
    let steps = Pressure::ALL.into_iter().skip(1).zip(begins.into_iter().zip(ends));
    let asked = steps.filter(|(step, (begin, end))| value >= if now >= *step { *end } else { *begin });
    asked.map(|(step, _)| step).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{CALM_SAMPLES, Cause, Figures, Judge, Pressure};
    use std::time::Duration;

    fn memory(percent: u64) -> Figures {
        Figures { memory_bytes: percent, memory_bytes_max: 100, lag_target: Duration::from_millis(250), ..Figures::default() }
    }

    fn lag(milliseconds: u64) -> Figures {
        Figures { lag: Duration::from_millis(milliseconds), ..memory(0) }
    }

    #[test]
    fn work_is_refused_in_its_order_as_memory_or_descriptors_run_out() {
        let descriptors = |percent| Figures { descriptors: percent, descriptors_max: 100, ..memory(0) };
        for (percent, pressure) in [
            (0, Pressure::None),
            (79, Pressure::None),
            (80, Pressure::Saving),
            (89, Pressure::Saving),
            (90, Pressure::Holding),
            (94, Pressure::Holding),
            (95, Pressure::Refusing),
            (300, Pressure::Refusing),
        ] {
            let cause = |cause| (pressure > Pressure::None).then_some(cause);
            assert_eq!(Judge::default().judge(&memory(percent)), (pressure, cause(Cause::Memory)), "{percent}");
            assert_eq!(Judge::default().judge(&descriptors(percent)), (pressure, cause(Cause::Descriptors)), "{percent}");
        }
        let unknown = Figures { memory_bytes_max: 0, descriptors: 7, ..memory(100) };
        assert_eq!(Judge::default().judge(&unknown), (Pressure::None, None));
    }

    #[test]
    fn pressure_rises_at_once_and_falls_step_by_step_after_calm() {
        let mut judge = Judge::default();
        assert_eq!(judge.judge(&memory(96)).0, Pressure::Refusing);
        let mut told = Vec::new();
        for _ in 0..4 * CALM_SAMPLES {
            told.push(judge.judge(&memory(10)).0);
        }
        let count = |pressure| told.iter().filter(|one| **one == pressure).count() as u32;
        assert_eq!(count(Pressure::Refusing), CALM_SAMPLES - 1);
        assert_eq!((count(Pressure::Holding), count(Pressure::Saving)), (CALM_SAMPLES, CALM_SAMPLES));
        assert_eq!(judge.judge(&memory(10)), (Pressure::None, None));
    }

    #[test]
    fn a_figure_that_swings_about_a_threshold_does_not_make_the_pressure_swing() {
        let mut judge = Judge::default();
        judge.judge(&memory(90));
        let changes = (0..100).filter(|turn| judge.judge(&memory(if turn % 2 == 0 { 81 } else { 90 })).0 != Pressure::Holding);
        assert_eq!(changes.count(), 0);
        // Calm that is interrupted begins anew.
        for _ in 0..5 {
            for _ in 0..CALM_SAMPLES - 1 {
                assert_eq!(judge.judge(&memory(50)).0, Pressure::Holding);
            }
            assert_eq!(judge.judge(&memory(85)).0, Pressure::Holding);
        }
    }

    #[test]
    fn lateness_counts_when_it_lasts() {
        let mut judge = Judge::default();
        for milliseconds in [5000, 0, 5000, 5000, 0, 5000, 5000] {
            assert_eq!(judge.judge(&lag(milliseconds)).0, Pressure::None);
        }
        assert_eq!(judge.judge(&lag(300)), (Pressure::Saving, Some(Cause::Lag)));
        for (milliseconds, pressure) in [(500, Pressure::Holding), (1000, Pressure::Refusing)] {
            let mut judge = Judge::default();
            let last = [(); 3].map(|()| judge.judge(&lag(milliseconds)).0);
            assert_eq!(last, [Pressure::None, Pressure::None, pressure]);
        }
    }

    #[test]
    fn the_worst_figure_decides() {
        let mut judge = Judge::default();
        let both = Figures { descriptors: 91, descriptors_max: 100, ..memory(81) };
        assert_eq!(judge.judge(&both), (Pressure::Holding, Some(Cause::Descriptors)));
    }
}
