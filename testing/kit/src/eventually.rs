//! Waiting for what will happen, with an end.

use std::thread;
use std::time::{Duration, Instant};

/// How long tests wait for something that will happen soon, on a machine however busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(3);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited {} s in vain for: {what}", PATIENCE.as_secs());
        thread::sleep(PAUSE);
    }
}

/// As [`eventually`], for what holds or does not.
#[track_caller]
pub fn holds(what: &str, mut ask: impl FnMut() -> bool) {
    eventually(what, || ask().then_some(()));
}
