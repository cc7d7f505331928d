//! Loading again and again, and what no gateway may be brought down by.

use super::{Folder, POLICIES, cases, clock, load_here};
use crate::{Caps, Loader, load};
use portcullis_model::Clock;
use std::fmt::Write;
use std::fs;
use std::sync::Arc;

fn minimal() -> String {
    fs::read_to_string(cases("accepted/minimal.yaml")).expect("there")
}

fn api_file(name: &str, path: &str) -> String {
    format!(
        "apis:\n  {name}:\n    hosts: [api.example.com]\n    upstream: orders\n    routes: [{{ name: r, methods: [GET], path: {path}, access: {{ public: true }} }}]\n"
    )
}

#[test]
fn a_reload_reuses_the_apis_that_did_not_change() {
    let folder = Folder::new();
    folder.write("00.yaml", minimal());
    folder.write("a.yaml", api_file("a", "/a"));
    folder.write("b.yaml", api_file("b", "/b"));
    let mut loader = Loader::new(&folder.0, &POLICIES, clock());
    let first = loader.load().expect("valid");
    folder.write("b.yaml", api_file("b", "/changed"));
    let second = loader.load().expect("valid");
    let same: Vec<bool> = first.apis.iter().zip(&second.apis).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!(same, [true, false, true], "a, b, orders");
    assert_eq!(&*second.apis[1].routes[0].path, "/changed");
    assert_ne!(first.hash(), second.hash());
}

#[test]
fn a_reload_sees_new_and_removed_files_and_names_what_to_watch() {
    let folder = Folder::new();
    let main = folder.write("00.yaml", minimal());
    let mut loader = Loader::new(&folder.0, &POLICIES, clock());
    assert_eq!(loader.load().expect("valid").apis.len(), 1);
    let more = folder.write("a.yaml", api_file("a", "/a"));
    assert_eq!(loader.load().expect("valid").apis.len(), 2);
    assert_eq!(loader.files(), [folder.0.clone(), main, more.clone()]);
    fs::remove_file(more).expect("removed");
    assert_eq!(loader.load().expect("valid").apis.len(), 1);
    // Hidden files belong to editors and to ConfigMap mounts.
    folder.write(".b.yaml", "not: valid");
    assert_eq!(loader.load().expect("valid").apis.len(), 1);
}

#[test]
fn which_file_something_is_in_does_not_matter() {
    let (one, other) = (Folder::new(), Folder::new());
    one.write("a.yaml", minimal() + "workers: 2\nrecord: { access_log: off }\n");
    one.write("b.yaml", api_file("b", "/b") + "management: { probes: 127.0.0.1:9464 }\n");
    other.write("a.yaml", api_file("b", "/b") + "workers: 2\n");
    other.write("b.yaml", minimal() + "management: { probes: 127.0.0.1:9464 }\n");
    other.write("c.yaml", "record: { access_log: off }\n");
    assert_eq!(load_here(&one.0).expect("valid").hash(), load_here(&other.0).expect("valid").hash());
}

#[test]
fn after_a_refused_load_the_next_one_starts_from_what_was_right() {
    let folder = Folder::new();
    let path = folder.write("a.yaml", minimal());
    let mut loader = Loader::new(&path, &POLICIES, clock());
    let first = loader.load().expect("valid");
    for broken in ["", "apis: {", "version: 1\n", &minimal().replace("/items/{id}", "items")] {
        folder.write("a.yaml", broken);
        assert!(loader.load().expect_err("refused").errors() > 0, "{broken}");
    }
    folder.write("a.yaml", minimal());
    let again = loader.load().expect("valid");
    assert_eq!(first.hash(), again.hash());
    assert!(Arc::ptr_eq(&first.apis[0], &again.apis[0]));
}

#[test]
fn a_change_of_defaults_reaches_apis_in_files_that_did_not_change() {
    let folder = Folder::new();
    folder.write("00.yaml", minimal());
    folder.write("a.yaml", api_file("a", "/a").replace("    routes", "    body_limit: { bytes_max: 2MiB }\n    routes"));
    folder.write("defaults.yaml", "defaults: { body_limit: { bytes_max: 4MiB } }\n");
    let mut loader = Loader::new(&folder.0, &POLICIES, clock());
    assert_eq!(loader.load().expect("valid").apis[0].routes[0].policies.iter().next().expect("one").1.len(), 2);
    folder.write("defaults.yaml", "defaults: { body_limit: { bytes_max: 1MiB } }\n");
    let report = loader.load().expect_err("the API is weaker now");
    assert!(report.to_string().contains("at: /apis/a/body_limit"), "{report}");
}

#[test]
fn a_weakening_whose_time_is_over_does_not_load_again() {
    let folder = Folder::new();
    let text = minimal().replace(
        "address: 0.0.0.0:8443\n",
        "address: 0.0.0.0:8443\n    danger_plaintext: { reason: a, owner: b, expires: 2026-11-24 }\n",
    );
    let (before, rest) = text.split_once("    tls:").expect("there");
    let (_, after) = rest.split_once("upstreams:").expect("there");
    let path = folder.write("a.yaml", format!("{before}upstreams:{after}"));
    let clock = clock();
    let mut loader = Loader::new(&path, &POLICIES, clock.clone());
    assert_eq!(loader.load().expect("still valid").weakenings.len(), 1);
    clock.set_unix_micros(clock.unix_micros() + 86_400_000_000);
    assert!(loader.load().expect_err("over").to_string().contains("this weakening ended on `2026-11-24`"));
}

#[test]
fn a_configuration_that_is_too_large_is_refused() {
    let folder = Folder::new();
    let path = folder.write("a.yaml", minimal());
    let size = fs::metadata(&path).expect("there").len();
    let with = |caps: Caps| Loader::new(&path, &POLICIES, clock()).with_caps(caps).load();
    let caps = Caps { file_bytes_max: size, bytes_max: size, files_max: 1, values_max: 64 };
    assert!(with(caps).is_ok());
    let refused = |caps: Caps, says: &str| {
        let report = with(caps).expect_err(says);
        assert!(report.to_string().contains(says), "{report}");
    };
    refused(Caps { file_bytes_max: size - 1, ..caps }, "bytes");
    refused(Caps { bytes_max: size - 1, ..caps }, "all files together");
    refused(Caps { values_max: 10, ..caps }, "more than 10 values");
    // Twice as large as it may be, as in the outage of 2025-11-18.
    folder.write("a.yaml", minimal().repeat(2));
    refused(caps, "bytes");
    folder.write("b.yaml", "workers: 1\n");
    let report = Loader::new(&folder.0, &POLICIES, clock()).with_caps(caps).load().expect_err("two files");
    assert!(report.to_string().contains("more than 1 files"), "{report}");
}

#[test]
fn a_configuration_cut_off_anywhere_is_refused_or_whole() {
    let folder = Folder::new();
    let text = minimal();
    let whole = load_here(&folder.write("a.yaml", &text)).expect("valid").to_canonical_json();
    for end in 0..text.len() {
        let cut = folder.write("a.yaml", &text.as_bytes()[..end]);
        if let Ok(plan) = load(&cut, &POLICIES, &Clock::System) {
            // Only what ends after the last key of the first route, before any of it is missing.
            let mut plan = plan.to_canonical_json();
            let missing = whole["apis"].clone();
            if plan["apis"] != missing {
                assert!(
                    plan["apis"].as_object().is_some_and(serde_json::Map::is_empty),
                    "cut at {end}: a part of an API was taken"
                );
                plan["apis"] = missing;
            }
            plan["upstreams"] = whole["upstreams"].clone();
            assert_eq!(plan, whole, "cut at {end}");
        }
    }
}

#[test]
fn what_is_not_a_file_is_refused_without_waiting() {
    let folder = Folder::new();
    assert!(load_here(&folder.0.join("absent.yaml")).expect_err("absent").to_string().contains("not found"));
    assert!(load_here(std::path::Path::new("/dev/zero")).expect_err("endless").to_string().contains("is not a regular file"));
    fs::create_dir(folder.0.join("a.yaml")).expect("a folder with a misleading name");
    assert!(load_here(&folder.0).expect_err("a folder").to_string().contains("is not a regular file"));
}

#[test]
fn findings_are_sorted_bounded_and_counted() {
    let folder = Folder::new();
    let mut text = minimal();
    for route in 0..1000 {
        writeln!(text, "      - {{ name: r{route}, methods: [GET], path: \"x{route}\", access: {{ public: true }} }}")
            .expect("to a String");
    }
    let report = load_here(&folder.write("a.yaml", text)).expect_err("refused");
    assert_eq!((report.findings.len(), report.omitted), (200, 800));
    assert!(report.findings.is_sorted_by_key(|finding| (finding.line, finding.column)));
    assert!(report.render(false).ends_with("800 more, not shown\n"));
}

#[test]
fn a_report_cannot_play_tricks_on_a_terminal() {
    let folder = Folder::new();
    let text = minimal().replace("name: read", "name: \"\\e[2J\\u202e\", \"\u{202e}evil\": 1");
    let report = load_here(&folder.write("a.yaml", text)).expect_err("refused");
    let plain = report.render(false);
    assert!(!plain.contains('\u{1b}') && !plain.contains('\u{202e}'), "{plain:?}");
    assert!(report.render(true).contains("\u{1b}[1;31merror\u{1b}[0m: "));
    assert_eq!(report.to_json()["findings"][0]["severity"], "error");
}
