//! The thread that keeps names resolved.

use crate::ask::Asker;
use crate::names::{Names, lock};
use crate::state::Answer;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Names that are asked for at the same time.
const ASKED_MAX: usize = 32;
/// How often it is looked whether there is something to do, at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);

type Outcome = (Arc<str>, Result<Answer, String>);

/// Keeps names resolved until whoever holds the other end of `woken` lets go of it.
pub(crate) fn keep(names: &Names, woken: mpsc::Receiver<()>) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work(names, woken)),
        Err(error) => names.tell(&format!("names cannot be resolved: {error}")),
    }
}

async fn work(names: &Names, mut woken: mpsc::Receiver<()>) {
    let random = RandomState::new();
    let mut asker = Asker::new(lock(&names.shared.servers).clone());
    let mut asked: JoinSet<Outcome> = JoinSet::new();
    let mut turn = 0_u64;
    loop {
        asker.renew(&lock(&names.shared.servers).clone());
        let next = begin(names, &asker, &mut asked);
        tokio::select! {
            call = woken.recv() => if call.is_none() { return },
            outcome = asked.join_next(), if !asked.is_empty() => {
                turn += 1;
                match outcome {
                    Some(Ok((name, answer))) => finish(names, &name, answer, random.hash_one(turn)),
                    // Which one died is not told: whoever is waited for is asked again.
                    Some(Err(_)) => lock(&names.shared.states).values_mut().for_each(|state| state.is_asked = false),
                    None => {}
                }
            }
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// Asks for what is due, as far as there is room. Gives when to look again.
fn begin(names: &Names, asker: &Asker, asked: &mut JoinSet<Outcome>) -> Instant {
    let now = Instant::now();
    let mut next = now + LOOK_EVERY;
    let mut states = lock(&names.shared.states);
    for (name, state) in states.iter_mut().filter(|(_, state)| !state.is_asked) {
        if state.due > now {
            next = next.min(state.due);
        } else if asked.len() < ASKED_MAX {
            state.is_asked = true;
            let (answer, name) = (asker.ask(name), Arc::clone(name));
            asked.spawn(async move { (name, answer.await) });
        }
    }
    next
}

fn finish(names: &Names, name: &Arc<str>, outcome: Result<Answer, String>, random: u64) {
    let changed = match lock(&names.shared.states).get_mut(name) {
        Some(state) => state.note(name, outcome, Instant::now(), random),
        // Nobody wants it any more.
        None => return,
    };
    if changed {
        names.has_changed(name);
    }
    names.was_asked();
}
