//! What the operator is told of who may call what: `test`, and `exposure` as a page. The examples are those of the guide.

use crate::operations::{blocks, pages, run};
use portcullis_testing_kit::{Authority, SigningKey, TempDir, binary, key_set, output_of};
use serde_json::{Value, json};
use std::process::{Command, Output};

fn guide() -> String {
    std::fs::read_to_string(pages().join("../guides/access.md")).expect("the guide")
}

/// A folder with the configuration and the tests of the guide.
fn world() -> TempDir {
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    let [configuration, tests] = blocks(&guide(), "yaml").try_into().expect("a configuration and tests");
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    folder.write("corp.jwks.json", key_set(&[&SigningKey::p256("e1")]));
    folder.write("portcullis.yaml", configuration);
    folder.write("access.tests.yaml", tests);
    folder
}

fn portcullis(folder: &TempDir, arguments: &[&str]) -> Output {
    output_of(Command::new(binary()).args(arguments).current_dir(folder.path()))
}

/// The code it ended with, and what it printed.
fn test(folder: &TempDir, file: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = portcullis(folder, &[&["test", file][..], arguments].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_guide_works_as_written() {
    let folder = world();
    let said = run(folder.path(), &blocks(&guide(), "sh").concat());
    for told in
        ["5 tests: 5 passed", "everybody", "access_denied", "role corp/orders.admin, scope orders:pay", "50/s per client ip"]
    {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(folder.path().join("exposure.html").is_file());
    let [written] = blocks(&guide(), "text").try_into().expect("what plan says");
    assert!(said.contains(&written), "{written}: {said}");
}

#[test]
fn a_test_that_fails_tells_the_decision_and_the_line_that_made_it() {
    let folder = world();
    let request = "request: GET https://api.example.com/orders\n    caller: { provider: corp, roles: [orders.admin] }\n    expect:";
    folder.write(
        "wrong.yaml",
        format!("tests:\n  - {request} {{ decision: refuse, status: 403 }}\n  - {request} {{ decision: allow, line: 2 }}\n"),
    );
    let (code, told) = test(&folder, "wrong.yaml", &["--config", "portcullis.yaml", "--format", "text"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("wrong.yaml:2:5: decision refuse expected, allow; status 403 expected, none"), "{told}");
    let line = guide_line("name: list,");
    let column = "      - { name: list, methods: [GET, HEAD], path: \"\", access: { allow: [ { roles: [reader] }, ".len() + 1;
    let place = format!("allowed by line 2 of `allow`; route orders/list (portcullis.yaml:{line}:{column})");
    assert!(told.contains(&place) && told.contains("2 tests: 1 passed, 1 failed"), "{place}: {told}");
    let (code, told) = test(&folder, "wrong.yaml", &["--config", "portcullis.yaml"]);
    let told: Value = serde_json::from_str(&told).expect("JSON when piped");
    assert_eq!((code, &told["passed"], &told["failed"]), (Some(1), &json!(1), &json!(1)));
    assert_eq!(told["tests"][0]["got"]["place"], json!(format!("portcullis.yaml:{line}:{column}")));
}

/// The line of the configuration of the guide that has this text.
fn guide_line(text: &str) -> usize {
    let [configuration, _] = blocks(&guide(), "yaml").try_into().expect("a configuration and tests");
    configuration.lines().position(|line| line.contains(text)).expect("the line") + 1
}

#[test]
fn policies_decide_in_a_test_as_they_do_at_run_time() {
    let folder = world();
    let configuration = std::fs::read_to_string(folder.path().join("portcullis.yaml")).expect("written");
    let configuration = configuration
        .replace("burst: 100 } ]", "burst: 100 } ]\n    ip_rules: { deny: { networks: [198.51.100.0/24] } }\n    cors: { origins: [\"https://app.example.com\"] }")
        .replace("rate: 50/s, burst: 100", "rate: 1/h, burst: 1");
    folder.write("portcullis.yaml", configuration);
    let url = "https://api.example.com/orders";
    folder.write(
        "policies.yaml",
        format!(
            "configuration: portcullis.yaml\ntests:\n\
             \u{20} - {{ request: GET {url}/health, client: 198.51.100.7, expect: {{ decision: refuse, code: address_refused }} }}\n\
             \u{20} - {{ request: GET {url}/health, client: 198.51.101.7, expect: {{ decision: allow }} }}\n\
             \u{20} - {{ request: GET {url}/health, client: 198.51.101.7, expect: {{ decision: allow }} }}\n\
             \u{20} - {{ request: GET {url}/%2e%2e/x, expect: {{ decision: refuse, status: 400 }} }}\n\
             \u{20} - {{ request: TRACE {url}, expect: {{ decision: refuse, code: method_refused }} }}\n\
             \u{20} - request: OPTIONS {url}\n    headers: [\"Origin: https://app.example.com\", \"Access-Control-Request-Method: GET\"]\n    \
             expect: {{ decision: answer, status: 204 }}\n\
             \u{20} - {{ request: GET {url}, caller: {{ provider: other, roles: [orders.reader] }}, expect: {{ decision: refuse, code: credentials_invalid }} }}\n"
        ),
    );
    let (code, told) = test(&folder, "policies.yaml", &["--format", "text"]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn what_cannot_be_read_ends_with_2_and_says_where() {
    let folder = world();
    let request = "tests: [ { request: GET https://api.example.com/orders, expect: ";
    for (text, told) in [
        (format!("{request} {{ decision: refuse, code: acces_denied }} }} ]"), "1:92"),
        (format!("{request} {{ decision: perhaps }} }} ]"), "`allow`"),
        ("tests: [ { request: orders, expect: { decision: allow } } ]".to_owned(), "a method and a URL"),
        ("tests: []".to_owned(), "no test"),
        (format!("configuration: gone.yaml\n{request} {{ decision: allow }} }} ]"), "gone.yaml"),
        (format!("{request} {{ decision: allow }} }} ]"), "which configuration"),
    ] {
        folder.write("broken.yaml", &text);
        let (code, said) = test(&folder, "broken.yaml", &["--format", "text"]);
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(test(&folder, "nowhere.yaml", &[]).0, Some(2));
}

#[test]
fn the_page_of_exposure_has_every_operation_and_no_text_of_the_configuration_is_markup() {
    let folder = world();
    let configuration = std::fs::read_to_string(folder.path().join("portcullis.yaml")).expect("written");
    let markup = "<img src=x onerror=alert(1)>\\\"'&\\u202e";
    let configuration = configuration
        .replace("    upstream: orders\n", &format!("    upstream: orders\n    owner: \"{markup}\"\n"))
        .replace("audiences: [\"https://api.example.com\"]", &format!("audiences: [\"{}\"]", markup.replace("\\u202e", "")))
        .replace("orders:pay", "</td><b>");
    folder.write("portcullis.yaml", configuration);
    let output = portcullis(&folder, &["exposure", "--config", "portcullis.yaml", "--html", "exposure.html"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("exposure.html")).expect("the page");
    for operation in
        ["<code>/orders/health</code>", "<code>/orders</code>", "<code>/orders/{id}/pay</code>", "orders/list on api.example.com"]
    {
        assert_eq!(page.matches(operation).count(), 1, "{operation}");
    }
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at("/orders/health") < at("/orders/{id}/pay"), "what is for everybody comes first");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;") && page.contains("scope &lt;/td&gt;&lt;b&gt;"));
    for never in [
        "<img",
        "<b>\n",
        "</td><b>",
        "\u{202e}",
        "<script",
        "http-equiv=\"refresh\"",
        "<link",
        " src=\"",
        " href=\"",
        "url(",
        "@import",
    ] {
        assert!(!page.contains(never), "{never}");
    }
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"), "{page}");
}

/// What `plan` says of a change of the configuration of the guide, and the code it ended with.
fn plan(changes: &[(&str, &str)]) -> (Option<i32>, Value) {
    let folder = world();
    let before = std::fs::read_to_string(folder.path().join("portcullis.yaml")).expect("written");
    let after = changes.iter().fold(before, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    folder.write("next.yaml", after);
    let output = portcullis(&folder, &["plan", "portcullis.yaml", "next.yaml"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}")))
}

#[test]
fn plan_says_what_opens_and_what_closes_and_ends_with_3_when_access_widens() {
    let (code, told) = plan(&[]);
    assert_eq!((code, &told["operations"], &told["widens"]), (Some(0), &json!([]), &json!(false)));
    let (code, told) = plan(&[("[ { roles: [reader] }, { roles: [admin] } ]", "{ roles: [admin] }")]);
    assert_eq!((code, &told["operations"][0]["closes"][0]["role"]), (Some(0), &json!("orders.reader")), "{told:#}");
    let (code, told) = plan(&[("{ allow: { roles: [admin], scopes: [\"orders:pay\"] } }", "{ public: true }")]);
    assert_eq!((code, &told["operations"][0]["opens"]), (Some(3), &json!([{ "everybody": true }])), "{told:#}");
    // A name is no operation.
    let (code, told) = plan(&[("name: pay", "name: paying"), ("\"/{id}/pay\"", "\"/{order}/pay\"")]);
    assert_eq!((code, &told["operations"]), (Some(0), &json!([])), "{told:#}");
}

#[test]
fn plan_sees_requests_that_move_to_a_broader_route() {
    let broad = "      - { name: any, methods: [POST], path: \"/{id}/{what}\", access: { public: true } }\n      - { name: pay,";
    let strict = "      - { name: pay, methods: [POST], path: \"/{id}/pay\", access: { allow: { roles: [admin], scopes: [\"orders:pay\"] } } }\n";
    let folder = world();
    let before =
        std::fs::read_to_string(folder.path().join("portcullis.yaml")).expect("written").replace("      - { name: pay,", broad);
    folder.write("before.yaml", &before);
    folder.write("after.yaml", before.replace(strict, ""));
    let output = portcullis(&folder, &["plan", "before.yaml", "after.yaml", "--format", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), told["operations"].as_array().map(Vec::len)), (Some(3), Some(1)), "{told:#}");
    let moved = &told["operations"][0];
    assert_eq!((&moved["old_route"], &moved["new_route"]), (&json!("orders/pay"), &json!("orders/any")));
    assert_eq!((&moved["example"], &moved["opens"]), (&json!("/orders/any/pay"), &json!([{ "everybody": true }])));
}

#[test]
fn plan_weighs_what_else_holds_callers() {
    let limit = "limits: [ { per: client_ip, rate: 50/s, burst: 100 } ]";
    let loosens = [
        (limit, "limits: [ { per: client_ip, rate: 60/s, burst: 100 } ]", "the limit of 50/s by client_ip is gone or allows more"),
        (
            "audiences: [\"https://api.example.com\"]",
            "audiences: [\"https://api.example.com\", \"https://other.example.com\"]",
            "opens",
        ),
        ("https://id.example.com", "https://id.example.org", "the provider `corp` vouches for"),
        ("access: { public: true }", "websocket: true, access: { public: true }", "a WebSocket may be opened"),
        (
            "apis:",
            "defaults:\n  request_limits: { body_bytes_max: 2MiB }\napis:",
            "`body_bytes_max`, how long bodies may be, is more",
        ),
        (
            limit,
            "cors: { origins: [\"https://app.example.com\"] }\n    limits: [ { per: client_ip, rate: 50/s, burst: 100 } ]",
            "`cors` lets pages",
        ),
        (
            "tls: {",
            "danger_plaintext: { reason: a test, owner: test, expires: 2099-01-01 } # {",
            "/listeners/public/danger_plaintext` weakens: a test",
        ),
    ];
    for (from, to, expected) in loosens {
        let (code, told) = plan(&[(from, to)]);
        assert_eq!(code, Some(3), "{to}: {told:#}");
        assert!(told.to_string().contains(expected), "{expected}: {told:#}");
    }
    let tightens = [
        (
            limit,
            "limits: [ { per: client_ip, rate: 50/s, burst: 100 }, { per: route, rate: 9/s } ]",
            "the limit of 9/s by route is new",
        ),
        (
            "apis:",
            "defaults:\n  ip_rules: { deny: { networks: [192.0.2.0/24] } }\napis:",
            "which addresses may come, has more to say",
        ),
        ("apis:", "defaults:\n  request_limits: { body_bytes_max: 1KiB }\napis:", "is less"),
        ("roles: { claim: realm.roles }", "roles: { claim: realm.roles }, leeway: 1s", "`leeway` of the provider `corp`, is less"),
    ];
    for (from, to, expected) in tightens {
        let (code, told) = plan(&[(from, to)]);
        assert_eq!(code, Some(0), "{to}: {told:#}");
        assert!(told.to_string().contains(expected), "{expected}: {told:#}");
    }
    let folder = world();
    let output = portcullis(&folder, &["plan", "portcullis.yaml", "gone.yaml"]);
    assert_eq!(output.status.code(), Some(2));
}
