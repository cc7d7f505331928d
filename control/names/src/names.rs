//! The handle: what the configuration wants resolved, and what is known.

use crate::keeper::keep;
use crate::state::{Counts, NameState};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Who is told what is wrong with a name, once for each change.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Addresses that may be connected to.
    pub addresses: Vec<IpAddr>,
    /// What is wrong with the name, in words.
    pub trouble: Option<String>,
}

/// What is told of a name to those who watch over the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFacts {
    /// The name.
    pub name: Arc<str>,
    /// What has come of asking for it.
    pub counts: Counts,
    /// How many addresses of it are in use.
    pub addresses: usize,
    /// How old the answer in use is; nothing when there is none.
    pub age: Option<Duration>,
}

/// Who wants to know of changes.
pub struct Follower {
    /// The names it wants to know of.
    pub names: Vec<Arc<str>>,
    /// Called once, and whenever something about one of its names has changed. Must not wait for long.
    pub refresh: Box<dyn Fn(&Names) + Send + Sync>,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) states: Mutex<HashMap<Arc<str>, NameState>>,
    pub(crate) servers: Mutex<Vec<SocketAddr>>,
    asked: Condvar,
    followers: Mutex<Vec<Follower>>,
    /// Wakes the thread; it ends when this is gone.
    wake: Mutex<Option<mpsc::Sender<()>>>,
}

/// Names that are kept resolved, by a thread that runs as soon as there is one.
#[derive(Clone)]
pub struct Names {
    pub(crate) shared: Arc<Shared>,
    report: Report,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// No names yet; `report` will be told what is wrong with them.
    #[must_use]
    pub fn new(report: Report) -> Self {
        Self { shared: Arc::default(), report }
    }

    /// Asks these servers from now on; the system's when there are none.
    pub fn ask_servers(&self, servers: &[SocketAddr]) {
        let mut now = lock(&self.shared.servers);
        if *now != servers {
            *now = servers.to_vec();
            // What failed there may succeed here.
            let soon = Instant::now();
            lock(&self.shared.states).values_mut().for_each(|state| state.due = soon);
        }
    }

    /// Waits until each of these names that are followed has been asked for once, at most so long.
    pub fn wait(&self, names: &[Arc<str>], within: Duration) {
        let is_missing = |states: &mut HashMap<Arc<str>, NameState>| {
            names.iter().any(|name| states.get(name).is_some_and(|state| !state.was_asked))
        };
        let waited = self.shared.asked.wait_timeout_while(lock(&self.shared.states), within, is_missing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// What is known of a name.
    #[must_use]
    pub fn known(&self, name: &str) -> Known {
        let states = lock(&self.shared.states);
        let state = states.get(name);
        state.map_or_else(Known::default, |state| Known { addresses: state.addresses.clone(), trouble: state.trouble.clone() })
    }

    /// Facts of every name that is followed, by name.
    #[must_use]
    pub fn facts(&self) -> Vec<NameFacts> {
        let now = Instant::now();
        let of = |(name, state): (&Arc<str>, &NameState)| NameFacts {
            name: Arc::clone(name),
            counts: state.counts,
            addresses: state.addresses.len(),
            age: state.answered_at.map(|at| now.saturating_duration_since(at)),
        };
        let mut facts: Vec<NameFacts> = lock(&self.shared.states).iter().map(of).collect();
        facts.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        facts
    }

    /// Keeps these informed from now on, and nobody else. Names that nobody asks for any more are forgotten.
    pub fn follow(&self, followers: Vec<Follower>) {
        let wanted: BTreeSet<Arc<str>> = followers.iter().flat_map(|follower| follower.names.iter().cloned()).collect();
        lock(&self.shared.states).retain(|name, _| wanted.contains(name));
        if wanted.is_empty() {
            // Its thread has nothing to do and ends.
            lock(&self.shared.followers).clear();
            lock(&self.shared.wake).take();
            return;
        }
        let mut now = lock(&self.shared.followers);
        *now = followers;
        now.iter().for_each(|follower| (follower.refresh)(self));
        drop(now);
        self.add(&wanted.into_iter().collect::<Vec<_>>());
    }

    fn add(&self, names: &[Arc<str>]) {
        let now = Instant::now();
        let mut states = lock(&self.shared.states);
        for name in names {
            states.entry(Arc::clone(name)).or_insert_with(|| NameState::new(now));
        }
        drop(states);
        let mut wake = lock(&self.shared.wake);
        let sender = wake.get_or_insert_with(|| {
            let (sender, woken) = mpsc::channel(1);
            let names = self.clone();
            let started = std::thread::Builder::new().name("names".to_owned()).spawn(move || keep(&names, woken));
            if let Err(error) = started {
                self.tell(&format!("names cannot be resolved: {error}"));
            }
            sender
        });
        // A full channel has a call in it already.
        let _woken = sender.try_send(());
    }

    /// Tells everybody whom a change of `name` concerns.
    pub(crate) fn has_changed(&self, name: &str) {
        if let Some(trouble) = self.known(name).trouble {
            self.tell(&trouble);
        }
        // One after the other: whoever comes last has seen the last answer.
        let followers = lock(&self.shared.followers);
        let concerned = followers.iter().filter(|follower| follower.names.iter().any(|followed| **followed == *name));
        concerned.for_each(|follower| (follower.refresh)(self));
    }

    /// Tells the operator.
    pub(crate) fn tell(&self, trouble: &str) {
        (self.report)(trouble);
    }

    pub(crate) fn was_asked(&self) {
        self.shared.asked.notify_all();
    }
}
