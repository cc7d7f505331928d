use super::{RevocationLog, STALE_LINES_MAX};
use crate::revocation::{Revocation, Target};
use portcullis_gateway_policy::{Revocable, Revocations};
use portcullis_model::{Clock, Mark, Principal};
use portcullis_testing_kit::TempDir;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

const NOW: u64 = 1_000_000;

fn token(id: &str) -> Revocation {
    let target = Target::Token { issuer: "https://id.test".to_owned(), id: id.to_owned() };
    Revocation {
        target,
        lifted: false,
        issued_until: None,
        until: Some(NOW + 60),
        unix_seconds: NOW,
        uid: 7,
        reason: None,
        shared: false,
    }
}

struct Place {
    _folder: TempDir,
    path: PathBuf,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new();
        let path = folder.path().join("revocations.jsonl");
        Self { _folder: folder, path, clock: Clock::fixed(NOW * 1_000_000) }
    }

    fn open(&self) -> Result<(Arc<RevocationLog>, Arc<Revocations>), String> {
        let revocations = Arc::<Revocations>::default();
        RevocationLog::open(self.path.clone(), self.clock.clone(), Arc::clone(&revocations)).map(|log| (log, revocations))
    }
}

fn has(revocations: &Revocations, mark: Mark) -> bool {
    let principal = Principal {
        provider: "corp".into(),
        subject: "alice".into(),
        client: None,
        consumer: None,
        grants: Default::default(),
        expires_unix_seconds: 0,
        issued_unix_seconds: NOW - 5,
        marks: [mark].into(),
        ends_unix_seconds: 0,
    };
    revocations.has(&principal, NOW)
}

fn mark(id: &str) -> Mark {
    Revocable::Token { issuer: "https://id.test", id }.mark()
}

#[test]
fn what_was_revoked_is_in_force_at_once_and_after_a_restart() {
    let place = Place::new();
    let (log, revocations) = place.open().unwrap();
    let certificate = Target::Certificate { fingerprint: "00ff".repeat(16) };
    log.add(token("a")).unwrap();
    log.add(Revocation { target: certificate, until: None, ..token("") }).unwrap();
    log.add(token("b")).unwrap();
    log.add(Revocation { lifted: true, ..token("b") }).unwrap();
    assert!(log.add(Revocation { lifted: true, ..token("b") }).unwrap_err().contains("nothing of the kind"));
    let (again, after) = place.open().unwrap();
    assert_eq!((log.list(), log.list().len()), (again.list(), 2));
    let shown = Revocable::Certificate { fingerprint: &[0, 255].repeat(16) }.mark();
    for revocations in [&revocations, &after] {
        assert!(has(revocations, mark("a")) && !has(revocations, mark("b")) && has(revocations, shown));
    }
}

#[test]
fn what_has_run_out_is_forgotten() {
    let place = Place::new();
    let (log, _) = place.open().unwrap();
    log.add(token("a")).unwrap();
    place.clock.set_unix_micros((NOW + 60) * 1_000_000);
    assert!(log.list().is_empty() && place.open().unwrap().0.list().is_empty());
}

#[test]
fn a_line_that_was_never_done_is_cut_off_and_one_that_is_not_understood_stops_the_start() {
    let place = Place::new();
    place.open().unwrap().0.add(token("a")).unwrap();
    let append =
        |text: &str| std::fs::OpenOptions::new().append(true).open(&place.path).unwrap().write_all(text.as_bytes()).unwrap();
    append("{\"kind\":\"tok");
    let (log, revocations) = place.open().unwrap();
    assert!(has(&revocations, mark("a")));
    log.add(token("b")).unwrap();
    assert_eq!(place.open().unwrap().0.list().len(), 2);
    append("{\"kind\":\"planet\",\"unix_seconds\":1,\"uid\":1}\n");
    let problem = place.open().err().unwrap();
    assert!(problem.contains("line 3 is not understood"), "{problem}");
}

#[test]
fn two_processes_follow_each_other() {
    let place = Place::new();
    let ((one, of_one), (other, of_other)) = (place.open().unwrap(), place.open().unwrap());
    one.add(token("a")).unwrap();
    other.add(token("b")).unwrap();
    one.look().unwrap();
    for revocations in [&of_one, &of_other] {
        assert!(has(revocations, mark("a")) && has(revocations, mark("b")));
    }
    // A file that somebody has taken away loses nothing.
    std::fs::remove_file(&place.path).unwrap();
    one.look().unwrap();
    one.add(token("c")).unwrap();
    other.look().unwrap();
    assert!(["a", "b", "c"].iter().all(|id| has(&of_other, mark(id))));
    assert_eq!(place.open().unwrap().0.list().len(), 3);
}

#[test]
fn a_file_of_lines_that_say_nothing_any_more_is_written_anew() {
    let place = Place::new();
    let line = |entry: &Revocation| String::from_utf8(super::line(entry).unwrap()).unwrap();
    let mut text = line(&token("a"));
    for _ in 0..=STALE_LINES_MAX / 2 {
        text += &line(&token("b"));
        text += &line(&Revocation { lifted: true, ..token("b") });
    }
    std::fs::write(&place.path, text).unwrap();
    let (log, revocations) = place.open().unwrap();
    assert_eq!(std::fs::read_to_string(&place.path).unwrap().lines().count(), 1);
    log.add(token("c")).unwrap();
    assert!(has(&revocations, mark("a")) && has(&revocations, mark("c")));
    assert_eq!(place.open().unwrap().0.list().len(), 2);
}
