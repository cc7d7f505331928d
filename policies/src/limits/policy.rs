//! Charges the limits of a request, and tells where its client stands.

use super::config::{LimitLine, Limits, Mode, Per};
use portcullis_engines_limiter::{CHARGES_MAX, Charge, Rate, Standing, Table};
use portcullis_gateway_policy::{CompileError, Exchange, LimitStanding, LiveFiles, Policy, Step, Verdict};
use portcullis_model::{Principal, Reason, Rejection, UsagePlan};
use portcullis_wire::ResponseHead;
use std::any::Any;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// How many clients may be active at the same time.
const KEYS: usize = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Makes the running policy from the limits of every level: those that need nobody's name.
///
/// # Errors
/// When a limit cannot be counted, or there are too many; both were refused when the configuration was checked.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], live: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    Ok(Arc::new(LimitsPolicy::of(settings, live, false)?))
}

/// Makes the part that counts by caller, if there is one.
///
/// # Errors
/// As [`compile`].
pub fn compile_by_caller(
    settings: &[Arc<dyn Any + Send + Sync>],
    live: &LiveFiles,
) -> Result<Option<Arc<dyn Policy>>, CompileError> {
    let policy = LimitsPolicy::of(settings, live, true)?;
    Ok((!policy.limits.is_empty() || !policy.reported.is_empty()).then(|| Arc::new(policy) as Arc<dyn Policy>))
}

/// A limit as it is charged.
struct Limit {
    /// Tells it from all others; the same after a reload, as long as it stays at its place in its level.
    id: u64,
    per: Per,
    /// The header field whose values count, in lower case.
    header: Option<Box<str>>,
    ipv6_prefix: u8,
    rate: Rate,
    cost: u32,
    name: Arc<str>,
    /// Its line in `RateLimit-Policy`.
    policy: Arc<str>,
    /// Whether the plan of a consumer counts instead.
    uses_plan: bool,
}

impl Limit {
    fn new(place: &str, at: usize, line: &LimitLine) -> Result<Self, CompileError> {
        let rate = line.rate().map_err(|error| CompileError(format!("a limit cannot be counted: {error:?}")))?;
        let mut hasher = DefaultHasher::new();
        (place, at, line.per as u8).hash(&mut hasher);
        let (name, burst) = (line.shown_name(), rate.burst());
        let window = rate.interval().saturating_mul(u64::from(burst)).div_ceil(SECOND);
        Ok(Self {
            id: hasher.finish(),
            per: line.per,
            header: line.header.as_ref().map(|name| name.to_ascii_lowercase().into()),
            ipv6_prefix: line.ipv6_prefix,
            rate,
            cost: line.cost,
            name: name.into(),
            policy: format!("\"{name}\";q={burst};w={window}").into(),
            uses_plan: line.r#use.is_some(),
        })
    }

    fn charge(&self, exchange: &Exchange, table: &Table) -> Charge {
        let key = match self.per {
            Per::ClientIp => table.key(self.id, &network(exchange.client, self.ipv6_prefix)),
            Per::Principal | Per::Consumer => match exchange.principal().map(|caller| &**caller) {
                Some(Principal { consumer: Some(consumer), .. }) if self.per == Per::Consumer => {
                    // No provider has such a name, so a stranger's never counts with it.
                    table.key(self.id, &("", &consumer.name))
                }
                Some(caller) => table.key(self.id, &(&caller.provider, &caller.subject)),
                None => table.key(self.id, &network(exchange.client, self.ipv6_prefix)),
            },
            Per::Header => match Shown::of(exchange, self.header.as_deref().unwrap_or_default()) {
                Some(shown) => table.key(self.id, &shown),
                None => table.key(self.id, &network(exchange.client, self.ipv6_prefix)),
            },
            Per::Api => table.key(self.id, &exchange.record.api),
            Per::Route => table.key(self.id, &(&exchange.record.api, &exchange.record.route)),
            Per::All => table.key(self.id, &()),
        };
        Charge { key, rate: self.plan(exchange).and_then(rate_of).unwrap_or(self.rate), cost: self.cost }
    }

    /// The plan that counts instead of what is written here.
    fn plan<'e>(&self, exchange: &'e Exchange) -> Option<&'e Arc<UsagePlan>> {
        if !self.uses_plan {
            return None;
        }
        exchange.principal()?.consumer.as_ref()?.plan.as_ref()
    }

    fn standing(&self, exchange: &Exchange, standing: Standing, retry_after: Option<u64>) -> LimitStanding {
        let (name, policy) = self.plan(exchange).map_or((&self.name, &self.policy), |plan| (&plan.name, &plan.policy));
        LimitStanding {
            name: Arc::clone(name),
            policy: Arc::clone(policy),
            remaining: standing.remaining,
            full_after: standing.full_after.div_ceil(SECOND),
            // Rounded up, so that who waits for so long is served.
            retry_after: retry_after.map(|nanos| nanos.div_ceil(SECOND)),
        }
    }
}

/// The values of a header field, in their order: whoever sends another one, or one more, counts as another.
struct Shown<'e> {
    exchange: &'e Exchange,
    header: &'e str,
}

impl<'e> Shown<'e> {
    fn of(exchange: &'e Exchange, header: &'e str) -> Option<Self> {
        let shown = Self { exchange, header };
        let is_there = shown.values().next().is_some();
        is_there.then_some(shown)
    }

    fn values(&self) -> impl Iterator<Item = &'e [u8]> {
        let name = self.header.as_bytes();
        self.exchange.request.fields().iter().filter(move |(field, _)| *field == name).map(|(_, value)| value)
    }
}

impl Hash for Shown<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Apart from addresses, which count where there is no such field.
        "header".hash(state);
        self.values().for_each(|value| value.hash(state));
    }
}

/// What a plan allows. That it can be counted was seen when the configuration was checked.
fn rate_of(plan: &Arc<UsagePlan>) -> Option<Rate> {
    Rate::new(plan.count, plan.period_nanos, plan.burst).ok()
}

/// The network that counts as one client: an IPv4 address, however it is written (threats C 65), or so many bits of an IPv6 address.
fn network(address: IpAddr, ipv6_prefix: u8) -> u128 {
    match address.to_canonical() {
        // Apart from all IPv6 networks: none of those has these bits alone.
        IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()),
        IpAddr::V6(six) => u128::from(six) & u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0),
    }
}

fn now(exchange: &Exchange) -> u64 {
    u64::try_from(exchange.arrived.as_nanos()).unwrap_or(u64::MAX)
}

/// The running policy.
struct LimitsPolicy {
    limits: Vec<Limit>,
    /// Those that refuse nothing.
    reported: Vec<Limit>,
    table: Arc<Table>,
}

impl LimitsPolicy {
    fn of(settings: &[Arc<dyn Any + Send + Sync>], live: &LiveFiles, by_caller: bool) -> Result<Self, CompileError> {
        let levels = settings.iter().filter_map(|level| level.downcast_ref::<Limits>());
        let lines = levels.flat_map(|level| level.lines.iter().enumerate().map(|(at, line)| (&*level.place, at, line)));
        let lines = lines.filter(|(_, _, line)| matches!(line.per, Per::Principal | Per::Consumer) == by_caller);
        let (mut limits, mut reported) = (Vec::new(), Vec::new());
        for (place, at, line) in lines {
            let of_mode = if line.mode == Mode::Report { &mut reported } else { &mut limits };
            of_mode.push(Limit::new(place, at, line)?);
        }
        let count = limits.len() + reported.len();
        if count > CHARGES_MAX {
            return Err(CompileError(format!("{count} limits hold for one route, and {CHARGES_MAX} at most may")));
        }
        Ok(Self { limits, reported, table: live.pool().state("limits", [0; 32], || Table::new(KEYS)) })
    }

    /// Notes the limits that would have refused a request which the others let through.
    fn report(&self, exchange: &mut Exchange) {
        for limit in &self.reported {
            let charge = limit.charge(exchange, &self.table);
            if self.table.charge(now(exchange), &[charge]).is_err() {
                exchange.record.limits_over.push(Arc::clone(&limit.name));
            }
        }
    }

    fn judge(&self, exchange: &mut Exchange) -> Result<(), Rejection> {
        let Some(first) = self.limits.first() else { return Ok(()) };
        let mut charges = [first.charge(exchange, &self.table); CHARGES_MAX];
        for (slot, limit) in charges.iter_mut().zip(&self.limits).skip(1) {
            *slot = limit.charge(exchange, &self.table);
        }
        let charges = charges.get(..self.limits.len()).unwrap_or(&charges);
        let (at, standing, retry_after) = match self.table.charge(now(exchange), charges) {
            Ok(grant) => (grant.tightest, grant.standing, None),
            Err(refusal) => (refusal.charge, refusal.standing, Some(refusal.retry_after)),
        };
        let limit = self.limits.get(at);
        let has_less = |before: &LimitStanding| retry_after.is_none() && before.remaining <= standing.remaining;
        if !exchange.limit.as_ref().is_some_and(has_less) {
            exchange.limit = limit.map(|limit| limit.standing(exchange, standing, retry_after));
        }
        match (retry_after, &exchange.limit) {
            (None, _) => Ok(()),
            (Some(_), Some(limit)) => Err(Rejection::new(Reason::RateLimited, format!("the limit {} is used up", limit.policy))),
            (Some(_), None) => Err(Rejection::new(Reason::RateLimited, "a limit is used up")),
        }
    }
}

impl Policy for LimitsPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.judge(exchange) {
            Ok(()) => {
                self.report(exchange);
                Verdict::Continue
            }
            Err(rejection) => Verdict::Reject(rejection),
        })
    }

    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) of the limit that has least left, and `Retry-After` (RFC
    /// 9110 section 10.2.3) with a refusal. What an upstream says of limits of its own is replaced: a client reads one.
    fn on_response(&self, exchange: &Exchange, response: &mut ResponseHead) {
        let Some(limit) = &exchange.limit else { return };
        let mut text = String::with_capacity(64);
        let fields = response.fields_mut();
        let written = write!(text, "\"{}\";r={};t={}", limit.name, limit.remaining, limit.full_after);
        let mut set = written.is_ok()
            && fields.set_named("ratelimit", text.as_bytes()).is_ok()
            && fields.set_named("ratelimit-policy", limit.policy.as_bytes()).is_ok();
        if let Some(seconds) = limit.retry_after {
            set &= fields.set_named("retry-after", seconds.to_string().as_bytes()).is_ok();
        }
        debug_assert!(set, "names and numbers are valid values");
    }
}
