//! Active health checks: on a thread of their own, never on a worker, and a bounded number at the same time. Those that have a connection in
//! plain text already are asked in turns, all that are due at once, and their answers are looked for in the next turn: to be woken for each would
//! cost more than the rest of the check.

use portcullis_gateway_proxy::{Pressure, Published, Snapshot};
use portcullis_gateway_upstream::{
    Asked, Endpoint, Errand, ErrandFailure, HealthJudge, HealthSettings, Heard, KeptConnection, Line, Upstream,
};
use portcullis_model::Generation;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Checks at the same time. When they cannot keep up, intervals grow rather than their number.
const CHECKS_MAX: usize = 64;
/// Beside them, checks on kept connections that wait for the next turn. Should none be answered whole, they go on beyond those above.
const ASKED_MAX: usize = 1024;
/// How long a turn is.
const TURN: Duration = Duration::from_millis(40);
/// Longer answers are read by a check of its own.
const SCRATCH_BYTES: usize = 8 * 1024;
/// How often it is looked whether there are other endpoints.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest time until a new endpoint is checked for the first time.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Connections kept between checks, those of TLS apart: each has some 20 KB. They take half of the descriptors at most, and
/// all are closed as soon as idle connections of clients are (`Pressure::Saving`).
const KEPT_MAX: usize = 16_384;
const KEPT_SECURE_MAX: usize = 1_024;
const DESCRIPTORS_PART: u64 = 2;
/// At least every so manieth check, and one in such a time, makes a connection: an endpoint that takes no more must be found.
const FRESH_EVERY: u128 = 10;
const FRESH_WITHIN: Duration = Duration::from_secs(120);

/// A change of an endpoint's health.
#[derive(Clone, Debug)]
pub struct HealthChange {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Why it is unfit; none when it is healthy again.
    pub failure: Option<ErrandFailure>,
}

/// The running checks; they end when this is dropped.
#[derive(Debug)]
pub struct HealthChecks {
    _until_dropped: watch::Sender<()>,
}

impl HealthChecks {
    /// Starts to check what `published` has in force, whenever that changes too. Calls `changed` for each change of health.
    /// Of `descriptors_max` that the process may have half at most is kept open between checks.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(
        published: Arc<Published>,
        descriptors_max: u64,
        changed: impl Fn(&HealthChange) + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (until_dropped, mut ended) = watch::channel(());
        std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            runtime.block_on(async {
                let kept = Kept::within(descriptors_max);
                let mut checks = Checks { kept, scratch: vec![0; SCRATCH_BYTES], ..Checks::default() };
                tokio::select! {
                    () = checks.run(&published, &changed) => {}
                    _ = ended.changed() => {}
                }
            });
        })?;
        Ok(Self { _until_dropped: until_dropped })
    }
}

/// One endpoint that is checked.
struct Checked {
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
    judge: HealthJudge,
    due: Instant,
    count: u64,
    connection: Option<KeptConnection>,
}

impl Checked {
    /// Whether the next check makes a connection. Which one it is differs by endpoint, so that they do not fall together.
    fn wants_fresh(&self, health: &HealthSettings) -> bool {
        let every = FRESH_WITHIN.as_millis() / health.interval.as_millis().max(1);
        let at = u128::from(self.endpoint.id) + u128::from(self.count) + 1;
        !health.errand.keeps() || at.is_multiple_of(every.clamp(1, FRESH_EVERY)) || self.endpoint.state.has_failed()
    }
}

/// How many connections are kept, and how many may be.
#[derive(Debug, Default)]
struct Kept {
    plain: usize,
    secure: usize,
    max: usize,
    saving: bool,
}

impl Kept {
    fn within(descriptors_max: u64) -> Self {
        let part = usize::try_from(descriptors_max / DESCRIPTORS_PART).unwrap_or(usize::MAX);
        Self { max: part.min(KEPT_MAX), ..Self::default() }
    }

    fn has_room(&self, is_secure: bool) -> bool {
        !self.saving && self.plain + self.secure < self.max && (!is_secure || self.secure < KEPT_SECURE_MAX)
    }

    fn add(&mut self, connection: &KeptConnection) {
        let count = if connection.is_secure() { &mut self.secure } else { &mut self.plain };
        *count += 1;
    }

    fn remove(&mut self, connection: &KeptConnection) {
        let count = if connection.is_secure() { &mut self.secure } else { &mut self.plain };
        *count = count.saturating_sub(1);
    }
}

/// What came of a check: whose it was, why it failed, if it did, and the connection, if that can be used again.
type Done = (u64, Option<ErrandFailure>, Option<KeptConnection>);

/// A check on a kept connection.
struct Waiting {
    id: u64,
    endpoint: Arc<Endpoint>,
    errand: Errand,
    asked: Asked,
    end: Instant,
}

#[derive(Default)]
struct Checks {
    checked: HashMap<u64, Checked>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    running: JoinSet<Done>,
    waiting: Vec<Waiting>,
    /// When the last turn was.
    turned: Option<Instant>,
    scratch: Vec<u8>,
    kept: Kept,
    seen: Option<(Generation, u64)>,
}

impl Checks {
    async fn run(&mut self, published: &Published, changed: &(impl Fn(&HealthChange) + Send)) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let next = self.next_turn();
            tokio::select! {
                _ = look.tick() => {
                    self.save(published.load.pressure() != Pressure::None);
                    self.look(&published.snapshot());
                }
                Some(done) = self.running.join_next() => {
                    // A check that panics would be a fault of ours; the endpoint is checked again with the next look.
                    if let Ok(done) = done {
                        self.judge(done, changed);
                    }
                }
                () = sleep_until(next), if next.is_some() => {
                    self.turned = Some(Instant::now());
                    self.hear(changed);
                    self.begin_due();
                }
            }
        }
    }

    fn may_start(&self) -> bool {
        self.running.len() < CHECKS_MAX && self.waiting.len() < ASKED_MAX
    }

    /// When there is something to do: soon, if answers are waited for; else when the next check is due.
    fn next_turn(&self) -> Option<Instant> {
        let due = self.queue.peek().filter(|_| self.may_start()).map(|Reverse((due, _))| *due);
        match self.turned.map(|turned| turned + TURN) {
            Some(next) if !self.waiting.is_empty() => Some(next),
            Some(next) => due.map(|due| due.max(next)),
            None => due,
        }
    }

    /// Looks for the answers to checks on kept connections.
    fn hear(&mut self, changed: &impl Fn(&HealthChange)) {
        let now = Instant::now();
        for Waiting { id, endpoint, errand, asked, end } in std::mem::take(&mut self.waiting) {
            match asked.hear(&mut self.scratch) {
                Heard::Nothing(_) if end <= now => self.judge((id, Some(ErrandFailure::Late), None), changed),
                Heard::Nothing(asked) => self.waiting.push(Waiting { id, endpoint, errand, asked, end }),
                Heard::Whole(status, kept) => match errand.judge(status) {
                    Ok(()) => self.judge((id, None, Some(kept)), changed),
                    Err(failure) => self.judge((id, Some(failure), None), changed),
                },
                Heard::Unfinished(begun) => {
                    let line = Line { kept: None, begun, keep: true };
                    self.spawn(id, endpoint, errand, end.saturating_duration_since(now), line);
                }
            }
        }
    }

    fn spawn(&mut self, id: u64, endpoint: Arc<Endpoint>, errand: Errand, within: Duration, line: Line) {
        self.running.spawn(async move {
            let (result, connection) = errand.run(&endpoint, within, line).await;
            (id, result.err(), connection)
        });
    }

    /// Whether connections are closed between checks, as others that wait are, because memory or descriptors run out.
    fn save(&mut self, saving: bool) {
        self.kept.saving = saving;
        if saving && self.kept.plain + self.kept.secure > 0 {
            self.checked.values_mut().for_each(|one| one.connection = None);
            (self.kept.plain, self.kept.secure) = (0, 0);
        }
    }

    /// Looks whether there are other endpoints than before.
    fn look(&mut self, snapshot: &Snapshot) {
        let sets = snapshot.upstreams.iter().map(|upstream| upstream.endpoints().generation).sum();
        if self.seen.replace((snapshot.generation, sets)) == Some((snapshot.generation, sets)) {
            return;
        }
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.checked);
        (self.kept.plain, self.kept.secure) = (0, 0);
        for upstream in &snapshot.upstreams {
            for endpoint in upstream.endpoints().endpoints() {
                let Some(health) = &upstream.settings.health else {
                    // Checks that are no longer wanted leave nothing behind.
                    endpoint.state.note_health(true, upstream.origin().micros(now));
                    continue;
                };
                let within = FIRST_WITHIN.min(health.interval);
                let (upstream, endpoint) = (Arc::clone(upstream), Arc::clone(endpoint));
                let one = match before.remove(&endpoint.id) {
                    Some(known) => {
                        // An endpoint of the same number has the same address, name and TLS: its connection goes on.
                        let connection = known.connection.filter(|_| health.errand.keeps());
                        connection.iter().for_each(|connection| self.kept.add(connection));
                        Checked { upstream, endpoint, due: known.due.min(now + health.interval), connection, ..known }
                    }
                    None => {
                        let due = now + spread(within, endpoint.id, 0);
                        Checked { upstream, endpoint, judge: HealthJudge::default(), due, count: 0, connection: None }
                    }
                };
                self.checked.insert(one.endpoint.id, one);
            }
        }
        self.queue = self.checked.iter().map(|(id, one)| Reverse((one.due, *id))).collect();
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.may_start()
            && let Some(Reverse((due, id))) = self.queue.peek().copied()
            && due <= now
        {
            self.queue.pop();
            // One that was put off by a look stands in the queue at its new time as well.
            let Some(one) = self.checked.get_mut(&id).filter(|one| one.due == due) else { continue };
            let Some(health) = &one.upstream.settings.health else { continue };
            let mut kept = one.connection.take();
            kept.iter().for_each(|connection| self.kept.remove(connection));
            if one.wants_fresh(health) {
                kept = None;
            }
            one.count += 1;
            let keep = !one.wants_fresh(health) && self.kept.has_room(one.endpoint.tls.is_some());
            // From when it was due, so that the pace holds; but what was missed is not made up for. Jitter keeps checks from falling together.
            let shift = spread(health.interval / 5, id, one.count);
            one.due = (due + health.interval).max(now + health.interval / 2) - health.interval / 10 + shift;
            self.queue.push(Reverse((one.due, id)));
            let (errand, endpoint, within) = (health.errand.clone(), Arc::clone(&one.endpoint), health.timeout);
            let asked = match kept {
                Some(kept) if keep => errand.ask(&endpoint, kept),
                kept => Err(kept),
            };
            match asked {
                Ok(asked) => self.waiting.push(Waiting { id, endpoint, errand, asked, end: now + within }),
                Err(kept) => self.spawn(id, endpoint, errand, within, Line { kept, begun: None, keep }),
            }
        }
    }

    fn judge(&mut self, (id, failure, connection): Done, changed: &impl Fn(&HealthChange)) {
        // It may have gone while it was checked.
        let Some(one) = self.checked.get_mut(&id) else { return };
        let Some(health) = &one.upstream.settings.health else { return };
        if let Some(connection) = connection.filter(|kept| health.errand.keeps() && self.kept.has_room(kept.is_secure())) {
            self.kept.add(&connection);
            // A check that took longer than the interval may have left one already.
            if let Some(other) = one.connection.replace(connection) {
                self.kept.remove(&other);
            }
        }
        let Some(healthy) = one.judge.note(failure.is_none(), health) else { return };
        let now = one.upstream.origin().micros(Instant::now());
        if one.endpoint.state.note_health(healthy, now) {
            one.upstream.state.counts.health_changes.fetch_add(1, Ordering::Relaxed);
            changed(&HealthChange {
                upstream: Arc::clone(&one.upstream.settings.name),
                endpoint: Arc::clone(&one.endpoint),
                failure,
            });
        }
    }
}

async fn sleep_until(next: Option<Instant>) {
    if let Some(next) = next {
        tokio::time::sleep_until(next).await;
    }
}

/// A part of `range` that depends on the endpoint and how often it was checked.
fn spread(range: Duration, id: u64, count: u64) -> Duration {
    let mixed =
        (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ count.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    range.mul_f64((mixed >> 40) as f64 / (1_u64 << 24) as f64)
}

#[cfg(test)]
mod tests {
    use super::{KEPT_MAX, KEPT_SECURE_MAX, Kept};

    #[test]
    fn no_more_connections_are_kept_than_half_of_the_descriptors_fewer_of_tls_and_none_when_they_run_out() {
        let with = |plain, secure, descriptors| Kept { plain, secure, ..Kept::within(descriptors) };
        assert!(with(511, 0, 1024).has_room(false) && !with(512, 0, 1024).has_room(false));
        assert!(!with(500, 12, 1024).has_room(true));
        assert!(!Kept { saving: true, ..Kept::within(1024) }.has_room(false));
        assert!(with(KEPT_MAX - 1, 0, u64::MAX).has_room(false) && !with(KEPT_MAX, 0, u64::MAX).has_room(false));
        assert!(with(0, KEPT_SECURE_MAX, u64::MAX).has_room(false) && !with(0, KEPT_SECURE_MAX, u64::MAX).has_room(true));
    }
}
