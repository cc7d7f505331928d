//! What takes long ends with the credential that it was begun with, and when it has taken as long as one may.

use crate::grpc::grpc_server;
use crate::http2_websocket::connect;
use crate::streams_site::{Call, Streams, gateway, token};
use portcullis_testing_kit::http2::{Http2Client, Outcome};
use portcullis_testing_kit::{PyServer, unix_seconds};
use serde_json::json;
use std::sync::atomic::Ordering;

#[test]
fn what_has_no_end_of_its_own_ends_with_its_token() {
    let mut site = Streams::new("");
    for kind in ["/ws", "/events"] {
        let (long, short) = (format!("{kind}/long"), format!("{kind}/short"));
        let lasting = site.open(&long, &site.token(600, json!({})));
        let ends = unix_seconds() + 4;
        let mut client = site.open(&short, &site.token(4, json!({})));
        let rest = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(unix_seconds() >= ends, "{kind} ended before its token");
        assert!(!rest.ends_with("0\r\n\r\n"), "{kind}: nobody takes it for a whole answer: {rest}");
        assert_eq!(site.reason_of(&short), "credentials_expired");
        lasting.reset();
        assert_ne!(site.reason_of(&long), "credentials_expired");
    }
    site.witness.all_ended();
    site.gateway.is_well();
}

#[test]
fn a_websocket_is_closed_with_a_frame_that_says_why_unless_it_is_amid_another() {
    let site = Streams::new("stream_age_max: 2s");
    assert_eq!(site.open("/ws/short", &site.token(1, json!({}))).rest(), b"\x88\x1e\x03\xf0the credentials have expired");
    assert_eq!(site.open("/ws/aged", &site.token(600, json!({}))).rest(), b"\x88\x1f\x03\xf0the request must be made anew");
    assert_eq!(site.open("/ws/half", &site.token(1, json!({}))).rest(), b"\x01\x05half");
}

#[test]
fn a_websocket_of_http2_is_closed_with_a_frame_that_says_why() {
    let server = PyServer::start();
    let (site, corp, authority) = gateway(&format!("http://{}", server.address()), "h1", "");
    let mut client = Http2Client::connect(site.address("tls"), &authority.certificate);
    let bearer = format!("Bearer {}", token(&corp, 2, json!({})));
    let mut fields = connect("/ws");
    fields.push(("authorization", &bearer));
    assert_eq!(client.headers(1, &fields, false).outcome(1), Outcome::Answered(200));
    assert_eq!(client.body(1), b"\x88\x1e\x03\xf0the credentials have expired");
}

#[test]
fn what_is_on_its_way_and_has_an_end_comes_to_it() {
    let site = Streams::new("");
    let ends = unix_seconds() + 3;
    let mut file = site.open("/file", &site.token(3, json!({})));
    let mut events = site.open("/events", &site.token(3, json!({})));
    events.rest();
    assert!(unix_seconds() >= ends);
    site.rest.store(true, Ordering::Release);
    assert_eq!(file.exactly(10), b"first half");
    assert!(site.reason_of("/file").is_null());
}

#[test]
fn nothing_goes_on_for_longer_than_one_may() {
    let site = Streams::new("stream_age_max: 1s");
    for path in ["/ws", "/events", "/file"] {
        site.open(path, &site.token(600, json!({}))).rest();
        assert_eq!(site.reason_of(path), "stream_aged");
    }
    site.rest.store(true, Ordering::Release);
    site.witness.all_ended();
}

#[test]
fn a_stream_of_http2_is_reset_and_the_others_of_its_connection_go_on() {
    let site = Streams::new("");
    let mut client = site.open_http2("/events/short", &site.token(4, json!({})));
    let lasting = format!("Bearer {}", site.token(600, json!({})));
    let mut fields = portcullis_testing_kit::http2::get_fields("/events/long");
    fields.push(("authorization", &lasting));
    assert_eq!(client.headers(3, &fields, true).outcome(3), Outcome::Answered(200));
    assert!(matches!(client.outcome(1), Outcome::Reset(_)));
    assert_eq!(site.reason_of("/events/short"), "credentials_expired");
    let mut fields = portcullis_testing_kit::http2::get_fields("/file");
    fields.push(("authorization", &lasting));
    assert_eq!(client.headers(5, &fields, true).outcome(5), Outcome::Answered(200));
}

#[test]
fn a_call_of_grpc_is_told_that_its_credential_has_ended() {
    let server = grpc_server();
    let (site, corp, authority) = gateway(&format!("http://{}", server.address()), "h2", "");
    let mut call = Call::open(site.address("tls"), &authority.certificate, &token(&corp, 5, json!({})));
    assert_eq!(call.says(), "the credentials have expired");
    site.record_of("credentials_expired");
}
