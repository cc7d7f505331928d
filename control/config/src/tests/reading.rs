//! Arbitrary input: whatever the bytes, there is a plan or a report, never a panic.

use super::{Folder, POLICIES, cases, clock};
use crate::Loader;
use proptest::prelude::*;
use std::fs;

fn survives(bytes: &[u8]) {
    let folder = Folder::new();
    let path = folder.write("a.yaml", bytes);
    if let Err(report) = Loader::new(&path, &POLICIES, clock()).load() {
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
