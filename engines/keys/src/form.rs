//! The form of a key: `pck_` ID `_` SECRET CHECKSUM.

use crate::base62::{crc32, random, six};
use crate::{HashKey, KeyHash};
use portcullis_model::Secret;

/// What every key begins with.
const PREFIX: &str = "pck_";
/// The digits of the public id: 71 bits.
const ID_DIGITS: usize = 12;
/// The digits of the secret: 190 bits.
const SECRET_DIGITS: usize = 32;
/// The digits of the checksum.
const CHECKSUM_DIGITS: usize = 6;
/// The length of a key, in bytes.
const LENGTH: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS;

/// How many random bytes a key is made from.
pub const RANDOM_BYTES: usize = 128;
/// The longest key of another form, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// The shortest one, and how many different characters it has at the least.
const FOREIGN_MIN: (usize, usize) = (20, 10);

/// A key that has just been made.
#[derive(Debug)]
pub struct NewKey {
    /// What it is known by, also in public.
    pub id: Box<str>,
    /// The key itself, to be shown once and then forgotten.
    pub text: Secret<String>,
    /// What is kept of it.
    pub hash: KeyHash,
}

impl NewKey {
    /// A key of these bytes, which must be random. Nothing when they happen to be unfit, which is as good as impossible.
    #[must_use]
    pub fn from_random(bytes: &[u8; RANDOM_BYTES], hash_key: &HashKey) -> Option<Self> {
        let mut bytes = bytes.iter().copied();
        let id = random(&mut bytes, ID_DIGITS)?;
        let secret = random(&mut bytes, SECRET_DIGITS)?;
        let body = format!("{PREFIX}{id}_{secret}");
        let text = format!("{body}{}", six(crc32(body.as_bytes())));
        let hash = hash_key.hash(text.as_bytes());
        Some(Self { id: id.into(), text: Secret::new(text), hash })
    }
}

/// Whether this claims to be a key of this form.
#[must_use]
pub fn is_ours(shown: &[u8]) -> bool {
    shown.starts_with(PREFIX.as_bytes())
}

/// The id of a key of this form; nothing when it is not wholly one: another length, other characters, a checksum that is not its own.
#[must_use]
pub fn check(shown: &[u8]) -> Option<&str> {
    if shown.len() != LENGTH {
        return None;
    }
    let text = std::str::from_utf8(shown).ok()?;
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_word = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (body, checksum) = text.split_at_checked(LENGTH - CHECKSUM_DIGITS)?;
    let is_whole =
        is_word(id, ID_DIGITS) && is_word(secret, SECRET_DIGITS + CHECKSUM_DIGITS) && six(crc32(body.as_bytes())) == checksum;
    is_whole.then_some(id)
}

/// Whether a key of another form, which another program has made, is one that nobody can guess, as far as its looks tell: 20 to 256 visible
/// ASCII characters, ten of them different.
#[must_use]
pub fn is_foreign_fit(key: &[u8]) -> bool {
    let mut different: Vec<u8> = key.iter().copied().take(KEY_BYTES_MAX + 1).collect();
    different.sort_unstable();
    different.dedup();
    let (length, characters) = FOREIGN_MIN;
    !is_ours(key)
        && (length..=KEY_BYTES_MAX).contains(&key.len())
        && different.len() >= characters
        && key.iter().all(u8::is_ascii_graphic)
}
