//! Logins that have begun, and wait for a browser to come back.
//!
//! Strangers begin them, so the table is small, and full of one client's it gives up that client's: which part of it an entry lies in
//! follows from the address of the client, by a hash that nobody outside knows.

use super::sessions::{Key, key_of, random};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a login may take.
pub(super) const LOGIN_WITHIN: Duration = Duration::from_secs(600);
/// How often a browser may begin in that time.
const TRIES_MAX: u8 = 10;
const SHARDS: u8 = 64;
/// How many logins may wait in each part: 16,384 in all, of at most 1.5 KiB each.
const SHARD_MAX: usize = 256;
/// The longest place that is gone back to.
const TARGET_BYTES_MAX: usize = 1024;

/// A login that has begun.
#[derive(Clone)]
pub(super) struct Pending {
    /// What the answer is known by.
    pub(super) state: String,
    /// What the ID token is known by.
    pub(super) nonce: String,
    /// What proves that it is us who ask for the tokens (RFC 7636).
    pub(super) verifier: String,
    /// Where the browser wanted to go: a path of this host, with its query.
    pub(super) target: Box<str>,
}

struct Entry {
    /// Nothing when it has been used.
    pending: Option<Pending>,
    tries: u8,
    ends: Duration,
}

/// Why no login begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// This browser has begun too often.
    Looping,
    /// The system gives no random bytes.
    NoRandom,
}

/// The table.
pub(super) struct PendingLogins {
    shards: Box<[Mutex<HashMap<Key, Entry>>]>,
    spread: RandomState,
}

impl Default for PendingLogins {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), spread: RandomState::new() }
    }
}

impl PendingLogins {
    /// Begins a login for a browser, which is known by the first of what it gives back. `before` is what it was known by before: only one
    /// login of a browser waits.
    pub(super) fn begin(
        &self,
        client: IpAddr,
        before: Option<&str>,
        target: &str,
        now: Duration,
    ) -> Result<(String, Pending), NotBegun> {
        let tries = before.map_or(Ok(0), |cookie| self.give_up(cookie, now))?;
        let shard = self.shard_of(client);
        let fresh = || random().ok_or(NotBegun::NoRandom);
        let cookie = format!("{shard:02x}{}", fresh()?);
        let target = if target.len() <= TARGET_BYTES_MAX { target } else { "/" };
        let pending = Pending { state: fresh()?, nonce: fresh()?, verifier: fresh()?, target: target.into() };
        if let Some(mut entries) = self.shard(shard) {
            if entries.len() >= SHARD_MAX {
                entries.retain(|_, entry| now < entry.ends);
            }
            if entries.len() >= SHARD_MAX {
                let oldest = entries.iter().min_by_key(|(_, entry)| entry.ends).map(|(key, _)| *key);
                oldest.and_then(|key| entries.remove(&key));
            }
            let entry = Entry { pending: Some(pending.clone()), tries: tries + 1, ends: now + LOGIN_WITHIN };
            entries.insert(key_of(&cookie), entry);
        }
        Ok((cookie, pending))
    }

    /// The login that a browser comes back from; it is gone then. With another `state` it stays: whoever makes a browser come with that
    /// must not end what it has begun.
    pub(super) fn take(&self, cookie: &str, state: &str, now: Duration) -> Option<Pending> {
        let mut entries = self.shard(number_in(cookie)?)?;
        let entry = entries.get_mut(&key_of(cookie)).filter(|entry| now < entry.ends)?;
        let is_its = verify_slices_are_equal(entry.pending.as_ref()?.state.as_bytes(), state.as_bytes()).is_ok();
        // How often the browser has begun is remembered.
        if is_its { entry.pending.take() } else { None }
    }

    /// Forgets a login, and gives how often its browser has begun.
    fn give_up(&self, cookie: &str, now: Duration) -> Result<u8, NotBegun> {
        let Some(mut entries) = number_in(cookie).and_then(|number| self.shard(number)) else { return Ok(0) };
        let key = key_of(cookie);
        match entries.get(&key).filter(|entry| now < entry.ends).map(|entry| entry.tries) {
            Some(tries) if tries >= TRIES_MAX => Err(NotBegun::Looping),
            Some(tries) => {
                entries.remove(&key);
                Ok(tries)
            }
            None => Ok(0),
        }
    }

    fn shard_of(&self, client: IpAddr) -> u8 {
        // Whoever has one address of IPv6 has a network of them.
        let network = match client {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        (self.spread.hash_one(network) % u64::from(SHARDS)) as u8
    }

    fn shard(&self, number: u8) -> Option<MutexGuard<'_, HashMap<Key, Entry>>> {
        self.shards.get(usize::from(number)).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The part of the table that a cookie says it is in.
fn number_in(cookie: &str) -> Option<u8> {
    u8::from_str_radix(cookie.get(..2)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{LOGIN_WITHIN, NotBegun, PendingLogins, SHARD_MAX, SHARDS, TRIES_MAX};
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(1000);
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn e121_a_login_is_taken_once_by_its_browser_with_its_state_in_time() {
        let table = PendingLogins::default();
        let (cookie, pending) = table.begin(CLIENT, None, "/a", NOW).unwrap();
        let (other, others) = table.begin(CLIENT, None, "/b", NOW).unwrap();
        assert!(table.take(&other, &pending.state, NOW).is_none(), "another browser");
        assert!(table.take(&cookie, &others.state, NOW).is_none(), "another state");
        assert!(table.take(&cookie, "", NOW).is_none() && table.take("", &pending.state, NOW).is_none());
        assert_eq!(table.take(&cookie, &pending.state, NOW).unwrap().target, "/a".into());
        assert!(table.take(&cookie, &pending.state, NOW).is_none(), "twice");
        assert!(table.take(&other, &others.state, NOW + LOGIN_WITHIN).is_none(), "too late");
    }

    #[test]
    fn a_browser_has_one_login_and_does_not_begin_for_ever() {
        let table = PendingLogins::default();
        let (mut cookie, first) = table.begin(CLIENT, None, "/", NOW).unwrap();
        let before = cookie.clone();
        for _ in 1..TRIES_MAX {
            cookie = table.begin(CLIENT, Some(&cookie), "/", NOW).unwrap().0;
        }
        assert!(table.take(&before, &first.state, NOW).is_none());
        assert_eq!(table.begin(CLIENT, Some(&cookie), "/", NOW).err(), Some(NotBegun::Looping));
        assert!(table.begin(CLIENT, Some(&cookie), "/", NOW + LOGIN_WITHIN).is_ok());
        assert_eq!(table.begin(CLIENT, None, &format!("/{}", "x".repeat(2000)), NOW).unwrap().1.target, "/".into());
    }

    #[test]
    fn a_flood_of_logins_is_bounded_and_gives_up_its_own() {
        let table = PendingLogins::default();
        let others: Vec<_> =
            (0..64_u8).map(|number| table.begin(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)), None, "/", NOW).unwrap()).collect();
        for _ in 0..2 * SHARD_MAX {
            table.begin(CLIENT, None, "/", NOW + Duration::from_secs(1)).unwrap();
        }
        let held: usize = (0..SHARDS).map(|number| table.shard(number).unwrap().len()).sum();
        assert!(held <= SHARD_MAX + others.len(), "{held}");
        let kept = others.iter().filter(|(cookie, pending)| table.take(cookie, &pending.state, NOW).is_some()).count();
        assert!(kept >= 48, "{kept} of 64 others are still there");
    }
}
