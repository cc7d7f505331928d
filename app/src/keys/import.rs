//! Keys that callers have already: taken over as hashes, all of them or none.

use super::{any_key, check_words};
use portcullis_engines_keys::{Entry, KEYS_MAX, KeyFile, check, is_foreign_fit};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest text, in bytes.
const TEXT_BYTES_MAX: u64 = 128 << 20;

/// A line of what is imported.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    name: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    expires: Option<u64>,
}

/// What is to be imported; `-` is standard input.
///
/// # Errors
/// When it cannot be read.
pub(super) fn text_of(from: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = if from.as_os_str() == "-" {
        std::io::stdin().lock().take(TEXT_BYTES_MAX).read_to_string(&mut text)
    } else {
        File::open(from).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| format!("`{}` cannot be read: {error}", from.display()))?;
    Ok(text)
}

/// Takes the keys over, and tells how many they are.
///
/// # Errors
/// Which line cannot be taken; nothing of it is shown, since it holds a key.
pub(super) fn import(keys: &mut KeyFile, text: &str, now: u64) -> Result<usize, String> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut count = 0;
    for (number, line) in lines {
        let entry = entry(keys, line, now).map_err(|what| format!("line {number}: {what}; nothing was imported"))?;
        keys.entries.push(entry);
        count += 1;
        if keys.entries.len() > KEYS_MAX {
            return Err(format!("line {number}: a file may have {KEYS_MAX} keys; nothing was imported"));
        }
    }
    // Two lines with one key, or a key that is there already: as the gateway would find them.
    KeyFile::read(keys.to_text().as_bytes()).map_err(|faults| {
        let first = faults.into_iter().next().map(|fault| fault.what).unwrap_or_default();
        format!("{first}; nothing was imported")
    })?;
    Ok(count)
}

fn entry(keys: &KeyFile, line: &str, now: u64) -> Result<Entry, String> {
    let help = "a line is `{\"key\": …, \"name\": …, \"roles\": […], \"scopes\": […], \"expires\": UNIX_SECONDS}`, the last three as needed";
    let line: Line = serde_json::from_str(line).map_err(|error| format!("column {}: not understood; {help}", error.column()))?;
    check_words(&line.name, &line.roles, &line.scopes)?;
    let own = check(line.key.as_bytes());
    if own.is_none() && !is_foreign_fit(line.key.as_bytes()) {
        return Err("the key could be guessed, or is cut off: 20 to 256 visible ASCII characters, ten of them different".to_owned());
    }
    let id = match own {
        Some(id) => id.into(),
        None => any_key(&keys.hash_key)?.id,
    };
    let boxed = |words: Vec<String>| words.into_iter().map(String::into_boxed_str).collect();
    Ok(Entry {
        id,
        name: line.name.into(),
        hash: keys.hash_key.hash(line.key.as_bytes()),
        roles: boxed(line.roles),
        scopes: boxed(line.scopes),
        created: now,
        expires: line.expires,
        revoked: None,
        foreign: own.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::import;
    use portcullis_engines_keys::{HashKey, KeyFile, KeyTable};

    #[test]
    fn keys_of_another_program_are_taken_over_all_or_none() {
        let mut keys = KeyFile::new(HashKey::new([1; 32]));
        let (one, two) = ("3f0d6a5e-93b1-4f77-a1c2-5e6f7a8b9c0d", "AKz81k2n4m5b6v7c8x9z0q");
        let text = format!(
            "{{\"key\":\"{one}\",\"name\":\"a\",\"roles\":[\"reader\"]}}\n\n{{\"key\":\"{two}\",\"name\":\"b\",\"expires\":50}}\n"
        );
        assert_eq!(import(&mut keys, &text, 10), Ok(2));
        let table = KeyTable::new(keys.clone());
        let name = |key: &str, now| table.find(key.as_bytes(), now).map(|entry| entry.name.to_string()).ok();
        assert_eq!((name(one, 90).as_deref(), name(two, 40).as_deref(), name(two, 50)), (Some("a"), Some("b"), None));
        assert!(!keys.to_text().contains(one) && !keys.to_text().contains(two));
        for (line, said) in [
            ("{\"key\":\"password\",\"name\":\"a\"}", "could be guessed"),
            ("{\"key\":\"pck_3f0d6a5e93b14f77a1c25e6f7a8b9c0d\",\"name\":\"a\"}", "cut off"),
            ("{\"key\":\"3f0d6a5e-93b1-4f77-a1c2-5e6f7a8b9c0d\",\"name\":\"c\"}", "the same key"),
            ("{\"key\":\"0f0d6a5e-93b1-4f77-a1c2-5e6f7a8b9c0d\"}", "not understood"),
            ("{\"key\":\"0f0d6a5e-93b1-4f77-a1c2-5e6f7a8b9c0d\",\"name\":\"\"}", "no name"),
        ] {
            let said_of = import(&mut keys.clone(), line, 10).unwrap_err();
            assert!(said_of.contains(said) && !said_of.contains("93b1"), "{said_of}");
        }
    }
}
