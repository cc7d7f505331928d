//! Whose a key is.

use crate::uses::{KeyUses, Use};
use crate::{Entry, HashKey, KEY_BYTES_MAX, KeyFile, check, is_ours};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Why a key is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is not one that could stand in the table.
    Odd,
    /// It does not stand in the table.
    Unlisted,
    /// It has been revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// Nobody has used it for so long that it is refused.
    Idle,
    /// When it was used last is not known, and must be.
    Unopened,
}

impl Unknown {
    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Odd => "the key is not well-formed: cut off, changed or of another kind",
            Self::Unlisted => "the key is not in the key file",
            Self::Revoked => "the key has been revoked",
            Self::Expired => "the key has expired",
            Self::Idle => "the key has not been used for `idle_after` of its store",
            Self::Unopened => "when keys were used last is not known",
        }
    }
}

/// Every key of a file, ready to be looked up.
#[derive(Debug)]
pub struct KeyTable {
    hash_key: HashKey,
    /// The places of keys by the first bytes of their hashes; those that share them follow one another.
    places: HashMap<u64, Vec<u32>>,
    entries: Box<[Entry]>,
    /// Their uses, as far as they have been asked for.
    uses: Box<[OnceLock<Arc<Use>>]>,
    has_foreign: bool,
}

impl KeyTable {
    /// Of a file.
    #[must_use]
    pub fn new(file: KeyFile) -> Self {
        let mut places: HashMap<u64, Vec<u32>> = HashMap::with_capacity(file.entries.len());
        for (at, entry) in (0..).zip(&file.entries) {
            places.entry(entry.hash.begin()).or_default().push(at);
        }
        let has_foreign = file.entries.iter().any(|entry| entry.foreign);
        let uses = file.entries.iter().map(|_| OnceLock::new()).collect();
        Self { hash_key: file.hash_key, places, entries: file.entries.into(), uses, has_foreign }
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key that is shown, if it is a good one now.
    ///
    /// SECURITY: what is looked up is the hash, which nobody can steer without the hash key; the rest of it is compared in constant time. So
    /// how long this takes says nothing about keys that are in the table.
    ///
    /// # Errors
    /// Why it is none.
    pub fn find(&self, shown: &[u8], now_unix_seconds: u64) -> Result<&Entry, Unknown> {
        self.find_at(shown, now_unix_seconds).map(|(_, entry)| entry)
    }

    fn find_at(&self, shown: &[u8], now_unix_seconds: u64) -> Result<(usize, &Entry), Unknown> {
        let could_be = if is_ours(shown) { check(shown).is_some() } else { self.has_foreign && shown.len() <= KEY_BYTES_MAX };
        if !could_be {
            return Err(Unknown::Odd);
        }
        let hash = self.hash_key.hash(shown);
        let places = self.places.get(&hash.begin()).into_iter().flatten();
        let mut entries = places.filter_map(|at| Some((*at as usize, self.entries.get(*at as usize)?)));
        let (at, entry) = entries.find(|(_, entry)| entry.hash == hash).ok_or(Unknown::Unlisted)?;
        match entry {
            Entry { revoked: Some(_), .. } => Err(Unknown::Revoked),
            entry if entry.is_good(now_unix_seconds) => Ok((at, entry)),
            _ => Err(Unknown::Expired),
        }
    }

    /// As [`find`](Self::find), and the use is noted. With `idle_after`, in seconds, a key is refused that was last used so long ago.
    /// What is refused is not a use. All calls on one table are to be with the same `uses`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn find_used(
        &self,
        shown: &[u8],
        now_unix_seconds: u64,
        uses: &KeyUses,
        idle_after: Option<u64>,
    ) -> Result<&Entry, Unknown> {
        let (at, entry) = self.find_at(shown, now_unix_seconds)?;
        let Some(slot) = self.uses.get(at) else { return Err(Unknown::Unlisted) };
        let one = slot.get_or_init(|| uses.of(&entry.id));
        if let Some(idle_after) = idle_after {
            // SECURITY: nothing that has to be known is taken for granted.
            uses.since().ok_or(Unknown::Unopened)?;
            if uses.is_idle((&entry.id, &entry.name), one, entry.created, idle_after, now_unix_seconds) {
                return Err(Unknown::Idle);
            }
        }
        one.note(now_unix_seconds);
        Ok(entry)
    }
}
