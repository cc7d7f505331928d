//! Asks providers on behalf of policies: a thread for each kind of question, one keeper for all of them.

use crate::key_sets::Tell;
use crate::provider_client::Problem;
use crate::providers::Outcomes;
use portcullis_gateway_policy::{Answered, Desk, DeskFailure, Question, StatePool};
use portcullis_model::{Clock, Secret};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// How many questions of a kind are taken up; as many again wait at the desk.
const OPEN_MAX: usize = 256;
/// How many connections there are at the same time.
const ASKING_MAX: usize = 64;
/// How often it is told at the most that a provider refuses what it is asked for: that depends on who is calling.
const REFUSAL_TOLD_EVERY: Duration = Duration::from_mins(1);

/// Whom policies have asked, by one kind of question.
pub(crate) trait Asked: Clone + Send + Sync + 'static {
    /// What policies ask by.
    type Plan: PartialEq + Send + Sync + 'static;
    /// What the desk is called in the pool of states.
    const DESK: &'static str;
    /// What the thread is called.
    const THREAD: &'static str;

    /// What policies ask by.
    fn plan(&self) -> &Arc<Self::Plan>;
    /// What is told of it by; no two of a kind have the same.
    fn name(&self) -> &Arc<str>;
    /// How long an answer may take, waiting included.
    fn deadline(&self) -> Duration;
    /// Asks.
    fn ask(&self, form: Secret<Vec<u8>>, now_unix_seconds: u64) -> impl Future<Output = Result<Vec<u8>, Problem>> + Send;
    /// Whether the provider has said that it does not give what was asked for.
    fn is_refusal(problem: &Problem) -> bool;
    /// What the operator is told when something goes wrong; or, without a problem, when it is right again.
    fn told(name: &str, problem: Option<&str>) -> String;
}

/// The desk of a kind of question. To be called for by every configuration, so that there is one as long as the process, and who attends it
/// attends the right one.
pub(crate) fn desk<K: Asked>(states: &StatePool) -> Arc<Desk<K::Plan>> {
    states.state(K::DESK, [0; 32], Desk::default)
}

/// What those who answer share, and others look at.
pub(crate) struct Shared<K> {
    kept: Mutex<Vec<K>>,
    noted: Mutex<HashMap<Arc<str>, Noted>>,
}

/// What came of asking somebody.
#[derive(Default)]
struct Noted {
    outcomes: Outcomes,
    /// What is wrong: told once for each change.
    trouble: Option<String>,
    refusal_told: Option<Instant>,
}

impl<K> Default for Shared<K> {
    fn default() -> Self {
        Self { kept: Mutex::default(), noted: Mutex::default() }
    }
}

impl<K> Shared<K> {
    /// What came of asking each that is asked.
    pub(crate) fn facts(&self) -> Vec<(Arc<str>, Outcomes)> {
        lock(&self.noted).iter().map(|(name, noted)| (Arc::clone(name), noted.outcomes)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks, by a thread that runs as soon as somebody is to be asked.
pub(crate) struct Asking<K> {
    pub(crate) shared: Arc<Shared<K>>,
    running: Mutex<Option<watch::Sender<()>>>,
}

impl<K> Default for Asking<K> {
    fn default() -> Self {
        Self { shared: Arc::default(), running: Mutex::default() }
    }
}

impl<K: Asked> Asking<K> {
    /// Asks these from now on, and no others.
    pub(crate) fn keep(&self, kept: Vec<K>, states: &StatePool, clock: &Clock, tell: &Tell) {
        let is_needed = !kept.is_empty();
        let mut noted = lock(&self.shared.noted);
        noted.retain(|name, _| kept.iter().any(|one| one.name() == name));
        for one in &kept {
            noted.entry(Arc::clone(one.name())).or_default();
        }
        drop(noted);
        *lock(&self.shared.kept) = kept;
        let mut running = lock(&self.running);
        if !is_needed || running.as_ref().is_some_and(|running| running.receiver_count() > 0) {
            return;
        }
        let Some(questions) = desk::<K>(states).attend() else { return };
        match start(questions, Arc::clone(&self.shared), clock.clone(), Arc::clone(tell)) {
            Ok(until_dropped) => *running = Some(until_dropped),
            Err(error) => tell(&format!("providers cannot be asked ({}): {error}", K::THREAD)),
        }
    }
}

fn start<K: Asked>(
    mut questions: Receiver<Question<K::Plan>>,
    shared: Arc<Shared<K>>,
    clock: Clock,
    tell: Tell,
) -> std::io::Result<watch::Sender<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (until_dropped, mut ended) = watch::channel(());
    let work = async move {
        let (mut open, turns) = (tokio::task::JoinSet::new(), Arc::new(Semaphore::new(ASKING_MAX)));
        loop {
            tokio::select! {
                _ = ended.changed() => return,
                Some(_) = open.join_next() => {}
                question = questions.recv(), if open.len() < OPEN_MAX => {
                    let Some(question) = question else { return };
                    let (shared, turns, tell) = (Arc::clone(&shared), Arc::clone(&turns), Arc::clone(&tell));
                    let clock = clock.clone();
                    open.spawn(async move { answer(question, &shared, &turns, &clock, &tell).await });
                }
            }
        }
    };
    std::thread::Builder::new().name(K::THREAD.to_owned()).spawn(move || runtime.block_on(work))?;
    Ok(until_dropped)
}

async fn answer<K: Asked>(question: Question<K::Plan>, shared: &Shared<K>, turns: &Semaphore, clock: &Clock, tell: &Tell) {
    let Question { plan, form, since, mut answer } = question;
    // SECURITY: whoever asks was made by one configuration, and this may know the next: nobody's token goes to somebody else.
    let kept = lock(&shared.kept).iter().find(|one| **one.plan() == *plan).cloned();
    let asked = match &kept {
        Some(kept) => {
            let until = since + kept.deadline();
            let asking = async {
                // Never closed; and without a turn nothing is asked.
                let _turn = turns.acquire().await.map_err(|_| Problem::Late)?;
                kept.ask(form, clock.unix_seconds()).await
            };
            tokio::select! {
                // Whoever has asked is gone, and so is everybody who waited with it.
                () = answer.closed() => return,
                asked = timeout_at(until, asking) => asked.unwrap_or(Err(Problem::Late)),
            }
        }
        None => Err(Problem::Other("the configuration asks it no more".to_owned())),
    };
    if let Some(kept) = &kept {
        note(shared, kept, asked.as_ref().err(), tell);
    }
    let failure = |problem| if K::is_refusal(&problem) { DeskFailure::Refused } else { DeskFailure::Unavailable };
    let answered = asked.map(|body| Answered { body, at_unix_seconds: clock.unix_seconds() }).map_err(failure);
    let _waited = answer.send(answered);
}

/// Counts what came of a question, and tells when something goes wrong, or is right again.
fn note<K: Asked>(shared: &Shared<K>, kept: &K, problem: Option<&Problem>, tell: &Tell) {
    let mut all = lock(&shared.noted);
    let noted = all.entry(Arc::clone(kept.name())).or_default();
    let count = if problem.is_none() { &mut noted.outcomes.good } else { &mut noted.outcomes.failed };
    *count = count.saturating_add(1);
    let text = problem.map(ToString::to_string);
    // It answers, though not as this caller would have it.
    if problem.is_some_and(K::is_refusal) {
        if noted.refusal_told.is_none_or(|at| at.elapsed() >= REFUSAL_TOLD_EVERY) {
            noted.refusal_told = Some(Instant::now());
            tell(&K::told(kept.name(), text.as_deref()));
        }
    } else if text != noted.trouble {
        tell(&K::told(kept.name(), text.as_deref()));
        noted.trouble = text;
    }
}
