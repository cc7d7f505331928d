use crate::{HostPattern, Lookup, PathTemplate, RouteSpec, RouteTable, Segment};
use proptest::prelude::*;

fn spec(name: &str, host: &str, methods: &[&str], path: &str) -> RouteSpec<String> {
    RouteSpec {
        name: name.into(),
        hosts: vec![HostPattern::parse(host).unwrap()],
        path: PathTemplate::parse(path).unwrap(),
        methods: methods.iter().map(|method| (*method).into()).collect(),
        headers: Vec::new(),
        target: name.to_owned(),
    }
}

fn no_headers(_: &str) -> Option<&'static [u8]> {
    None
}

fn find(table: &RouteTable<String>, host: &str, method: &str, path: &str) -> String {
    match table.find(host, method, path, &no_headers) {
        Lookup::Found { target } => target.clone(),
        Lookup::HostUnknown => "no host".to_owned(),
        Lookup::PathUnknown => "no path".to_owned(),
        Lookup::MethodUnknown { allow } => format!("allow {allow}"),
    }
}

#[test]
fn the_most_specific_host_decides_alone() {
    let (table, _) = RouteTable::build(vec![
        spec("exact", "api.example.com", &["GET"], "/a"),
        spec("near", "*.b.example.com", &["GET"], "/a"),
        spec("far", "*.example.com", &["GET"], "/{*rest}"),
        spec("any", "*", &["GET"], "/{*rest}"),
    ]);
    assert_eq!(find(&table, "api.example.com", "GET", "/a"), "exact");
    assert_eq!(find(&table, "api.example.com", "GET", "/b"), "no path");
    assert_eq!(find(&table, "x.b.example.com", "GET", "/a"), "near");
    assert_eq!(find(&table, "y.x.b.example.com", "GET", "/a"), "near");
    assert_eq!(find(&table, "x.example.com", "GET", "/z"), "far");
    assert_eq!(find(&table, "example.com", "GET", "/z"), "any");
    assert_eq!(find(&table, "evilexample.com", "GET", "/z"), "any");
}

#[test]
fn static_goes_before_parameter_before_all_that_is_left() {
    let (table, _) = RouteTable::build(vec![
        spec("all", "*", &["GET"], "/{*rest}"),
        spec("one", "*", &["GET"], "/items/{id}"),
        spec("new", "*", &["GET"], "/items/new"),
        spec("deep", "*", &["GET"], "/items/new/deep"),
        spec("root", "*", &["GET"], "/"),
        spec("slash", "*", &["GET"], "/items/"),
    ]);
    for (path, route) in [
        ("/items/new", "new"),
        ("/items/7", "one"),
        ("/items/7/x", "all"),
        ("/items/new/deep", "deep"),
        ("/items/new/else", "all"),
        ("/", "root"),
        ("/items/", "slash"),
        ("/items", "all"),
    ] {
        assert_eq!(find(&table, "h", "GET", path), route, "{path}");
    }
}

/// A method that the specific template does not have must not fall through to a broader route, which may be public.
#[test]
fn a_method_never_falls_through_to_a_broader_template() {
    let (table, _) =
        RouteTable::build(vec![spec("all", "*", &["GET", "DELETE"], "/{*rest}"), spec("one", "*", &["GET", "PUT"], "/items/{id}")]);
    assert_eq!(find(&table, "h", "DELETE", "/items/7"), "allow GET, PUT");
    assert_eq!(find(&table, "h", "DELETE", "/other"), "all");
}

#[test]
fn b52_a_header_predicate_wants_its_value_exactly_once() {
    let mut v2 = spec("v2", "*", &["GET"], "/a");
    v2.headers.push(("x-version".into(), b"2".as_slice().into()));
    let (table, overlaps) = RouteTable::build(vec![spec("v1", "*", &["GET"], "/a"), v2]);
    assert!(overlaps.is_empty());
    let with = |value: Option<&'static [u8]>| match table.find("h", "GET", "/a", &|_| value) {
        Lookup::Found { target } => target.clone(),
        _ => "none".to_owned(),
    };
    assert_eq!((with(Some(b"2")), with(Some(b"3")), with(None)), ("v2".into(), "v1".into(), "v1".into()));
}

#[test]
fn routes_that_meet_are_reported() {
    let (table, overlaps) = RouteTable::build(vec![
        spec("first", "*", &["GET"], "/items/{id}"),
        spec("second", "*", &["GET", "PUT"], "/items/{name}"),
        spec("third", "*", &["GET"], "/items/{x}"),
    ]);
    assert_eq!(find(&table, "h", "GET", "/items/1"), "first");
    let told: Vec<_> = overlaps.iter().map(|o| (&*o.first, &*o.second, o.hidden)).collect();
    assert_eq!(told, [("first", "second", false), ("first", "third", true), ("second", "third", true)]);
}

#[test]
fn explanations_tell_what_find_does() {
    let (table, _) = RouteTable::build(vec![spec("one", "*.test", &["GET"], "/a"), spec("two", "*.test", &["POST"], "/a")]);
    let explanation = table.explain("x.test", "POST", "/a", &no_headers);
    assert_eq!(explanation.host.as_deref(), Some("*.test"));
    assert_eq!(explanation.considered.iter().map(|c| c.taken).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn templates_and_hosts_that_make_no_sense_are_refused() {
    for bad in [
        "", "a", "/{a", "/a}", "/{a}b", "/{}", "/{*}", "/{*a}/b", "//", "/a//b", "/.", "/../a", "/a;b", "/a b", "/a#", "/{a}/{a}",
        "/\u{e9}",
    ] {
        assert!(PathTemplate::parse(bad).is_err(), "{bad}");
    }
    for bad in ["", "a..b", "a:80", "*.", "*a.b", "a.*.b", "a/b", "[::1", "[x]", "-\u{e9}"] {
        assert!(HostPattern::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(HostPattern::parse("API.Example.com").unwrap().to_string(), "api.example.com");
}

/// Whether a template fits a path, told without a tree, and how specific it is segment by segment.
fn naive(template: &PathTemplate, path: &str) -> Option<Vec<u8>> {
    let mut rank = Vec::new();
    let mut parts = path.strip_prefix('/').unwrap().split('/');
    for segment in template.segments() {
        match segment {
            Segment::CatchAll(_) => {
                parts.next()?;
                rank.push(2);
                return Some(rank);
            }
            Segment::Static(text) if parts.next()? == &**text => rank.push(0),
            Segment::Param(_) if !parts.next()?.is_empty() => rank.push(1),
            _ => return None,
        }
    }
    parts.next().is_none().then_some(rank)
}

fn template() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("{p}"), Just("{q}")];
    (proptest::collection::vec(segment, 0..4), proptest::bool::ANY).prop_filter_map("valid", |(segments, all)| {
        let text = format!("/{}{}", segments.join("/"), if all { if segments.is_empty() { "{*r}" } else { "/{*r}" } } else { "" });
        PathTemplate::parse(&text).ok().map(|_| text)
    })
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_plain_search_finds(
        templates in proptest::collection::vec(template(), 1..12),
        path in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("")], 1..5),
    ) {
        let path = format!("/{}", path.join("/"));
        let specs = templates.iter().map(|text| spec(text, "*", &["GET"], text)).collect();
        let (table, _) = RouteTable::build(specs);
        let parsed = templates.iter().map(|text| PathTemplate::parse(text).unwrap());
        let best = parsed.filter_map(|template| naive(&template, &path)).min();
        let found = match table.find("h", "GET", &path, &no_headers) {
            Lookup::Found { target } => naive(&PathTemplate::parse(target).unwrap(), &path),
            _ => None,
        };
        prop_assert_eq!(found, best);
    }
}
