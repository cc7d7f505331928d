//! Checks of `plans`.

use super::Checker;
use crate::merge::Merged;
use portcullis_engines_limiter::{Rate, RateError};
use portcullis_model::UsagePlan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many there may be.
const PLANS_MAX: usize = 1_000;
const SECOND: u64 = 1_000_000_000;

/// The plans by name; those that are wrong are there without what they allow.
pub(super) fn check<'f>(merged: &Merged<'f>, checker: &mut Checker<'_>) -> BTreeMap<&'f str, Option<Arc<UsagePlan>>> {
    let mut plans = BTreeMap::new();
    for part in &merged.plans {
        let name = &*part.name.value;
        let plan = part.value.as_ref().and_then(|settings| {
            let rate = &settings.rate.value;
            let in_a_second = rate.count().saturating_mul(SECOND) / rate.period_nanos().max(1);
            let burst = settings.burst.unwrap_or_else(|| u32::try_from(in_a_second.max(1)).unwrap_or(u32::MAX));
            let count = u32::try_from(rate.count()).unwrap_or(u32::MAX);
            let mut wrong = |end: &str, what: &str, help: &str| {
                checker.error(&settings.rate, format!("/plans/{name}/{end}"), what, help);
            };
            match Rate::new(count, rate.period_nanos(), burst) {
                Ok(counted) => {
                    let window = counted.interval().saturating_mul(u64::from(burst)).div_ceil(SECOND);
                    let policy = format!("\"{name}\";q={burst};w={window}").into();
                    let (name, period_nanos, weight) = (part.name.shared(), rate.period_nanos(), settings.weight);
                    return Some(Arc::new(UsagePlan { name, count, period_nanos, burst, policy, weight }));
                }
                Err(RateError::Zero) => {
                    wrong("rate", "no request of this plan would ever pass", "write at least 1 as `rate` and `burst`")
                }
                Err(RateError::TooFast) => wrong("rate", "this is more than can be counted", "write at most 1000000000/s"),
                Err(RateError::TooSlow) => wrong(
                    "burst",
                    "it would take more than 100 days until the whole burst may come again",
                    "lower `burst` or raise `rate`",
                ),
            }
            None
        });
        plans.insert(name, plan);
    }
    if let Some(part) = merged.plans.get(PLANS_MAX) {
        checker.error(&part.name, "/plans", format!("more than {PLANS_MAX} plans"), "join some of them");
    }
    plans
}
