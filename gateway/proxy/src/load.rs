//! What workers and control know of each other's load: a few atomics, nobody waits.

use crate::overload::Pressure;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How many connections more than the mean a worker must have before it gives new ones away; among few, chance is no imbalance.
const SURPLUS_MIN: u64 = 8;
/// How late a worker must be before that counts as busy.
const LAG_MIN: Duration = Duration::from_millis(20);

/// One worker's figures, written by itself.
#[derive(Debug, Default)]
struct WorkerLoad {
    connections: AtomicU64,
    /// Microseconds of the greatest lag since control looked last.
    lag_max: AtomicU64,
    /// The lag at its last beat, for other workers.
    lag: AtomicU64,
    /// When its last beat was, in microseconds since [`Load::begin`].
    beat: AtomicU64,
    /// Whether it is on its way to its end; its lag tells nothing then.
    has_left: AtomicBool,
    handed: AtomicU64,
}

/// A worker's figures as control sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerFigures {
    /// Connections that it serves.
    pub connections: u64,
    /// How late it was at most since the last look; also how long it has been stuck, if it is.
    pub lag: Duration,
    /// Connections that it has handed to other workers.
    pub handed: u64,
}

/// The load of all workers, and how much of it is refused.
#[derive(Debug)]
pub struct Load {
    pressure: AtomicU8,
    descriptors_max: AtomicU64,
    begin: Instant,
    workers: OnceLock<Box<[WorkerLoad]>>,
}

impl Default for Load {
    fn default() -> Self {
        let (pressure, descriptors_max) = (AtomicU8::new(0), AtomicU64::new(0));
        Self { pressure, descriptors_max, begin: Instant::now(), workers: OnceLock::new() }
    }
}

impl Load {
    /// Makes room for the figures of so many workers; once.
    pub(crate) fn expect_workers(&self, count: usize) {
        self.workers.get_or_init(|| (0..count).map(|_| WorkerLoad::default()).collect());
    }

    /// What is refused.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let number = usize::from(self.pressure.load(Ordering::Relaxed));
        Pressure::ALL.get(number).copied().unwrap_or_default()
    }

    /// Says what is refused from now on, and how many descriptors there may be.
    pub fn press(&self, pressure: Pressure, descriptors_max: u64) {
        self.pressure.store(pressure as u8, Ordering::Relaxed);
        self.descriptors_max.store(descriptors_max, Ordering::Relaxed);
    }

    /// Notes the number of a descriptor that has just been opened. The system gives the lowest one that is free, so that many are
    /// open at least; close to the limit nobody waits for control to notice.
    pub(crate) fn saw_descriptor(&self, number: u64) {
        let max = self.descriptors_max.load(Ordering::Relaxed);
        if max > 0 && number >= max.saturating_mul(9) / 10 {
            self.pressure.fetch_max(Pressure::Holding as u8, Ordering::Relaxed);
        }
    }

    fn worker(&self, index: usize) -> Option<&WorkerLoad> {
        self.workers.get()?.get(index)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A worker's beat: how many connections it has, and how late it was.
    pub(crate) fn beat(&self, index: usize, connections: usize, lag: Duration) {
        let Some(worker) = self.worker(index) else { return };
        let lag = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        worker.connections.store(connections as u64, Ordering::Relaxed);
        worker.lag.store(lag, Ordering::Relaxed);
        worker.lag_max.fetch_max(lag, Ordering::Relaxed);
        worker.beat.store(self.micros(), Ordering::Relaxed);
    }

    /// How many connections a worker has just now.
    pub(crate) fn note_connections(&self, index: usize, connections: usize) {
        if let Some(worker) = self.worker(index) {
            worker.connections.store(connections as u64, Ordering::Relaxed);
        }
    }

    /// A worker begins to end.
    pub(crate) fn leave(&self, index: usize) {
        if let Some(worker) = self.worker(index) {
            worker.has_left.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a worker has handed a connection to another.
    pub(crate) fn note_handed(&self, index: usize) {
        if let Some(worker) = self.worker(index) {
            worker.handed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every worker's figures. Forgets the greatest lags, so only one may look.
    #[must_use]
    pub fn look(&self) -> Vec<WorkerFigures> {
        let now = self.micros();
        let figures = |worker: &WorkerLoad| {
            let beat = worker.beat.load(Ordering::Relaxed);
            let since = if beat == 0 { 0 } else { now.saturating_sub(beat) };
            let stuck = since.saturating_sub(2 * u64::try_from(BEAT_EVERY.as_micros()).unwrap_or(0));
            let lag = worker.lag_max.swap(0, Ordering::Relaxed).max(stuck);
            WorkerFigures {
                connections: worker.connections.load(Ordering::Relaxed),
                lag: if worker.has_left.load(Ordering::Relaxed) { Duration::ZERO } else { Duration::from_micros(lag) },
                handed: worker.handed.load(Ordering::Relaxed),
            }
        };
        self.workers.get().into_iter().flatten().map(figures).collect()
    }

    /// Which worker is to have a connection that `index` has accepted, if not itself.
    pub(crate) fn better_than(&self, index: usize) -> Option<usize> {
        let workers = self.workers.get()?;
        if workers.len() < 2 {
            return None;
        }
        let loads = workers.iter().map(|worker| {
            if worker.has_left.load(Ordering::Relaxed) {
                return None;
            }
            Some((worker.connections.load(Ordering::Relaxed), Duration::from_micros(worker.lag.load(Ordering::Relaxed))))
        });
        choose(index, loads)
    }
}

/// How often workers tell of themselves.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(100);

/// The least loaded worker, when the one at `index` has more than one and a half times the mean of connections or of lag.
fn choose(index: usize, loads: impl Iterator<Item = Option<(u64, Duration)>> + Clone) -> Option<usize> {
    let present = || loads.clone().enumerate().filter_map(|(at, load)| load.map(|load| (at, load)));
    let count = present().count() as u64;
    let (own_connections, own_lag) = present().find(|(at, _)| *at == index)?.1;
    let connections: u64 = present().map(|(_, (connections, _))| connections).sum();
    let lag: Duration = present().map(|(_, (_, lag))| lag).sum();
    let is_full = 2 * count * own_connections > 3 * connections && count * own_connections > connections + count * SURPLUS_MIN;
    let is_late = own_lag > LAG_MIN && own_lag.as_micros() * 2 * u128::from(count) > lag.as_micros() * 3;
    if !is_full && !is_late {
        return None;
    }
    // Of those that are not late themselves, the one with the fewest connections.
    let idle = present().filter(|(at, (_, lag))| *at != index && *lag <= LAG_MIN.max(own_lag / 2));
    let (least, (its_connections, _)) = idle.min_by_key(|(_, (connections, _))| *connections)?;
    (is_late || its_connections < own_connections).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::{Load, choose};
    use crate::overload::Pressure;
    use std::time::Duration;

    fn chosen(index: usize, loads: &[(u64, u64)]) -> Option<usize> {
        choose(index, loads.iter().map(|(connections, lag)| Some((*connections, Duration::from_millis(*lag)))))
    }

    #[test]
    fn a_worker_with_half_as_much_again_as_the_mean_gives_to_the_least_loaded() {
        assert_eq!(chosen(0, &[(100, 0), (100, 0), (100, 0), (100, 0)]), None);
        assert_eq!(chosen(0, &[(149, 0), (80, 0), (90, 0), (81, 0)]), None, "below one and a half times the mean");
        assert_eq!(chosen(0, &[(200, 0), (80, 0), (50, 0), (70, 0)]), Some(2));
        assert_eq!(chosen(1, &[(200, 0), (80, 0), (50, 0), (70, 0)]), None, "who is not busy keeps what it accepts");
        assert_eq!(chosen(0, &[(9, 0), (1, 0)]), None, "among few, chance is no imbalance");
        assert_eq!(chosen(0, &[(30, 0), (1, 0)]), Some(1));
        assert_eq!(chosen(0, &[(1000, 0)]), None);
    }

    #[test]
    fn a_late_worker_gives_to_one_that_is_not() {
        assert_eq!(chosen(0, &[(10, 400), (10, 1), (12, 2)]), Some(1));
        assert_eq!(chosen(0, &[(10, 400), (10, 390)]), None, "all are late: nobody is better");
        assert_eq!(chosen(0, &[(10, 15), (10, 1)]), None, "a few milliseconds are nothing");
        assert_eq!(chosen(0, &[(100, 0), (1, 300), (40, 0), (40, 0)]), Some(2), "not to a late one, however empty");
    }

    #[test]
    fn whoever_is_leaving_gets_nothing() {
        let loads = [Some((100, Duration::ZERO)), None, Some((10, Duration::ZERO))];
        assert_eq!(choose(0, loads.iter().copied()), Some(2));
        assert_eq!(choose(1, loads.iter().copied()), None);
    }

    #[test]
    fn descriptors_near_their_limit_are_noticed_by_their_numbers() {
        let load = Load::default();
        load.saw_descriptor(1_000_000);
        assert_eq!(load.pressure(), Pressure::None, "no limit is known yet");
        load.press(Pressure::Saving, 1000);
        load.saw_descriptor(899);
        assert_eq!(load.pressure(), Pressure::Saving);
        load.saw_descriptor(900);
        assert_eq!(load.pressure(), Pressure::Holding);
        load.press(Pressure::Refusing, 1000);
        load.saw_descriptor(950);
        assert_eq!(load.pressure(), Pressure::Refusing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_worker_is_as_late_as_it_is_stuck() {
        let load = Load::default();
        load.expect_workers(2);
        tokio::time::advance(Duration::from_secs(1)).await;
        load.beat(0, 3, Duration::from_millis(7));
        load.beat(1, 4, Duration::ZERO);
        assert_eq!(load.look().iter().map(|worker| worker.lag.as_millis()).collect::<Vec<_>>(), [7, 0]);
        tokio::time::advance(Duration::from_secs(2)).await;
        load.beat(1, 4, Duration::ZERO);
        assert_eq!(load.look().iter().map(|worker| worker.lag.as_millis()).collect::<Vec<_>>(), [1800, 0]);
        load.leave(0);
        assert_eq!(load.look().first().map(|worker| worker.lag), Some(Duration::ZERO));
    }
}
