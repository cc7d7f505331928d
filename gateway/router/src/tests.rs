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
    told(&table.find(host, method, path, &no_headers))
}

fn told(lookup: &Lookup<'_, String>) -> String {
    match lookup {
        Lookup::Found { target } => (*target).clone(),
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
        spec("below", "*", &["GET"], "/below/{id}/{*rest}"),
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
        ("/below/1", "all"),
        ("/below/1/", "below"),
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
    let numbered = |number: u32| table.target(number).cloned().unwrap_or_default();
    assert!(overlaps.iter().all(|o| numbered(o.first_number) == *o.first && numbered(o.second_number) == *o.second));
}

#[test]
fn explanations_tell_what_find_does() {
    let (table, _) = RouteTable::build(vec![spec("one", "*.test", &["GET"], "/a"), spec("two", "*.test", &["POST"], "/a")]);
    let explanation = table.explain("x.test", "POST", "/a", &no_headers);
    assert_eq!(explanation.host.as_deref(), Some("*.test"));
    assert_eq!(explanation.considered.iter().map(|c| c.taken).collect::<Vec<_>>(), [false, true]);
    assert_eq!(explanation.considered[0].why, "the method is not among GET");
    assert_eq!(table.explain("x.test", "GET", "/b", &no_headers).considered, []);
    assert_eq!(table.explain("test", "GET", "/a", &no_headers).host, None);
}

#[test]
fn a_wildcard_is_for_names_below_it_only() {
    let (table, _) = RouteTable::build(vec![spec("below", "*.example.com", &["GET"], "/a"), spec("v6", "[::1]", &["GET"], "/a")]);
    assert_eq!(find(&table, "a.b.c.d.e.f.example.com", "GET", "/a"), "below");
    assert_eq!(find(&table, "[::1]", "GET", "/a"), "v6");
    for stranger in ["example.com", ".example.com", "notexample.com", "example.com.evil.test", "com", "", "[::2]"] {
        assert_eq!(find(&table, stranger, "GET", "/a"), "no host", "{stranger}");
    }
}

#[test]
fn routes_are_possible_whose_headers_may_come() {
    let demanding = |name: &str, headers: &[&str]| {
        let mut route = spec(name, "*", &["GET"], "/a");
        route.headers = headers.iter().map(|name| ((*name).into(), b"2".as_slice().into())).collect();
        route
    };
    let (table, _) = RouteTable::build(vec![
        spec("plain", "*", &["GET"], "/a"),
        spec("hidden", "*", &["GET"], "/a"),
        demanding("version", &["x-version"]),
        demanding("both", &["x-version", "x-tenant"]),
        spec("other", "*", &["PURGE"], "/a"),
        spec("all", "*", &["GET"], "/{*rest}"),
    ]);
    let names = |method: &str, may: &[&str]| {
        let possible = table.possible("h", method, "/a", &|name, value| value == b"2" && may.contains(&name));
        (possible.targets.into_iter().map(String::as_str).collect::<Vec<_>>(), possible.is_certain)
    };
    assert_eq!(names("GET", &[]), (vec!["plain"], true));
    assert_eq!(names("GET", &["x-version"]), (vec!["both", "version", "plain"], true));
    assert_eq!(names("GET", &["x-tenant"]), (vec!["both", "plain"], true), "one of the fields that it demands is enough");
    assert_eq!(names("PURGE", &["x-version"]), (vec!["other"], true));
    assert_eq!(names("PUT", &["x-version"]), (vec![], false));

    let (table, _) = RouteTable::build((0..65).map(|number| demanding(&number.to_string(), &["x-version"])).collect());
    let none = table.possible("h", "GET", "/a", &|_, _| true);
    assert_eq!((none.targets.len(), none.is_certain), (0, false), "too many to ask each");
}

/// Who is told only about the method although the route wants a header would look in the wrong place, and `Allow` would name the
/// method that was just refused.
#[test]
fn a_missing_header_is_no_wrong_method() {
    let mut demanding = spec("demanding", "*", &["GET"], "/a");
    demanding.headers.push(("x-version".into(), b"2".as_slice().into()));
    let (table, _) = RouteTable::build(vec![demanding, spec("all", "*", &["GET", "PUT"], "/{*rest}")]);
    assert_eq!(find(&table, "h", "GET", "/a"), "no path");
    assert_eq!(find(&table, "h", "PUT", "/a"), "allow GET");
}

#[test]
fn methods_beyond_the_usual_ones_are_told_apart() {
    let (table, _) = RouteTable::build(vec![
        spec("purge", "*", &["PURGE", "GET"], "/a"),
        spec("report", "*", &["REPORT"], "/a"),
        spec("other", "*", &["GET"], "/b"),
    ]);
    assert_eq!(find(&table, "h", "PURGE", "/a"), "purge");
    assert_eq!(find(&table, "h", "REPORT", "/a"), "report");
    assert_eq!(find(&table, "h", "get", "/a"), "allow GET, PURGE, REPORT");
    assert_eq!(find(&table, "h", "PURGE", "/b"), "allow GET");
    assert_eq!(find(&table, "h", "HEAD", "/b"), "allow GET");
}

/// Templates laid out so that a look-up would have to try ever more of them: it is cut short, and then refused rather than given to
/// the broad route at the top.
#[test]
fn a_look_up_that_takes_too_long_is_refused() {
    const LEVELS: usize = 13;
    let mut specs: Vec<_> = (0..1_usize << LEVELS)
        .map(|bits| {
            let way: String = (0..LEVELS).map(|level| if bits >> level & 1 == 0 { "/a" } else { "/{p}" }).collect();
            let way =
                way.split('/').enumerate().map(|(at, part)| part.replace('p', &format!("p{at}"))).collect::<Vec<_>>().join("/");
            spec("deep", "*", &["GET"], &format!("{way}/end"))
        })
        .collect();
    specs.push(spec("broad", "*", &["GET"], "/{*rest}"));
    let (table, _) = RouteTable::build(specs);
    let way = "/a".repeat(LEVELS);
    assert_eq!(find(&table, "h", "GET", &format!("{way}/end")), "deep");
    assert_eq!(find(&table, "h", "GET", &format!("{way}/none")), "no path");
    assert_eq!(find(&table, "h", "GET", "/b/none"), "broad");
}

/// As many routes on one template as there are tenants: neither time nor memory may go with the square of them.
#[test]
fn many_routes_of_one_template_build_and_are_found() {
    let tenant = |number: usize, name: &str| {
        let mut spec = spec(&number.to_string(), "*", &["GET"], "/a");
        spec.headers.push((name.into(), number.to_string().into_bytes().into()));
        spec
    };
    let (table, overlaps) = RouteTable::build((0..5_000).map(|number| tenant(number, "x-tenant")).collect());
    assert_eq!(overlaps, []);
    let found = table.find("h", "GET", "/a", &|_| Some(b"4999"));
    assert_eq!(found, Lookup::Found { target: &"4999".to_owned() });
    let (_, overlaps) = RouteTable::build((0..5_000).map(|number| tenant(number, &format!("x-{number}"))).collect());
    assert_eq!(overlaps.len(), 1000);
}

#[test]
fn parameters_are_what_stands_in_their_places() {
    let params = |template: &str, path: &str| -> Vec<(String, String)> {
        let template = PathTemplate::parse(template).unwrap();
        template.params(path).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(params("/items/{id}/x/{n}", "/items/a%20b/x/7"), [pair("id", "a%20b"), pair("n", "7")]);
    assert_eq!(params("/files/{*path}", "/files/a/b"), [pair("path", "a/b")]);
    assert_eq!(params("/files/{*path}", "/files/"), [pair("path", "")]);
    assert_eq!(params("/plain", "/plain"), []);
}

#[test]
fn templates_and_hosts_that_make_no_sense_are_refused() {
    for bad in [
        "", "a", "/{a", "/a}", "/{a}b", "/{}", "/{*}", "/{*a}/b", "//", "/a//b", "/.", "/../a", "/a;b", "/a b", "/a#", "/{a}/{a}",
        "/\u{e9}",
    ] {
        assert!(PathTemplate::parse(bad).is_err(), "{bad}");
    }
    for bad in ["", "a..b", "a:80", "*.", "*a.b", "a.*.b", "a/b", "[::1", "[x]", "-\u{e9}", "*.[::1]", "1.2.3", "1.2.3.256", "*.1"]
    {
        assert!(HostPattern::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(HostPattern::parse("API.Example.com").unwrap().to_string(), "api.example.com");
}

/// Whether a template fits a path, told without a tree, and how specific it is segment by segment.
fn rank(template: &PathTemplate, path: &str) -> Option<Vec<u8>> {
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

/// How specific a pattern is for a host that it fits.
fn host_rank(pattern: &HostPattern, host: &str) -> Option<usize> {
    match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some(1000),
        HostPattern::Wildcard(suffix) => (host.len() > suffix.len() && host.ends_with(&**suffix)).then_some(suffix.len()),
        HostPattern::Any => Some(0),
    }
}

type Headers = Vec<(Box<str>, Box<[u8]>)>;

/// What docs/routing.md says, route by route and without any structure.
fn plain_search(specs: &[RouteSpec<String>], host: &str, method: &str, path: &str, headers: &Headers) -> String {
    let patterns = specs.iter().flat_map(|spec| &spec.hosts);
    let Some((_, pattern)) =
        patterns.filter_map(|pattern| Some((host_rank(pattern, host)?, pattern))).max_by_key(|(rank, _)| *rank)
    else {
        return "no host".to_owned();
    };
    let of_host = || specs.iter().filter(|spec| spec.hosts.contains(pattern));
    let Some(best) = of_host().filter_map(|spec| rank(&spec.path, path)).min() else { return "no path".to_owned() };
    let mut deciding: Vec<_> = of_host().filter(|spec| rank(&spec.path, path).as_ref() == Some(&best)).collect();
    deciding.sort_by_key(|spec| std::cmp::Reverse(spec.headers.len()));
    let with_method: Vec<_> = deciding.iter().filter(|spec| spec.methods.iter().any(|own| **own == *method)).collect();
    if with_method.is_empty() {
        let methods: std::collections::BTreeSet<_> =
            deciding.iter().flat_map(|spec| &spec.methods).map(|method| &**method).collect();
        return format!("allow {}", methods.into_iter().collect::<Vec<_>>().join(", "));
    }
    let has = |wanted: &(Box<str>, Box<[u8]>)| {
        let same: Vec<_> = headers.iter().filter(|(name, _)| *name == wanted.0).collect();
        matches!(same[..], [one] if one.1 == wanted.1)
    };
    let found = with_method.iter().find(|spec| spec.headers.iter().all(has));
    found.map_or_else(|| "no path".to_owned(), |spec| spec.target.clone())
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("{p}"), Just("{q}"), Just("a-segment-of-many-bytes-1")];
    (proptest::collection::vec(segment, 0..4), proptest::bool::ANY).prop_filter_map("valid", |(segments, all)| {
        let text = format!("/{}{}", segments.join("/"), if all { if segments.is_empty() { "{*r}" } else { "/{*r}" } } else { "" });
        PathTemplate::parse(&text).ok().map(|_| text)
    })
}

fn any_headers() -> impl Strategy<Value = Headers> {
    let header = (prop_oneof![Just("x-a"), Just("x-b")], prop_oneof![Just("1"), Just("2")]);
    proptest::collection::vec(header, 0..3)
        .prop_map(|headers| headers.into_iter().map(|(name, value)| (name.into(), value.as_bytes().into())).collect())
}

fn any_method() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("GET"), Just("HEAD"), Just("PUT"), Just("PURGE"), Just("REPORT")]
}

fn any_spec() -> impl Strategy<Value = RouteSpec<String>> {
    let host = prop_oneof![Just("*"), Just("a.test"), Just("*.test"), Just("*.a.test"), Just("*.b.test"), Just("[::1]")];
    let hosts = proptest::collection::vec(host, 1..3);
    (hosts, any_path(), proptest::collection::vec(any_method(), 1..3), any_headers()).prop_map(|(hosts, path, methods, headers)| {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        RouteSpec { hosts, headers, ..spec("", "*", &methods, &path) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_finds_what_a_plain_search_finds(
        mut specs in proptest::collection::vec(any_spec(), 0..12),
        host in prop_oneof![Just("a.test"), Just("b.test"), Just("x.a.test"), Just("y.x.a.test"), Just("test"), Just("[::1]")],
        method in any_method(),
        path in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("a-segment-of-many-bytes-1"), Just("a-segment-of-many-bytes-2")], 1..5),
        headers in any_headers(),
    ) {
        let path = format!("/{}", path.join("/"));
        for (number, spec) in specs.iter_mut().enumerate() {
            spec.target = format!("route {number}");
        }
        let expected = plain_search(&specs, host, method, &path, &headers);
        let sole = |name: &str| {
            let mut same = headers.iter().filter(|(own, _)| **own == *name);
            same.next().filter(|_| same.next().is_none()).map(|(_, value)| &**value)
        };
        let (table, _) = RouteTable::build(specs);
        prop_assert_eq!(told(&table.find(host, method, &path, &sole)), expected);
        let explained = table.explain(host, method, &path, &sole);
        prop_assert!(explained.considered.iter().filter(|one| one.taken).count() <= 1);
    }
}
