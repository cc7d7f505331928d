//! Steps with headings and times, and which of them failed.

use std::time::{Duration, Instant};

/// The steps of a run.
#[derive(Debug, Default)]
pub struct Steps {
    failed: Vec<String>,
    number: u32,
}

impl Steps {
    /// Runs a step under a heading; says how long it took and how it ended. True if it went well.
    pub fn step(&mut self, title: &str, run: impl FnOnce() -> Result<(), String>) -> bool {
        self.number += 1;
        println!("\n== {}. {title}", self.number);
        let begin = Instant::now();
        let outcome = run();
        let took = seconds(begin.elapsed());
        match outcome {
            Ok(()) => println!("== {title}: done in {took}"),
            Err(text) => {
                println!("{text}\n== {title}: FAILED after {took}");
                self.failed.push(title.to_owned());
                return false;
            }
        }
        true
    }

    /// The titles of the steps that failed.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }
}

/// A time as people read it.
pub fn seconds(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, _) => format!("{:.1} s", time.as_secs_f64()),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Steps, seconds};

    #[test]
    fn a_failed_step_is_remembered_and_the_next_still_runs() {
        let mut steps = Steps::default();
        assert!(!steps.step("one", || Err("why".to_owned())));
        assert!(steps.step("two", || Ok(())));
        assert_eq!(steps.failed(), ["one"]);
    }

    #[test]
    fn times_read_at_a_glance() {
        assert_eq!([900, 61_000].map(|ms| seconds(Duration::from_millis(ms))), ["0.9 s", "1 min 1 s"]);
    }
}
