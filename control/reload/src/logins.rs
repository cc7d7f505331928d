//! Asks providers for tokens on behalf of logins, on a thread of its own.

use crate::build::Upstreams;
use crate::client_auth::Environment;
use crate::key_sets::Tell;
use crate::pipelines::Pipelines;
use crate::provider_client::{Problem, ProviderClient};
use portcullis_control_config::{Plan, PolicyLevels};
use portcullis_gateway_policy::{Answered, KeySource, LiveEndpoints, LoginDesk, LoginPlan, StatePool, TokenFailure, TokenQuestion};
use portcullis_gateway_proxy::Route;
use portcullis_gateway_router::{HostPattern, PathTemplate, RouteSpec};
use portcullis_gateway_upstream::fairness::Baseline;
use portcullis_gateway_upstream::{FetchFailure, Upstream};
use portcullis_model::{Clock, Secret};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

/// The longest answer for tokens.
const ANSWER_BYTES_MAX: usize = 128 * 1024;
/// How long an answer for tokens may take, for each endpoint.
const WITHIN: Duration = Duration::from_secs(5);
/// How long it may take at all.
const WITHIN_AT_ALL: Duration = Duration::from_secs(10);
/// How many are asked for at the same time.
const ASKING_MAX: usize = 64;

/// A login for which tokens are asked.
#[derive(Clone)]
pub(crate) struct KeptLogin {
    plan: Arc<LoginPlan>,
    client: ProviderClient,
    endpoints: Arc<LiveEndpoints>,
}

/// The logins of a plan.
///
/// # Errors
/// When a secret is not there.
pub(crate) fn kept_by<D>(
    plan: &Plan,
    upstreams: &[(D, Arc<Upstream>)],
    states: &StatePool,
    environment: &Environment,
) -> Result<Vec<KeptLogin>, String> {
    let mut kept = Vec::new();
    for login in &plan.identity.logins {
        let credentials = (&login.client_id, &login.client_secret);
        let found = ProviderClient::discovered(&login.provider, credentials, upstreams, states, environment);
        let wrong = |problem| format!("login `{}`: client_secret: {problem}", login.name);
        let Some((client, endpoints)) = found.map_err(wrong)? else { continue };
        kept.push(KeptLogin { plan: Arc::clone(login), client, endpoints });
    }
    Ok(kept)
}

/// The routes of the gateway's own endpoints. The upstream is there because a route has one; the last policy of each answers every request.
pub(crate) fn endpoints(
    login: &Arc<LoginPlan>,
    defaults: &PolicyLevels,
    upstreams: &Upstreams,
    pipelines: &mut Pipelines<'_>,
) -> Result<Vec<RouteSpec<Arc<Route>>>, String> {
    let error = |what: String| format!("login `{}`: {what}", login.name);
    let KeySource::Discover(discovery) = &login.provider.keys else { return Ok(Vec::new()) };
    let upstream = upstreams.get(&discovery.upstream).map(|(_, upstream)| Arc::clone(upstream));
    let upstream = upstream.ok_or_else(|| error(format!("there is no upstream `{}`", discovery.upstream)))?;
    let host = HostPattern::parse(&login.host).map_err(|problem| error(problem.to_string()))?;
    let spec = |(endpoint, pipeline): (portcullis_gateway_policy::LoginEndpoint, _)| {
        let path =
            PathTemplate::parse(&format!("{}/{}", login.path(), endpoint.name)).map_err(|problem| error(problem.to_string()))?;
        let name: Arc<str> = endpoint.name.into();
        let target = Arc::new(Route {
            name: Arc::clone(&name),
            api: format!("identity.logins.{}", login.name).into(),
            pipeline,
            upstream: Arc::clone(&upstream),
            baseline: Baseline::default(),
            split: None,
            encoded_slash_kept: false,
            websocket: false,
            body_read_max: endpoint.body_bytes_max,
            stream_age_max: None,
            fresh_within: None,
        });
        Ok(RouteSpec { name, hosts: vec![host.clone()], path, methods: vec![endpoint.method.into()], headers: Vec::new(), target })
    };
    pipelines.of_login(defaults, login)?.into_iter().map(spec).collect()
}

type Shared = Arc<Mutex<Vec<KeptLogin>>>;

/// Asks for tokens, by a thread that runs as soon as there is a login.
#[derive(Default)]
pub(crate) struct LoginKeeper {
    kept: Shared,
    running: Mutex<Option<watch::Sender<()>>>,
}

impl LoginKeeper {
    /// Asks for these from now on, and for no others.
    pub(crate) fn keep(&self, kept: Vec<KeptLogin>, states: &StatePool, clock: &Clock, tell: &Tell) {
        let is_needed = !kept.is_empty();
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        if !is_needed {
            return;
        }
        // A configuration without logins has let the desk go; the next with one has another, at which nobody is yet.
        let desk = states.state("login-desk", [0; 32], LoginDesk::default);
        let Some(questions) = desk.attend() else { return };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match start(questions, Arc::clone(&self.kept), clock.clone(), Arc::clone(tell)) {
            Ok(until_dropped) => *running = Some(until_dropped),
            Err(error) => tell(&format!("nobody can log in: {error}")),
        }
    }
}

fn start(mut questions: Receiver<TokenQuestion>, kept: Shared, clock: Clock, tell: Tell) -> std::io::Result<watch::Sender<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (until_dropped, mut ended) = watch::channel(());
    let work = async move {
        let mut asking = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                _ = ended.changed() => return,
                Some(_) = asking.join_next() => {}
                question = questions.recv(), if asking.len() < ASKING_MAX => {
                    let Some(question) = question else { return };
                    // SECURITY: whoever asks may be of a configuration before: no code or refresh token goes to another provider.
                    let found = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    let login = found.iter().find(|login| login.plan == question.login).cloned();
                    drop(found);
                    let (clock, tell) = (clock.clone(), Arc::clone(&tell));
                    asking.spawn(async move { answer(question, login, &clock, &tell).await });
                }
            }
        }
    };
    std::thread::Builder::new().name("logins".to_owned()).spawn(move || runtime.block_on(work))?;
    Ok(until_dropped)
}

async fn answer(question: TokenQuestion, login: Option<KeptLogin>, clock: &Clock, tell: &Tell) {
    let TokenQuestion { login: asking, form, answer } = question;
    let asked = match login {
        Some(login) => {
            tokio::time::timeout(WITHIN_AT_ALL, ask(&login, form, clock.unix_seconds())).await.unwrap_or(Err(Problem::Late))
        }
        None => Err(Problem::Other("the configuration has no such login any more, or another one".to_owned())),
    };
    let answered = asked.map(|body| Answered { body, at_unix_seconds: clock.unix_seconds() }).map_err(|problem| match problem {
        Problem::Fetch(FetchFailure::Status(400)) => TokenFailure::Refused,
        problem => {
            tell(&format!("login `{}`: the provider gives no tokens: {problem}", asking.name));
            TokenFailure::Unavailable
        }
    });
    // Whoever has asked may have gone.
    let _waited = answer.send(answered);
}

async fn ask(login: &KeptLogin, form: Secret<Vec<u8>>, now: u64) -> Result<Vec<u8>, Problem> {
    let endpoints = login.endpoints.get().unwrap_or_default();
    let target = endpoints.token.as_deref().ok_or_else(|| Problem::Other("it does not say where, on its own host".to_owned()))?;
    login.client.post(target, form, ANSWER_BYTES_MAX, WITHIN, now).await
}
