//! Key sets of providers: fetched from the upstream that the configuration names, again and again, on a thread of their own.
//!
//! SECURITY: only a named upstream is asked, redirects are not followed, and what a provider says of where its keys are is believed only
//! for its own host: nobody who answers can lead the gateway elsewhere (threats E 111).

use crate::providers::{KeySetFacts, Outcomes};
use portcullis_control_config::Plan;
use portcullis_engines_jose::{Json, KEY_SET_BYTES_MAX, KeySet};
use portcullis_gateway_policy::{DiscoveryPlan, KeySource, LiveEndpoints, LiveKeys, ProviderEndpoints, ProviderPlan, StatePool};
use portcullis_gateway_upstream::{Fetch, Upstream};
use portcullis_model::Clock;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The longest discovery document.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// How long each of the two documents may take, for each endpoint.
const WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether something is due or wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From a failure to the next try; doubled with each, up to the ordinary interval.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who is told what is wrong, once for each change.
pub(crate) type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A key set that is to be kept.
#[derive(Clone)]
pub(crate) struct Kept {
    /// The provider's name.
    pub(crate) provider: Arc<str>,
    /// Its issuer.
    pub(crate) issuer: Arc<str>,
    /// How it is found.
    pub(crate) plan: DiscoveryPlan,
    /// Where it is asked.
    pub(crate) upstream: Arc<Upstream>,
    /// Where policies look at it.
    pub(crate) keys: Arc<LiveKeys>,
    /// Where policies look at what else it says of itself.
    pub(crate) endpoints: Arc<LiveEndpoints>,
}

/// The key sets that a plan wants fetched, and where.
pub(crate) fn kept_by<'u>(
    plan: &Plan,
    upstreams: impl Iterator<Item = &'u Arc<Upstream>> + Clone,
    states: &StatePool,
) -> Vec<Kept> {
    let kept = |provider: &Arc<ProviderPlan>| {
        let KeySource::Discover(discovery) = &provider.keys else { return None };
        let upstream = upstreams.clone().find(|upstream| upstream.settings.name == discovery.upstream)?;
        Some(Kept {
            provider: Arc::clone(&provider.name),
            issuer: (*provider.rules.issuer).into(),
            plan: discovery.clone(),
            upstream: Arc::clone(upstream),
            keys: provider.live_keys(states)?,
            endpoints: provider.live_endpoints(states)?,
        })
    };
    plan.identity.providers.iter().filter_map(kept).collect()
}

/// What the thread and others look at.
#[derive(Default)]
pub(crate) struct Shared {
    kept: Mutex<Vec<Kept>>,
    changed: Condvar,
}

impl Shared {
    /// What is known of each key set.
    pub(crate) fn facts(&self, now_unix_seconds: u64) -> Vec<(Arc<str>, KeySetFacts)> {
        let facts = |one: &Kept| {
            let (good, failed) = one.keys.outcomes();
            let age = one.keys.look(|_| one.keys.age(now_unix_seconds));
            (Arc::clone(&one.provider), KeySetFacts { fetches: Outcomes { good, failed }, age_seconds: age })
        };
        lock(&self.kept).iter().map(facts).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key sets that are kept, by a thread that runs as soon as there is one.
#[derive(Default)]
pub(crate) struct KeySets {
    pub(crate) shared: Arc<Shared>,
    running: Mutex<Option<tokio::sync::watch::Sender<()>>>,
}

impl KeySets {
    /// Keeps these from now on, and no others. Waits a moment for those that have never been asked for.
    pub(crate) fn keep(&self, kept: Vec<Kept>, clock: &Clock, tell: &Tell, within: Duration) {
        let is_needed = !kept.is_empty();
        *lock(&self.shared.kept) = kept;
        if !is_needed {
            return;
        }
        let mut running = lock(&self.running);
        if running.is_none() {
            match start(Arc::clone(&self.shared), clock.clone(), Arc::clone(tell)) {
                Ok(until_dropped) => *running = Some(until_dropped),
                Err(error) => tell(&format!("key sets cannot be fetched: {error}")),
            }
        }
        drop(running);
        let is_new = |kept: &mut Vec<Kept>| kept.iter().any(|one| !one.keys.is_tried());
        let _waited = self.shared.changed.wait_timeout_while(lock(&self.shared.kept), within, is_new);
    }
}

fn start(shared: Arc<Shared>, clock: Clock, tell: Tell) -> std::io::Result<tokio::sync::watch::Sender<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (until_dropped, mut ended) = tokio::sync::watch::channel(());
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
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

/// When a provider is asked next, and what came of the last time.
struct Turn {
    keys: Arc<LiveKeys>,
    due: Instant,
    good: Option<Instant>,
    failures: u32,
    trouble: Option<String>,
    is_asked: bool,
}

/// What came of asking: whose keys they are, and the keys or what is wrong.
type Done = (Arc<LiveKeys>, Result<(KeySet, ProviderEndpoints), String>);

#[derive(Default)]
struct Keeper {
    turns: HashMap<Arc<str>, Turn>,
    asking: tokio::task::JoinSet<Done>,
}

impl Keeper {
    async fn run(&mut self, shared: &Shared, clock: &Clock, tell: &Tell) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let kept = lock(&shared.kept).clone();
                    self.look(&kept, clock);
                }
                Some(done) = self.asking.join_next() => {
                    // One that panics would be a fault of ours; its provider is not asked again before a reload.
                    if let Ok(done) = done {
                        let kept = lock(&shared.kept).clone();
                        self.note(done, &kept, clock, tell);
                        // Whoever looks at the moment has either seen it, or waits by now.
                        drop(lock(&shared.kept));
                        shared.changed.notify_all();
                    }
                }
            }
        }
    }

    /// Asks those whose turn it is: one question a provider at the same time.
    fn look(&mut self, kept: &[Kept], clock: &Clock) {
        let (now, unix) = (Instant::now(), clock.unix_seconds());
        self.turns.retain(|_, turn| kept.iter().any(|one| Arc::ptr_eq(&one.keys, &turn.keys)));
        for one in kept {
            let fresh = || Turn { keys: Arc::clone(&one.keys), due: now, good: None, failures: 0, trouble: None, is_asked: false };
            let turn = self.turns.entry(Arc::clone(&one.provider)).or_insert_with(fresh);
            if !Arc::ptr_eq(&turn.keys, &one.keys) {
                *turn = fresh();
            }
            // Old keys are better than none while a provider is away, but not for ever.
            if turn.failures > 0 && turn.good.is_some_and(|at| now - at > one.plan.stale_max) {
                one.keys.clear();
            }
            let is_wanted = turn.failures == 0 && one.keys.take_wanted(unix);
            if !turn.is_asked && (turn.due <= now || is_wanted) {
                turn.is_asked = true;
                let one = one.clone();
                self.asking.spawn(async move { (Arc::clone(&one.keys), fetch(&one, unix).await) });
            }
        }
    }

    fn note(&mut self, (keys, outcome): Done, kept: &[Kept], clock: &Clock, tell: &Tell) {
        let Some(one) = kept.iter().find(|one| Arc::ptr_eq(&one.keys, &keys)) else { return };
        let Some(turn) = self.turns.get_mut(&one.provider) else { return };
        turn.is_asked = false;
        keys.note_tried(outcome.is_ok());
        let trouble = match outcome {
            Ok((set, endpoints)) => {
                // First, so that a login that waits for keys finds where they are asked as well.
                one.endpoints.replace(endpoints);
                keys.replace(set, clock.unix_seconds());
                turn.failures = 0;
                turn.good = Some(Instant::now());
                turn.due = Instant::now() + one.plan.refresh;
                None
            }
            Err(problem) => {
                turn.due = Instant::now() + AGAIN_AFTER.saturating_mul(1 << turn.failures.min(16)).min(one.plan.refresh);
                turn.failures = turn.failures.saturating_add(1);
                Some(problem)
            }
        };
        if trouble != turn.trouble {
            match &trouble {
                Some(problem) => tell(&format!("the keys of provider `{}` cannot be fetched: {problem}", one.provider)),
                None => tell(&format!("the keys of provider `{}` are fetched again", one.provider)),
            }
            turn.trouble = trouble;
        }
    }
}

/// Asks a provider where its keys are (OpenID Connect Discovery section 4), and for them.
async fn fetch(one: &Kept, now_unix_seconds: u64) -> Result<(KeySet, ProviderEndpoints), String> {
    let (origin, path) = origin_of(&one.issuer);
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority).to_owned();
    let ask = async |target: String, bytes_max: usize| {
        let what = format!("`{origin}{target}`");
        let fetch = Fetch { authority: authority.clone(), target, bytes_max };
        fetch.run(&one.upstream, WITHIN, now_unix_seconds).await.map_err(|failure| format!("{what}: {failure}"))
    };
    let target = format!("{}/.well-known/openid-configuration", path.trim_end_matches('/'));
    let document = ask(target, DOCUMENT_BYTES_MAX).await?;
    let document = Json::parse(&document).ok_or("the discovery document is not a JSON object, no member twice")?;
    let target = target_of_keys(&document, &one.issuer, origin)?;
    let keys = ask(target, KEY_SET_BYTES_MAX).await?;
    let (keys, _) = KeySet::parse(&keys).map_err(|fault| fault.as_str().to_owned())?;
    Ok((keys, ProviderEndpoints::read(&document, origin)))
}

/// A URL's scheme and host, and the rest.
pub(crate) fn origin_of(url: &str) -> (&str, &str) {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(begin..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| begin + at);
    url.split_at_checked(end).unwrap_or((url, ""))
}

/// Where a discovery document says that the keys are: on the issuer's own host.
fn target_of_keys(document: &Json, issuer: &str, origin: &str) -> Result<String, String> {
    let text = |name: &str| document.member(name).and_then(Json::as_text);
    // A document of another issuer must not stand for this one (OpenID Connect Discovery section 4.3).
    if text("issuer") != Some(issuer) {
        return Err("the discovery document is of another issuer".to_owned());
    }
    let target = text("jwks_uri").and_then(|url| url.strip_prefix(origin)).filter(|target| target.starts_with('/'));
    let is_plain = |target: &&str| target.len() <= 2048 && target.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#');
    target
        .filter(is_plain)
        .map(str::to_owned)
        .ok_or_else(|| format!("`jwks_uri` does not lead to `{origin}`, the issuer's own host"))
}

#[cfg(test)]
mod tests;
