//! What the callers of a route are held to, compared: limits, bounds, address rules, what is turned off, other origins, streams.

use super::Weighed;
use super::requests::Place;
use portcullis_control_config::settings::EncodedSlash;
use portcullis_control_config::{Access, Plan, PolicyLevels};
use portcullis_gateway_policy::RoutePolicy;
use portcullis_model_settings::{ByteSize, Decode, Diagnostics, FileId, RequestRate, TreeBuilder, Value};
use std::collections::BTreeSet;
use std::time::Duration;

/// What requests are held to that take `before` in the one plan and `after` in the other.
pub(crate) fn weigh((old, before): (&Plan, Place<'_>), (new, after): (&Plan, Place<'_>)) -> Weighed {
    let mut weighed = Weighed::default();
    let levels = |plan, place: Place<'_>, name| levels(plan, &place.route.policies, name);
    let both = |name| (levels(old, before, name), levels(new, after, name));
    let (mine, others) = both("limits");
    limits(&mine, &others, &mut weighed);
    let (mine, others) = both("request_limits");
    bounds(&mine, &others, &mut weighed);
    for (name, what) in
        [("ip_rules", "`ip_rules`, which addresses may come"), ("disabled", "`disabled`, what is turned off or refused")]
    {
        let (mine, others) = both(name);
        rules(what, &mine, &others, &mut weighed);
    }
    let (mine, others) = both("cors");
    cors(&mine, &others, &mut weighed);
    weighed.flag("a WebSocket may be opened", before.route.websocket, after.route.websocket);
    let keeps = |place: Place<'_>| place.route.encoded_slash == EncodedSlash::Keep;
    weighed.flag("paths may have an encoded slash", keeps(before), keeps(after));
    weighed.flag("it need not be known what other nodes have revoked", !is_fresh(before), !is_fresh(after));
    policies(before, after, &mut weighed);
    if let (Some(mine), Some(others)) = (stream_age(before), stream_age(after)) {
        weighed.more("`stream_age_max`, how long streams go on", &mine, &others);
    }
    weighed
}

fn is_fresh(place: Place<'_>) -> bool {
    matches!(&place.route.access, Access::Allow { access, .. } if access.is_fresh)
}

/// Policies in Cedar: what they let through is not compared, so whatever has changed of them may let more through, but for policies that
/// only forbid.
fn policies(before: Place<'_>, after: Place<'_>, weighed: &mut Weighed) {
    fn of(place: Place<'_>) -> Option<&RoutePolicy> {
        match &place.route.access {
            Access::Public => None,
            Access::Allow { access, .. } => access.policy.as_deref(),
        }
    }
    match (of(before), of(after)) {
        (None, None) => {}
        (None, Some(new)) => weighed.tightens.insert_text(&format!("policies of `{}` must permit it now", new.file)),
        (Some(old), None) => weighed.relaxes.insert_text(&format!("policies of `{}` need not permit it any more", old.file)),
        (Some(old), Some(new)) => {
            // SECURITY: the same words may speak of another path, or of roles that stand for others.
            let speaks_of_the_same = before.route.path == after.route.path
                && old.parameters == new.parameters
                && old.roles.iter().all(|role| new.roles.contains(role));
            if speaks_of_the_same && new.bucket == old.bucket {
                return;
            }
            if speaks_of_the_same && new.bucket.only_forbids_more_than(&old.bucket) {
                weighed.tightens.insert_text(&format!("policies of `{}` forbid more", new.file));
            } else {
                let what = format!("policies of `{}` have changed, and may let more through", new.file);
                weighed.relaxes.insert_text(&what);
            }
        }
    }
}

fn stream_age(place: Place<'_>) -> Option<Duration> {
    match &place.route.access {
        Access::Public => None,
        Access::Allow { access, .. } => Some(access.authenticate.stream_age_max),
    }
}

/// The settings of a policy at each level, outermost first, as they would be written.
fn levels(plan: &Plan, policies: &PolicyLevels, name: &str) -> Vec<Value> {
    let row = plan.policies().iter().position(|row| row.name == name);
    let Some((schema, row)) = row.and_then(|row| Some((plan.policies().get(row)?, row))) else { return Vec::new() };
    let settings = policies.iter().find(|(policy, _)| *policy == row).map(|(_, settings)| settings);
    settings.unwrap_or_default().iter().map(|settings| (schema.encode)(&**settings)).collect()
}

/// A value as it would be read.
fn decoded<T: Decode>(value: &Value) -> Option<T> {
    let mut builder = TreeBuilder::new(FileId(0), 4, 4);
    builder.scalar(value.as_str()?, true, 1, 1).ok()?;
    T::decode(&builder.finish()?.root(), &mut Diagnostics::default())
}

/// Every limit must be there still, or a tighter one of its kind.
fn limits(old: &[Value], new: &[Value], weighed: &mut Weighed) {
    let lines = |levels: &[Value]| levels.iter().filter_map(Value::as_array).flatten().cloned().collect::<Vec<_>>();
    // What refuses nothing holds nobody.
    let lines = |levels: &[Value]| {
        let mut lines = lines(levels);
        lines.retain(|line| line.get("mode").and_then(Value::as_str) != Some("report"));
        lines
    };
    let (old, new) = (lines(old), lines(new));
    let told = |line: &Value| {
        let word = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("the limit of {} by {}", word("rate"), word("per"))
    };
    let uncovered = |from: &[Value], by: &[Value]| {
        let gone: BTreeSet<String> =
            from.iter().filter(|line| !by.iter().any(|other| is_as_tight(other, line))).map(told).collect();
        gone
    };
    weighed.relaxes.extend(uncovered(&old, &new).into_iter().map(|limit| format!("{limit} is gone or allows more")));
    weighed.tightens.extend(uncovered(&new, &old).into_iter().map(|limit| format!("{limit} is new or allows less")));
}

/// Whether whatever `line` refuses is refused by `other`.
fn is_as_tight(other: &Value, line: &Value) -> bool {
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
    let rate = |of: &Value| of.get("rate").and_then(decoded::<RequestRate>);
    let rates = match (rate(other), rate(line)) {
        (Some(own), Some(other)) => own.period_nanos() == other.period_nanos() && own.count() <= other.count(),
        _ => false,
    };
    let bursts = match (number(other, "burst"), number(line, "burst")) {
        (Some(own), Some(other)) => own <= other,
        (None, None) => true,
        _ => false,
    };
    let same = |key: &str| other.get(key) == line.get(key);
    rates
        && bursts
        && same("per")
        && same("use")
        && same("header")
        && same("ipv6_prefix")
        && number(other, "cost") >= number(line, "cost")
}

/// Bounds of requests: the innermost level that says one counts, as levels can only make it less.
fn bounds(old: &[Value], new: &[Value], weighed: &mut Weighed) {
    let last = |levels: &[Value], key: &str| {
        levels.iter().rev().find_map(|level| level.get(key).filter(|value| !value.is_null()).cloned())
    };
    for (key, what, default) in [
        ("body_bytes_max", "`body_bytes_max`, how long bodies may be", ByteSize::kib(1024)),
        ("uri_bytes_max", "`uri_bytes_max`, how long paths may be", ByteSize::kib(8)),
    ] {
        let bound = |levels: &[Value]| last(levels, key).as_ref().and_then(decoded::<ByteSize>).unwrap_or(default);
        weighed.more(what, &bound(old), &bound(new));
    }
    let methods = |levels: &[Value]| {
        let listed = last(levels, "methods").and_then(|list| list.as_array().cloned());
        listed.map(|list| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>())
    };
    match (methods(old), methods(new)) {
        (Some(mine), Some(others)) if mine == others => {}
        (None, None) => {}
        (Some(mine), Some(others)) if others.is_subset(&mine) => {
            weighed.tightens.insert_text("`request_limits.methods` has fewer methods")
        }
        (None, Some(_)) => weighed.tightens.insert_text("`request_limits.methods` has fewer methods"),
        _ => weighed.relaxes.insert_text("`request_limits.methods` has more methods"),
    }
}

/// Rules of which every level holds: more of them are tighter; what has changed cannot be told to be.
fn rules(what: &str, old: &[Value], new: &[Value], weighed: &mut Weighed) {
    let is_there = |levels: &[Value], wanted: &Value| levels.iter().any(|level| level == wanted);
    if old.iter().any(|level| !is_there(new, level)) {
        weighed.relaxes.insert_text(&format!("{what}, is gone or has changed, and may let more through"));
    } else if new.iter().any(|level| !is_there(old, level)) {
        weighed.tightens.insert_text(&format!("{what}, has more to say"));
    }
}

/// What pages of other origins may do: the innermost level says it.
fn cors(old: &[Value], new: &[Value], weighed: &mut Weighed) {
    let rules = |levels: &[Value]| levels.last().filter(|level| level.is_object()).cloned();
    let origins = |rules: &Value| -> BTreeSet<String> {
        rules.get("origins").and_then(Value::as_array).into_iter().flatten().map(ToString::to_string).collect()
    };
    let rest = |rules: &Value| {
        let mut rest = rules.clone();
        rest.as_object_mut().and_then(|rest| rest.remove("origins"));
        rest
    };
    match (rules(old), rules(new)) {
        (None, None) => {}
        (Some(mine), Some(others)) if mine == others => {}
        (Some(_), None) => weighed.tightens.insert_text("`cors` lets no pages of other origins read answers any more"),
        (None, Some(_)) => weighed.relaxes.insert_text("`cors` lets pages of other origins read answers"),
        (Some(mine), Some(others)) if rest(&mine) == rest(&others) && origins(&others).is_subset(&origins(&mine)) => {
            weighed.tightens.insert_text("`cors` has fewer origins");
        }
        _ => weighed.relaxes.insert_text("`cors` has changed, and may let pages of other origins do more"),
    }
}

/// Adding a text to a set of them.
trait InsertText {
    fn insert_text(&mut self, text: &str);
}

impl InsertText for BTreeSet<String> {
    fn insert_text(&mut self, text: &str) {
        self.insert(text.to_owned());
    }
}
