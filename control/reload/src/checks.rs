//! Active health checks: on a thread of their own, never on a worker, and a bounded number at the same time.

use portcullis_gateway_proxy::{Published, Snapshot};
use portcullis_gateway_upstream::{Endpoint, ErrandFailure, HealthJudge, Upstream};
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
/// How often it is looked whether there are other endpoints.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest time until a new endpoint is checked for the first time.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

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
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(published: Arc<Published>, changed: impl Fn(&HealthChange) + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (until_dropped, mut ended) = watch::channel(());
        std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut checks = Checks::default();
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
}

/// What came of a check: whose it was, and why it failed, if it did.
type Done = (u64, Option<ErrandFailure>);

#[derive(Default)]
struct Checks {
    checked: HashMap<u64, Checked>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    running: JoinSet<Done>,
    seen: Option<(Generation, u64)>,
}

impl Checks {
    async fn run(&mut self, published: &Published, changed: &(impl Fn(&HealthChange) + Send)) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let next = self.queue.peek().map(|Reverse((due, _))| *due);
            let may_start = self.running.len() < CHECKS_MAX;
            tokio::select! {
                _ = look.tick() => self.look(&published.snapshot()),
                Some(done) = self.running.join_next() => {
                    // A check that panics would be a fault of ours; the endpoint is checked again with the next look.
                    if let Ok(done) = done {
                        self.judge(done, changed);
                    }
                }
                () = sleep_until(next), if may_start && next.is_some() => self.begin_due(),
            }
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
        for upstream in &snapshot.upstreams {
            for endpoint in upstream.endpoints().endpoints() {
                let Some(health) = &upstream.settings.health else {
                    // Checks that are no longer wanted leave nothing behind.
                    endpoint.state.note_health(true, upstream.origin().micros(now));
                    continue;
                };
                let within = FIRST_WITHIN.min(health.interval);
                let (judge, due, count) = match before.remove(&endpoint.id) {
                    Some(known) => (known.judge, known.due.min(now + health.interval), known.count),
                    None => (HealthJudge::default(), now + spread(within, endpoint.id, 0), 0),
                };
                let (upstream, endpoint) = (Arc::clone(upstream), Arc::clone(endpoint));
                self.checked.insert(endpoint.id, Checked { upstream, endpoint, judge, due, count });
            }
        }
        self.queue = self.checked.iter().map(|(id, one)| Reverse((one.due, *id))).collect();
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.running.len() < CHECKS_MAX
            && let Some(Reverse((due, id))) = self.queue.peek().copied()
            && due <= now
        {
            self.queue.pop();
            // One that was put off by a look stands in the queue at its new time as well.
            let Some(one) = self.checked.get_mut(&id).filter(|one| one.due == due) else { continue };
            let Some(health) = &one.upstream.settings.health else { continue };
            one.count += 1;
            // From when it was due, so that the pace holds; but what was missed is not made up for. Jitter keeps checks from falling together.
            let shift = spread(health.interval / 5, id, one.count);
            one.due = (due + health.interval).max(now + health.interval / 2) - health.interval / 10 + shift;
            self.queue.push(Reverse((one.due, id)));
            let (errand, endpoint, within) = (health.errand.clone(), Arc::clone(&one.endpoint), health.timeout);
            self.running.spawn(async move { (id, errand.run(&endpoint, within).await.err()) });
        }
    }

    fn judge(&mut self, (id, failure): Done, changed: &impl Fn(&HealthChange)) {
        // It may have gone while it was checked.
        let Some(one) = self.checked.get_mut(&id) else { return };
        let Some(health) = &one.upstream.settings.health else { return };
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
