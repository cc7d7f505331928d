//! Key sets (RFC 7517): public keys for signatures, and nothing else.

use crate::algorithm::Kind;
use crate::json::Json;
use crate::verify::Fault;
use crate::{Algorithm, base64, der};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::ParsedPublicKey;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The longest key set, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 1 << 20;
/// How many keys a set may have.
const KEYS_MAX: usize = 1024;
/// RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The members that only a private or a shared key has (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What tells one key from every other: a hash of it, its id and its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyMark([u8; 32]);

impl fmt::Debug for KeyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key that verifies signatures.
pub(crate) struct Key {
    id: Option<Box<str>>,
    /// Made ready for each algorithm that it may be used with.
    ready: Vec<(Algorithm, ParsedPublicKey)>,
    mark: KeyMark,
}

impl Key {
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<KeyMark, Fault> {
        let (_, key) = self.ready.iter().find(|(known, _)| *known == algorithm).ok_or(Fault::KeyUnfit)?;
        key.verify_sig(signed, signature).map(|()| self.mark).map_err(|_| Fault::SignatureWrong)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.ready.iter().any(|(known, _)| *known == algorithm)
    }
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is for encryption, of a kind or for an algorithm that is not known here: it may well stand in a good set.
    ForOther,
    /// It is a private or a shared key: whoever can read the set could sign with it.
    Private,
    /// It is not well-formed, or too weak.
    Malformed,
}

/// Why a key set is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetFault {
    /// It has more than 1 MiB.
    TooLong,
    /// It is not a JSON object with a list `keys`.
    NotASet,
    /// It has more than 1024 keys.
    TooMany,
    /// Two of its keys have the same id and could serve the same algorithm.
    Ambiguous,
    /// None of its keys can verify a signature.
    NoKey,
}

impl KeySetFault {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "the key set has more than 1 MiB",
            Self::NotASet => "this is not a JSON Web Key Set: a JSON object with a list `keys`, no member twice",
            Self::TooMany => "the key set has more than 1024 keys",
            Self::Ambiguous => "two keys have the same `kid` and could serve the same algorithm",
            Self::NoKey => "no key of the set can verify a signature",
        }
    }
}

/// The public keys of an issuer.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    by_id: HashMap<Box<str>, Vec<usize>>,
    marks: HashSet<KeyMark>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({:?})", self.keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>())
    }
}

impl KeySet {
    /// Reads a set, and tells which of its keys, by their place, are not used and why.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<(usize, Unfit)>), KeySetFault> {
        if bytes.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetFault::TooLong);
        }
        let json = Json::parse(bytes).ok_or(KeySetFault::NotASet)?;
        let Some(Json::List(items)) = json.member("keys") else { return Err(KeySetFault::NotASet) };
        if items.len() > KEYS_MAX {
            return Err(KeySetFault::TooMany);
        }
        let (mut set, mut unfit) = (Self::default(), Vec::new());
        for (at, item) in items.iter().enumerate() {
            match read_key(item) {
                Ok(key) => set.add(key)?,
                Err(why) => unfit.push((at, why)),
            }
        }
        if set.keys.is_empty() { Err(KeySetFault::NoKey) } else { Ok((set, unfit)) }
    }

    fn add(&mut self, key: Key) -> Result<(), KeySetFault> {
        if self.marks.contains(&key.mark) {
            return Ok(());
        }
        if let Some(id) = &key.id {
            let same = self.by_id.entry(id.clone()).or_default();
            let mut others = same.iter().filter_map(|at| self.keys.get(*at));
            if others.any(|other| key.ready.iter().any(|(algorithm, _)| other.fits(*algorithm))) {
                return Err(KeySetFault::Ambiguous);
            }
            same.push(self.keys.len());
        }
        self.marks.insert(key.mark);
        self.keys.push(key);
        Ok(())
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key that verified something before is still one of the issuer's.
    #[must_use]
    pub fn has(&self, mark: &KeyMark) -> bool {
        self.marks.contains(mark)
    }

    /// The one key that a token can mean. Without an id there must be just one for its algorithm.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Key, Fault> {
        let Some(id) = id else {
            let mut fit = self.keys.iter().filter(|key| key.fits(algorithm));
            return match (fit.next(), fit.next()) {
                (Some(sole), None) => Ok(sole),
                (None, _) => Err(Fault::KeyUnknown),
                _ => Err(Fault::KeyUnfit),
            };
        };
        let known = self.by_id.get(id).ok_or(Fault::KeyUnknown)?;
        known.iter().filter_map(|at| self.keys.get(*at)).find(|key| key.fits(algorithm)).ok_or(Fault::KeyUnfit)
    }
}

/// What a JSON Web Key says of a public key.
pub(crate) struct Public {
    /// What it is made of.
    pub(crate) kind: Kind,
    /// As the cryptography takes it; whether a point lies on its curve is not known yet.
    pub(crate) bytes: Vec<u8>,
    /// The only algorithm that it is for, if it says so.
    pub(crate) only: Option<Algorithm>,
}

/// Reads the public key of a JSON Web Key that is for verifying.
pub(crate) fn read_public(json: &Json) -> Result<Public, Unfit> {
    let text = |name: &str| match json.member(name) {
        None => Ok(None),
        Some(value) => value.as_text().map(Some).ok_or(Unfit::Malformed),
    };
    let key_type = text("kty")?.ok_or(Unfit::Malformed)?;
    if PRIVATE.iter().any(|name| json.member(name).is_some()) || key_type == "oct" {
        return Err(Unfit::Private);
    }
    if text("use")?.is_some_and(|usage| usage != "sig") || !may_verify(json)? {
        return Err(Unfit::ForOther);
    }
    let only = match text("alg")? {
        Some(name) => Some(Algorithm::of_name(name).ok_or(Unfit::ForOther)?),
        None => None,
    };
    let bytes = |name: &str| text(name)?.and_then(|text| base64::decode(text.as_bytes())).ok_or(Unfit::Malformed);
    let (kind, public) = match (key_type, text("crv")?) {
        ("RSA", None) => (Kind::Rsa, rsa(&bytes("n")?, &bytes("e")?)?),
        ("EC", Some("P-256")) => (Kind::P256, point(&bytes("x")?, &bytes("y")?, 32)?),
        ("EC", Some("P-384")) => (Kind::P384, point(&bytes("x")?, &bytes("y")?, 48)?),
        ("EC", Some("P-521")) => (Kind::P521, point(&bytes("x")?, &bytes("y")?, 66)?),
        ("OKP", Some("Ed25519")) => {
            (Kind::Ed25519, bytes("x").and_then(|x| if x.len() == 32 { Ok(x) } else { Err(Unfit::Malformed) })?)
        }
        _ => return Err(Unfit::ForOther),
    };
    Ok(Public { kind, bytes: public, only })
}

fn read_key(json: &Json) -> Result<Key, Unfit> {
    let Public { kind, bytes: public, only } = read_public(json)?;
    let id = match json.member("kid") {
        None => None,
        Some(id) => Some(id.as_text().ok_or(Unfit::Malformed)?).filter(|id| !id.is_empty()).map(Box::<str>::from),
    };
    let algorithms =
        Algorithm::ALL.into_iter().filter(|algorithm| algorithm.kind() == kind && only.is_none_or(|only| only == *algorithm));
    // Whether a point lies on its curve is found out here (threats E 109).
    let ready = algorithms
        .map(|algorithm| Ok((algorithm, ParsedPublicKey::new(algorithm.verification(), &public).map_err(|_| Unfit::Malformed)?)));
    let ready = ready.collect::<Result<Vec<_>, Unfit>>()?;
    // The key is of another kind than its own algorithm.
    if ready.is_empty() {
        return Err(Unfit::Malformed);
    }
    let mark = mark(id.as_deref(), &ready, &public);
    Ok(Key { id, ready, mark })
}

/// Whether `key_ops` allows to verify (RFC 7517 section 4.3).
fn may_verify(json: &Json) -> Result<bool, Unfit> {
    match json.member("key_ops") {
        None => Ok(true),
        Some(Json::List(operations)) => Ok(operations.iter().any(|operation| operation.as_text() == Some("verify"))),
        Some(_) => Err(Unfit::Malformed),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, Unfit> {
    let bits = |bytes: &[u8]| bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    let is_sound = modulus.first() != Some(&0)
        && RSA_BITS.contains(&bits(modulus))
        && exponent.first() != Some(&0)
        && (2..=33).contains(&bits(exponent))
        && exponent.last().is_some_and(|last| last & 1 == 1);
    if is_sound { Ok(der::rsa_public_key(modulus, exponent)) } else { Err(Unfit::Malformed) }
}

/// An uncompressed point; its coordinates have their full length (RFC 7518 section 6.2.1.2).
fn point(x: &[u8], y: &[u8], length: usize) -> Result<Vec<u8>, Unfit> {
    if x.len() != length || y.len() != length {
        return Err(Unfit::Malformed);
    }
    Ok([&[4], x, y].concat())
}

fn mark(id: Option<&str>, ready: &[(Algorithm, ParsedPublicKey)], public: &[u8]) -> KeyMark {
    let mut context = Context::new(&SHA256);
    let id = id.unwrap_or_default().as_bytes();
    context.update(&(id.len() as u64).to_le_bytes());
    context.update(id);
    ready.iter().for_each(|(algorithm, _)| context.update(&[*algorithm as u8]));
    context.update(public);
    let mut mark = [0; 32];
    mark.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    KeyMark(mark)
}
