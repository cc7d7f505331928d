//! Session tickets: sealed by keys that rotate and that are bound to whom the listener trusts.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use portcullis_model::{Clock, Secret};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Seconds for which a key seals, and a ticket lives; an old key opens for as long again.
const ROTATE_AFTER: u64 = 12 * 3600;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const SECRET_BYTES: usize = 32;
/// A key as it is handed over: its id, its secret, and when it was made (Unix seconds, little endian).
const HANDED_BYTES: usize = KEY_ID_BYTES + SECRET_BYTES + 8;
/// How many keys can be handed over; there are never more than three that still open anything.
const HANDED_MAX: usize = 8;

struct Key {
    id: [u8; KEY_ID_BYTES],
    secret: Secret<[u8; SECRET_BYTES]>,
    aead: RandomizedNonceKey,
    made: u64,
}

impl Key {
    fn new(now: u64) -> Option<Self> {
        let mut id = [0; KEY_ID_BYTES];
        let secret = {
            let mut bytes = [0_u8; SECRET_BYTES];
            aws_lc_rs::rand::fill(&mut bytes).ok()?;
            Secret::new(bytes)
        };
        aws_lc_rs::rand::fill(&mut id).ok()?;
        Self::of(id, secret, now)
    }

    fn of(id: [u8; KEY_ID_BYTES], secret: Secret<[u8; SECRET_BYTES]>, made: u64) -> Option<Self> {
        let aead = RandomizedNonceKey::new(&AES_256_GCM, secret.reveal()).ok()?;
        Some(Self { id, secret, aead, made })
    }
}

/// The keys that seal tickets, shared by every listener and kept across reloads.
pub struct TicketKeys {
    keys: RwLock<Vec<Key>>,
    clock: Clock,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl TicketKeys {
    /// Keys that rotate by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { keys: RwLock::default(), clock })
    }

    /// A sealer whose tickets only open where the same `binding` holds: a hash of whom the listener trusts, so that a client whose
    /// trust was withdrawn cannot resume past it (threats F 139).
    #[must_use]
    pub fn bound_to(self: &Arc<Self>, binding: [u8; 32]) -> Arc<dyn ProducesTickets> {
        Arc::new(Bound { keys: Arc::clone(self), binding })
    }

    /// The keys, for the next version of this program: clients resume their sessions with it.
    #[must_use]
    pub fn hand_over(&self) -> Secret<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // Never grown: that would leave secrets behind in memory.
        let mut bytes = Vec::with_capacity(HANDED_BYTES * HANDED_MAX);
        for key in keys.iter().take(HANDED_MAX) {
            bytes.extend_from_slice(&key.id);
            bytes.extend_from_slice(key.secret.reveal());
            bytes.extend_from_slice(&key.made.to_le_bytes());
        }
        Secret::new(bytes)
    }

    /// Takes the keys of the version before in place of its own. What is not understood is left out: sessions begin anew then.
    pub fn take_over(&self, handed: &Secret<Vec<u8>>) {
        let taken = handed.reveal().chunks_exact(HANDED_BYTES).take(HANDED_MAX).filter_map(|bytes| {
            let (id, rest) = bytes.split_first_chunk::<KEY_ID_BYTES>()?;
            let (secret, made) = rest.split_first_chunk::<SECRET_BYTES>()?;
            Key::of(*id, Secret::new(*secret), u64::from_le_bytes(made.try_into().ok()?))
        });
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = taken.collect();
    }

    /// Makes a new key when there is none that is young enough, and forgets keys whose tickets have all expired.
    fn rotate(&self, now: u64) {
        let is_young = |key: &Key| now < key.made + ROTATE_AFTER;
        if self.keys.read().unwrap_or_else(PoisonError::into_inner).first().is_some_and(is_young) {
            return;
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if !keys.first().is_some_and(is_young)
            && let Some(key) = Key::new(now)
        {
            keys.insert(0, key);
        }
        keys.retain(|key| now < key.made + 2 * ROTATE_AFTER);
    }

    fn seal(&self, plain: &[u8], binding: &[u8; 32]) -> Option<Vec<u8>> {
        self.rotate(self.clock.unix_seconds());
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(associated(&key.id, binding)), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(KEY_ID_BYTES + NONCE_BYTES + sealed.len());
        ticket.extend_from_slice(&key.id);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], binding: &[u8; 32]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<KEY_ID_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let now = self.clock.unix_seconds();
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // Key ids are public: they travel in every ticket.
        let key = keys.iter().find(|key| key.id == *id && now < key.made + 2 * ROTATE_AFTER)?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.aead.open_in_place(nonce, Aad::from(associated(id, binding)), &mut bytes).ok()?;
        Some(plain.to_vec())
    }
}

/// What a ticket is bound to beside its key.
fn associated(id: &[u8; KEY_ID_BYTES], binding: &[u8; 32]) -> [u8; KEY_ID_BYTES + 32] {
    let mut bytes = [0; KEY_ID_BYTES + 32];
    for (slot, byte) in bytes.iter_mut().zip(id.iter().chain(binding)) {
        *slot = *byte;
    }
    bytes
}

#[derive(Debug)]
struct Bound {
    keys: Arc<TicketKeys>,
    binding: [u8; 32],
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        ROTATE_AFTER as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(plain, &self.binding)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys.open(ticket, &self.binding)
    }
}

#[cfg(test)]
mod tests {
    use super::TicketKeys;
    use portcullis_model::Clock;

    const HOUR: u64 = 3_600_000_000;

    #[test]
    fn a_ticket_opens_only_under_the_same_binding_and_unchanged() {
        let keys = TicketKeys::new(Clock::fixed(HOUR));
        let (sealer, other) = (keys.bound_to([1; 32]), keys.bound_to([2; 32]));
        let mut ticket = sealer.encrypt(b"session").unwrap();
        assert_eq!(sealer.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.decrypt(&ticket), None);
        ticket[30] ^= 1;
        assert_eq!(sealer.decrypt(&ticket), None);
        assert_eq!(sealer.decrypt(b"short"), None);
    }

    #[test]
    fn the_next_version_opens_the_tickets_of_this_one_and_rotates_as_it_would_have() {
        let clock = Clock::fixed(HOUR);
        let keys = TicketKeys::new(clock.clone());
        let ticket = keys.bound_to([1; 32]).encrypt(b"session").unwrap();
        let handed = keys.hand_over();
        assert_eq!(format!("{handed:?}"), "[secret]");
        let next = TicketKeys::new(clock.clone());
        next.take_over(&handed);
        assert_eq!(next.bound_to([1; 32]).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(next.bound_to([2; 32]).decrypt(&ticket), None, "the binding holds beyond the hand-over");
        assert_eq!(next.bound_to([1; 32]).encrypt(b"x").unwrap()[..8], ticket[..8], "the key is not young again");
        clock.set_unix_micros(14 * HOUR);
        assert_ne!(next.bound_to([1; 32]).encrypt(b"x").unwrap()[..8], ticket[..8]);
        // What is cut off in the middle is no key.
        let damaged = portcullis_model::Secret::new(handed.reveal()[..40].to_vec());
        next.take_over(&damaged);
        assert_eq!(next.bound_to([1; 32]).decrypt(&ticket), None);
    }

    #[test]
    fn keys_rotate_and_old_tickets_end() {
        let clock = Clock::fixed(HOUR);
        let sealer = TicketKeys::new(clock.clone()).bound_to([0; 32]);
        let ticket = sealer.encrypt(b"session").unwrap();
        clock.set_unix_micros(14 * HOUR);
        let newer = sealer.encrypt(b"session").unwrap();
        assert_ne!(ticket[..8], newer[..8]);
        assert!(sealer.decrypt(&ticket).is_some());
        clock.set_unix_micros(26 * HOUR);
        assert!(sealer.decrypt(&ticket).is_none() && sealer.decrypt(&newer).is_some());
    }
}
