//! The store that nodes share, as status and metrics show it.

use portcullis_control_reload::{StoreFacts, StoreState};
use portcullis_insight_record::StoreGauges;

/// In words; nothing without a store.
pub fn words(facts: &StoreFacts) -> Option<String> {
    let age = facts.age.map_or_else(
        || "nothing is known of other nodes".to_owned(),
        |age| format!("other nodes were heard {} s ago", age.as_secs()),
    );
    match &facts.state {
        StoreState::Off => None,
        StoreState::Connecting => Some(format!("connecting; {age}")),
        StoreState::Reachable => Some(format!("reachable; {age}")),
        StoreState::Away(problem) => Some(format!("away: {problem}; {age}")),
    }
}

/// As metrics; nothing without a store.
pub fn gauges(facts: &StoreFacts) -> Option<StoreGauges> {
    (facts.state != StoreState::Off).then(|| StoreGauges {
        is_reachable: facts.state == StoreState::Reachable,
        age_millis: facts.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        failures: facts.failures,
        garbage: facts.garbage,
    })
}
