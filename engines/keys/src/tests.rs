use crate::base62::{crc32, six};
use crate::{Entry, HashKey, Idled, KEYS_MAX, KeyFile, KeyTable, KeyUses, NewKey, RANDOM_BYTES, Unknown, check, is_foreign_fit};
use proptest::prelude::*;

fn new_key(seed: u8, hash_key: &HashKey) -> NewKey {
    let mut bytes = [0; RANDOM_BYTES];
    (0..).zip(&mut bytes).for_each(|(at, byte): (u8, _)| *byte = at.wrapping_mul(37).wrapping_add(seed));
    NewKey::from_random(&bytes, hash_key).unwrap()
}

fn entry(key: &NewKey, name: &str) -> Entry {
    Entry {
        id: key.id.clone(),
        name: name.into(),
        hash: key.hash,
        roles: ["reader".into()].into(),
        scopes: Box::default(),
        created: 100,
        expires: None,
        revoked: None,
        foreign: false,
    }
}

fn file_of(seeds: &[u8]) -> (KeyFile, Vec<NewKey>) {
    let mut file = KeyFile::new(HashKey::new([7; 32]));
    let keys: Vec<NewKey> = seeds.iter().map(|seed| new_key(*seed, &file.hash_key)).collect();
    file.entries = keys.iter().map(|key| entry(key, "partner-a")).collect();
    (file, keys)
}

#[test]
fn a_key_is_a_word_with_a_checksum() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of the algorithm");
    assert_eq!((six(0), six(61), six(u32::MAX)), ("000000".to_owned(), "00000z".to_owned(), "4gfFC3".to_owned()));
    let key = new_key(1, &HashKey::new([0; 32]));
    let text = key.text.reveal();
    assert_eq!((text.len(), check(text.as_bytes())), (55, Some(&*key.id)));
    assert!(text.starts_with("pck_") && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{text}");
    for at in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[at] = if other[at] == b'x' { b'y' } else { b'x' };
        assert_eq!(check(&other), None, "another character at {at}");
        assert_eq!(check(&text.as_bytes()[..at]), None, "cut off at {at}");
    }
    assert_eq!(check(format!("{text}0").as_bytes()), None);
    assert!(NewKey::from_random(&[255; RANDOM_BYTES], &HashKey::new([0; 32])).is_none(), "bytes that are left out make no key");
}

#[test]
fn whose_a_key_is_and_until_when() {
    let (mut file, keys) = file_of(&[1, 2, 3, 4]);
    file.entries[1].expires = Some(1_000);
    file.entries[2].revoked = Some(900);
    let table = KeyTable::new(file);
    let find = |key: &NewKey, now| table.find(key.text.reveal().as_bytes(), now).map(|entry| entry.id.clone());
    assert_eq!(find(&keys[0], u64::MAX), Ok(keys[0].id.clone()));
    assert_eq!((find(&keys[1], 999), find(&keys[1], 1_000)), (Ok(keys[1].id.clone()), Err(Unknown::Expired)));
    assert_eq!(find(&keys[2], 0), Err(Unknown::Revoked));
    assert_eq!(find(&new_key(9, &HashKey::new([7; 32])), 0), Err(Unknown::Unlisted));
    for odd in
        [&b""[..], b"pck_", b"pck_AAAAAAAAAAAA_", &[0; 55], &[b'a'; 5_000], "pck_é".as_bytes(), b"an old key of another program"]
    {
        assert_eq!(table.find(odd, 0), Err(Unknown::Odd), "{odd:?}");
    }
}

#[test]
fn keys_of_other_programs_are_taken_where_there_are_any() {
    let (mut file, keys) = file_of(&[1]);
    let old = b"3f0d6a5e-93b1-4f77-a1c2-5e6f7a8b9c0d";
    file.entries.push(Entry { id: "old-1".into(), hash: file.hash_key.hash(old), foreign: true, ..file.entries[0].clone() });
    let table = KeyTable::new(KeyFile::read(file.to_text().as_bytes()).unwrap());
    assert_eq!(table.find(old, 0).map(|entry| &*entry.id), Ok("old-1"));
    assert_eq!(table.find(b"3f0d6a5e-93b1-4f77-a1c2-5e6f7a8b9c0e", 0), Err(Unknown::Unlisted));
    assert!(table.find(keys[0].text.reveal().as_bytes(), 0).is_ok());
    assert!(is_foreign_fit(old));
    for weak in [
        &b"secret"[..],
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"0123456789 abcdefghijk",
        &[b'a'; 257],
        keys[0].text.reveal().as_bytes(),
    ] {
        assert!(!is_foreign_fit(weak), "{weak:?}");
    }
}

#[test]
fn a_file_is_read_as_it_is_written_and_holds_no_key() {
    let (mut file, keys) = file_of(&[1, 2]);
    file.entries[0].expires = Some(5);
    file.entries[1].revoked = Some(6);
    file.entries[1].scopes = ["orders:read".into()].into();
    let text = file.to_text();
    let again = KeyFile::read(text.as_bytes()).unwrap();
    assert_eq!((&again.entries, again.to_text()), (&file.entries, text.clone()));
    for key in &keys {
        let secret = key.text.reveal().split_at(17).1;
        assert!(!text.contains(secret) && !format!("{file:?} {key:?}").contains(secret));
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_by_line_and_without_its_content() {
    let (file, _) = file_of(&[1, 2]);
    let text = file.to_text();
    let faults = |text: &str| {
        let found = KeyFile::read(text.as_bytes()).unwrap_err();
        found.into_iter().map(|fault| (fault.line, fault.what)).collect::<Vec<_>>()
    };
    assert!(faults("")[0].1.contains("empty"));
    assert!(faults(text.trim_end())[0].1.contains("cut off"));
    for (first, said) in [("{}", "not that of a file of keys"), ("{\"portcullis_api_keys\":2,\"hash_key\":\"\"}", "version 2")] {
        let found = faults(&format!("{first}\n"));
        assert!(found[0].0 == Some(1) && found[0].1.contains(said), "{found:?}");
    }
    let line = text.lines().nth(1).unwrap();
    let twice = format!("{text}{line}\n");
    assert_eq!(faults(&twice), [(Some(4), "the id stands in an earlier line too; keep one of the two".to_owned())]);
    let copied = line.replacen(&*file.entries[0].id, "copied", 1);
    assert_eq!(faults(&format!("{text}{copied}\n")), [(Some(4), "the same key stands in line 2; keep one of the two".to_owned())]);
    for (wrong, said) in [
        (line.replace("\"partner-a\"", "\"a b\""), "`name` is not"),
        (line.replace("\"name\":\"partner-a\",", ""), "`name` is missing"),
        (line.replace("\"created\":100", "\"created\":\"hunter2\""), "of another kind"),
        (line.replace("\"created\":100", "\"created\":100,\"created\":100"), "`created` is written twice"),
        (line.replace("\"created\":100", "\"created\":100,\"hunter2\":1"), "a name that no line has"),
        (line.replace("\"reader\"", "\"\""), "`roles` and `scopes`"),
        (line.replace("\"hash\":\"", "\"hash\":\"A"), "`hash` is not"),
        ("hunter2".to_owned(), "not one JSON object"),
        (String::new(), "not one JSON object"),
        (format!("{line} {line}"), "not one JSON object"),
        (format!("{line}{}", " ".repeat(16 * 1024)), "more than 16384 bytes"),
    ] {
        let found = faults(&format!("{}\n{wrong}\n", text.lines().next().unwrap()));
        assert!(found.len() == 1 && found[0].0 == Some(2) && found[0].1.contains(said), "{wrong}: {found:?}");
        assert!(!found[0].1.contains("hunter2"), "{found:?}");
    }
    let many = format!("{}\n{}", text.lines().next().unwrap(), "x\n".repeat(1_000));
    assert_eq!(faults(&many).len(), 100);
}

#[test]
fn a_file_has_a_bound() {
    let (mut file, _) = file_of(&[1]);
    let one = file.entries.remove(0);
    for number in 0..=KEYS_MAX {
        let hash = file.hash_key.hash(&number.to_le_bytes());
        file.entries.push(Entry { id: number.to_string().into(), hash, ..one.clone() });
    }
    assert_eq!(KeyFile::read(file.to_text().as_bytes()).unwrap_err()[0].line, Some(KEYS_MAX + 2));
    file.entries.pop();
    assert_eq!(KeyTable::new(KeyFile::read(file.to_text().as_bytes()).unwrap()).len(), KEYS_MAX);
}

proptest! {
    #[test]
    fn any_bytes_are_a_file_or_a_report(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(KeyFile::read(&bytes).is_err());
        prop_assert_eq!(check(&bytes), None);
    }
}

#[test]
fn uses_outlive_the_file_and_idle_keys_are_refused_and_told_once() {
    let (file, keys) = file_of(&[1, 2]);
    let (table, uses) = (KeyTable::new(file.clone()), KeyUses::default());
    let find = |table: &KeyTable, at: usize, now, idle_after| {
        table.find_used(keys[at].text.reveal().as_bytes(), now, &uses, idle_after).map(|entry| entry.id.clone())
    };
    assert_eq!(find(&table, 0, 150, Some(50)), Err(Unknown::Unopened), "what is not known is not taken for granted");
    uses.open(200, [("gone".into(), 7)]);
    assert!(find(&table, 0, 249, Some(50)).is_ok(), "uses were not noted before");
    assert_eq!(find(&table, 1, 250, Some(50)), Err(Unknown::Idle));
    assert_eq!(find(&table, 1, 250, Some(50)), Err(Unknown::Idle));
    let told = |at: usize, used| Idled { id: keys[at].id.clone(), name: file.entries[at].name.clone(), used };
    assert_eq!((uses.idled(), uses.idled()), (vec![told(1, None)], Vec::new()));
    // Another reading of the file, with the same keys.
    let again = KeyTable::new(file.clone());
    assert!(find(&again, 0, 298, Some(50)).is_ok());
    assert_eq!((find(&again, 0, 348, Some(50)), find(&again, 0, 0, Some(50)).is_ok()), (Err(Unknown::Idle), true));
    assert_eq!(uses.idled(), [told(0, Some(298))]);
    assert!(find(&again, 1, 1_000, None).is_ok(), "only where it is asked for");
    uses.merge([(keys[0].id.clone(), 100), (keys[1].id.clone(), 2_000)]);
    let mut all = uses.all();
    all.sort_unstable();
    let mut expected = vec![(keys[0].id.clone(), 298), (keys[1].id.clone(), 2_000), ("gone".into(), 7)];
    expected.sort_unstable();
    assert_eq!(all, expected);
}
