//! Policies from text, each with its place, within bounds.

use crate::{Bucket, Schema};
use cedar_policy::{ActionConstraint, Effect, Policy, PolicyId, PolicySet, ValidationMode};
use miette::Diagnostic;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How large a file of policies may be.
pub const TEXT_BYTES_MAX: u64 = 4 << 20;
/// How many policies a file may have.
pub const POLICIES_MAX: usize = 20_000;
/// How large one policy may be.
const POLICY_BYTES_MAX: usize = 16 << 10;
/// How deep brackets of a policy may lie in one another.
const DEPTH_MAX: usize = 32;
/// How many faults are told.
const FAULTS_MAX: usize = 20;

/// What is wrong with a file of policies, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What is wrong, and what to do where Cedar says it.
    pub what: String,
}

/// Something that a policy names and that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// `Role`, `Scope`, `Route` or `Api`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where, as for a [`Fault`].
    pub line: u32,
    /// Where, as for a [`Fault`].
    pub column: u32,
}

/// One policy.
pub(crate) struct One {
    pub(crate) policy: Policy,
    /// Its words, without comments around it.
    text: Arc<str>,
    line: u32,
    start: usize,
}

/// The policies of a file.
pub struct Policies {
    text: Arc<str>,
    all: Vec<One>,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policies({})", self.all.len())
    }
}

impl Policies {
    /// Reads policies; `name` is what records call the file.
    ///
    /// # Errors
    /// What is wrong, the first faults of it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let fault = |at: usize, what: &str| vec![fault_at(text, at, what.to_owned())];
        if text.len() as u64 > TEXT_BYTES_MAX {
            return Err(fault(0, "the policies have more than 4 MiB"));
        }
        let extents = extents(text).map_err(|(at, what)| fault(at, what))?;
        if extents.is_empty() {
            return Err(fault(0, "there is no policy here, so nobody would be permitted"));
        }
        if extents.len() > POLICIES_MAX {
            return Err(fault(0, "there are more than 20000 policies"));
        }
        let (mut all, mut faults) = (Vec::with_capacity(extents.len()), Vec::new());
        let mut lines = Lines::of(text);
        for (start, end) in extents {
            let own = text.get(start..end).unwrap_or_default();
            let line = lines.line_of(start);
            match Policy::parse(Some(PolicyId::new(format!("{name}:{line}"))), own) {
                Ok(policy) => all.push(One { policy, text: own.into(), line, start }),
                Err(errors) => faults.extend(errors.iter().map(|error| fault_at(text, start + offset(error), told(error)))),
            }
            if faults.len() >= FAULTS_MAX {
                break;
            }
        }
        // Two on one line would have one name.
        let twice = all.windows(2).find(|pair| matches!(pair, [a, b] if a.line == b.line));
        if let Some([_, second]) = twice {
            faults.push(fault_at(
                text,
                second.start,
                "begin each policy on a line of its own, by which records name it".to_owned(),
            ));
        }
        if faults.is_empty() { Ok(Self { text: text.into(), all }) } else { Err(faults) }
    }

    /// The text that they were read from.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Checks types strictly, and that whatever is spoken of is there. Gives what policies name beside.
    ///
    /// # Errors
    /// What is wrong, the first faults of it.
    pub fn check(&self, schema: &Schema) -> Result<Vec<Mention>, Vec<Fault>> {
        let set = PolicySet::from_policies(self.all.iter().map(|one| one.policy.clone()))
            .map_err(|error| vec![fault_at(&self.text, 0, error.to_string())])?;
        let by_id: BTreeMap<String, &One> = self.all.iter().map(|one| (one.policy.id().to_string(), one)).collect();
        let result = schema.validator.validate(&set, ValidationMode::Strict);
        let mut faults: Vec<Fault> = result
            .validation_errors()
            .map(|error| {
                let start = by_id.get(&error.policy_id().to_string()).map_or(0, |one| one.start);
                fault_at(&self.text, start + offset(error), told(error))
            })
            .collect();
        // A policy is checked for each operation that it can apply to: of what is wrong in one place, one is told.
        faults.sort_unstable_by(|a, b| (a.line, a.column, &a.what).cmp(&(b.line, b.column, &b.what)));
        faults.dedup_by_key(|fault| (fault.line, fault.column));
        faults.truncate(FAULTS_MAX);
        if faults.is_empty() { Ok(self.mentions()) } else { Err(faults) }
    }

    fn mentions(&self) -> Vec<Mention> {
        let mut seen: BTreeMap<(String, String), &One> = BTreeMap::new();
        for one in &self.all {
            for literal in one.policy.entity_literals() {
                let key = (literal.type_name().to_string(), literal.id().unescaped().to_owned());
                seen.entry(key).or_insert(one);
            }
        }
        let mention = |((kind, name), one): ((String, String), &One)| {
            let at = one.text.find(&format!("\"{name}\"")).unwrap_or(0);
            let Fault { line, column, .. } = fault_at(&self.text, one.start + at, String::new());
            Mention { kind, name, line, column }
        };
        seen.into_iter().map(mention).collect()
    }

    /// Those that can apply to an operation.
    ///
    /// # Errors
    /// When they cannot be put together, for the operator.
    pub fn bucket(&self, api: &str, route: &str) -> Result<Bucket, String> {
        let name = format!("{api}/{route}");
        let own = self.all.iter().filter(|one| match one.policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => action.id().unescaped() == name,
            ActionConstraint::In(actions) => actions.iter().any(|action| action.id().unescaped() == name),
        });
        Bucket::new(api, route, own)
    }
}

impl One {
    pub(crate) fn is_forbid(&self) -> bool {
        self.policy.effect() == Effect::Forbid
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }
}

/// Where an error points to, from the start of its policy.
fn offset(error: &dyn Diagnostic) -> usize {
    error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
}

/// An error in words, with Cedar's advice.
fn told(error: &(impl Diagnostic + ?Sized)) -> String {
    // Cedar names the policy in front, which the place says already.
    let text = error.to_string();
    let text = text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")).map_or(text.as_str(), |(_, rest)| rest);
    match error.help() {
        Some(help) => format!("{text}; {help}"),
        None => text.to_owned(),
    }
}

/// Lines of offsets that only go up.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: u32,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    fn line_of(&mut self, at: usize) -> u32 {
        let between = self.text.as_bytes().get(self.at..at).unwrap_or_default();
        self.line += u32::try_from(between.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
        self.at = at;
        self.line
    }
}

fn fault_at(text: &str, at: usize, what: String) -> Fault {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX).saturating_add(1);
    let own = before.rsplit('\n').next().unwrap_or_default();
    Fault { line, column: u32::try_from(own.chars().count()).unwrap_or(u32::MAX).saturating_add(1), what }
}

/// Where each policy begins and ends: a `;` that is in no text and no comment ends one. Looked for before anything is read, so that the
/// reader is only given what is bounded in length and depth.
fn extents(text: &str) -> Result<Vec<(usize, usize)>, (usize, &'static str)> {
    let bytes = text.as_bytes();
    let (mut found, mut start, mut depth, mut at) = (Vec::new(), None, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')).unwrap_or(bytes.len() - at);
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'"' => at = end_of_text(bytes, at).ok_or((at, "this text has no end"))?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let begun = *start.get_or_insert(at);
        if depth > DEPTH_MAX {
            return Err((begun, "brackets lie more than 32 deep in one another"));
        }
        if at - begun > POLICY_BYTES_MAX {
            return Err((begun, "this policy has more than 16 KiB"));
        }
        if bytes.get(at) == Some(&b';') {
            found.push((begun, at + 1));
            (start, depth) = (None, 0);
        }
        at += 1;
    }
    // What has no `;` at its end is for the reader to complain of.
    found.extend(start.map(|start| (start, text.len())));
    Ok(found)
}

/// The place of the quote that ends the text which begins here.
fn end_of_text(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
}
