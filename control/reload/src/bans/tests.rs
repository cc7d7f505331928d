use super::{BanLog, Clock, Defence, Reason};
use crate::kept::STALE_LINES_MAX;
use portcullis_gateway_policy::{Ban, BanRules, ClientNetwork};
use std::cell::RefCell;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file of its own in a folder that goes with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portcullis-bans-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("bans.jsonl")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> (Arc<BanLog>, Arc<Defence>, String) {
    let (defence, told) = (Arc::new(Defence::default()), RefCell::new(String::new()));
    let log = BanLog::open(path.to_owned(), Clock::System, Arc::clone(&defence), &|text| told.borrow_mut().push_str(text));
    (log, defence, told.into_inner())
}

fn network(text: &str) -> ClientNetwork {
    ClientNetwork::parse(text).unwrap()
}

fn by_operator(now: u64) -> Ban {
    let reason = Some(Arc::from("scans"));
    Ban { until: u64::MAX, remembered_until: 0, level: 0, cause: None, since: now, uid: Some(7), reason }
}

fn rules() -> BanRules {
    let hour = Duration::from_secs(3600);
    BanRules { offences: 1, within: hour, first: hour, longest: hour * 24 }
}

#[test]
fn bans_outlive_the_process_and_two_processes_share_them() {
    let place = Place::new("shared");
    let (first, own, _) = open(&place.file());
    let now = Clock::System.unix_seconds();
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    first.add(network("198.51.100.0/24"), by_operator(now)).unwrap();
    own.offend(client, Reason::Http2Flood, &rules(), 0, now).unwrap();
    first.exchange(&first.made()).unwrap();
    let (second, others, told) = open(&place.file());
    assert_eq!((second.list(), told.as_str()), (first.list(), ""));
    // What the one does, the other knows of.
    second.lift(network("192.0.2.1"), 8).unwrap();
    others.offend("2001:db8::1".parse().unwrap(), Reason::HeaderTimeout, &rules(), 0, now).unwrap();
    second.exchange(&second.made()).unwrap();
    first.exchange(&[]).unwrap();
    assert_eq!(first.list(), second.list());
    let shown: Vec<String> = first.list().iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(shown, ["198.51.100.0/24", "2001:db8::/64"]);
    assert!(first.lift(network("192.0.2.1"), 8).unwrap_err().contains("is not banned"));
}

#[test]
fn what_is_damaged_is_told_left_out_and_written_anew() {
    let place = Place::new("damaged");
    let (log, _, _) = open(&place.file());
    log.add(network("192.0.2.1"), by_operator(Clock::System.unix_seconds())).unwrap();
    let good = std::fs::read_to_string(place.file()).unwrap();
    std::fs::write(place.file(), format!("{{}}\n{good}{{\"network\":\"nonsense\",\"unix_seconds\":1}}\n{{\"network\":\"19"))
        .unwrap();
    let (log, defence, told) = open(&place.file());
    assert!(told.contains("2 lines were not understood"), "{told}");
    assert_eq!(log.list().len(), 1);
    assert!(defence.bans.banned_until("192.0.2.1".parse().unwrap(), 0).is_some());
    assert_eq!(open(&place.file()).2, "");
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), good);
}

#[test]
fn a_file_of_bans_that_are_over_is_written_anew() {
    let place = Place::new("stale");
    let line = r#"{"network":"192.0.2.1","until":5,"remembered_until":5,"level":0,"cause":"http2_flood","unix_seconds":1}"#;
    std::fs::write(place.file(), format!("{line}\n").repeat(STALE_LINES_MAX + 1)).unwrap();
    let (log, _, told) = open(&place.file());
    assert_eq!((log.list().len(), told.as_str()), (0, ""));
    log.add(network("192.0.2.2"), by_operator(5)).unwrap();
    log.exchange(&[(network("192.0.2.3"), by_operator(5))]).unwrap();
    assert_eq!(std::fs::read_to_string(place.file()).unwrap().lines().count(), 1);
}
