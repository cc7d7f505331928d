//! The commands, as people and scripts use them.

use portcullis_testing_kit::{Gateway, Guarded, Plain, TempDir, Witness, binary, eventually, free_port, holds, output_of};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a command in a folder.
#[track_caller]
fn portcullis(folder: &Path, arguments: &[&str]) -> Output {
    output_of(Command::new(binary()).args(arguments).current_dir(folder))
}

/// What a command that succeeds prints.
#[track_caller]
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = portcullis(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What a command that succeeds prints, as JSON.
#[track_caller]
fn told(folder: &Path, arguments: &[&str]) -> Value {
    let printed = printed(folder, arguments);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("not JSON ({error}): {printed}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const BROKEN: &str = "version: 1\n\
    listeners: { p: { address: 127.0.0.1:0, danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 } } }\n\
    upstreams: { orders: { endpoints: [ { url: \"http://127.0.0.1:9\" } ] } }\n\
    apis:\n  a:\n    hosts: [a.test]\n    upstream: order\n    routs: []\n\
    \u{20}   routes: [ { name: r, methods: [GET], path: x, access: { public: true } }, { name: s, methods: [GET], path: /s } ]\n";

#[test]
fn every_command_is_in_the_help_and_has_its_own() {
    let folder = TempDir::new();
    let help = printed(folder.path(), &["--help"]);
    for command in [
        "run",
        "check",
        "explain",
        "exposure",
        "plan",
        "approve",
        "test",
        "init",
        "schema",
        "demo",
        "status",
        "routes",
        "reload",
        "drain",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        assert!(printed(folder.path(), &[command, "--help"]).contains("Usage: portcullis"), "{command}");
    }
    assert!(printed(folder.path(), &["--version"]).starts_with("portcullis "));
    let mistyped = portcullis(folder.path(), &["chek"]);
    assert!(!mistyped.status.success() && text(&mistyped.stderr).contains("check"), "{}", text(&mistyped.stderr));
}

#[test]
fn check_tells_every_error_at_once_and_where() {
    let folder = TempDir::new();
    folder.write("broken.yaml", BROKEN);
    let output = portcullis(folder.path(), &["check", "--config", "broken.yaml", "--format", "text"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    for place in ["broken.yaml:7:15", "broken.yaml:8:5", "broken.yaml:9:48", "broken.yaml:9:79"] {
        assert!(told.contains(place), "{place} in\n{told}");
    }
    for word in ["`routs`", "`routes`", "`order`", "access"] {
        assert!(told.contains(word), "{word} in\n{told}");
    }
    assert!(output.stdout.is_empty());

    let for_programs = portcullis(folder.path(), &["check", "--config", "broken.yaml"]);
    assert_eq!(for_programs.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&for_programs.stdout).expect("JSON when nobody watches");
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.len() >= 4 && findings.iter().all(|one| one["line"].is_u64() && one["what"].is_string()), "{report:#}");
}

#[test]
fn check_of_what_is_no_configuration_says_so() {
    let folder = TempDir::new();
    for (name, content) in [
        ("empty.yaml", &b""[..]),
        ("list.yaml", b"- 1\n"),
        ("binary.yaml", b"\x00\xff\xfe"),
        ("cut.yaml", b"version: 1\nlisteners: {"),
    ] {
        folder.write(name, content);
        let output = portcullis(folder.path(), &["check", "--config", name, "--format", "text"]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(text(&output.stderr).contains(name), "{name}: {}", text(&output.stderr));
    }
    let missing = portcullis(folder.path(), &["check", "--config", "not-there.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!((text(&missing.stderr) + &text(&missing.stdout)).contains("not-there.yaml"));
}

#[test]
fn check_names_what_weakens_security() {
    let folder = TempDir::new();
    folder.write("c.yaml", Plain::to(([127, 0, 0, 1], 9).into()).yaml().replace("@http@", "18080").replace("@probes@", "18081"));
    let told = told(folder.path(), &["check", "--config", "c.yaml"]);
    assert_eq!((&told["ok"], told["routes"].as_u64()), (&Value::Bool(true), Some(1)), "{told}");
    assert!(told["weakenings"][0].as_str().is_some_and(|one| one.contains("danger_plaintext") || one.contains("plain")), "{told}");
}

/// Routes that no path, host or method tells apart, in two files.
const MEETING: [(&str, &str); 2] = [
    (
        "b.yaml",
        "apis:\n  second:\n    hosts: [\"*\"]\n    upstream: u\n    routes:\n      \
        - { name: late, methods: [GET], path: \"/all\", headers: { X-B: b }, access: { public: true } }\n",
    ),
    (
        "a.yaml",
        "apis:\n  first:\n    hosts: [\"*\"]\n    upstream: u\n    routes:\n      \
        - { name: early, methods: [GET, PUT], path: \"/all\", headers: { X-A: a }, access: { public: true } }\n",
    ),
];

#[test]
fn routes_that_meet_are_told_by_check_and_at_the_start_with_both_places() {
    let folder = TempDir::new();
    let probes = free_port();
    let plain = Plain::to(([127, 0, 0, 1], 9).into()).yaml().replace("@http@", &free_port().to_string());
    folder.write("config/c.yaml", plain.replace("@probes@", &probes.to_string()));
    for (name, content) in MEETING {
        folder.write(&format!("config/{name}"), content);
    }
    let told = told(folder.path(), &["check", "--config", "config"]);
    let warning = &told["warnings"][0];
    assert_eq!(
        (&told["ok"], warning["line"].as_u64(), warning["column"].as_u64()),
        (&Value::Bool(true), Some(6), Some(17)),
        "{told:#}"
    );
    assert!(warning["file"].as_str().is_some_and(|file| file.ends_with("b.yaml")), "{told:#}");
    assert!(warning["help"].as_str().is_some_and(|help| help.contains("a.yaml:6:17")), "{told:#}");
    let shown = printed(folder.path(), &["check", "--config", "config", "--format", "text"]);
    for part in ["warning: the route `late` of `second`", "config/b.yaml:6:17", "the first one is in config/a.yaml:6:17"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let said = folder.path().join("said");
    let mut command = Command::new(binary());
    command.args(["run", "--config", "config"]).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut gateway = Guarded::start(command.stderr(std::fs::File::create(&said).expect("a file")));
    let told = || std::fs::read_to_string(&said).unwrap_or_default();
    holds("the routes to be told at the start", || told().contains("config/b.yaml:6:17: the route `late` of `second`"));
    gateway.signal("TERM");
    assert!(gateway.wait().success(), "{}", told());
}

#[test]
fn a_broken_configuration_does_not_run() {
    let folder = TempDir::new();
    folder.write("broken.yaml", BROKEN);
    let output = portcullis(folder.path(), &["run", "--config", "broken.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("broken.yaml:8:5"), "{}", text(&output.stderr));
}

#[test]
fn explain_decides_as_the_gateway_does() {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    plain.routes = "- { name: list, methods: [GET], path: \"/items\", access: { public: true } }\n\
        - { name: one, methods: [GET, DELETE], path: \"/items/{id}\", access: { public: true } }\n\
        - { name: special, methods: [GET], path: \"/items/special\", access: { public: true } }\n\
        - { name: second, methods: [GET], path: \"/v\", headers: { X-Version: \"2\" }, access: { public: true } }\n\
        - { name: files, methods: [GET], path: \"/files/{*rest}\", access: { public: true } }";
    let gateway = Gateway::start(&plain.yaml().replace("hosts: [\"*\"]", "hosts: [a.test]"));
    let folder = gateway.folder();
    for (method, target, header, route) in [
        ("GET", "/items", "X-A: 1", Some("list")),
        ("GET", "/items/7", "X-A: 1", Some("one")),
        ("GET", "/items/special", "X-A: 1", Some("special")),
        ("DELETE", "/items/7", "X-A: 1", Some("one")),
        ("GET", "/%69tems/7", "X-A: 1", Some("one")),
        ("GET", "/v", "X-Version: 2", Some("second")),
        ("GET", "/v", "X-Version: 3", None),
        ("GET", "/files/a/b/c", "X-A: 1", Some("files")),
        ("POST", "/items", "X-A: 1", None),
        ("GET", "/none", "X-A: 1", None),
        ("GET", "/files/../items", "X-A: 1", None),
        ("GET", "/items//7", "X-A: 1", None),
        ("GET", "/items/a%2fb", "X-A: 1", None),
        ("TRACE", "/items", "X-A: 1", None),
        ("GET", "/items", "Upgrade: websocket", None),
        ("GET", "/items", "X-Bad Name: 1", None),
    ] {
        let url = format!("http://a.test{target}");
        let explained = told(folder, &["explain", "--config", "portcullis.yaml", "--request", method, &url, "-H", header]);
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n{header}\r\nConnection: close\r\n\r\n");
        let answer = portcullis_testing_kit::ask(gateway.http(), request).remove(0);
        assert_eq!(explained["status"].as_u64().unwrap_or(200), u64::from(answer.status), "{method} {target}: {explained:#}");
        let expected = route.map_or(Value::Null, Value::from);
        assert_eq!(explained.get("route").unwrap_or(&Value::Null), &expected, "{method} {target}: {explained:#}");
    }
    let shown = printed(
        folder,
        &["explain", "--config", "portcullis.yaml", "--format", "text", "--request", "POST", "http://a.test/items"],
    );
    assert!(shown.contains("405") && shown.contains("list"), "{shown}");
    let foreign = told(folder, &["explain", "--config", "portcullis.yaml", "--request", "GET", "http://b.test/items"]);
    assert_eq!(foreign["status"], 404);
}

#[test]
fn init_writes_what_is_sound_secure_and_works_with_curl() {
    let (folder, witness) = (TempDir::new(), Witness::ok());
    let upstream = format!("http://{}", witness.address());
    let shown = printed(folder.path(), &["init", "gate", "--upstream", &upstream, "--format", "text"]);
    assert!(shown.contains("portcullis check --config gate/portcullis.yaml") && shown.contains("curl --cacert"), "{shown}");
    let mode = |name: &str| std::fs::metadata(folder.path().join(name)).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode("gate/tls/server.key"), 0o600);
    let checked = told(folder.path(), &["check", "--config", "gate/portcullis.yaml"]);
    assert_eq!((&checked["ok"], checked["weakenings"].as_array().map(Vec::len)), (&Value::Bool(true), Some(0)), "{checked}");

    let before = std::fs::read(folder.path().join("gate/portcullis.yaml")).expect("a file");
    let again = portcullis(folder.path(), &["init", "gate"]);
    assert!(!again.status.success() && text(&again.stderr).contains("already there"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(folder.path().join("gate/portcullis.yaml")).expect("a file"), before);

    let read = |name: &str| std::fs::read_to_string(folder.path().join("gate").join(name)).expect("a file");
    let config = read("portcullis.yaml").replace(":8443", ":@tls@").replace(":9464", ":@probes@");
    let files = [("tls/server.crt", read("tls/server.crt")), ("tls/server.key", read("tls/server.key"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, content)| (*name, content.as_str())).collect();
    let gateway = Gateway::start_with(&files, &config);
    let url = format!("https://localhost:{}/x", gateway.address("tls").port());
    let authority = folder.path().join("gate/tls/dev-ca.crt");
    let curl = output_of(Command::new("curl").args(["-sS", "-i", "--cacert"]).arg(&authority).arg(&url));
    let answer = text(&curl.stdout);
    // By the protocol that both prefer.
    assert!(answer.starts_with("HTTP/2 200") && answer.ends_with("ok"), "{answer}{}", text(&curl.stderr));
    assert!(answer.to_lowercase().contains("strict-transport-security: max-age=31536000"), "{answer}");
    let refused = output_of(
        Command::new("curl").args(["-sS", "-X", "POST", "-d", "x", "-w", "%{http_code}", "--cacert"]).arg(&authority).arg(&url),
    );
    assert!(text(&refused.stdout).ends_with("405"), "{}", text(&refused.stdout));
}

#[test]
fn schema_and_reference_are_those_of_the_documentation() {
    let folder = TempDir::new();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let written = std::fs::read_to_string(docs.join("config.schema.json")).expect("docs/reference/config.schema.json");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    let schema = told(folder.path(), &["schema"]);
    assert_eq!(schema, written, "`cargo xtask docs` writes it anew");
    assert!(schema["properties"]["listeners"].is_object() && schema["$schema"].is_string());
    assert!(printed(folder.path(), &["schema", "--reference"]).contains("`header_deadline`"));
}

#[test]
fn completions_know_the_commands() {
    let folder = TempDir::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(folder.path(), &["completions", shell]);
        assert!(script.contains("portcullis") && script.contains("explain"), "{shell}");
    }
}

#[test]
fn status_tells_of_the_gateway_that_runs() {
    let witness = Witness::ok();
    let mut gateway = Plain::to(witness.address()).start();
    let status = told(gateway.folder(), &["status", "--socket", "run/portcullis.sock"]);
    let running = (status["ready"].as_bool(), status["generation"].as_u64(), status["pid"].as_u64());
    assert_eq!(running, (Some(true), Some(1), Some(u64::from(gateway.process().id()))), "{status:#}");
    assert_eq!(status["listeners"][0]["mode"], "danger_plaintext");
    let shown = printed(gateway.folder(), &["status", "--format", "text"]);
    for word in ["ready", "generation 1", "plain", "weakened:"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
    gateway.stop();
    let gone = portcullis(gateway.folder(), &["status"]);
    assert!(!gone.status.success());
    assert!(
        text(&gone.stderr).contains("portcullis.sock") && text(&gone.stderr).contains("portcullis run"),
        "{}",
        text(&gone.stderr)
    );
}

/// Asks the management API by curl.
#[track_caller]
fn manage(gateway: &Gateway, arguments: &[&str], path: &str) -> (u16, Value) {
    let socket = gateway.folder().join("run/portcullis.sock");
    let mut command = Command::new("curl");
    command
        .args(["-sS", "-w", "\n%{http_code}", "--unix-socket"])
        .arg(socket)
        .args(arguments)
        .arg(format!("http://localhost{path}"));
    let printed = text(&output_of(&mut command).stdout);
    let (body, status) = printed.rsplit_once('\n').unwrap_or_else(|| panic!("no answer to {path}: {printed}"));
    (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or_else(|error| panic!("not JSON ({error}): {body}")))
}

#[test]
fn the_management_socket_is_for_its_owner_and_does_what_its_document_says() {
    let gateway = Plain::to(Witness::ok().address()).start();
    let mode = std::fs::metadata(gateway.folder().join("run/portcullis.sock")).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (status, document) = manage(&gateway, &[], "/openapi.json");
    assert_eq!(status, 200);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with('3')));
    let paths = document["paths"].as_object().expect("paths");
    let with_a_body = ["/v1/upgrade", "/v1/revoke", "/v1/lift", "/v1/ban", "/v1/unban", "/v1/unlock"];
    for (path, operations) in paths.iter().filter(|(path, _)| !with_a_body.contains(&path.as_str())) {
        for method in operations.as_object().expect("operations").keys().filter(|key| matches!(key.as_str(), "get" | "post")) {
            let (status, _) = manage(&gateway, &["-X", &method.to_uppercase()], path);
            assert_eq!(status, 200, "{method} {path}");
        }
        assert_eq!(manage(&gateway, &["-X", "DELETE"], path).0, 405, "{path}");
    }
    for path in ["/v1/status", "/v1/routes", "/v1/configuration", "/v1/reload"] {
        assert!(paths.contains_key(path), "{path} is not in the document");
    }
    assert_eq!(manage(&gateway, &[], "/v1/none").0, 404);
    let (_, routes) = manage(&gateway, &[], "/v1/routes");
    assert_eq!((&routes[0]["name"], &routes[0]["access"], &routes[0]["upstream"]), (&"all".into(), &"public".into(), &"u".into()));
    // Who asked for a change is on record, before it happens.
    let audit = std::fs::read_to_string(gateway.folder().join("run/audit.log")).expect("an audit log");
    for action in ["reload", "drain", "undrain"] {
        let mut entries = audit.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let entry = entries.find(|entry| entry["action"] == action).expect(action);
        assert!(entry["uid"].is_u64() && entry["pid"].is_i64(), "{entry}");
    }
}

#[test]
fn f132_probes_beyond_loopback_are_refused() {
    let folder = TempDir::new();
    let config = Plain::to(([127, 0, 0, 1], 9).into()).yaml().replace("@http@", "18080");
    for address in ["0.0.0.0:18081", "10.0.0.1:18081", "[::]:18081"] {
        folder.write("c.yaml", config.replace("127.0.0.1:@probes@", &format!("\"{address}\"")));
        let refused = portcullis(folder.path(), &["check", "--config", "c.yaml", "--format", "text"]);
        assert!(!refused.status.success() && text(&refused.stderr).contains("loopback"), "{address}: {}", text(&refused.stderr));
    }
}

#[test]
fn a_reload_by_the_management_api_tells_what_came_of_it() {
    let witness = Witness::ok();
    let gateway = Plain::to(witness.address()).start();
    let (status, same) = manage(&gateway, &["-X", "POST"], "/v1/reload");
    assert_eq!((status, &same["changed"], &same["generation"]), (200, &false.into(), &1.into()), "{same}");
    let hash = same["configuration_hash"].as_str().expect("a hash").to_owned();
    let matching = format!("If-Match: \"{hash}\"");
    assert_eq!(manage(&gateway, &["-X", "POST", "-H", &matching], "/v1/reload").0, 200);
    let (status, other) = manage(&gateway, &["-X", "POST", "-H", "If-Match: \"0000\""], "/v1/reload");
    assert_eq!((status, &other["code"]), (412, &"generation_changed".into()), "{other}");

    let good = gateway.config();
    gateway.write("portcullis.yaml", good.replace("upstream: u", "upstream: v"));
    let (status, refused) = manage(&gateway, &["-X", "POST"], "/v1/reload");
    assert_eq!((status, &refused["code"]), (422, &"configuration_refused".into()), "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("portcullis.yaml:") && text.contains("`v`")), "{refused}");
    assert!(printed(gateway.folder(), &["status", "--format", "text"]).contains("the last reload was refused"));
    assert_eq!(gateway.get("/x").status, 200);

    gateway.write("portcullis.yaml", good.replace("/{*rest}", "/only"));
    assert_eq!(manage(&gateway, &["-X", "POST"], "/v1/reload").0, 200);
    assert_eq!((gateway.get("/x").status, gateway.get("/only").status), (404, 200));
    assert_ne!(told(gateway.folder(), &["status"])["configuration_hash"], hash.as_str());
}

#[test]
fn a_refused_configuration_starts_from_the_last_known_good_only_when_asked() {
    let witness = Witness::ok();
    let mut gateway = Plain::to(witness.address()).start();
    let kept = gateway.folder().join("run/last-known-good.yaml");
    holds("the last known good configuration", || kept.exists());
    gateway.stop();
    gateway.write("portcullis.yaml", "version: 1\nlisteners: {");
    let refused = portcullis(gateway.folder(), &["run", "--config", "portcullis.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    let mut command = Command::new(binary());
    command.args(["run", "--config", "portcullis.yaml", "--or-last-known-good"]).current_dir(gateway.folder());
    let shown = gateway.folder().join("shown");
    let out = std::fs::File::create(&shown).expect("a file");
    let mut process = Guarded::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out));
    eventually("the gateway to serve by its last known good configuration", || {
        assert!(process.is_running(), "{}", std::fs::read_to_string(&shown).unwrap_or_default());
        TcpStream::connect(gateway.http()).is_ok().then_some(())
    });
    assert_eq!(gateway.get("/x").status, 200);
    let told = std::fs::read_to_string(&shown).expect("what it said");
    assert!(told.contains("portcullis.yaml:3"), "what is wrong is told all the same: {told}");
}

/// Each of these changes to a sound configuration makes it one that does not load.
fn none_loads(changes: &[(&str, &str)]) {
    let folder = TempDir::new();
    let sound = Plain::to(([127, 0, 0, 1], 9).into()).yaml().replace("@http@", "18080").replace("@probes@", "18081");
    folder.write("c.yaml", &sound);
    assert_eq!(told(folder.path(), &["check", "--config", "c.yaml"])["ok"], true);
    for (what, instead) in changes {
        assert!(sound.contains(what), "{what}");
        folder.write("c.yaml", sound.replacen(what, instead, 1));
        let output = portcullis(folder.path(), &["check", "--config", "c.yaml", "--format", "text"]);
        assert_eq!(output.status.code(), Some(1), "`{instead}` instead of `{what}` loads: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("c.yaml:"), "{instead}: {}", text(&output.stderr));
    }
}

#[test]
fn f134_names_and_paths_with_odd_characters_do_not_load() {
    none_loads(&[
        ("name: all", "name: \"all;}\""),
        ("name: all", "name: \"a\\nb\""),
        ("name: all", "name: \"`id`\""),
        ("name: all", "name: \"${HOME}\""),
        ("\"/{*rest}\"", "\"/x;y\""),
        ("\"/{*rest}\"", "\"/x\\ny\""),
        ("\"/{*rest}\"", "\"/x y\""),
        ("\"/{*rest}\"", "\"/../x\""),
        ("\"/{*rest}\"", "\"/{a}{b}\""),
        ("\"/{*rest}\"", "\"/{*rest}/x\""),
        ("[\"*\"]", "[\"a.test;\"]"),
        ("[\"*\"]", "[\"a.test\\n\"]"),
        ("[\"*\"]", "[\"*.*.test\"]"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/x;y"),
        ("http://127.0.0.1:9", "http://user:password@127.0.0.1:9"),
    ]);
}

#[test]
fn f148_blank_fields_do_not_load() {
    none_loads(&[
        ("access: { public: true }", "access: {}"),
        ("access: { public: true }", "access:"),
        ("access: { public: true }", "access: { public: }"),
        ("access: { public: true }", "access: { public: false }"),
        (", access: { public: true }", ""),
        ("upstream: u", "upstream:"),
        ("upstream: u", "upstream: \"\""),
        ("hosts: [\"*\"]", "hosts: []"),
        ("hosts: [\"*\"]", "hosts:"),
        ("reason: test", "reason: \"\""),
        ("owner: test", "owner:"),
        ("expires: 2099-01-01", "expires: \"\""),
        ("expires: 2099-01-01", "expires: 2020-01-01"),
        ("danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 }", ""),
        ("version: 1", "version: 2"),
        ("version: 1", ""),
    ]);
}

#[test]
fn a_second_gateway_by_mistake_ends_and_the_first_goes_on() {
    let witness = Witness::ok();
    let gateway = Plain::to(witness.address()).start();
    let second = portcullis(gateway.folder(), &["run", "--config", "portcullis.yaml"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("portcullis.sock"), "{}", text(&second.stderr));
    assert_eq!(gateway.get("/x").status, 200);
    assert_eq!(told(gateway.folder(), &["status"])["ready"], true);
}

#[test]
fn a_busy_port_is_named() {
    let folder = TempDir::new();
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("a port");
    let port = held.local_addr().expect("an address").port().to_string();
    let plain = Plain::to(([127, 0, 0, 1], 9).into()).yaml().replace("@http@", &port).replace("@probes@", &free_port().to_string());
    folder.write("c.yaml", plain);
    for arguments in [&["run", "--config", "c.yaml"][..], &["demo", "--port", &port, "--state", "demo"]] {
        let output = portcullis(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(&port), "{arguments:?}: {}", text(&output.stderr));
    }
}
