//! What we are built from: nothing that is banned, licences that we accept, one registry. deny.toml is the one list; `cargo deny check
//! bans licenses sources` reads the same file, for those who have that tool.

use super::Finding;
use crate::metadata::Metadata;
use crate::repo::Repo;

const LIST: &str = "deny.toml";

/// Checks every package against the list.
pub fn check(repo: &Repo, metadata: &Metadata) -> Vec<Finding> {
    let text = repo.text(LIST).unwrap_or_default();
    let read = |section: &str, key: &str| strings(text, section, key);
    let (banned, licences, registries) = (read("[bans]", "deny"), read("[licenses]", "allow"), read("[sources]", "allow-registry"));
    let (Some(banned), Some(licences), Some(registries)) = (banned, licences, registries) else {
        return vec![Finding::of(
            LIST,
            "needs `deny` under [bans], `allow` under [licenses], and `allow-registry` under [sources]",
        )];
    };
    let mut findings = Vec::new();
    for package in metadata.packages.values() {
        let place = format!("{} {}", package.name, package.version);
        if banned.iter().any(|name| *name == package.name) {
            findings
                .push(Finding::of(&place, format!("is banned by {LIST}; `cargo tree -i {}` shows what asks for it", package.name)));
        }
        let Some(source) = &package.source else { continue };
        if !registries.iter().any(|registry| source.strip_prefix("registry+").is_some_and(|url| url == *registry)) {
            findings.push(Finding::of(&place, format!("comes from `{source}`, which {LIST} does not allow")));
        }
        match package.license.as_deref().map(|expression| accepted(expression, &licences)) {
            Some(Some(true)) => {}
            Some(Some(false)) => findings.push(Finding::of(
                &place,
                format!("its licence `{}` is not one that {LIST} allows", package.license.as_deref().unwrap_or_default()),
            )),
            Some(None) => findings.push(Finding::of(&place, "its licence expression is not understood")),
            None => findings.push(Finding::of(&place, "names no licence")),
        }
    }
    findings
}

/// The strings of a list in a section: `key = [ "a", { name = "b", reason = "…" } ]`. Only the first string of each line counts.
fn strings<'a>(text: &'a str, section: &str, key: &str) -> Option<Vec<&'a str>> {
    let lines = text.lines().skip_while(|line| line.trim() != section).skip(1).take_while(|line| !line.starts_with('['));
    let opens = format!("{key} = [");
    let mut list = lines.skip_while(|line| !line.starts_with(&opens)).peekable();
    let first = list.peek()?.strip_prefix(&opens)?;
    if let Some((inside, _)) = first.split_once(']') {
        return Some(inside.split('"').skip(1).step_by(2).collect());
    }
    Some(list.skip(1).take_while(|line| !line.starts_with(']')).filter_map(|line| line.split('"').nth(1)).collect())
}

/// Whether an SPDX expression can be met with the licences allowed; `None` if it is not understood.
fn accepted(expression: &str, allowed: &[&str]) -> Option<bool> {
    // Before SPDX expressions, `/` stood for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = alternatives(&mut rest, allowed, 0)?;
    rest.is_empty().then_some(met)
}

fn alternatives(rest: &mut &[&str], allowed: &[&str], depth: usize) -> Option<bool> {
    let mut met = together(rest, allowed, depth)?;
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        // Not short-circuited: what follows must be read.
        met |= together(rest, allowed, depth)?;
    }
    Some(met)
}

fn together(rest: &mut &[&str], allowed: &[&str], depth: usize) -> Option<bool> {
    let mut met = one(rest, allowed, depth)?;
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        met &= one(rest, allowed, depth)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &[&str], depth: usize) -> Option<bool> {
    match *rest {
        ["(", tail @ ..] if depth < 8 => {
            *rest = tail;
            let met = alternatives(rest, allowed, depth + 1)?;
            let [")", tail @ ..] = *rest else { return None };
            *rest = tail;
            Some(met)
        }
        [name, "WITH", exception, tail @ ..] => {
            *rest = tail;
            let both = format!("{name} WITH {exception}");
            Some(allowed.contains(&both.as_str()))
        }
        [name, tail @ ..] if !["(", ")", "AND", "OR", "WITH"].contains(name) => {
            *rest = tail;
            Some(allowed.contains(name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{LIST, Metadata, Repo, accepted, check};

    const DENY: &str = "[bans]\ndeny = [\n    { name = \"ring\", reason = \"second provider\" },\n]\n[licenses]\nallow = [\"MIT\", \"ISC\"]\n[sources]\nallow-registry = [\"https://github.com/rust-lang/crates.io-index\"]\n";

    fn found(metadata: &Metadata) -> String {
        check(&Repo::sample(&[(LIST, DENY)]), metadata).iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn banned_packages_licences_and_sources_are_found() {
        assert_eq!(found(&Metadata::sample(&[("a", Some("MIT"), &[]), ("own", None, &[])])), "");
        assert!(found(&Metadata::sample(&[("ring", Some("MIT"), &[])])).contains("ring 1.0.0: is banned"));
        assert!(found(&Metadata::sample(&[("a", Some("GPL-3.0-only"), &[])])).contains("`GPL-3.0-only` is not one"));
        let mut odd = Metadata::sample(&[("a", Some("MIT"), &[])]);
        odd.packages.get_mut("a").unwrap().source = Some("git+https://example.com/a".to_owned());
        assert!(found(&odd).contains("comes from `git+"));
        odd.packages.get_mut("a").unwrap().license = None;
        assert!(found(&odd).contains("names no licence"));
    }

    #[test]
    fn without_its_list_nothing_passes() {
        assert_eq!(check(&Repo::default(), &Metadata::default()).len(), 1);
    }

    #[test]
    fn licence_expressions_are_read_as_spdx_does() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
        for (expression, met) in [
            ("MIT", Some(true)),
            ("GPL-2.0-only OR MIT", Some(true)),
            ("GPL-2.0-only/MIT", Some(true)),
            ("MIT AND GPL-2.0-only", Some(false)),
            ("ISC AND (GPL-2.0-only OR MIT)", Some(true)),
            ("GPL-2.0-only OR ISC AND MIT", Some(true)),
            ("(GPL-2.0-only OR ISC) AND BSD-2-Clause", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0", Some(false)),
            ("MIT AND", None),
            ("(MIT", None),
            ("", None),
        ] {
            assert_eq!(accepted(expression, &allowed), met, "{expression}");
        }
    }
}
