//! What failed tests said, kept so that it stands at the end of a long output.
//!
//! They are not run again: what fails only among others has failed, and has shown faults that no test alone would have.

use std::fmt::Write as _;

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
        assert_eq!(failures.text(), "\n---- a::b\nthread 'a::b' panicked at x.rs:1:2:\nwhy\n");
    }
}
