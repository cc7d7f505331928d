//! Sums what test binaries report.

/// How many tests passed, failed, or were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped (ignored).
    pub skipped: u64,
}

impl Tally {
    /// Adds a line of a test binary's output, if it is its result line.
    pub fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else { return };
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// The summary. A run with failed steps never shows `0 failed`: each of them that is not already seen as a failed test counts.
    pub fn line(self, steps_failed: u64) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed + steps_failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn result_lines_are_summed_and_others_are_not() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.01s");
        tally.read("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.read("test a::b ... ok");
        tally.read("5 passed; 5 failed");
        assert_eq!(tally, Tally { passed: 13, failed: 2, skipped: 3 });
        assert_eq!(tally.line(1), "13 passed, 3 failed, 3 skipped");
    }
}
