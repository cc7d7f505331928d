//! `portcullis key`: makes, shows, replaces and revokes API keys in a key file. A key is shown once, when it is made.

mod import;
mod store;
mod uses;

pub use store::read;
pub use uses::info;

use crate::cli::KeyCommand;
use crate::output::{Colour, Output};
use portcullis_engines_keys::{Entry, HashKey, KEYS_MAX, KeyFile, NewKey, RANDOM_BYTES};
use portcullis_model::Clock;
use portcullis_model_settings::Date;
use serde_json::{Value, json};
use std::path::Path;
use uses::Uses;

/// Does what was asked.
///
/// # Errors
/// A text for the operator; the file is then as it was.
pub fn key(asked: KeyCommand, clock: &Clock, output: Output) -> Result<(), String> {
    let now = clock.unix_seconds();
    match asked {
        KeyCommand::Create { file, name, roles, scopes, expires } => {
            let expires = expires.map(|text| end(&text, now)).transpose()?;
            let asked = Asked { name, roles, scopes, expires };
            let (entry, made) = store::change(&file, random_hash_key, |keys| create(keys, &asked, now))?;
            show_new(&entry, &made, output);
        }
        KeyCommand::List { file, socket } => {
            let keys = store::read(&file)?;
            show(&keys, &uses::of(&file, socket.as_deref(), output)?, now, output);
        }
        KeyCommand::Rotate { file, id, overlap, expires } => {
            let overlap = duration(&overlap)?;
            let expires = expires.map(|text| end(&text, now)).transpose()?;
            let (entry, made) = store::change_known(&file, |keys| rotate(keys, &id, overlap, expires, now))?;
            show_new(&entry, &made, output);
        }
        KeyCommand::Revoke { file, id } => {
            let entry = store::change_known(&file, |keys| revoke(keys, &id, now))?;
            match output.is_json() {
                true => output.json(&told(&entry, now)),
                false => output
                    .line(&format!("revoked: {} of {}; in force as soon as the gateway has read the file", entry.id, entry.name)),
            }
        }
        KeyCommand::Import { file, from } => {
            let text = import::text_of(&from)?;
            let count = store::change(&file, random_hash_key, |keys| import::import(keys, &text, now))?;
            match output.is_json() {
                true => output.json(&json!({ "imported": count })),
                false => output.line(&format!("{}; take care of `{}`: it holds keys", imported(count), from.display())),
            }
        }
    }
    Ok(())
}

fn imported(count: usize) -> String {
    format!("{} imported", crate::check::counted(count, "key"))
}

/// What a new key shall be.
struct Asked {
    name: String,
    roles: Vec<String>,
    scopes: Vec<String>,
    expires: Option<u64>,
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes)
}

fn random_hash_key() -> Result<HashKey, String> {
    random().map(HashKey::new)
}

/// A new key with an id that no other of the file has.
fn new_key(keys: &mut KeyFile) -> Result<NewKey, String> {
    if keys.entries.len() >= KEYS_MAX {
        return Err(format!("the file has {KEYS_MAX} keys; begin another, or take out lines that are no longer needed"));
    }
    let made = any_key(&keys.hash_key)?;
    // One in 2^71 for each key that there is.
    if keys.key_mut(&made.id).is_some() { Err("the id is taken by chance; try again".to_owned()) } else { Ok(made) }
}

/// A new key, whatever others there are.
fn any_key(hash_key: &HashKey) -> Result<NewKey, String> {
    for _ in 0..8 {
        if let Some(made) = NewKey::from_random(&random::<RANDOM_BYTES>()?, hash_key) {
            return Ok(made);
        }
    }
    Err("no key could be made of the system's random bytes".to_owned())
}

fn create(keys: &mut KeyFile, asked: &Asked, now: u64) -> Result<(Entry, NewKey), String> {
    check_words(&asked.name, &asked.roles, &asked.scopes)?;
    let made = new_key(keys)?;
    let boxed = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
    let entry = Entry {
        id: made.id.clone(),
        name: asked.name.as_str().into(),
        hash: made.hash,
        roles: boxed(&asked.roles),
        scopes: boxed(&asked.scopes),
        created: now,
        expires: asked.expires,
        revoked: None,
        foreign: false,
    };
    keys.entries.push(entry.clone());
    Ok((entry, made))
}

fn check_words(name: &str, roles: &[String], scopes: &[String]) -> Result<(), String> {
    if !Entry::is_name(name) {
        return Err(format!("`{name}` is no name: 1 to 128 printable ASCII characters without spaces"));
    }
    match roles.iter().chain(scopes).find(|word| !Entry::is_word(word)) {
        Some(word) => Err(format!("`{word}` is neither a role nor a scope: 1 to 256 printable ASCII characters without spaces")),
        None if roles.len() + scopes.len() > 64 => Err("a key may have at most 64 roles and scopes".to_owned()),
        None => Ok(()),
    }
}

fn known<'k>(keys: &'k mut KeyFile, id: &str) -> Result<&'k mut Entry, String> {
    let help = "`portcullis key list` shows the ids";
    keys.key_mut(id).ok_or_else(|| format!("no key of the file has this id; {help}"))
}

fn rotate(keys: &mut KeyFile, id: &str, overlap: u64, expires: Option<u64>, now: u64) -> Result<(Entry, NewKey), String> {
    let old = known(keys, id)?;
    if !old.is_good(now) {
        return Err(format!("the key {id} is not valid any more; make a new one with `portcullis key create`"));
    }
    let end = now.saturating_add(overlap);
    let old_expires = old.expires;
    match overlap {
        0 => old.revoked = Some(now),
        _ => old.expires = Some(old.expires.map_or(end, |expires| expires.min(end))),
    }
    let template = old.clone();
    // Without another end the new one lives as long as the old one was meant to.
    let lifetime = old_expires.map(|expires| now.saturating_add(expires.saturating_sub(template.created)));
    let made = new_key(keys)?;
    let entry = Entry {
        id: made.id.clone(),
        hash: made.hash,
        created: now,
        expires: expires.or(lifetime),
        revoked: None,
        foreign: false,
        ..template
    };
    keys.entries.push(entry.clone());
    Ok((entry, made))
}

fn revoke(keys: &mut KeyFile, id: &str, now: u64) -> Result<Entry, String> {
    let entry = known(keys, id)?;
    entry.revoked.get_or_insert(now);
    Ok(entry.clone())
}

/// Reads a duration, `90d` or `24h`, in seconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a duration such as `90d`, `24h` or `30m`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match text.strip_prefix(digits) {
        Some("d") => 86_400,
        Some("h") => 3_600,
        Some("m") => 60,
        Some("s") => 1,
        _ => return Err(wrong()),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: Option<u64> = is_number.then(|| digits.parse().ok()).flatten();
    count.and_then(|count| count.checked_mul(seconds)).ok_or_else(wrong)
}

/// Reads an end: a duration from now, or a day.
fn end(text: &str, now: u64) -> Result<u64, String> {
    let day = Date::parse(text).map(Date::unix_seconds);
    match day.or_else(|| Some(now.saturating_add(duration(text).ok()?))) {
        Some(ends) if ends <= now => Err(format!("`{text}` is over already")),
        Some(ends) => Ok(ends),
        None => Err(format!("`{text}` is neither a duration such as `90d` nor a day such as `2027-01-31`")),
    }
}

fn state(entry: &Entry, now: u64) -> &'static str {
    match entry.revoked {
        Some(_) => "revoked",
        None if entry.is_good(now) => "valid",
        None => "expired",
    }
}

/// A key for programs, without anything that could be used.
fn told(entry: &Entry, now: u64) -> Value {
    json!({
        "id": entry.id, "name": entry.name, "roles": entry.roles, "scopes": entry.scopes, "state": state(entry, now),
        "created": entry.created, "expires": entry.expires, "revoked": entry.revoked, "foreign": entry.foreign,
    })
}

fn show_new(entry: &Entry, made: &NewKey, output: Output) {
    // Shown here and never again: the file has only its hash.
    let key = made.text.reveal();
    if output.is_json() {
        let mut value = told(entry, entry.created);
        if let Value::Object(value) = &mut value {
            value.insert("key".to_owned(), Value::from(key.as_str()));
        }
        return output.json(&value);
    }
    output.line(key);
    let until = entry.expires.map_or_else(|| "it has no end".to_owned(), |end| format!("it ends on {}", moment(end)));
    let note = format!("\nkey {} of {}; {until}. It is not shown again.", entry.id, entry.name);
    output.line(&output.paint(Colour::Dim, &note));
}

/// A time, for people: UTC.
fn moment(unix_seconds: u64) -> String {
    let (hour, minute) = (unix_seconds % 86_400 / 3_600, unix_seconds % 3_600 / 60);
    format!("{} {hour:02}:{minute:02}Z", Date::of_unix_seconds(unix_seconds))
}

fn show(keys: &KeyFile, uses: &Uses, now: u64, output: Output) {
    if output.is_json() {
        let told = |entry: &Entry| {
            let mut value = told(entry, now);
            if let Value::Object(value) = &mut value {
                uses.tell(entry, now, value);
            }
            value
        };
        return output.json(&keys.entries.iter().map(told).collect::<Vec<_>>());
    }
    let row = |entry: &Entry| {
        let (roles, scopes) = (entry.roles.join(","), entry.scopes.join(","));
        let expires = entry.expires.map_or_else(|| "never".to_owned(), moment);
        vec![
            entry.id.to_string(),
            entry.name.to_string(),
            uses.state(entry, now).to_owned(),
            roles,
            scopes,
            moment(entry.created),
            expires,
            uses.last(entry),
        ]
    };
    let rows: Vec<Vec<String>> = keys.entries.iter().map(row).collect();
    output.table(&["id", "name", "state", "roles", "scopes", "created", "expires", "used last"], &rows);
}

/// What is wrong with the file at this path.
fn wrong(path: &Path, faults: Vec<portcullis_engines_keys::Fault>) -> String {
    let line = |fault: portcullis_engines_keys::Fault| match fault.line {
        Some(line) => format!("{}:{line}: {}", path.display(), fault.what),
        None => format!("{}: {}", path.display(), fault.what),
    };
    faults.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Asked, create, duration, end, revoke, rotate};
    use portcullis_engines_keys::{HashKey, KeyFile};

    #[test]
    fn ends_are_days_or_durations() {
        assert_eq!((duration("24h"), duration("90d"), duration("0s")), (Ok(86_400), Ok(7_776_000), Ok(0)));
        for bad in ["", "h", "24", "-1h", "1w", "1.5h", "99999999999999999999d", "1h1m", "٣h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!((end("1970-01-03", 5), end("1d", 5)), (Ok(172_800), Ok(86_405)));
        assert!(end("1970-01-01", 5).unwrap_err().contains("over already") && end("soon", 5).unwrap_err().contains("`90d`"));
    }

    #[test]
    fn a_rotated_key_lives_on_for_the_overlap_and_no_longer_than_it_was_meant_to() {
        let mut keys = KeyFile::new(HashKey::new([1; 32]));
        let asked = |expires| Asked { name: "a".to_owned(), roles: vec!["reader".to_owned()], scopes: Vec::new(), expires };
        let (old, _) = create(&mut keys, &asked(Some(1_100)), 100).unwrap();
        let (new, _) = rotate(&mut keys, &old.id, 50, None, 1_000).unwrap();
        assert_eq!((keys.key_mut(&old.id).unwrap().expires, new.expires), (Some(1_050), Some(2_000)));
        assert_eq!((&new.name, &new.roles, new.created), (&old.name, &old.roles, 1_000));
        let (next, _) = rotate(&mut keys, &new.id, 100_000, Some(3_000), 1_010).unwrap();
        assert_eq!((keys.key_mut(&new.id).unwrap().expires, next.expires), (Some(2_000), Some(3_000)));
        rotate(&mut keys, &next.id, 0, None, 1_020).unwrap();
        assert!(!keys.key_mut(&next.id).unwrap().is_good(1_020));
        assert!(rotate(&mut keys, &next.id, 0, None, 1_020).is_err() && rotate(&mut keys, "nobody", 0, None, 0).is_err());
        assert_eq!(revoke(&mut keys, &new.id, 1_030).unwrap().revoked, Some(1_030));
        assert_eq!(revoke(&mut keys, &new.id, 1_040).unwrap().revoked, Some(1_030), "it stays as it was");
        assert!(create(&mut keys, &Asked { name: "a b".to_owned(), ..asked(None) }, 0).is_err());
        assert!(create(&mut keys, &Asked { roles: vec![String::new()], ..asked(None) }, 0).is_err());
    }
}
