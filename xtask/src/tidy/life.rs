//! The way of a request is told twice, in code and in prose, with the same steps in the same order.

use super::Finding;
use crate::repo::Repo;

const CODE: &str = "gateway/proxy/src/life_of_a_request.rs";
const PROSE: &str = "docs/life-of-a-request.md";
const STEPS: usize = 10;

/// Compares the steps named in the code's comments with the headings of the page.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let (Some(code), Some(prose)) = (repo.rust.get(CODE), repo.text(PROSE)) else {
        return vec![Finding::of(PROSE, format!("this page and {CODE} are both needed"))];
    };
    let (in_code, in_prose) = (steps_of_code(&code.comments), steps_of_prose(prose));
    let mut findings = Vec::new();
    if in_code.len() != STEPS {
        findings
            .push(Finding::of(CODE, format!("names {} steps as `Step N: name` in its comments; there are {STEPS}", in_code.len())));
    }
    if in_code != in_prose {
        let show = |steps: &[String]| steps.join(", ");
        findings.push(Finding::of(PROSE, format!("has the steps {}; the code has {}", show(&in_prose), show(&in_code))));
    }
    findings
}

/// `Step 2: decode.` or `Step 1, accept, is …` → `2 decode`, `1 accept`.
fn steps_of_code(comments: &str) -> Vec<String> {
    let step = |rest: &str| {
        let (number, rest) = rest.split_once([':', ','])?;
        number.parse::<usize>().ok()?;
        let name = rest.trim_start().split(|c: char| !c.is_alphanumeric()).next()?;
        Some(format!("{number} {name}"))
    };
    comments.split("Step ").skip(1).filter_map(step).collect()
}

/// `## 2. Decode` → `2 decode`.
fn steps_of_prose(text: &str) -> Vec<String> {
    let step = |line: &str| {
        let (number, rest) = line.strip_prefix("## ")?.split_once(". ")?;
        number.parse::<usize>().ok()?;
        let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
        Some(format!("{number} {}", name.to_lowercase()))
    };
    text.lines().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::{CODE, PROSE, Repo, check};

    fn sample(change: impl Fn(usize) -> String) -> Repo {
        let code: String = (1..=10).map(|n| format!("// Step {n}: s{n}.\n")).collect();
        let prose: String = (1..=10).map(|n| format!("## {}\n\ntext\n", change(n))).collect();
        Repo::sample(&[(CODE, &code), (PROSE, &prose)])
    }

    #[test]
    fn both_tell_the_same_steps() {
        assert_eq!(check(&sample(|n| format!("{n}. S{n}"))), []);
        assert_eq!(check(&sample(|n| format!("{n}. S{}", 11 - n))).len(), 1);
        assert_eq!(check(&Repo::sample(&[(CODE, "")])).len(), 1);
    }

    #[test]
    fn both_ways_of_naming_a_step_are_read() {
        let comments = "// Step 1, accept, is behind us.\n// Step 6, cache, is not in this version. Step 7: forward.\n";
        assert_eq!(super::steps_of_code(comments), ["1 accept", "6 cache", "7 forward"]);
    }
}
