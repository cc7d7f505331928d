//! What nodes share of what has been revoked: every change goes to a store, and what others have changed comes from there.

use crate::client_auth::{Environment, secret};
use crate::revocation::Revocation;
use crate::revocations::RevocationLog;
use portcullis_control_config::StorePlan;
use portcullis_control_config::settings::EndpointHost;
use portcullis_control_store::{Journal, Line, PasswordReader, Reconciled, Store, StoreFacts, StoreReport, StoreSettings};
use portcullis_model::Clock;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What has been lifted is remembered for so long, in seconds: a node that was away for longer may bring it back.
const LIFTED_FOR: u64 = 90 * 24 * 3600;
/// What is over is taken out of the store by so many seconds later, so that clocks need not agree.
const OVER_FOR: u64 = 24 * 3600;

/// The revocations of all nodes, kept equal.
struct SharedRevocations(Arc<RevocationLog>);

fn line_of(revocation: &Revocation) -> Line {
    let text = serde_json::to_string(&Revocation { shared: false, ..revocation.clone() }).unwrap_or_default();
    Line { field: revocation.target.field(), text }
}

/// What lines say, and the places of those that say nothing that is understood.
fn read(lines: &[Line]) -> (Vec<Revocation>, Vec<usize>) {
    let (mut read, mut garbage) = (Vec::with_capacity(lines.len()), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        match Revocation::read(&line.field, &line.text) {
            Some(revocation) => read.push(revocation),
            None => garbage.push(at),
        }
    }
    (read, garbage)
}

impl Journal for SharedRevocations {
    fn name(&self) -> &'static str {
        "revocations"
    }

    fn take(&self, lines: Vec<Line>) -> Result<Vec<usize>, String> {
        let (changes, garbage) = read(&lines);
        self.0.take_shared(changes)?;
        Ok(garbage)
    }

    fn reconcile(&self, found: Vec<Line>) -> Result<Reconciled, String> {
        let (changes, garbage) = read(&found);
        drop(found);
        let now = self.0.now();
        let mut missing = self.0.in_force();
        let mut remove = Vec::new();
        for change in &changes {
            if missing.get(&change.target).is_some_and(|own| own.shared || own.is_of(change)) {
                missing.remove(&change.target);
            }
            let is_over = change.until.is_some_and(|until| until.saturating_add(OVER_FOR) < now)
                || (change.lifted && change.unix_seconds.saturating_add(LIFTED_FOR) < now);
            if is_over && !missing.contains_key(&change.target) {
                remove.push(change.target.field());
            }
        }
        self.0.take_shared(changes)?;
        Ok(Reconciled { publish: missing.values().map(line_of).collect(), remove, garbage: garbage.len() as u64 })
    }

    fn known_at(&self, at: Instant) {
        self.0.known_at(at);
    }
}

/// The store that nodes share, and what is in it.
pub struct SharedStore {
    store: Store,
    environment: Environment,
}

impl SharedStore {
    /// Begins without a store.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(log: &Arc<RevocationLog>, clock: Clock, environment: Environment, report: StoreReport) -> io::Result<Self> {
        let journal = Arc::new(SharedRevocations(Arc::clone(log)));
        Ok(Self { store: Store::start(journal, clock, report)?, environment })
    }

    /// Uses the store of this configuration from now on.
    pub fn follow(&self, plan: Option<&StorePlan>) {
        self.store.use_settings(plan.map(|plan| settings(plan, &self.environment)));
    }

    /// Waits, for so long at the most, until the store has been read or is known to be away.
    pub fn wait(&self, within: Duration) {
        self.store.wait(within);
    }

    /// What is known of the store.
    #[must_use]
    pub fn facts(&self) -> StoreFacts {
        self.store.facts()
    }

    /// Tells the other nodes of a change; whether it is in the store. What was revoked and is not told now is told when the store is there again.
    #[must_use]
    pub fn tell(&self, change: &Revocation) -> bool {
        self.store.say(line_of(change))
    }
}

fn settings(plan: &StorePlan, environment: &Environment) -> StoreSettings {
    let (host, port) = match &plan.url.host {
        EndpointHost::Address(address) => (Arc::from(address.ip().to_string()), address.port()),
        EndpointHost::Name(name, port) => (Arc::clone(name), *port),
    };
    let password = plan.password.clone().map(|source| {
        let environment = Arc::clone(environment);
        let read: PasswordReader =
            Arc::new(move || secret(&source, &environment).map_err(|problem| format!("password: {problem}")));
        read
    });
    StoreSettings {
        host,
        port,
        is_secure: plan.url.is_secure,
        user: plan.user.clone(),
        password,
        trust: plan.trust.as_deref().map(Path::to_path_buf),
        prefix: Arc::clone(&plan.prefix),
        plaintext_until: plan.danger_plaintext.as_ref().map(|danger| danger.expires_unix_seconds),
        digest: plan.digest.0,
    }
}
