//! What failed tests said, kept so that it stands at the end of a long output; and the second look at them.
//!
//! Integration tests share two cores with each other and with whatever else runs there. A machine that stands still for a second can
//! break a deadline that a test sets on purpose. So a few failed tests are run again, one at a time: what fails then is broken, what
//! passes is *unsteady*, and is named at the end with what it said, because it has to be mended too.

use std::fmt::Write as _;

/// More failed tests than this are no accident of time, and are not looked at twice.
const AGAIN_MAX: usize = 5;
/// Lines kept of what one test said: its message and the begin of its trace.
const LINES_MAX: usize = 40;

/// Failed tests by name, with the begin of what each said.
#[derive(Debug, Default)]
pub struct Failures {
    tests: Vec<(String, Vec<String>)>,
    inside: bool,
}

impl Failures {
    /// Adds a line of a test binary's output, if it belongs to what a failed test said.
    pub fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.tests.push((name.to_owned(), Vec::new()));
            self.inside = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.inside = false;
        } else if self.inside
            && !line.trim().is_empty()
            && let Some((_, said)) = self.tests.last_mut()
            && said.len() < LINES_MAX
        {
            said.push(line.to_owned());
        }
    }

    /// The names to run again: all, if they are few; `None` if they are too many, or if a binary failed without naming a test.
    pub fn again(&self, failed: u64) -> Option<Vec<&str>> {
        let named = self.tests.len() as u64 == failed && (1..=AGAIN_MAX).contains(&self.tests.len());
        named.then(|| self.tests.iter().map(|(name, _)| name.as_str()).collect())
    }

    /// What they said, for the end of the output; empty if none failed.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, said) in &self.tests {
            let _written = writeln!(text, "\n---- {name}\n{}", said.join("\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    const OUTPUT: &str = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\nthread 'a::b' panicked at x.rs:1:2:\nwhy\n\n\nfailures:\n    a::b\n\n\
                          test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\nafter";

    #[test]
    fn what_a_failed_test_said_is_kept_and_nothing_else() {
        let mut failures = Failures::default();
        OUTPUT.lines().for_each(|line| failures.read(line));
        assert_eq!(failures.again(1), Some(vec!["a::b"]));
        assert_eq!(failures.text(), "\n---- a::b\nthread 'a::b' panicked at x.rs:1:2:\nwhy\n");
    }

    #[test]
    fn many_failures_and_failures_without_a_name_are_not_looked_at_twice() {
        let mut failures = Failures::default();
        assert_eq!(failures.again(0), None);
        failures.read("---- a stdout ----");
        assert_eq!(failures.again(2), None, "one binary failed without naming its test");
        (0..5).for_each(|number| failures.read(&format!("---- {number} stdout ----")));
        assert_eq!(failures.again(6), None);
    }
}
