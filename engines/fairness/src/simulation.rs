//! An upstream that does so many requests at once, those who ask it, and the mechanisms of this crate in between. No sockets; a clock that only the
//! simulation moves; a seed that repeats a run.

use crate::{Baseline, Class, Concurrency, Flow, Queue, Settings};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const MILLI: u64 = 1_000;

/// One who asks: so many requests a second, at random moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) per_second: f64,
    pub(crate) class: Class,
    pub(crate) weight: u32,
}

/// The upstream: requests that it does at once, and how long one takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) places: usize,
    pub(crate) micros: u64,
    /// From this moment on a request takes so many times as long.
    pub(crate) slower: Option<(u64, u64)>,
}

/// What became of the requests of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) served: u64,
    pub(crate) refused: u64,
    /// Microseconds from asking to answer.
    pub(crate) times: Vec<u64>,
}

/// What a run showed.
pub(crate) struct Run {
    pub(crate) told: Vec<Told>,
    /// Share of the time that the upstream's places were taken.
    pub(crate) utilisation: f64,
    /// The limit, second by second.
    pub(crate) limits: Vec<u32>,
    /// The most that waited.
    pub(crate) waiting_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Asks(usize),
    Answers { asker: usize, asked: u64, begun: u64 },
    Second,
}

struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pause(&mut self, per_second: f64) -> u64 {
        (-(1.0 - self.unit()).ln() / per_second * SECOND as f64) as u64
    }
}

struct World {
    settings: Settings,
    server: Server,
    dice: Dice,
    clock: u64,
    /// Figures are taken from here on.
    warm: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    limit: Concurrency,
    baseline: Baseline,
    queue: Queue<(usize, u64)>,
    under_way: u32,
    serving: usize,
    /// Inside of the upstream: who has not been begun.
    behind: VecDeque<(usize, u64, u64)>,
    busy_micros: u64,
    run: Run,
}

pub(crate) const SETTINGS: Settings = Settings { min: 4, max: 1024, first: 100, tolerance: 18 };
const PATIENCE: u64 = 250 * MILLI;

/// Runs for `seconds`, of which the first `warm` do not count.
pub(crate) fn run(askers: &[Asker], server: Server, seconds: u64, warm: u64, seed: u64) -> Run {
    let run = Run { told: vec![Told::default(); askers.len()], utilisation: 0.0, limits: Vec::new(), waiting_max: 0 };
    let mut world = World {
        settings: SETTINGS,
        server,
        dice: Dice(seed),
        clock: SECOND,
        warm: (warm + 1) * SECOND,
        events: BinaryHeap::new(),
        sequence: 0,
        limit: Concurrency::new(&SETTINGS),
        baseline: Baseline::default(),
        queue: Queue::new(1024, PATIENCE),
        under_way: 0,
        serving: 0,
        behind: VecDeque::new(),
        busy_micros: 0,
        run,
    };
    for (asker, settings) in askers.iter().enumerate() {
        let pause = world.dice.pause(settings.per_second);
        world.later(pause, Event::Asks(asker));
    }
    world.later(SECOND, Event::Second);
    while world.clock < (seconds + 1) * SECOND {
        let Some(Reverse((at, _, event))) = world.events.pop() else { break };
        world.clock = at;
        world.happens(event, askers);
    }
    let measured = (seconds - warm) * SECOND * server.places as u64;
    world.run.utilisation = world.busy_micros as f64 / measured as f64;
    world.run
}

impl World {
    fn later(&mut self, pause: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.clock + pause, self.sequence, event)));
    }

    fn happens(&mut self, event: Event, askers: &[Asker]) {
        match event {
            Event::Second => {
                self.run.limits.push(self.limit.limit());
                self.later(SECOND, Event::Second);
            }
            Event::Asks(asker) => {
                let Asker { per_second, class, weight } = askers[asker];
                let pause = self.dice.pause(per_second);
                self.later(pause, Event::Asks(asker));
                self.asks(asker, Flow { key: asker as u64, class, weight });
            }
            Event::Answers { asker, asked, begun } => {
                self.serving -= 1;
                if let Some((asker, asked, begun)) = self.behind.pop_front() {
                    self.serve(asker, asked, begun);
                }
                self.under_way -= 1;
                let micros = self.clock - begun;
                self.limit.note(&self.settings, &self.baseline, begun, micros, self.under_way + 1);
                if self.clock >= self.warm {
                    self.run.told[asker].served += 1;
                    self.run.told[asker].times.push(self.clock - asked);
                }
                self.give();
            }
        }
        self.run.waiting_max = self.run.waiting_max.max(self.queue.len());
    }

    fn asks(&mut self, asker: usize, flow: Flow) {
        if self.under_way < self.limit.limit() && self.queue.is_empty() {
            return self.begin(asker, self.clock);
        }
        self.limit.note_wait();
        match self.queue.push(flow, self.clock, (asker, self.clock)) {
            Ok((_, displaced)) => displaced.into_iter().for_each(|(asker, _)| self.refuse(asker)),
            Err(_) => self.refuse(asker),
        }
        self.give();
    }

    fn refuse(&mut self, asker: usize) {
        if self.clock >= self.warm {
            self.run.told[asker].refused += 1;
        }
    }

    /// Lets through whoever's turn it is, as long as there is a place.
    fn give(&mut self) {
        while self.under_way < self.limit.limit() && !self.queue.is_empty() {
            let taken = self.queue.pop(self.clock);
            taken.dropped.into_iter().for_each(|(asker, _)| self.refuse(asker));
            if let Some((asker, asked)) = taken.next {
                self.begin(asker, asked);
            }
        }
    }

    fn begin(&mut self, asker: usize, asked: u64) {
        self.under_way += 1;
        if self.serving < self.server.places {
            self.serve(asker, asked, self.clock);
        } else {
            self.behind.push_back((asker, asked, self.clock));
        }
    }

    fn serve(&mut self, asker: usize, asked: u64, begun: u64) {
        self.serving += 1;
        let slower = self.server.slower.filter(|(since, _)| self.clock >= *since).map_or(1, |(_, times)| times);
        let micros = self.server.micros * slower;
        let micros = (micros as f64 * (0.9 + 0.2 * self.dice.unit())) as u64;
        if self.clock >= self.warm {
            self.busy_micros += micros;
        }
        self.later(micros, Event::Answers { asker, asked, begun });
    }
}

/// The time from asking to answer that `of_hundred` per cent of these did not exceed, microseconds.
pub(crate) fn quantile(told: &[Told], of_hundred: usize) -> u64 {
    let mut times: Vec<u64> = told.iter().flat_map(|told| told.times.iter().copied()).collect();
    times.sort_unstable();
    times.get(times.len() * of_hundred / 100).copied().unwrap_or(0)
}

/// Jain's index of what each got of its share: 1 if all got the same part of it.
pub(crate) fn jain(parts: &[f64]) -> f64 {
    let (sum, squares) = parts.iter().fold((0.0, 0.0), |(sum, squares), part| (sum + part, squares + part * part));
    sum * sum / (parts.len() as f64 * squares)
}

/// What each is due of `capacity` by weighted max-min fairness.
pub(crate) fn shares(askers: &[Asker], capacity: f64) -> Vec<f64> {
    let mut shares = BTreeMap::new();
    let (mut left, mut open): (f64, Vec<usize>) = (capacity, (0..askers.len()).collect());
    while !open.is_empty() {
        let weights: f64 = open.iter().map(|at| f64::from(askers[*at].weight)).sum();
        let level = left / weights;
        let (content, more): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|at| askers[**at].per_second <= level * f64::from(askers[**at].weight));
        if content.is_empty() {
            shares.extend(more.iter().map(|at| (*at, level * f64::from(askers[*at].weight))));
            break;
        }
        for at in &content {
            shares.insert(*at, askers[*at].per_second);
            left -= askers[*at].per_second;
        }
        open = more;
    }
    shares.into_values().collect()
}
