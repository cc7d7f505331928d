use super::{Kept, KeyUseEvent, KeyUseLog};
use portcullis_engines_keys::{HashKey, KeyFile, KeyTable, KeyUses, NewKey, RANDOM_BYTES};
use portcullis_gateway_policy::KeyStorePlan;
use portcullis_model::Clock;
use portcullis_testing_kit::TempDir;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

const NOW: u64 = 1_000_000;

struct Process {
    log: Arc<KeyUseLog>,
    uses: Arc<KeyUses>,
}

/// A process that has opened the store `partners`.
fn process(folder: &TempDir, clock: &Clock) -> Result<Process, String> {
    let log = KeyUseLog::new(folder.path().join("key-uses"), clock.clone());
    let uses = Arc::<KeyUses>::default();
    let (since, before) = log.read("partners")?.unwrap_or_else(|| (clock.unix_seconds(), Vec::new()));
    uses.open(since, before);
    let (name, header, file) = ("partners".into(), "x-api-key".into(), "partners.keys".into());
    let store = Arc::new(KeyStorePlan { name, header, file, idle_after: None });
    log.keep(vec![Kept { store, uses: Arc::clone(&uses), written: 0, seen: None }])?;
    Ok(Process { log, uses })
}

fn used(process: &Process) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = process.uses.all().into_iter().map(|(id, at)| (id.into(), at)).collect();
    all.sort_unstable();
    all
}

#[test]
fn two_processes_keep_the_later_use_of_each_key_and_a_third_finds_it() {
    let (folder, clock) = (TempDir::new(), Clock::fixed(NOW * 1_000_000));
    let (old, new) = (process(&folder, &clock).unwrap(), process(&folder, &clock).unwrap());
    old.uses.merge([("a".into(), NOW + 5), ("b".into(), NOW + 1)]);
    new.uses.merge([("a".into(), NOW + 3), ("b".into(), NOW + 9), ("c".into(), NOW + 2)]);
    clock.set_unix_micros((NOW + 60) * 1_000_000);
    new.log.write_all().unwrap();
    old.log.write_all().unwrap();
    new.log.write_all().unwrap();
    let third = process(&folder, &clock).unwrap();
    let expected = [("a", NOW + 5), ("b", NOW + 9), ("c", NOW + 2)].map(|(id, at)| (id.to_owned(), at));
    assert_eq!(used(&new), expected, "what the other has written is taken without a use of its own");
    assert_eq!((used(&third), used(&old), third.uses.since()), (expected.to_vec(), expected.to_vec(), Some(NOW)));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("key-uses")).unwrap().filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "nothing is left behind: {left:?}");
    // What was written by a clock that was ahead keeps no key alive.
    clock.set_unix_micros((NOW + 4) * 1_000_000);
    assert_eq!(used(&process(&folder, &clock).unwrap())[1], ("b".to_owned(), NOW + 4));
}

#[test]
fn a_file_that_is_not_understood_lets_nobody_in() {
    let (folder, clock) = (TempDir::new(), Clock::fixed(NOW * 1_000_000));
    let one = process(&folder, &clock).unwrap();
    one.uses.merge([("a".into(), NOW)]);
    one.log.write_all().unwrap();
    let path = folder.path().join("key-uses/partners.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    for (broken, said) in [
        (String::new(), "its first line"),
        (text.replace("\"portcullis_key_uses\":1", "\"portcullis_key_uses\":2"), "its first line"),
        (text.trim_end().to_owned(), "line 2 is not understood"),
        (format!("{text}{}\n", "a".repeat(2_000)), "line 3 is not understood"),
        (format!("{text}{{\"id\":\"b\",\"used\":-1}}\n"), "line 3 is not understood"),
    ] {
        std::fs::write(&path, broken).unwrap();
        let problem = process(&folder, &clock).err().unwrap();
        assert!(problem.contains(said) && problem.contains("take it away"), "{problem}");
    }
    one.uses.merge([("a".into(), NOW + 1)]);
    assert!(one.log.write_all().is_err(), "what is not understood is not replaced either");
}

#[test]
fn the_last_uses_are_on_disk_when_the_writing_has_ended_and_idle_keys_have_been_told() {
    let (folder, clock) = (TempDir::new(), Clock::fixed(NOW * 1_000_000));
    let one = process(&folder, &clock).unwrap();
    let made = NewKey::from_random(&std::array::from_fn::<u8, RANDOM_BYTES, _>(|at| at as u8), &HashKey::new([1; 32])).unwrap();
    let mut file = KeyFile::new(HashKey::new([1; 32]));
    file.entries.push(portcullis_engines_keys::Entry {
        id: made.id.clone(),
        name: "partner-a".into(),
        hash: made.hash,
        roles: Box::default(),
        scopes: Box::default(),
        created: 1,
        expires: None,
        revoked: None,
        foreign: false,
    });
    let table = KeyTable::new(file);
    let shown = made.text.reveal().as_bytes();
    let (heard, hears) = sync_channel(8);
    let heard = Mutex::new(heard);
    let following = one.log.follow(move |event| {
        let text = match event {
            KeyUseEvent::Idle(store, key) => format!("{store} {} {:?}", key.name, key.used),
            KeyUseEvent::Problem(text) => (*text).to_owned(),
        };
        heard.lock().unwrap().send(text).unwrap();
    });
    let following = following.unwrap();
    assert!(table.find_used(shown, NOW + 9, &one.uses, Some(10)).is_ok());
    assert!(table.find_used(shown, NOW + 19, &one.uses, Some(10)).is_err());
    assert_eq!(hears.recv().unwrap(), format!("partners partner-a Some({})", NOW + 9));
    drop(following);
    clock.set_unix_micros((NOW + 60) * 1_000_000);
    assert_eq!(used(&process(&folder, &clock).unwrap()), [(made.id.to_string(), NOW + 9)]);
}
