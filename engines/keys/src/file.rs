//! The file that knows keys: JSON, an object a line. The first tells what it is, each other one is a key.

use crate::hash::{from_hexadecimal, hexadecimal};
use crate::{HashKey, KeyHash};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// How many keys a file may have.
pub const KEYS_MAX: usize = 200_000;
/// The longest file, in bytes.
pub const FILE_BYTES_MAX: usize = 128 << 20;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How many roles and scopes a key may have, together.
const WORDS_MAX: usize = 64;
/// How many wrong lines are told before the rest is not read.
const FAULTS_MAX: usize = 100;
/// The form of the file.
const VERSION: u32 = 1;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which line, counted from 1; nothing when it is about the whole file.
    pub line: Option<usize>,
    /// What, and what to do. Nothing of what stands there is told: it may be a key.
    pub what: String,
}

/// A key, as the file knows it. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is known by, also in public.
    pub id: Box<str>,
    /// Whose it is; the keys of somebody, old and new, have one name.
    pub name: Box<str>,
    /// Its hash.
    pub hash: KeyHash,
    /// The roles it has.
    pub roles: Box<[Box<str>]>,
    /// The scopes it has.
    pub scopes: Box<[Box<str>]>,
    /// When it was made.
    pub created: u64,
    /// From when on it is not taken; nothing when it has no end.
    pub expires: Option<u64>,
    /// When it was revoked.
    pub revoked: Option<u64>,
    /// Whether another program made it, so that it has another form.
    pub foreign: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'t> {
    portcullis_api_keys: u32,
    #[serde(borrow)]
    hash_key: Cow<'t, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'t> {
    #[serde(borrow)]
    id: Cow<'t, str>,
    #[serde(borrow)]
    name: Cow<'t, str>,
    #[serde(borrow)]
    hash: Cow<'t, str>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    roles: Box<[Box<str>]>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    scopes: Box<[Box<str>]>,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    foreign: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Every key of a file.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// What they are hashed with.
    pub hash_key: HashKey,
    /// The keys.
    pub entries: Vec<Entry>,
}

impl KeyFile {
    /// A file without keys.
    #[must_use]
    pub fn new(hash_key: HashKey) -> Self {
        Self { hash_key, entries: Vec::new() }
    }

    /// Reads a file. What is not wholly understood is no file of keys.
    ///
    /// # Errors
    /// What is wrong, line by line.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        let whole = |what: &str| vec![Fault { line: None, what: what.to_owned() }];
        if bytes.is_empty() {
            return Err(whole("the file is empty; make it with `portcullis key create`"));
        }
        let Some(lines) = bytes.strip_suffix(b"\n") else {
            return Err(whole("the last line does not end with a line end, so the file may have been cut off"));
        };
        let mut lines = (1..).zip(lines.split(|byte| *byte == b'\n'));
        let first = lines.next().map(|(_, line)| line).unwrap_or_default();
        let hash_key = header(first).map_err(|what| vec![Fault { line: Some(1), what }])?;
        let (mut file, mut faults, mut known) = (Self::new(hash_key), Vec::new(), Known::default());
        for (number, line) in lines {
            if file.entries.len() == KEYS_MAX {
                faults.push(Fault { line: Some(number), what: format!("the file has more than {KEYS_MAX} keys") });
                break;
            }
            match entry(line).and_then(|entry| known.take(entry, number)) {
                Ok(entry) => file.entries.push(entry),
                Err(what) => faults.push(Fault { line: Some(number), what }),
            }
            if faults.len() == FAULTS_MAX {
                break;
            }
        }
        if faults.is_empty() { Ok(file) } else { Err(faults) }
    }

    /// The file, as it is read.
    #[must_use]
    pub fn to_text(&self) -> String {
        let header = Header { portcullis_api_keys: VERSION, hash_key: self.hash_key.to_text().into() };
        let mut out = written(&header);
        self.entries.iter().map(line_of).for_each(|line| out.push_str(&written(&line)));
        out
    }

    /// The key of an id.
    pub fn key_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| *entry.id == *id)
    }
}

/// What no two lines may share.
#[derive(Default)]
struct Known {
    ids: HashSet<Box<str>>,
    hashes: HashMap<[u8; 32], usize>,
}

impl Known {
    fn take(&mut self, entry: Entry, number: usize) -> Result<Entry, String> {
        if !self.ids.insert(entry.id.clone()) {
            return Err("the id stands in an earlier line too; keep one of the two".to_owned());
        }
        match self.hashes.insert(entry.hash.0, number) {
            Some(first) => Err(format!("the same key stands in line {first}; keep one of the two")),
            None => Ok(entry),
        }
    }
}

fn written(line: &impl Serialize) -> String {
    // INVARIANT: texts, numbers and lists of texts can always be written.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

fn line_of(entry: &Entry) -> Line<'_> {
    Line {
        id: Cow::Borrowed(&entry.id),
        name: Cow::Borrowed(&entry.name),
        hash: hexadecimal(&entry.hash.0).into(),
        roles: entry.roles.clone(),
        scopes: entry.scopes.clone(),
        created: entry.created,
        expires: entry.expires,
        revoked: entry.revoked,
        foreign: entry.foreign,
    }
}

fn header(line: &[u8]) -> Result<HashKey, String> {
    let wrong = "the first line is not that of a file of keys; make the file with `portcullis key create`";
    let header: Header<'_> = serde_json::from_slice(line).map_err(|_| wrong.to_owned())?;
    if header.portcullis_api_keys != VERSION {
        return Err(format!("the file is of version {}, and this program reads {VERSION}", header.portcullis_api_keys));
    }
    from_hexadecimal(&header.hash_key).map(HashKey::new).ok_or_else(|| "`hash_key` is not 64 small hexadecimal digits".to_owned())
}

/// Whether a text may be a role or a scope.
fn is_word(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn entry(line: &[u8]) -> Result<Entry, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line has more than {LINE_BYTES_MAX} bytes"));
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| told(&error))?;
    let is_id = (1..=64).contains(&line.id.len()) && line.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_id {
        return Err("`id` is not 1 to 64 letters, digits and `-`".to_owned());
    }
    if !Entry::is_name(&line.name) {
        return Err("`name` is not 1 to 128 printable ASCII characters without spaces".to_owned());
    }
    let words = || line.roles.iter().chain(&line.scopes);
    if words().count() > WORDS_MAX || !words().all(|word| is_word(word)) {
        return Err(format!("`roles` and `scopes` are not at most {WORDS_MAX} words of printable ASCII without spaces"));
    }
    let hash = from_hexadecimal(&line.hash).ok_or_else(|| "`hash` is not 64 small hexadecimal digits".to_owned())?;
    Ok(Entry {
        id: line.id.as_ref().into(),
        name: line.name.as_ref().into(),
        hash: KeyHash(hash),
        roles: line.roles,
        scopes: line.scopes,
        created: line.created,
        expires: line.expires,
        revoked: line.revoked,
        foreign: line.foreign,
    })
}

/// SECURITY: what stands in the line may be a key by mistake, so nothing of it is told but names of our own.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let ours = ["id", "name", "hash", "roles", "scopes", "created", "expires", "revoked", "foreign"];
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()).filter(|name| ours.contains(name));
    let twice = text.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next()).filter(|name| ours.contains(name));
    match (missing, twice) {
        (Some(name), _) => format!("`{name}` is missing"),
        (_, Some(name)) => format!("`{name}` is written twice"),
        _ if text.starts_with("unknown field") => format!("column {}: a name that no line has", error.column()),
        _ if error.is_data() => format!("column {}: the value is of another kind than it must be", error.column()),
        _ => format!("column {}: the line is not one JSON object", error.column()),
    }
}

impl Entry {
    /// Whether a text may be a name.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Whether a text may be a role or a scope.
    #[must_use]
    pub fn is_word(text: &str) -> bool {
        is_word(text)
    }

    /// Whether it is taken at this time.
    #[must_use]
    pub fn is_good(&self, now_unix_seconds: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now_unix_seconds < expires)
    }
}
