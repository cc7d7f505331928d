//! Metrics of names that are resolved.

use crate::exposition::{Text, escaped};

/// How many names have series of their own: a bound for who scrapes.
const NAMES_MAX: usize = 1000;

/// One name of an upstream, told at each scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameGauges {
    /// The name.
    pub name: String,
    /// Answers of which something is used.
    pub answers: u64,
    /// Failures, and answers of which nothing may be used.
    pub failures: u64,
    /// Addresses in answers that may not be connected to.
    pub refused: u64,
    /// Addresses in use.
    pub addresses: u64,
    /// How old the answer in use is, milliseconds; nothing when there is none.
    pub age_millis: Option<u64>,
}

pub(crate) fn name_gauges(text: &mut Text, names: &[NameGauges]) {
    let shown = || names.iter().take(NAMES_MAX).map(|one| (escaped(&one.name), one));
    text.family("portcullis_name_answers_total", "counter", "What came of asking for the name of an upstream.");
    for (name, one) in shown() {
        for (outcome, count) in [("answered", one.answers), ("failed", one.failures)] {
            text.push(format_args!("portcullis_name_answers_total{{name=\"{name}\",outcome=\"{outcome}\"}} {count}\n"));
        }
    }
    text.family("portcullis_name_refused_addresses_total", "counter", "Addresses in answers that may not be connected to.");
    for (name, one) in shown() {
        text.push(format_args!("portcullis_name_refused_addresses_total{{name=\"{name}\"}} {}\n", one.refused));
    }
    text.family("portcullis_name_addresses", "gauge", "Addresses of the name that are in use.");
    for (name, one) in shown() {
        text.push(format_args!("portcullis_name_addresses{{name=\"{name}\"}} {}\n", one.addresses));
    }
    text.family("portcullis_name_answer_age_seconds", "gauge", "How old the answer in use is.");
    for (name, one) in shown() {
        if let Some(millis) = one.age_millis {
            let age = millis as f64 / 1e3;
            text.push(format_args!("portcullis_name_answer_age_seconds{{name=\"{name}\"}} {age}\n"));
        }
    }
}
