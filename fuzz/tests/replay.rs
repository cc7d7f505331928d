//! The corpus of each target, and a moment of seeded mutation.
#![expect(clippy::unwrap_used, reason = "a test")]

use portcullis_fuzz::{TARGETS, run};

/// Fixed, so that a run can be repeated; long runs choose others.
const SEED: u64 = 0x706f_7274;

fn replay(name: &str) {
    let target = *TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    assert!(run(target, SEED, 1500) > 64, "mutations were tried");
}

#[test]
fn request_head() {
    replay("request_head");
}

#[test]
fn response_head() {
    replay("response_head");
}

#[test]
fn chunked() {
    replay("chunked");
}

#[test]
fn canonical_path() {
    replay("canonical_path");
}

#[test]
fn query() {
    replay("query");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn differential() {
    replay("differential");
}

#[test]
fn http2_head() {
    replay("http2_head");
}

#[test]
fn frame_meter() {
    replay("frame_meter");
}

#[test]
fn token() {
    replay("token");
}

#[test]
fn proof() {
    replay("proof");
}

#[test]
fn key_file() {
    replay("key_file");
}

#[test]
fn key_set() {
    replay("key_set");
}

#[test]
fn logout_token() {
    replay("logout_token");
}

#[test]
fn cookies() {
    replay("cookies");
}

#[test]
fn proxy_header() {
    replay("proxy_header");
}

#[test]
fn signature() {
    replay("signature");
}

#[test]
fn message_signature() {
    replay("message_signature");
}
