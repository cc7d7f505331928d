//! `portcullis revoke`: who is out is out at once, for what begins and for what goes on, and stays out.

use crate::grpc::grpc_server;
use crate::streams_site::{Call, ISSUER, Streams, gateway, token};
use portcullis_testing_kit::http2::Outcome;
use portcullis_testing_kit::{Gateway, RawClient, binary, output_of, unix_seconds};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;

/// Runs a command of the program at a gateway's socket; gives what it printed, or what it complained of.
pub fn command(gateway: &Gateway, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(binary());
    let output = output_of(command.args(arguments).arg("--socket").arg(gateway.folder().join("run/portcullis.sock")));
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("JSON"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn revoke(gateway: &Gateway, kind: &str, id: &str, more: &[&str]) -> Value {
    let provider: &[&str] = if kind == "certificate" { &[] } else { &["--provider", "corp"] };
    let arguments = [&["revoke", kind, id], provider, more].concat();
    command(gateway, &arguments).unwrap_or_else(|problem| panic!("{problem}"))
}

fn status(gateway: &Gateway, token: &str) -> (u16, String) {
    let mut client = RawClient::connect(gateway.http());
    client.send(format!("GET /unknown HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"));
    let head = client.response_head();
    let code = if head.status == 200 { String::new() } else { String::from_utf8_lossy(&client.rest()).into_owned() };
    (head.status, code)
}

/// Asks on many connections, so that every worker is asked.
#[track_caller]
fn is_everywhere(site: &Streams, token: &str, expected: u16) {
    for _ in 0..20 {
        let (status, body) = status(&site.gateway, token);
        assert_eq!(status, expected, "{body}");
        assert_eq!(body.contains("credentials_revoked"), expected == 401, "{body}");
    }
}

#[test]
fn e120_a_token_that_is_known_is_out_on_every_worker_when_the_command_is_done() {
    let mut site = Streams::new("");
    let (mine, other) = (site.token(600, json!({ "jti": "mine" })), site.token(600, json!({ "jti": "other" })));
    is_everywhere(&site, &mine, 200);
    let told = revoke(&site.gateway, "token", "mine", &["--until", &(unix_seconds() + 600).to_string(), "--reason", "laptop lost"]);
    assert_eq!((&told["kind"], &told["issuer"], &told["id"]), (&json!("token"), &json!(ISSUER), &json!("mine")), "{told}");
    is_everywhere(&site, &mine, 401);
    is_everywhere(&site, &other, 200);
    assert_eq!(command(&site.gateway, &["revocations"]).unwrap()[0]["reason"], "laptop lost");
    // It outlives the process, whatever ends it.
    site.gateway.kill_and_restart();
    is_everywhere(&site, &mine, 401);
    site.gateway.upgrade(&[]).unwrap();
    is_everywhere(&site, &mine, 401);
    revoke(&site.gateway, "token", "mine", &["--lift"]);
    is_everywhere(&site, &mine, 200);
    let audit = std::fs::read_to_string(site.gateway.folder().join("run/audit.log")).expect("an audit log");
    let entry =
        |what: &str| audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| line["action"] == what);
    for what in ["revoke token `mine` of `corp`", "lift token `mine` of `corp`"] {
        assert!(entry(what).is_some_and(|entry| entry["uid"].is_u64() && entry["pid"].is_i64()), "{what}: {audit}");
    }
}

#[test]
fn what_goes_on_ends_within_a_second_of_the_revocation_of_its_token() {
    let site = Streams::new("");
    let (mine, other) = (site.token(600, json!({ "jti": "mine" })), site.token(600, json!({ "jti": "other" })));
    let mut open = ["/ws/mine", "/events/mine", "/file"].map(|path| site.open(path, &mine));
    let mut of_http2 = site.open_http2("/events/http2", &mine);
    let mut others = ["/ws/other", "/events/other"].map(|path| site.open(path, &other));
    revoke(&site.gateway, "token", "mine", &[]);
    let done = Instant::now();
    open.iter_mut().for_each(|client| drop(client.rest()));
    assert!(matches!(of_http2.outcome(1), Outcome::Reset(_)));
    println!("ended {} ms after the command was done", done.elapsed().as_millis());
    for path in ["/ws/mine", "/events/mine", "/file", "/events/http2"] {
        assert_eq!(site.reason_of(path), "credentials_revoked", "{path}");
    }
    assert!(others.iter_mut().all(|client| client.try_send(b"x")));
    let seen = site.gateway.records();
    assert!(!seen.iter().any(|record| record["path"].as_str().is_some_and(|path| path.ends_with("other"))), "{seen:#?}");
}

#[test]
fn a_call_of_grpc_is_told_that_it_has_been_revoked() {
    let server = grpc_server();
    let (site, corp, authority) = gateway(&format!("http://{}", server.address()), "h2", "");
    let mut call = Call::open(site.address("tls"), &authority.certificate, &token(&corp, 600, json!({ "jti": "mine" })));
    revoke(&site, "token", "mine", &[]);
    let done = Instant::now();
    assert_eq!(call.says(), "the credentials are not valid");
    println!("told {} ms after the command was done", done.elapsed().as_millis());
    site.record_of("credentials_revoked");
}

#[test]
fn everything_of_a_subject_that_was_issued_by_then_is_out() {
    let site = Streams::new("");
    let now = unix_seconds();
    let issued = |subject: &str, at: u64| site.token(600, json!({ "sub": subject, "iat": at, "jti": format!("{subject}{at}") }));
    let undated = site.token(600, json!({ "sub": "alice", "iat": null, "jti": "undated" }));
    let (old, new, others) = (issued("alice", now - 20), issued("alice", now - 5), issued("bob", now - 20));
    let mut stream = site.open("/ws", &old);
    revoke(&site.gateway, "subject", "alice", &["--issued-until", &(now - 10).to_string()]);
    stream.rest();
    is_everywhere(&site, &old, 401);
    is_everywhere(&site, &new, 200);
    is_everywhere(&site, &others, 200);
    // A later revocation of the same reaches further.
    revoke(&site.gateway, "subject", "alice", &[]);
    is_everywhere(&site, &new, 401);
    assert_ne!(status(&site.gateway, &undated).0, 200);
}

#[test]
fn what_an_upgrade_has_left_behind_is_ended_too() {
    let mut site = Streams::new("");
    let mut stream = site.open("/ws", &site.token(600, json!({ "jti": "mine" })));
    site.gateway.upgrade(&[]).unwrap();
    revoke(&site.gateway, "token", "mine", &[]);
    let done = Instant::now();
    stream.rest();
    println!("ended {} ms after the command was done, in the process before", done.elapsed().as_millis());
    assert_eq!(site.reason_of("/ws"), "credentials_revoked");
    site.gateway.former().wait();
}

#[test]
fn what_cannot_be_revoked_is_told_and_nothing_half_done() {
    let mut site = Streams::new("");
    let past = (unix_seconds() - 5).to_string();
    for (arguments, told) in [
        (&["revoke", "token", "x", "--provider", "crop"][..], "there is no provider `crop`"),
        (&["revoke", "token", "x"], "--provider"),
        (&["revoke", "token", "x", "--provider", "corp", "--until", &past], "has passed already"),
        (&["revoke", "token", "x", "--provider", "corp", "--lift"], "nothing of the kind is revoked"),
        (&["revoke", "certificate", "abc"], "64 hexadecimal digits"),
    ] {
        let problem = command(&site.gateway, arguments).expect_err(told);
        assert!(problem.contains(told), "{arguments:?}: {problem}");
    }
    assert_eq!(command(&site.gateway, &["revocations"]).unwrap(), json!([]));
    // A file that is not understood lets nobody in who may have been revoked.
    site.gateway.stop();
    std::fs::write(site.gateway.folder().join("run/revocations.jsonl"), "{\"kind\":\"planet\"}\n").expect("written");
    let output = output_of(Command::new(binary()).args(["run", "--config", "portcullis.yaml"]).current_dir(site.gateway.folder()));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("revocations.jsonl") && said.contains("line 1 is not understood"), "{said}");
}
