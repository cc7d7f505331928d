//! Whose turn it is.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// The greatest weight of a flow.
pub const WEIGHT_MAX: u32 = 1_000;
/// How the turns are shared by the classes that have somebody waiting, in the order of [`Class`].
pub const CLASS_SHARES: [u64; 3] = [16, 4, 1];
/// What a turn costs a flow of weight one, in the queue's own time.
const TURN: u64 = 1 << 20;
/// How far a flow that asked for less than its share may fall behind the others' time: so many of its requests that come at once are served as if they
/// had come when there was time for them.
const CREDIT: u64 = 8 * TURN;

/// Who is served before whom. Nobody starves: see [`CLASS_SHARES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Consumers that have a plan.
    Planned,
    /// Everybody else who is known.
    Known,
    /// Who did not say who they are.
    Anonymous,
}

impl Class {
    /// All of them, the first served first.
    pub const ALL: [Self; 3] = [Self::Planned, Self::Known, Self::Anonymous];

    fn index(self) -> usize {
        match self {
            Self::Planned => 0,
            Self::Known => 1,
            Self::Anonymous => 2,
        }
    }
}

/// Those who share one turn: the requests of one consumer, caller or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Which one; of a hash with a secret, so that nobody chooses to be another.
    pub key: u64,
    /// Its class.
    pub class: Class,
    /// Its weight, 1 to [`WEIGHT_MAX`].
    pub weight: u32,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    key: (Class, u64),
    number: u64,
}

/// The queue has no place for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a turn brought.
#[derive(Debug)]
pub struct Taken<T> {
    /// Whose turn it is.
    pub next: Option<T>,
    /// Those who waited for too long, and are not served.
    pub dropped: Vec<T>,
}

struct Waiting<T> {
    number: u64,
    since: u64,
    value: T,
}

struct FlowState<T> {
    weight: u32,
    /// When its next turn begins, in the queue's own time.
    start: u64,
    /// Since when it has had somebody waiting.
    busy_since: u64,
    waiting: VecDeque<Waiting<T>>,
}

/// The flows of one class.
struct ClassState<T> {
    flows: HashMap<u64, FlowState<T>>,
    /// Flows with somebody waiting, by when their turn begins.
    order: BTreeSet<(u64, u64)>,
    /// When the turn began that was taken last.
    now: u64,
    /// When the next turn of the class begins, in the time of all classes.
    start: u64,
    waiting: usize,
}

/// Those who wait for their turn.
pub struct Queue<T> {
    classes: [ClassState<T>; 3],
    now: u64,
    waiting: usize,
    next_number: u64,
    waiting_max: usize,
    /// Who has waited longer than this in a flow that has not been empty for as long, and has others behind, is not served.
    patience: u64,
}

impl<T> Queue<T> {
    /// A queue for at most `waiting_max`. Of a flow that has had somebody waiting for `patience` microseconds, whoever has waited for longer than
    /// that is let go in favour of those behind: old requests are the ones whose clients have given up.
    #[must_use]
    pub fn new(waiting_max: usize, patience: u64) -> Self {
        let class = || ClassState { flows: HashMap::new(), order: BTreeSet::new(), now: CREDIT, start: 0, waiting: 0 };
        Self { classes: [class(), class(), class()], now: 0, waiting: 0, next_number: 0, waiting_max, patience }
    }

    /// Sets anew how many may wait, and for how long in the sense of [`Queue::new`].
    pub fn bound(&mut self, waiting_max: usize, patience: u64) {
        (self.waiting_max, self.patience) = (waiting_max, patience);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// How many flows are known: those that wait, and those that owe a turn.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.classes.iter().map(|class| class.flows.len()).sum()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Puts one more behind the others of its flow. When there is no place, the last of the flow that has most waiting for its weight, in the
    /// lowest class that has any, gives up its place and is returned.
    ///
    /// # Errors
    /// [`Full`] with `value` if that flow is this one, or all who wait are of a higher class.
    pub fn push(&mut self, flow: Flow, now: u64, value: T) -> Result<(Ticket, Option<T>), (Full, T)> {
        let mut displaced = None;
        if self.waiting >= self.waiting_max {
            match self.longest() {
                Some(key) if key != (flow.class, flow.key) && key.0 >= flow.class => displaced = self.remove_last(key),
                _ => return Err((Full, value)),
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        let all = self.now;
        let Some(class) = self.classes.get_mut(flow.class.index()) else { return Err((Full, value)) };
        if class.waiting == 0 {
            class.start = class.start.max(all);
        }
        let begin = class.now.saturating_sub(CREDIT);
        let state = class.flows.entry(flow.key).or_insert_with(|| FlowState {
            weight: 1,
            start: begin,
            busy_since: now,
            waiting: VecDeque::new(),
        });
        state.weight = flow.weight.clamp(1, WEIGHT_MAX);
        if state.waiting.is_empty() {
            state.start = state.start.max(begin);
            state.busy_since = now;
            class.order.insert((state.start, flow.key));
        }
        state.waiting.push_back(Waiting { number, since: now, value });
        class.waiting += 1;
        self.waiting += 1;
        Ok((Ticket { key: (flow.class, flow.key), number }, displaced))
    }

    /// Takes the one whose turn it is, and those who are let go on the way.
    pub fn pop(&mut self, now: u64) -> Taken<T> {
        let mut taken = Taken { next: None, dropped: Vec::new() };
        let patience = self.patience;
        let waiting =
            |class: &Class| self.classes.get(class.index()).filter(|state| state.waiting > 0).map(|state| (state.start, *class));
        let Some((_, turn)) = Class::ALL.iter().filter_map(waiting).min() else { return taken };
        let (Some(class), Some(share)) = (self.classes.get_mut(turn.index()), CLASS_SHARES.get(turn.index())) else { return taken };
        let Some((start, key)) = class.order.pop_first() else { return taken };
        let Some(flow) = class.flows.get_mut(&key) else { return taken };
        let standing = now.saturating_sub(flow.busy_since) > patience;
        while standing && flow.waiting.len() > 1 && flow.waiting.front().is_some_and(|first| now - first.since > patience) {
            taken.dropped.extend(flow.waiting.pop_front().map(|first| first.value));
        }
        taken.next = flow.waiting.pop_front().map(|first| first.value);
        class.now = class.now.max(start);
        flow.start = start + TURN / u64::from(flow.weight);
        if !flow.waiting.is_empty() {
            class.order.insert((flow.start, key));
        }
        let gone = taken.dropped.len() + 1;
        class.waiting -= gone;
        self.waiting -= gone;
        self.now = class.start;
        class.start += TURN / share;
        self.forget(turn, key);
        taken
    }

    /// Takes out one who no longer wants to wait, if they are still there.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let class = self.classes.get_mut(ticket.key.0.index())?;
        let flow = class.flows.get_mut(&ticket.key.1)?;
        let at = flow.waiting.binary_search_by_key(&ticket.number, |waiting| waiting.number).ok()?;
        let gone = flow.waiting.remove(at)?;
        self.left(ticket.key);
        Some(gone.value)
    }

    /// The flow with most waiting for its weight, in the lowest class that has any.
    fn longest(&self) -> Option<(Class, u64)> {
        let class =
            Class::ALL.into_iter().rev().find(|class| self.classes.get(class.index()).is_some_and(|class| class.waiting > 0))?;
        let flows = &self.classes.get(class.index())?.flows;
        let load = |flow: &FlowState<T>| (flow.waiting.len() as u64) * u64::from(WEIGHT_MAX) / u64::from(flow.weight);
        flows.iter().max_by_key(|(_, flow)| load(flow)).map(|(key, _)| (class, *key))
    }

    fn remove_last(&mut self, key: (Class, u64)) -> Option<T> {
        let last = self.classes.get_mut(key.0.index())?.flows.get_mut(&key.1)?.waiting.pop_back()?;
        self.left(key);
        Some(last.value)
    }

    /// Notes that one of a flow's places is empty again.
    fn left(&mut self, (class, key): (Class, u64)) {
        let Some(state) = self.classes.get_mut(class.index()) else { return };
        state.waiting -= 1;
        self.waiting -= 1;
        if let Some(flow) = state.flows.get(&key)
            && flow.waiting.is_empty()
        {
            state.order.remove(&(flow.start, key));
        }
        self.forget(class, key);
    }

    /// Forgets flows that have nobody waiting and owe nothing; when there are too many, also those that owe a turn.
    fn forget(&mut self, class: Class, key: u64) {
        let kept_max = self.waiting_max.saturating_mul(2).max(64);
        let Some(class) = self.classes.get_mut(class.index()) else { return };
        if class.waiting == 0 {
            class.flows.clear();
        } else if class.flows.get(&key).is_some_and(|flow| flow.waiting.is_empty() && flow.start + CREDIT <= class.now) {
            class.flows.remove(&key);
        } else if class.flows.len() > kept_max {
            class.flows.retain(|_, flow| !flow.waiting.is_empty());
        }
    }
}
