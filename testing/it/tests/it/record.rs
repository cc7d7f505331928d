//! One record per exchange, whatever happened; readable by programs, without secrets, through full disks and rotated files.

use crate::site::{get_with, post_with, site, site_with};
use portcullis_testing_kit::{Plain, RawClient, TempDir, Witness, holds};
use std::process::Command;

const TOKEN: &str = "s3cr3t-t0k3n-of-a-client";

#[test]
fn every_exchange_leaves_exactly_one_record() {
    let site = site();
    let mut client = RawClient::connect(site.http());
    for number in 0..100 {
        client.send(format!("GET /n{number} HTTP/1.1\r\nHost: a.test\r\n\r\n")).response();
    }
    client.send("GET /%00 HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
    let records = site.gateway.records_when(101);
    assert_eq!(records.len(), 101);
    let ids: std::collections::BTreeSet<&str> = records.iter().filter_map(|record| record["request_id"].as_str()).collect();
    assert_eq!(ids.len(), 101, "every one has an id of its own");
    let refused = site.gateway.record_of("path_ambiguous");
    assert_eq!((&refused["status"], &refused["blame"]), (&400.into(), &"downstream".into()), "{refused}");
}

#[test]
fn a_client_that_goes_away_leaves_a_record_too() {
    let witness = Witness::scripted(|side| side.drain());
    let gateway = Plain::to(witness.address()).start();
    let mut client = RawClient::connect(gateway.http());
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    holds("the request at the upstream", || witness.bytes() > 0);
    client.reset();
    assert_eq!(gateway.record_of("client_gone")["blame"], "downstream");
    assert_eq!(gateway.records().len(), 1);
    witness.all_ended();
}

#[test]
fn a_record_tells_what_happened() {
    let site = site();
    site.answer(post_with("Content-Length: 5\r\nUser-Agent: tests/1\r\nConnection: close\r\n", "hello"));
    let record = &site.gateway.records_when(1)[0];
    for (key, value) in [
        ("method", "POST".into()),
        ("path", "/x".into()),
        ("host", "a.test".into()),
        ("status", 200.into()),
        ("route", "all".into()),
        ("api", "a".into()),
        ("upstream", "u".into()),
        ("endpoint", site.witness.address().to_string().into()),
        ("client", "127.0.0.1".into()),
        ("listener", "plain".into()),
        ("protocol", "HTTP/1.1".into()),
        ("generation", 1.into()),
    ] {
        assert_eq!(record[key], serde_json::Value::clone(&value), "{key}: {record}");
    }
    assert_eq!((&record["bytes"]["request_body"], &record["bytes"]["response_body"]), (&5.into(), &2.into()), "{record}");
    assert!(record["verdicts"].is_object() && record["timings_us"]["total"].as_u64() > Some(0), "{record}");
}

#[test]
fn c68_tokens_are_in_no_log() {
    let site = site();
    let lines = format!(
        "Authorization: Bearer {TOKEN}\r\nCookie: session={TOKEN}\r\nX-Api-Key: {TOKEN}\r\nReferer: https://a.test/?t={TOKEN}\r\n\
         X-Forwarded-For: {TOKEN}\r\nConnection: close\r\n"
    );
    let with_query = format!("GET /x?access_token={TOKEN}&code={TOKEN}&sig={TOKEN} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
    site.answer(with_query);
    site.answer(post_with(&format!("{lines}Content-Length: {}\r\n", TOKEN.len()), TOKEN));
    // Also where something is wrong, and the detail is told.
    site.answer(get_with(&format!("Authorization: Bearer {TOKEN}\r\nX Y: {TOKEN}\r\n")));
    site.answer(format!("GET /x?{TOKEN}=%zz HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
    site.answer(format!("GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {TOKEN}\r\nConnection: close\r\n\r\n"));
    site.gateway.records_when(5);
    for (name, text) in
        [("access log", site.gateway.access_log()), ("stderr", site.gateway.stderr()), ("stdout", site.gateway.stdout())]
    {
        assert!(!text.contains(TOKEN), "the token is in {name}:\n{text}");
    }
}

#[test]
fn c69_nobody_writes_lines_into_the_log() {
    let site = site();
    for value in [
        "\"},{\"x\":\"",
        "\\\"}\\n{",
        "\\u000a{\"status\":200}",
        "\u{e4}\u{2028}\u{202e}",
        "</script><script>",
        "%0a{\"status\":1}",
    ] {
        site.answer(get_with(&format!("User-Agent: {value}\r\n")));
    }
    let mut bytes = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nUser-Agent: ".to_vec();
    bytes.extend(0x80..=0xff_u8);
    bytes.extend(b"\r\n\r\n");
    site.answer(bytes);
    let records = site.gateway.records_when(7);
    assert_eq!(records.len(), 7, "as many lines as exchanges");
    assert!(records.iter().all(|record| record["status"] == 200 && record["path"] == "/x"), "{records:#?}");
    assert!(!site.gateway.access_log().bytes().any(|byte| byte < 0x20 && byte != b'\n'), "control bytes in the log");
}

#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let mut site = site();
    site.answer(get_with(""));
    site.gateway.records_when(1);
    // As logrotate does it: move away, then signal.
    std::fs::rename(site.gateway.folder().join("access.log"), site.gateway.folder().join("access.log.1")).expect("moved");
    site.gateway.process().signal("HUP");
    holds("a new access log", || site.gateway.folder().join("access.log").exists());
    site.answer(get_with(""));
    let records = site.gateway.records_when(1);
    let old = std::fs::read_to_string(site.gateway.folder().join("access.log.1")).expect("there");
    assert_eq!((records.len(), old.lines().count()), (1, 1));
}

#[test]
fn a_log_that_rotates_by_itself_stays_in_its_bounds() {
    let site = site_with(|plain| {
        plain.record = "{ access_log: { to: file, path: access.log, format: json, rotate: { size: 64KiB, keep: 2 } } }"
    });
    let mut client = RawClient::connect(site.http());
    for _ in 0..3000 {
        let response = client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").response();
        assert_eq!(response.status, 200, "{}{}", response.head, response.text());
    }
    holds("the log to be rotated twice", || site.gateway.folder().join("access.log.2").exists());
    let sizes: u64 = std::fs::read_dir(site.gateway.folder())
        .expect("a folder")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("access.log"))
        .map(|entry| entry.metadata().map_or(0, |data| data.len()))
        .sum();
    assert!(sizes <= 3 * 64 * 1024, "{sizes} bytes of logs");
}

#[test]
fn a_full_disk_stops_the_log_and_nothing_else() {
    // /dev/full takes no byte: the same error that a full disk gives.
    let site = site_with(|plain| plain.record = "{ access_log: { to: file, path: /dev/full, format: json } }");
    for _ in 0..50 {
        assert_eq!(site.answer(get_with("")).status, 200);
    }
    holds("the trouble to be told", || site.gateway.metric("portcullis_access_log_writable") == 0.0);
    let mut site = site;
    site.gateway.is_well();
    site.gateway.stop();
}

#[test]
fn a_disk_with_room_again_takes_the_log_again() {
    // A small file system of its own, filled to the last byte, then freed. Only root may make one; others use /dev/full above.
    let place = TempDir::new();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(place.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped in part: a file system cannot be mounted here");
        return;
    }
    let unmount = || Command::new("umount").arg("-l").arg(place.path()).status();
    let filled = place.path().join("filler");
    // The file system says that it is full: that is what is wanted.
    let _full = std::fs::write(&filled, vec![0; 1 << 20]);
    let witness = Witness::ok();
    let yaml =
        Plain::to(witness.address()).yaml().replace("path: access.log", &format!("path: {}/access.log", place.path().display()));
    let gateway = portcullis_testing_kit::Gateway::start(&yaml);
    assert_eq!(gateway.get("/x").status, 200);
    holds("the trouble to be told", || gateway.metric("portcullis_access_log_writable") == 0.0);
    std::fs::remove_file(&filled).expect("removed");
    // What came meanwhile has waited, within bounds, and is written now.
    holds("the log to be written again", || {
        std::fs::read_to_string(place.path().join("access.log"))
            .is_ok_and(|text| text.lines().count() == 1 && text.ends_with("}\n"))
    });
    holds("the end of the trouble to be told", || gateway.metric("portcullis_access_log_writable") == 1.0);
    assert!(unmount().is_ok());
}

#[test]
fn the_log_may_be_off_or_on_standard_output() {
    let off = site_with(|plain| plain.record = "{ access_log: off }");
    assert_eq!(off.answer(get_with("")).status, 200);
    holds("the exchange in the metrics", || off.gateway.metric_sum("portcullis_requests_total") >= 1.0);
    assert_eq!(off.gateway.stdout(), "");
    let shown = site_with(|plain| plain.record = "{ access_log: { to: stdout, format: json } }");
    assert_eq!(shown.answer(get_with("")).status, 200);
    holds("a line on standard output", || {
        shown.gateway.stdout().lines().filter(|line| line.contains("\"path\":\"/x\"")).count() == 1
    });
}
