//! The policy `cors`: which pages of other origins may do what, with every word of the upstream's on it replaced.

use portcullis_testing_kit::{Gateway, Plain, Response, Witness, ask, binary};
use std::process::Command;

const ROUTES: &str = "- { name: read, methods: [GET], path: \"/items/{id}\", access: { public: true } }\n\
                      - { name: write, methods: [PUT], path: \"/items/{id}\", access: { public: true }, cors: off }\n\
                      - { name: post, methods: [POST, OPTIONS], path: \"/forms\", access: { public: true } }";

fn site(api: &'static str) -> (Gateway, Witness) {
    let witness = Witness::answering(
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Allow-Private-Network: true\r\nContent-Length: 2\r\n\r\nok",
    );
    let mut plain = Plain::to(witness.address());
    plain.api = api;
    plain.routes = ROUTES;
    (plain.start(), witness)
}

const CORS: &str = "cors: { origins: [\"https://app.test\"], credentials: true, headers: [X-Requested-With] }";

#[track_caller]
fn answer(gateway: &Gateway, request: &str) -> Response {
    let mut responses = ask(gateway.http(), format!("{request}Host: a.test\r\nConnection: close\r\n\r\n"));
    assert_eq!(responses.len(), 1, "{request}: {responses:#?}");
    responses.remove(0)
}

fn preflight(gateway: &Gateway, path: &str, origin: &str, method: &str) -> Response {
    answer(gateway, &format!("OPTIONS {path} HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n"))
}

#[test]
fn a_preflight_of_a_listed_page_is_answered_and_never_forwarded() {
    let (gateway, witness) = site(CORS);
    let response = preflight(&gateway, "/items/1", "https://app.test", "GET");
    assert_eq!(response.status, 204, "{}", response.head);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(response.field("access-control-allow-methods"), Some("GET"));
    assert_eq!(response.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(response.field("access-control-allow-headers"), None, "none were asked for");
    assert!(response.field("vary").is_some_and(|vary| vary.contains("origin")), "{}", response.head);
    assert_eq!(witness.texts(), Vec::<String>::new());
    let record = &gateway.records_when(1)[0];
    assert_eq!((record["route"].as_str(), record["verdicts"]["cors"].as_str()), (Some("read"), Some("respond")), "{record}");
}

#[test]
fn preflights_of_others_and_for_what_is_not_there_are_refused() {
    let (gateway, witness) = site(CORS);
    for (path, origin, method, status, code) in [
        ("/items/1", "https://evil.test", "GET", 403, "cross_origin_refused"),
        ("/items/1", "null", "GET", 403, "cross_origin_refused"),
        ("/items/1", "http://app.test", "GET", 403, "cross_origin_refused"),
        ("/nothing", "https://app.test", "GET", 404, "route_unknown"),
        ("/items/1", "https://app.test", "DELETE", 405, "method_unknown"),
        // A route that has it off gets no preflight answered, and no OPTIONS that it does not list.
        ("/items/1", "https://app.test", "PUT", 405, "method_unknown"),
        ("/items/1", "https://app.test", "CONNECT", 405, "method_unknown"),
        ("/items/%00", "https://app.test", "GET", 400, "path_ambiguous"),
    ] {
        let response = preflight(&gateway, path, origin, method);
        assert_eq!((response.status, response.code().as_str()), (status, code), "{path} {origin} {method}: {}", response.head);
        assert_eq!(response.field("access-control-allow-origin"), None, "{path} {origin} {method}");
    }
    let asked = "OPTIONS /items/1 HTTP/1.1\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: GET\r\n\
                 Access-Control-Request-Headers: x-requested-with, x-other\r\n";
    assert_eq!(answer(&gateway, asked).code(), "cross_origin_refused");
    // An OPTIONS that is no preflight is one like any other.
    assert_eq!(answer(&gateway, "OPTIONS /items/1 HTTP/1.1\r\nOrigin: https://app.test\r\n").status, 405);
    assert_eq!(witness.texts(), Vec::<String>::new());
    assert_eq!(answer(&gateway, "OPTIONS /forms HTTP/1.1\r\n").status, 200, "a route may serve OPTIONS itself");
}

/// Two versions of a resource, told apart by a field that a preflight can only name, and one that only one version has.
const VERSIONS: &str = "
- name: first
  methods: [PUT]
  path: \"/both\"
  access: { public: true }
  cors: { origins: [\"https://app.test\", \"https://old.test\"], credentials: true, headers: [X-Api] }
- name: second
  methods: [PUT]
  path: \"/both\"
  headers: { X-Api: \"2\" }
  access: { public: true }
  cors: { origins: [\"https://app.test\", \"https://new.test\"], headers: [X-Api], max_age: 5s }
- name: only
  methods: [PUT]
  path: \"/one\"
  headers: { X-Api: \"2\" }
  access: { public: true }
  cors: { origins: [\"https://app.test\"], headers: [X-Api] }
- { name: quiet, methods: [PUT], path: \"/quiet\", access: { public: true } }
- name: loud
  methods: [PUT]
  path: \"/quiet\"
  headers: { X-Api: \"2\" }
  access: { public: true }
  cors: { origins: [\"https://app.test\"], headers: [X-Api] }
";

#[test]
fn a_preflight_finds_routes_by_the_fields_that_it_names() {
    let witness = Witness::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mut plain = Plain::to(witness.address());
    plain.routes = VERSIONS;
    let gateway = plain.start();
    let asked = |path: &str, origin: &str, fields: &str| {
        let named = if fields.is_empty() { String::new() } else { format!("Access-Control-Request-Headers: {fields}\r\n") };
        answer(&gateway, &format!("OPTIONS {path} HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n{named}"))
    };
    // Without the field the request can only be for the first; with it, it may be for either, and gets what both allow.
    let plainly = asked("/both", "https://old.test", "");
    assert_eq!((plainly.status, plainly.field("access-control-allow-credentials")), (204, Some("true")), "{}", plainly.head);
    let narrowed = asked("/both", "https://app.test", "x-api");
    assert_eq!((narrowed.status, narrowed.field("access-control-allow-headers")), (204, Some("x-api")), "{}", narrowed.head);
    assert_eq!(narrowed.field("access-control-allow-credentials"), None, "the second route lets no credentials go along");
    assert_eq!(narrowed.field("access-control-max-age"), Some("5"));
    for origin in ["https://old.test", "https://new.test", "https://evil.test"] {
        let refused = asked("/both", origin, "x-api");
        assert_eq!((refused.status, refused.code().as_str()), (403, "cross_origin_refused"), "{origin}");
    }
    // Where every route demands a field, who may not send it is told the same whether the field is the right one or not.
    assert_eq!(asked("/one", "https://app.test", "X-Api").status, 204);
    let strangers: Vec<Response> =
        ["x-api", "x-other", ""].map(|fields| asked("/one", "https://evil.test", fields)).into_iter().collect();
    for stranger in &strangers {
        assert_eq!((stranger.status, stranger.code().as_str()), (405, "method_unknown"), "{}", stranger.head);
    }
    assert_eq!(asked("/one", "https://app.test", "").status, 405, "a request without the field has no route");
    // A route that has it off cannot be reached past its silence, by way of one that has it on.
    assert_eq!(asked("/quiet", "https://app.test", "x-api").status, 405);
    assert_eq!(witness.texts(), Vec::<String>::new());
}

#[test]
fn the_upstreams_own_word_on_other_origins_does_not_arrive() {
    let (gateway, _witness) = site(CORS);
    let response = answer(&gateway, "GET /items/1 HTTP/1.1\r\nOrigin: https://app.test\r\n");
    assert_eq!(response.head.matches("access-control-allow-origin").count(), 1, "{}", response.head);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://app.test"));
    for lines in ["Origin: https://evil.test\r\n", "Origin: null\r\n", ""] {
        let response = answer(&gateway, &format!("GET /items/1 HTTP/1.1\r\n{lines}"));
        assert_eq!(response.status, 200);
        assert!(!response.head.contains("access-control"), "{lines}: {}", response.head);
        assert_eq!(response.field("vary"), Some("origin"));
    }
    // Refusals can be read by the page as well.
    let refused = answer(&gateway, "GET /items/1 HTTP/1.1\r\nOrigin: https://app.test\r\nX-Long: 1\r\nContent-Length: 2000000\r\n");
    assert_eq!((refused.status, refused.field("access-control-allow-origin")), (413, Some("https://app.test")), "{}", refused.head);
}

#[test]
fn a_foreign_page_changes_nothing() {
    let (gateway, witness) = site(CORS);
    let post =
        |lines: &str| answer(&gateway, &format!("POST /forms HTTP/1.1\r\n{lines}Cookie: session=1\r\nContent-Length: 0\r\n"));
    for origin in ["https://evil.test", "null", "https://a.test.evil.test"] {
        let response = post(&format!("Origin: {origin}\r\n"));
        assert_eq!((response.status, response.code().as_str()), (403, "cross_origin_refused"), "{origin}");
    }
    assert_eq!(witness.texts(), Vec::<String>::new());
    for lines in ["", "Origin: https://app.test\r\n", "Origin: https://a.test\r\n"] {
        assert_eq!(post(lines).status, 200, "{lines}");
    }
}

#[test]
fn without_the_policy_nothing_is_changed() {
    let (gateway, witness) = site("");
    assert_eq!(preflight(&gateway, "/items/1", "https://app.test", "GET").status, 405);
    let response = answer(&gateway, "GET /items/1 HTTP/1.1\r\nOrigin: https://evil.test\r\n");
    assert_eq!(response.field("access-control-allow-origin"), Some("*"), "the upstream decides: {}", response.head);
    assert_eq!(witness.texts().len(), 1);
}

#[test]
fn explain_tells_the_route_of_a_preflight() {
    let (gateway, _witness) = site(CORS);
    let mut command = Command::new(binary());
    command.args(["explain", "--format", "text", "--config", "portcullis.yaml", "--request", "OPTIONS", "https://a.test/items/1"]);
    command.args(["--header", "Origin: https://app.test", "--header", "Access-Control-Request-Method: GET"]);
    let output = command.current_dir(gateway.folder()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("read") && told.contains("cors") && !told.contains("refused"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
