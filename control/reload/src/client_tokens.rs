//! Tokens that the gateway has at providers as a client of its own (RFC 6749 section 4.4): asked for, and renewed before they end, on a thread of
//! their own.

use crate::client_auth::Environment;
use crate::key_sets::Tell;
use crate::provider_client::{Problem, ProviderClient, upstream_of};
use portcullis_control_config::Plan;
use portcullis_engines_jose::{ISSUED_BYTES_MAX, read_issued};
use portcullis_gateway_policy::{ClientTokenPlan, CredentialsPlan, HeldToken, KeySource, LiveEndpoints, LiveToken, StatePool};
use portcullis_gateway_upstream::{FetchFailure, Upstream};
use portcullis_model::{Clock, Secret};
use portcullis_wire::form_encode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer may take, for each endpoint, and at all.
const WITHIN: Duration = Duration::from_secs(5);
const WITHIN_AT_ALL: Duration = Duration::from_secs(10);
/// How often it is looked whether a token is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From a failure to the next try; doubled with each, up to the longest.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// A token that is to be kept.
#[derive(Clone)]
pub(crate) struct KeptToken {
    api: Arc<str>,
    plan: ClientTokenPlan,
    client: ProviderClient,
    endpoints: Arc<LiveEndpoints>,
    live: Arc<LiveToken>,
}

/// The tokens that a plan wants, each once, however many APIs use it.
///
/// # Errors
/// When a secret is not there.
pub(crate) fn kept_by<D>(
    plan: &Plan,
    upstreams: &[(D, Arc<Upstream>)],
    states: &StatePool,
    environment: &Environment,
) -> Result<Vec<KeptToken>, String> {
    let mut kept: Vec<KeptToken> = Vec::new();
    for api in &plan.apis {
        let Some(CredentialsPlan::ClientCredentials(how)) = api.credentials.as_deref() else { continue };
        let KeySource::Discover(discovery) = &how.provider.keys else { continue };
        let found = upstream_of(upstreams, &discovery.upstream).zip(how.provider.live_endpoints(states));
        let Some((upstream, endpoints)) = found else { continue };
        let client = ProviderClient::new(&how.provider, (&how.client_id, &how.client_secret), upstream, environment);
        let wrong = |problem: String| format!("api `{}`: credentials.client_credentials.client_secret: {problem}", api.name);
        let (client, live) = (client.map_err(wrong)?, how.live(states));
        if !kept.iter().any(|known| Arc::ptr_eq(&known.live, &live)) {
            kept.push(KeptToken { api: Arc::clone(&api.name), plan: how.clone(), client, endpoints, live });
        }
    }
    Ok(kept)
}

#[derive(Default)]
struct Shared {
    kept: Mutex<Vec<KeptToken>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps tokens, by a thread that runs as soon as there is one to keep.
#[derive(Default)]
pub(crate) struct ClientTokens {
    shared: Arc<Shared>,
    running: Mutex<Option<tokio::sync::watch::Sender<()>>>,
}

impl ClientTokens {
    /// Keeps these from now on, and no others. Waits a moment for those that have never been asked for.
    pub(crate) fn keep(&self, kept: Vec<KeptToken>, clock: &Clock, tell: &Tell, within: Duration) {
        let is_needed = !kept.is_empty();
        *lock(&self.shared.kept) = kept;
        if !is_needed {
            return;
        }
        let mut running = lock(&self.running);
        if running.is_none() {
            match start(Arc::clone(&self.shared), clock.clone(), Arc::clone(tell)) {
                Ok(until_dropped) => *running = Some(until_dropped),
                Err(error) => tell(&format!("tokens for upstreams cannot be asked for: {error}")),
            }
        }
        drop(running);
        let is_new = |kept: &mut Vec<KeptToken>| kept.iter().any(|one| !one.live.is_tried());
        let _waited = self.shared.changed.wait_timeout_while(lock(&self.shared.kept), within, is_new);
    }
}

fn start(shared: Arc<Shared>, clock: Clock, tell: Tell) -> std::io::Result<tokio::sync::watch::Sender<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (until_dropped, mut ended) = tokio::sync::watch::channel(());
    std::thread::Builder::new().name("client-tokens".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut keeper = Keeper::default();
            tokio::select! {
                () = keeper.run(&shared, &clock, &tell) => {}
                _ = ended.changed() => {}
            }
        });
    })?;
    Ok(until_dropped)
}

/// When a token is asked for next, and what came of the last time.
struct Turn {
    live: Arc<LiveToken>,
    due: Instant,
    failures: u32,
    trouble: Option<String>,
    is_asked: bool,
}

/// What came of asking: for which token, and the token with when it is renewed, or what is wrong.
type Done = (Arc<LiveToken>, Result<(HeldToken, Instant), String>);

#[derive(Default)]
struct Keeper {
    turns: Vec<Turn>,
    asking: tokio::task::JoinSet<Done>,
}

impl Keeper {
    async fn run(&mut self, shared: &Shared, clock: &Clock, tell: &Tell) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let kept = lock(&shared.kept).clone();
                    self.look(&kept, clock.unix_seconds());
                }
                Some(done) = self.asking.join_next() => {
                    // One that panics would be a fault of ours; its token is not asked for again before a reload.
                    if let Ok(done) = done {
                        let kept = lock(&shared.kept).clone();
                        self.note(done, &kept, tell);
                        shared.changed.notify_all();
                    }
                }
            }
        }
    }

    /// Asks for those that are due: one question for each at the same time.
    fn look(&mut self, kept: &[KeptToken], now_unix_seconds: u64) {
        let now = Instant::now();
        self.turns.retain(|turn| kept.iter().any(|one| Arc::ptr_eq(&one.live, &turn.live)));
        for one in kept {
            if !self.turns.iter().any(|turn| Arc::ptr_eq(&turn.live, &one.live)) {
                let live = Arc::clone(&one.live);
                self.turns.push(Turn { live, due: now, failures: 0, trouble: None, is_asked: false });
            }
        }
        for turn in self.turns.iter_mut().filter(|turn| !turn.is_asked && turn.due <= now) {
            let Some(one) = kept.iter().find(|one| Arc::ptr_eq(&one.live, &turn.live)).cloned() else { continue };
            turn.is_asked = true;
            self.asking.spawn(async move {
                let asked = tokio::time::timeout(WITHIN_AT_ALL, ask(&one, now_unix_seconds)).await;
                (one.live, asked.unwrap_or_else(|_| Err("no whole answer in time".to_owned())))
            });
        }
    }

    fn note(&mut self, (live, outcome): Done, kept: &[KeptToken], tell: &Tell) {
        live.note_tried();
        let Some(turn) = self.turns.iter_mut().find(|turn| Arc::ptr_eq(&turn.live, &live)) else { return };
        turn.is_asked = false;
        let trouble = match outcome {
            Ok((held, renew)) => {
                // What is replaced stays good for whoever has it already.
                live.replace(held);
                (turn.failures, turn.due) = (0, renew);
                None
            }
            Err(problem) => {
                let wait = AGAIN_AFTER.saturating_mul(1 << turn.failures.min(16)).min(AGAIN_AFTER_MAX);
                (turn.failures, turn.due) = (turn.failures.saturating_add(1), Instant::now() + wait);
                Some(problem)
            }
        };
        if trouble != turn.trouble
            && let Some(one) = kept.iter().find(|one| Arc::ptr_eq(&one.live, &live))
        {
            let (api, provider) = (&one.api, &one.plan.provider.name);
            match &trouble {
                Some(problem) => tell(&format!("api `{api}`: provider `{provider}` gives no token for the upstream: {problem}")),
                None => tell(&format!("api `{api}`: provider `{provider}` gives tokens for the upstream again")),
            }
            turn.trouble = trouble;
        }
    }
}

async fn ask(one: &KeptToken, now_unix_seconds: u64) -> Result<(HeldToken, Instant), String> {
    let endpoints = one.endpoints.get().unwrap_or_default();
    let target = endpoints.token.as_deref().ok_or("it does not say where, on its own host")?;
    let scopes = one.plan.scopes.join(" ");
    let mut pairs = vec![("grant_type", "client_credentials")];
    pairs.extend((!scopes.is_empty()).then_some(("scope", &*scopes)));
    pairs.extend(one.plan.resource.as_deref().map(|resource| ("resource", resource)));
    let form = Secret::new(form_encode(&pairs).into_bytes());
    // What the provider counts from is not before this.
    let asked = Instant::now();
    let answer = one.client.post(target, form, ISSUED_BYTES_MAX, WITHIN, now_unix_seconds).await;
    let answer = answer.map_err(|problem| match problem {
        Problem::Fetch(FetchFailure::Status(400)) => {
            "status 400; check `scopes`, `resource`, and what the client may there".to_owned()
        }
        problem => problem.to_string(),
    })?;
    let issued = read_issued(&answer)?;
    let field = Secret::new([b"Bearer ", issued.token.as_bytes()].concat());
    Ok((HeldToken { field, ends: asked + issued.life }, renewal(asked, issued.life)))
}

/// When to ask for the next token: well before the end of this one.
fn renewal(asked: Instant, life: Duration) -> Instant {
    asked + life * 3 / 4 - early(life)
}

/// Up to a tenth of a life, at random, so that many gateways do not ask at the same moment.
fn early(life: Duration) -> Duration {
    let mut byte = [0];
    let is_there = aws_lc_rs::rand::fill(&mut byte).is_ok();
    if is_there { life / 10 * u32::from(byte[0]) / 255 } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::renewal;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_token_is_renewed_well_before_it_ends() {
        let now = Instant::now();
        let renew = renewal(now, Duration::from_secs(100));
        assert!((Duration::from_secs(65)..=Duration::from_secs(75)).contains(&(renew - now)));
    }
}
