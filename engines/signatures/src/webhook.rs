//! Messages of Standard Webhooks: `ID.TIME.BODY` is signed; <https://github.com/standard-webhooks/standard-webhooks>.

use crate::base64::decode;
use crate::{Algorithm, SignatureKey};
use std::fmt;

/// The header fields of a message: its id, its time, its signatures.
pub const WEBHOOK_FIELDS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 256;
/// How many signatures a message may have: as many as there are keys while one replaces another, and a few of later versions.
const SIGNATURES_MAX: usize = 8;
/// A signature of either kind in base64 is shorter.
const SIGNATURE_TEXT_MAX: usize = 128;

/// What is wrong with a message, for logs; clients are not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFault {
    /// A field is missing, or there several times.
    FieldMissing,
    /// The id is not one.
    IdMalformed,
    /// The time is not a number of seconds.
    TimeMalformed,
    /// The signatures are not well-formed, or too many.
    SignaturesMalformed,
    /// It is too old.
    Stale,
    /// It is from the future.
    Early,
    /// No key of the sender's has signed it.
    SignatureWrong,
}

impl WebhookFault {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldMissing => "a header field of the webhook is missing, or there twice",
            Self::IdMalformed => "the webhook's id is empty, too long, or has a dot or something else that is not visible ASCII",
            Self::TimeMalformed => "the webhook's timestamp is not a number of seconds",
            Self::SignaturesMalformed => {
                "the webhook's signatures are not well-formed, or more than 8, or none is of a kind that is known"
            }
            Self::Stale => "the webhook's timestamp is older than age_max",
            Self::Early => "the webhook's timestamp is in the future by more than leeway",
            Self::SignatureWrong => "no key has signed the webhook",
        }
    }
}

impl fmt::Display for WebhookFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message but for its body.
pub struct Delivery<'m> {
    /// Its id, the same each time that it is sent.
    pub id: &'m [u8],
    /// When it was sent this time, in seconds since the Unix epoch.
    pub sent: u64,
    time: &'m [u8],
    signatures: Vec<(Algorithm, Vec<u8>)>,
}

impl<'m> Delivery<'m> {
    /// Reads the three fields of a message. Signatures of unknown versions are passed over.
    ///
    /// # Errors
    /// When one is not well-formed, or there is no signature of a kind that is known.
    pub fn read(id: &'m [u8], time: &'m [u8], signatures: &[u8]) -> Result<Self, WebhookFault> {
        // SECURITY: a dot in the id would let what is signed be read in two ways: as another id, another time, and more body.
        let is_id = |byte: &u8| byte.is_ascii_graphic() && *byte != b'.';
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.iter().all(is_id) {
            return Err(WebhookFault::IdMalformed);
        }
        let sent = seconds(time).ok_or(WebhookFault::TimeMalformed)?;
        let mut read = Vec::new();
        for (at, one) in signatures.split(|byte| *byte == b' ').enumerate() {
            let comma = one.iter().position(|byte| *byte == b',').ok_or(WebhookFault::SignaturesMalformed)?;
            let (version, text) = one.split_at(comma);
            if at >= SIGNATURES_MAX || text.len() > SIGNATURE_TEXT_MAX {
                return Err(WebhookFault::SignaturesMalformed);
            }
            let algorithm = match version {
                b"v1" => Algorithm::HmacSha256,
                b"v1a" => Algorithm::Ed25519,
                _ => continue,
            };
            let signature = text.get(1..).and_then(decode).ok_or(WebhookFault::SignaturesMalformed)?;
            read.push((algorithm, signature));
        }
        if read.is_empty() {
            return Err(WebhookFault::SignaturesMalformed);
        }
        Ok(Self { id, sent, time, signatures: read })
    }

    /// Checks that it was sent just now.
    ///
    /// # Errors
    /// When it is older than `age_max` seconds, or from further in the future than `leeway`.
    pub fn check_time(&self, now: u64, age_max: u64, leeway: u64) -> Result<(), WebhookFault> {
        if self.sent > now.saturating_add(leeway) {
            return Err(WebhookFault::Early);
        }
        if self.sent.saturating_add(age_max) < now {
            return Err(WebhookFault::Stale);
        }
        Ok(())
    }

    /// Whether there is a signature that a key of this algorithm could have made.
    #[must_use]
    pub fn may_be_of(&self, algorithm: Algorithm) -> bool {
        self.signatures.iter().any(|(of, _)| *of == algorithm)
    }

    /// Whether the key has signed it with this body.
    #[must_use]
    pub fn is_signed_by(&self, key: &SignatureKey, body: &[u8]) -> bool {
        let parts = [self.id, b".", self.time, b".", body];
        let mut own = self.signatures.iter().filter(|(algorithm, _)| *algorithm == key.algorithm());
        own.any(|(_, signature)| key.has_signed(&parts, signature))
    }
}

/// Seconds as they are signed: digits, without a sign, and no leading zero, so that one time has one spelling.
fn seconds(text: &[u8]) -> Option<u64> {
    let is_sound = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) && !text.starts_with(b"0");
    is_sound.then(|| text.iter().fold(0, |seconds, digit| seconds * 10 + u64::from(digit - b'0')))
}
