//! Commands that speak to a running gateway by its management socket.

use portcullis_testing_kit::{Gateway, Plain, TempDir, Witness, binary, output_of};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const ROUTES: &str = "- { name: list, methods: [GET, HEAD], path: \"/items\", access: { public: true } }\n\
    - { name: late, methods: [GET], path: \"/all\", headers: { X-B: b }, access: { public: true } }";

fn start() -> (Gateway, Witness) {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.routes = ROUTES;
    plain.sections = "defaults: { request_limits: { body_bytes_max: 1KiB } }";
    (plain.start(), witness)
}

#[track_caller]
fn portcullis(folder: &Path, arguments: &[&str]) -> Output {
    output_of(Command::new(binary()).args(arguments).current_dir(folder))
}

/// What a command that succeeds prints.
#[track_caller]
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = portcullis(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command says on standard error.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

#[test]
fn routes_are_a_table_for_people_and_json_for_programs() {
    let (gateway, _witness) = start();
    let table = printed(gateway.folder(), &["routes", "--format", "text"]);
    let cells = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = table.lines().map(cells).collect();
    assert_eq!(rows[0], ["api", "route", "hosts", "methods", "path", "headers", "access", "upstream", "policies"], "{table}");
    assert_eq!(rows[1][..5], ["a", "list", "*", "GET,HEAD", "/items"], "{table}");
    assert_eq!(rows[2][..8], ["a", "late", "*", "GET", "/all", "x-b: b", "public", "u"], "{table}");
    assert!(rows[2][8].contains("request_limits") && table.contains("2 routes"), "{table}");
    let routes = json(&printed(gateway.folder(), &["routes"]));
    assert_eq!(routes.as_array().map(Vec::len), Some(2), "{routes:#}");
    assert_eq!((&routes[1]["name"], &routes[1]["headers"][0]), (&"late".into(), &"x-b: b".into()), "{routes:#}");
}

#[test]
fn reload_tells_what_came_of_it() {
    let (gateway, _witness) = start();
    let unchanged = printed(gateway.folder(), &["reload", "--format", "text"]);
    assert!(unchanged.starts_with("nothing has changed: generation 1  "), "{unchanged}");
    let good = gateway.config();
    // A route that meets another: in force, with a warning.
    let meeting =
        "- { name: early, methods: [GET], path: \"/all\", headers: { X-A: a }, access: { public: true } }\n      - { name: late";
    gateway.configure(&good.replacen("- { name: late", meeting, 1));
    gateway.reaches_generation(2);
    gateway.configure(&good.replacen("- { name: late", meeting, 1).replace("/items", "/things"));
    // Whoever is first, the watch of the files or the command: what is in force then is the new one.
    let reloaded = json(&printed(gateway.folder(), &["reload"]));
    assert_eq!(reloaded["generation"], 3, "{reloaded:#}");
    assert_eq!(gateway.get("/things").status, 200);
    gateway.write("portcullis.yaml", good.replace("upstream: u", "upstream: v"));
    for format in ["text", "json"] {
        let refused = portcullis(gateway.folder(), &["reload", "--format", format]);
        assert_eq!(refused.status.code(), Some(1));
        let told = said(&refused);
        assert!(
            told.contains("portcullis.yaml:") && told.contains("there is no upstream `v`") && told.contains("help: "),
            "{told}"
        );
        assert!(told.contains("serves on"), "{told}");
    }
    assert_eq!((gateway.get("/things").status, gateway.generation()), (200, 3));
}

#[test]
fn reload_by_command_shows_warnings() {
    let (mut gateway, _witness) = start();
    // The file becomes a link to one in a folder that nobody watches, so that the command is the first to see a change of it.
    let (named, real) = (gateway.folder().join("portcullis.yaml"), gateway.folder().join("elsewhere/portcullis.yaml"));
    let good = gateway.config();
    std::fs::create_dir(gateway.folder().join("elsewhere")).expect("a folder");
    std::fs::write(&real, &good).expect("written");
    std::os::unix::fs::symlink(&real, named.with_extension("link")).expect("a link");
    std::fs::rename(named.with_extension("link"), &named).expect("renamed");
    gateway.kill_and_restart();
    assert_eq!(json(&printed(gateway.folder(), &["reload"]))["changed"], false);
    let more =
        "- { name: early, methods: [GET], path: \"/all\", headers: { X-A: a }, access: { public: true } }\n      - { name: late";
    std::fs::write(&real, good.replacen("- { name: late", more, 1)).expect("written");
    let reloaded = json(&printed(gateway.folder(), &["reload"]));
    assert_eq!((&reloaded["changed"], reloaded["generation"].as_u64()), (&Value::Bool(true), Some(2)), "{reloaded:#}");
    let warning = reloaded["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("portcullis.yaml:") && warning.contains("the route `late` of `a`"), "{reloaded:#}");
    std::fs::write(&real, good.replacen("- { name: late", more, 1).replace("early", "first")).expect("written");
    let shown = printed(gateway.folder(), &["reload", "--format", "text"]);
    assert!(shown.starts_with("in force: generation 3  ") && shown.contains("warning: "), "{shown}");
}

#[test]
fn without_a_gateway_they_say_what_to_do() {
    let folder = TempDir::new();
    let ended = folder.path().join("ended.sock");
    drop(std::os::unix::net::UnixListener::bind(&ended).expect("a socket"));
    for command in ["status", "routes", "upstreams", "reload", "drain"] {
        for socket in ["nowhere.sock", "ended.sock"] {
            let output = portcullis(folder.path(), &[command, "--socket", socket]);
            assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{command}");
            for part in [socket, "no gateway answers there", "portcullis run", "--socket"] {
                assert!(said(&output).contains(part), "{command} {socket}: {}", said(&output));
            }
        }
    }
}

/// Every key of `value` is in `schema`, and the other way round; also inside.
#[track_caller]
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"));
    let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
    if let Some(items) = value.as_array() {
        items.iter().for_each(|item| fits(document, &schema["items"], item, &format!("{place}[]")));
    }
    let (Some(fields), Some(described)) = (value.as_object(), schema["properties"].as_object()) else { return };
    let sorted = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(fields), sorted(described), "{place}");
    fields.iter().for_each(|(key, value)| fits(document, &described[key], value, &format!("{place}.{key}")));
}

#[test]
fn what_the_management_api_answers_is_what_its_document_says() {
    let (gateway, _witness) = start();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--unix-socket"]).arg(gateway.folder().join("run/portcullis.sock"));
    let document = json(&String::from_utf8_lossy(&output_of(curl.arg("http://localhost/openapi.json")).stdout));
    for (command, path, method) in [
        ("status", "/v1/status", "get"),
        ("routes", "/v1/routes", "get"),
        ("upstreams", "/v1/upstreams", "get"),
        ("reload", "/v1/reload", "post"),
        ("drain", "/v1/drain", "post"),
    ] {
        let schema = &document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path} is not described");
        fits(&document, schema, &json(&printed(gateway.folder(), &[command])), path);
    }
}
