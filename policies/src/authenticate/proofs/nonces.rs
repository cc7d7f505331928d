//! Nonces that proofs must have (RFC 9449 section 8): nothing is kept of them, each follows from a key of the process and the time.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use std::fmt::Write;
use std::time::Duration;

/// For how long one nonce is given out; it is good for as long again.
const WINDOW_SECONDS: u64 = 60;
/// How much of the hash goes into a nonce, in bytes.
const NONCE_BYTES: usize = 16;

/// The nonces of a process.
pub(super) struct Nonces {
    key: Key,
}

impl Nonces {
    /// With a new key; nothing when there is no randomness.
    pub(super) fn new() -> Option<Self> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Some(Self { key: Key::new(HMAC_SHA256, &secret) })
    }

    /// The nonce of a moment, which goes by a clock that is never put back.
    pub(super) fn at(&self, now: Duration) -> Box<str> {
        self.of(now.as_secs() / WINDOW_SECONDS)
    }

    /// Whether a nonce is of this moment's window, or the one before.
    pub(super) fn is_good(&self, nonce: &str, now: Duration) -> bool {
        let window = now.as_secs() / WINDOW_SECONDS;
        let is = |window: u64| verify_slices_are_equal(self.of(window).as_bytes(), nonce.as_bytes()).is_ok();
        is(window) || window.checked_sub(1).is_some_and(is)
    }

    fn of(&self, window: u64) -> Box<str> {
        let tag = sign(&self.key, &window.to_le_bytes());
        let mut out = String::with_capacity(NONCE_BYTES * 2);
        for byte in tag.as_ref().iter().take(NONCE_BYTES) {
            // INVARIANT: a text can always be written to.
            let _written = write!(out, "{byte:02x}");
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Nonces;
    use std::time::Duration;

    #[test]
    fn a_nonce_is_good_for_two_windows_and_of_one_process() {
        let (own, other) = (Nonces::new().unwrap(), Nonces::new().unwrap());
        let at = Duration::from_secs;
        let nonce = own.at(at(125));
        assert_eq!(nonce.len(), 32);
        assert_eq!(
            [119, 120, 179, 180, 239, 240].map(|second| own.is_good(&nonce, at(second))),
            [false, true, true, true, true, false]
        );
        assert!(!other.is_good(&nonce, at(125)) && !own.is_good("", at(125)));
        assert_ne!(own.at(at(0)), own.at(at(60)));
    }
}
