//! A record in a few words, for people who watch.

use portcullis_model::DecisionRecord;

/// One line: status, method, path, route or reason, time.
pub(crate) fn summary(record: &DecisionRecord) -> String {
    let path = String::from_utf8_lossy(record.path());
    let method = String::from_utf8_lossy(record.method());
    let millis = record.total_micros as f64 / 1000.0;
    let what = match (record.reason, record.route.as_deref()) {
        (Some(reason), _) => format!("refused: {} ({})", reason.code(), String::from_utf8_lossy(record.detail())),
        (None, Some(route)) => format!("route {route} -> {}", record.upstream.as_deref().unwrap_or("answered here")),
        (None, None) => String::new(),
    };
    // SECURITY: this goes to a terminal; control characters must not reach it.
    let line = format!("{} {method:<7} {path:<24} {what}  {millis:.1} ms", record.status);
    line.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
