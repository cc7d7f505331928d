//! Arbitrary input: whatever the bytes, there is a plan or a report, never a panic.

use super::{POLICIES, cases, clock};
use crate::load_text;
use crate::settings::{Host, Template};
use portcullis_gateway_router::{HostPattern, PathTemplate};
use portcullis_model_settings::{Decode, Diagnostics, FileId, TreeBuilder};
use portcullis_wire::{HeadLimits, RequestHead};
use proptest::prelude::*;
use std::fs;

fn survives(bytes: &[u8]) {
    if let Err(report) = load_text("a.yaml", bytes, &POLICIES, &clock()) {
        assert!(report.errors() > 0 && !report.render(true).is_empty());
        assert_eq!(report.to_json()["findings"].as_array().map(Vec::len), Some(report.findings.len()));
    }
}

fn valid() -> Vec<u8> {
    fs::read(cases("accepted/everything.yaml")).expect("there")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        survives(&bytes);
    }

    #[test]
    fn text_of_yaml_characters_never_panics(text in "[-a-z0-9:{}\\[\\],&*!|>'\"%@#?~ \n]{0,200}") {
        survives(text.as_bytes());
    }

    #[test]
    fn a_valid_file_with_bytes_replaced_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = valid();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes);
    }

    #[test]
    fn a_valid_file_with_a_piece_moved_never_panics(from in any::<prop::sample::Index>(), len in 0_usize..200, to in any::<prop::sample::Index>()) {
        let mut bytes = valid();
        let start = from.index(bytes.len());
        let piece: Vec<u8> = bytes.drain(start..(start + len).min(bytes.len())).collect();
        let at = to.index(bytes.len() + 1);
        bytes.splice(at..at, piece);
        survives(&bytes);
    }
}

/// Whether a request for this path on this host is read as exactly this.
fn is_read_back(host: &str, path: &str) -> bool {
    let mut head = RequestHead::default();
    let bytes = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    head.parse(bytes.as_bytes(), &HeadLimits::default()).is_ok() && head.path() == path && head.host() == host
}

fn decoded<T: Decode>(text: &str) -> bool {
    let mut builder = TreeBuilder::new(FileId(0), 1, 1);
    builder.scalar(text, false, 1, 1).expect("one value");
    T::decode(&builder.finish().expect("one value").root(), &mut Diagnostics::default()).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    // What is accepted here is what requests are read as: else a route could never match, or match what nobody meant.
    #[test]
    fn a_static_path_is_accepted_exactly_if_requests_are_read_as_it(path in "/([a-zA-Z0-9.~!*+:@;/\\\\é ]|%[0-9a-fA-F]{2}|%c3%a9|%C3%A9){0,8}") {
        let read_back = is_read_back("a", &path) && !path.contains("%2F");
        prop_assert_eq!(decoded::<Template>(&path), read_back, "{}", path);
        prop_assert!(!read_back || PathTemplate::parse(&path).is_ok(), "{}", path);
    }

    #[test]
    fn a_host_that_is_accepted_is_one_that_requests_are_read_as(host in "([a-zA-Z0-9]{1,3}|[0-9]{1,3}|0x[0-9a-f]|-a|a_|\\*)(\\.([a-z]{1,3}|[0-9]{1,3}|0x[0-9a-f]|)){0,3}|\\[[0-9a-f:.]{2,12}\\]") {
        if decoded::<Host>(&host) && !host.contains('*') {
            prop_assert!(is_read_back(&host, "/"), "{}", host);
        }
        prop_assert!(!decoded::<Host>(&host) || HostPattern::parse(&host).is_ok(), "{}", host);
    }

    #[test]
    fn a_template_that_is_accepted_is_one_for_the_router(path in "(/([a-z]{0,2}|\\{[*a-z_]{0,3}\\}|\\{|[a-z]\\})){1,4}") {
        prop_assert!(!decoded::<Template>(&path) || PathTemplate::parse(&path).is_ok(), "{}", path);
    }
}
