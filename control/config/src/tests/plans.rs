//! What a plan says.

use super::{BodyLimit, Folder, POLICIES, cases, load_here};
use crate::{AccessLogPlan, ApiPlan, ListenerMode, Plan, reference, schema};
use portcullis_model_settings::{ByteSize, Methods, PolicySettings, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn everything() -> Plan {
    load_here(&cases("accepted/everything.yaml")).expect("accepted")
}

fn api<'p>(plan: &'p Plan, name: &str) -> &'p Arc<ApiPlan> {
    plan.apis.iter().find(|api| &*api.name == name).expect("there")
}

fn limits(levels: &[PolicySettings]) -> Vec<ByteSize> {
    levels.iter().map(|settings| settings.downcast_ref::<BodyLimit>().expect("its type").bytes_max).collect()
}

#[test]
fn names_are_resolved_and_defaults_are_visible() {
    let plan = load_here(&cases("accepted/minimal.yaml")).expect("accepted");
    let [listener] = &*plan.listeners else { panic!("one listener") };
    assert_eq!((listener.limits.connections, listener.limits.connections_per_client), (20_000, 200));
    assert_eq!((listener.limits.header_deadline, listener.limits.idle_timeout), (Duration::from_secs(10), Duration::from_secs(75)));
    assert_eq!((listener.limits.headers_bytes_max, listener.limits.uri_bytes_max), (ByteSize::kib(32), ByteSize::kib(8)));
    let ListenerMode::Tls(tls) = &listener.mode else { panic!("TLS") };
    assert_eq!(tls.certificates[0].key, cases("accepted").join("tls/api.key"));
    assert_eq!(plan.management.socket, cases("accepted").join("run/portcullis.sock"));
    assert_eq!((&plan.management.probes, &plan.access_log, plan.workers), (&None, &AccessLogPlan::Stdout, None));
    assert_eq!(plan.upstreams[0].timeouts.total, None);
    assert!(plan.weakenings.is_empty() && plan.warnings.is_empty());
}

#[test]
fn routes_have_their_whole_path_and_only_what_was_said() {
    let plan = everything();
    let orders = api(&plan, "orders");
    let paths: Vec<&str> = orders.routes.iter().map(|route| &*route.path).collect();
    assert_eq!(
        paths,
        ["/orders", "/orders/{id}", "/orders/{id}/files/{*rest}", "/orders/{id}", "/orders/mine", "/orders/live", "/orders/{id}"]
    );
    assert_eq!(&*orders.routes[2].headers, [("x-version".into(), "2".into())]);
    assert_eq!(
        orders.routes.iter().map(|route| route.websocket).collect::<Vec<_>>(),
        [false, false, false, false, false, true, false]
    );
    assert_eq!(&*api(&plan, "rest").routes[0].path, "/{*rest}");
    assert_ne!(orders.routes[0].methods, Methods::all());
}

#[test]
fn policies_come_outermost_first_and_are_shared() {
    let plan = everything();
    let orders = api(&plan, "orders");
    let of = |route: usize| orders.routes[route].policies.iter().flat_map(|(_, levels)| limits(levels)).collect::<Vec<_>>();
    assert_eq!(of(0), [ByteSize::mib(4), ByteSize::mib(2)]);
    assert_eq!(of(2), [ByteSize::mib(4), ByteSize::mib(2), ByteSize::mib(1)]);
    assert!(orders.routes[0].policies.same(&orders.routes[3].policies));
    assert!(!orders.routes[0].policies.same(&orders.routes[2].policies));
    assert!(api(&plan, "rest").routes[0].policies.same(plan.defaults()));
}

#[test]
fn weakenings_are_listed_with_who_answers_and_when_they_end() {
    let plan = everything();
    let listed: Vec<(&str, &str, u64)> =
        plan.weakenings.iter().map(|one| (one.path.as_str(), one.owner.as_str(), one.expires_unix_seconds)).collect();
    assert_eq!(
        listed,
        [
            ("/listeners/bench/danger_plaintext", "ops@example.com", 1_798_761_600),
            ("/upstreams/legacy/danger_plaintext", "team-legacy@example.com", 1_814_313_600),
        ]
    );
}

#[test]
fn what_can_be_known_in_advance_is_warned_of() {
    let folder = Folder::new();
    let minimal = std::fs::read_to_string(cases("accepted/minimal.yaml")).expect("there");
    let text = minimal.replace("hosts: [api.example.com]\n    upstream", "hosts: [other.example.com]\n    upstream").replace(
        "upstreams:\n",
        "upstreams:\n  spare:\n    endpoints: [{ url: \"http://127.0.0.1:9001\" }]\n    danger_plaintext: { reason: a, owner: b, expires: 2027-01-01 }\n",
    );
    let plan = load_here(&folder.write("a.yaml", text)).expect("only warnings");
    let warnings: Vec<&str> = plan.warnings.iter().map(|warning| warning.what.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "nothing goes to the upstream `spare`",
            "every endpoint is on this machine or reached by TLS, so nothing is weakened",
            "no certificate is for the host `other.example.com`",
        ]
    );
}

#[test]
fn debug_of_a_plan_shows_no_settings_of_policies() {
    let shown = format!("{:?}", everything());
    assert!(shown.contains("orders") && !shown.contains("BodyLimit"), "{shown}");
}

#[test]
fn the_hash_follows_the_content_and_nothing_else() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(cases("accepted/everything.yaml")).expect("there");
    let hash = |name: &str, text: &str| load_here(&folder.write(name, text)).expect("valid").hash();
    let first = hash("a.yaml", &text);
    assert_eq!(first, hash("b.yaml", &format!("# a comment\n{}", text.replace("workers: 4", "workers:    4"))));
    for (from, to) in [
        ("workers: 4", "workers: 5"),
        ("connections: 64", "connections: 65"),
        ("name: list", "name: lists"),
        ("owner: team-orders@example.com", "owner: others@example.com"),
        ("bytes_max: 4MiB", "bytes_max: 5MiB"),
        ("keep: 3", "keep: 4"),
        ("10.0.0.5,", "10.0.0.6,"),
    ] {
        assert!(text.contains(from));
        assert_ne!(first, hash("c.yaml", &text.replacen(from, to, 1)), "{to}");
    }
}

#[test]
fn an_api_keeps_its_hash_when_another_one_changes_but_not_when_the_defaults_do() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(cases("accepted/everything.yaml")).expect("there");
    let hashes = |text: &str| {
        let plan = load_here(&folder.write("a.yaml", text)).expect("valid");
        (api(&plan, "orders").digest, api(&plan, "rest").digest)
    };
    let (orders, rest) = hashes(&text);
    let (orders_after, rest_after) = hashes(&text.replace("name: all", "name: everything"));
    assert!(orders == orders_after && rest != rest_after);
    let (orders_after, rest_after) = hashes(&text.replace("bytes_max: 4MiB", "bytes_max: 5MiB"));
    assert!(orders != orders_after && rest != rest_after);
}

#[test]
fn the_schema_holds_the_policies_where_they_can_be_written() {
    let schema = schema(&POLICIES);
    for level in ["/properties/defaults", "/properties/apis/additionalProperties"] {
        let place = format!("{level}/properties/body_limit/$ref");
        assert_eq!(schema.pointer(&place).and_then(|at| at.as_str()), Some("#/$defs/body_limit"), "{level}");
    }
    let route = "/properties/apis/additionalProperties/properties/routes/items";
    assert_eq!(schema.pointer(&format!("{route}/required")).expect("there").to_string(), r#"["name","methods","path","access"]"#);
    assert!(schema.pointer(&format!("{route}/properties/body_limit")).is_some());
    assert!(schema.pointer("/$defs/body_limit/properties/bytes_max/default").is_some_and(|default| default == "1MiB"));
    assert!(!schema.to_string().contains("x-policies") && !schema.to_string().contains("x-about"));
}

#[test]
fn the_reference_explains_every_section_and_policy() {
    let text = reference(&POLICIES);
    for heading in
        ["### `listeners.NAME.limits`", "### `apis.NAME.routes[].access`", "### `body_limit`", "### `record.access_log.rotate`"]
    {
        assert!(text.contains(heading), "{heading}");
    }
    assert!(
        text.contains("| `connections` | whole number, `1` to `10000000` | `20000` | Connections at the same time. |"),
        "{text}"
    );
    assert!(text.contains("| `certificate` | path of a file | **required** | The certificate chain"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with('|') && line.ends_with("|  |")), "every key has a meaning");
}

#[test]
fn paths_of_files_start_at_the_folder_of_the_configuration() {
    let plan = everything();
    let AccessLogPlan::File { path, rotate: Some(rotate) } = &plan.access_log else { panic!("a file") };
    assert_eq!((path, rotate.keep), (&cases("accepted").join("var/access.log"), 3));
    assert_eq!(plan.management.socket, Path::new("/run/portcullis/portcullis.sock"));
}

#[test]
fn the_canonical_form_tells_what_is_spoken_with_an_upstream() {
    let plan = super::load_here(&super::cases("accepted/everything.yaml")).expect("accepted");
    let upstreams = &plan.to_canonical_json()["upstreams"];
    let told = |name: &str| (upstreams[name]["protocol"].clone(), upstreams[name]["health"]["service"].clone());
    assert_eq!(told("payments"), ("h2".into(), "shop.v1.Payments".into()));
    assert_eq!(told("orders").0, "h1");
}

/// Where the keys of an object are not in order.
fn unsorted(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(entries) => {
            let here = (!entries.keys().is_sorted()).then(|| path.to_owned());
            here.into_iter().chain(entries.iter().flat_map(|(key, value)| unsorted(value, &format!("{path}/{key}")))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| unsorted(item, &format!("{path}/-"))).collect(),
        _ => Vec::new(),
    }
}

/// They are hashed, approved and compared as text: they must not change with how a crate of the program builds `serde_json`.
#[test]
fn the_canonical_form_and_the_schema_have_their_keys_in_order() {
    let plan = everything();
    let json = plan.to_canonical_json();
    assert_eq!(unsorted(&json, ""), Vec::<String>::new());
    assert_eq!(unsorted(&schema(&POLICIES), ""), Vec::<String>::new());
    let text = plan.to_canonical_yaml();
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with('"')).collect();
    assert!(heads.is_sorted() && heads.len() > 5, "{heads:?}");
    let routes = text.lines().filter_map(|line| line.trim().strip_prefix("- {")).collect::<Vec<_>>();
    assert!(!routes.is_empty());
    for route in routes {
        let route = serde_json::from_str(&format!("{{{route}")).expect("JSON is YAML");
        assert_eq!(unsorted(&route, ""), Vec::<String>::new());
    }
}

#[test]
fn the_text_of_a_plan_has_every_entry_in_a_line_of_its_own_and_lists_of_sections_in_one_each() {
    let plan = everything();
    let text = plan.to_canonical_yaml();
    let api = &plan.apis[0];
    let lines: Vec<&str> = text.lines().collect();
    let at =
        |wanted: &str| lines.iter().position(|line| *line == wanted).unwrap_or_else(|| panic!("no line `{wanted}` in\n{text}"));
    let routes = lines.iter().filter(|line| line.starts_with("      - {") && line.contains("\"methods\":")).count();
    assert_eq!(routes, plan.apis.iter().map(|api| api.routes.len()).sum::<usize>());
    let name = at(&format!("  {:?}:", &*api.name));
    assert!(at("\"apis\":") < name && name < at("\"upstreams\":"), "{text}");
    let upstream = at(&format!("  {:?}:", &*plan.upstreams[0].name));
    assert!(at("\"upstreams\":") < upstream && lines[upstream + 1].starts_with("    \""), "{text}");
    assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.starts_with('\n'));
}
