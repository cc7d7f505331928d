//! Asks providers about tokens on behalf of policies (RFC 7662), on a thread of its own.
//!
//! SECURITY: as for keys only the upstream that the configuration names is asked, under the issuer's own host (threats E 111).

use crate::client_auth::{ClientProof, Environment};
use crate::key_sets::{Tell, origin_of};
use crate::providers::Outcomes;
use portcullis_control_config::Plan;
use portcullis_engines_jose::INTROSPECTION_BYTES_MAX;
use portcullis_gateway_policy::{
    Answered, IntrospectionDesk, IntrospectionFailure, IntrospectionPlan, IntrospectionQuestion, LiveEndpoints, ProviderPlan,
    StatePool,
};
use portcullis_gateway_upstream::{Fetch, FetchFailure, Upstream};
use portcullis_model::{Clock, Secret};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;

/// How many questions are taken up; as many again wait at the desk.
const OPEN_MAX: usize = 256;
/// How many connections there are at the same time.
const ASKING_MAX: usize = 64;

/// A provider that is asked.
#[derive(Clone)]
pub(crate) struct KeptProvider {
    plan: Arc<ProviderPlan>,
    how: IntrospectionPlan,
    upstream: Arc<Upstream>,
    endpoints: Option<Arc<LiveEndpoints>>,
    environment: Environment,
}

/// Those of a plan.
///
/// # Errors
/// When a secret is not there.
pub(crate) fn kept_by<D>(
    plan: &Plan,
    upstreams: &[(D, Arc<Upstream>)],
    states: &StatePool,
    environment: &Environment,
) -> Result<Vec<KeptProvider>, String> {
    // Asked for by every configuration, so that there is one desk as long as the process, and who attends it attends the right one.
    let _desk = states.state("introspection-desk", [0; 32], IntrospectionDesk::default);
    let mut kept = Vec::new();
    for provider in &plan.identity.providers {
        let Some(how) = provider.introspection.clone() else { continue };
        let wrong = |problem: String| format!("provider `{}`: introspection.client_secret: {problem}", provider.name);
        ClientProof::find(&how.client_secret, environment).map_err(wrong)?;
        let upstream = upstreams.iter().map(|(_, upstream)| upstream).find(|one| one.settings.name == how.upstream);
        let Some(upstream) = upstream.map(Arc::clone) else { continue };
        let (endpoints, environment) = (provider.live_endpoints(states), Arc::clone(environment));
        kept.push(KeptProvider { plan: Arc::clone(provider), how, upstream, endpoints, environment });
    }
    Ok(kept)
}

/// What those who answer share, and others look at.
#[derive(Default)]
pub(crate) struct Shared {
    kept: Mutex<Vec<KeptProvider>>,
    noted: Mutex<HashMap<Arc<str>, Noted>>,
}

/// What came of asking a provider.
#[derive(Default)]
struct Noted {
    outcomes: Outcomes,
    /// What is wrong: told once for each change.
    trouble: Option<String>,
}

impl Shared {
    /// What came of asking each provider that is asked.
    pub(crate) fn facts(&self) -> Vec<(Arc<str>, Outcomes)> {
        lock(&self.noted).iter().map(|(name, noted)| (Arc::clone(name), noted.outcomes)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks about tokens, by a thread that runs as soon as some provider is to be asked.
#[derive(Default)]
pub(crate) struct IntrospectionKeeper {
    pub(crate) shared: Arc<Shared>,
    running: Mutex<Option<watch::Sender<()>>>,
}

impl IntrospectionKeeper {
    /// Asks these from now on, and no others.
    pub(crate) fn keep(&self, kept: Vec<KeptProvider>, states: &StatePool, clock: &Clock, tell: &Tell) {
        let is_needed = !kept.is_empty();
        let mut noted = lock(&self.shared.noted);
        noted.retain(|name, _| kept.iter().any(|one| one.plan.name == *name));
        for one in &kept {
            noted.entry(Arc::clone(&one.plan.name)).or_default();
        }
        drop(noted);
        *lock(&self.shared.kept) = kept;
        let mut running = lock(&self.running);
        if !is_needed || running.as_ref().is_some_and(|running| running.receiver_count() > 0) {
            return;
        }
        let desk = states.state("introspection-desk", [0; 32], IntrospectionDesk::default);
        let Some(questions) = desk.attend() else { return };
        match start(questions, Arc::clone(&self.shared), clock.clone(), Arc::clone(tell)) {
            Ok(until_dropped) => *running = Some(until_dropped),
            Err(error) => tell(&format!("providers cannot be asked about tokens: {error}")),
        }
    }
}

fn start(
    mut questions: Receiver<IntrospectionQuestion>,
    shared: Arc<Shared>,
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
    std::thread::Builder::new().name("introspection".to_owned()).spawn(move || runtime.block_on(work))?;
    Ok(until_dropped)
}

async fn answer(question: IntrospectionQuestion, shared: &Shared, turns: &Semaphore, clock: &Clock, tell: &Tell) {
    let IntrospectionQuestion { provider, form, since, mut answer } = question;
    // Whoever asks was made by one configuration, and this may know the next: nobody's token goes to somebody else.
    let kept = lock(&shared.kept).iter().find(|one| *one.plan == *provider).cloned();
    let asked = match &kept {
        Some(kept) => {
            let until = since + kept.how.deadline;
            let asking = async {
                // Never closed; and without a turn nothing is asked.
                let _turn = turns.acquire().await.map_err(|_| Problem::Late)?;
                ask(kept, form, clock.unix_seconds()).await
            };
            tokio::select! {
                // Whoever has asked is gone, and so is everybody who waited with it.
                () = answer.closed() => return,
                asked = timeout_at(until, asking) => asked.unwrap_or(Err(Problem::Late)),
            }
        }
        None => Err(Problem::Other("the configuration asks it no more".to_owned())),
    };
    if kept.is_some() {
        note(shared, &provider.name, asked.as_ref().err(), tell);
    }
    let answered = asked.map(|body| Answered { body, at_unix_seconds: clock.unix_seconds() });
    let _waited = answer.send(answered.map_err(|_| IntrospectionFailure::Unavailable));
}

/// Counts what came of a question, and tells when something goes wrong, or is right again.
fn note(shared: &Shared, provider: &Arc<str>, problem: Option<&Problem>, tell: &Tell) {
    let mut all = lock(&shared.noted);
    let noted = all.entry(Arc::clone(provider)).or_default();
    let problem = problem.map(ToString::to_string);
    let count = if problem.is_none() { &mut noted.outcomes.good } else { &mut noted.outcomes.failed };
    *count = count.saturating_add(1);
    if problem != noted.trouble {
        match &problem {
            Some(problem) => tell(&format!("provider `{provider}` cannot be asked about tokens: {problem}")),
            None => tell(&format!("provider `{provider}` answers about tokens again")),
        }
        noted.trouble = problem;
    }
}

/// Why there is no answer.
enum Problem {
    Late,
    Fetch(FetchFailure),
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no whole answer in time"),
            Self::Fetch(FetchFailure::Status(401)) => f.write_str("status 401; check `client_id` and `client_secret`"),
            Self::Fetch(failure) => failure.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

async fn ask(kept: &KeptProvider, body: Secret<Vec<u8>>, now: u64) -> Result<Vec<u8>, Problem> {
    let found = kept.endpoints.as_ref().and_then(|endpoints| endpoints.get()).unwrap_or_default();
    let target = kept.how.path.as_deref().or(found.introspection.as_deref());
    let target = target.ok_or_else(|| Problem::Other("it does not say where, on its own host; write `path`".to_owned()))?;
    let proof = ClientProof::find(&kept.how.client_secret, &kept.environment).map_err(Problem::Other)?;
    let (origin, _) = origin_of(&kept.plan.rules.issuer);
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority).to_owned();
    let fetch = Fetch { authority, target: target.to_owned(), bytes_max: INTROSPECTION_BYTES_MAX };
    let form = proof.form(body, &kept.how.client_id, &kept.plan.rules.issuer, now).map_err(Problem::Other)?;
    fetch.post(&form, &kept.upstream, kept.how.deadline, now).await.map_err(Problem::Fetch)
}
