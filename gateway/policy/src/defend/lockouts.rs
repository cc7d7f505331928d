//! Who is locked out for a while because too much of what they tried has failed: a bounded table that workers ask and write to.

use super::bans::ClientNetwork;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows are kept in this many parts, so that workers seldom wait for each other.
const SHARDS: usize = 64;
/// Rows of a part; beyond, the one that ends first is forgotten for another.
const SHARD_ROWS_MAX: usize = 512;
/// A lockout is doubled so often at the most.
const LEVEL_MAX: u8 = 30;

/// What failures are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockoutPer {
    /// The address of a client; of IPv6 its network of 64 bits.
    ClientIp,
    /// A caller whose credential has been verified: the provider, and its name for them.
    Account,
    /// A name that somebody gave in the login field of a route: the API, and the name in its canonical form.
    Login,
    /// An API key that has been verified: the store, and the key's caller.
    Key,
}

impl LockoutPer {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::ClientIp, Self::Account, Self::Login, Self::Key];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::Account => "account",
            Self::Login => "login",
            Self::Key => "key",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|per| per.as_str() == text)
    }
}

/// Whom a lockout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whom<'a> {
    /// Whoever comes from there.
    Client(ClientNetwork),
    /// Somebody by name.
    Named {
        /// What kind of name; not [`LockoutPer::ClientIp`].
        per: LockoutPer,
        /// Where the name means somebody: a provider, a key store or an API.
        realm: &'a str,
        /// The name.
        name: &'a str,
    },
}

impl<'a> Whom<'a> {
    /// What is counted by.
    #[must_use]
    pub fn per(self) -> LockoutPer {
        match self {
            Self::Client(_) => LockoutPer::ClientIp,
            Self::Named { per, .. } => per,
        }
    }

    /// As operators see it: an address, or `realm/name`.
    #[must_use]
    pub fn shown(self) -> String {
        match self {
            Self::Client(network) => network.to_string(),
            Self::Named { realm, name, .. } => format!("{realm}/{name}"),
        }
    }

    /// What operators write.
    #[must_use]
    pub fn parse(per: LockoutPer, text: &'a str) -> Option<Self> {
        match per {
            LockoutPer::ClientIp => ClientNetwork::parse(text).filter(|network| network.is_client()).map(Self::Client),
            // Names of the configuration have no slash; those of callers may.
            _ => text.split_once('/').map(|(realm, name)| Self::Named { per, realm, name }),
        }
    }
}

/// A lockout: in force, or remembered because the next one is to be longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Until when, in Unix seconds.
    pub until: u64,
    /// Until when it is remembered, in Unix seconds.
    pub remembered_until: u64,
    /// How often there had been one before.
    pub level: u8,
    /// The status of the last failure.
    pub status: u16,
    /// When it was made, in Unix seconds.
    pub since: u64,
}

/// A row, as it is listed and written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedOut {
    /// What was counted by.
    pub per: LockoutPer,
    /// Whom it is for, as [`Whom::shown`] has it.
    pub name: Box<str>,
    /// The lockout.
    pub lockout: Lockout,
}

impl LockedOut {
    /// Whom it is for.
    #[must_use]
    pub fn whom(&self) -> Option<Whom<'_>> {
        Whom::parse(self.per, &self.name)
    }
}

type Shard = HashMap<u64, LockedOut>;

/// All lockouts. Where there is none, asking costs a load.
pub struct Lockouts {
    /// How many are kept, those that are only remembered among them.
    kept: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    /// What has changed since that was asked last.
    changed: Mutex<HashSet<u64>>,
    /// Which part somebody is in is not for clients to choose, and no two of them can be made to share a row.
    hasher: RandomState,
    made: [AtomicU64; LockoutPer::ALL.len()],
    counting: AtomicBool,
}

impl Default for Lockouts {
    fn default() -> Self {
        Self {
            kept: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            changed: Mutex::default(),
            hasher: RandomState::new(),
            made: Default::default(),
            counting: AtomicBool::new(false),
        }
    }
}

impl Lockouts {
    /// Says whether the configuration in force counts failures.
    pub fn set_counting(&self, counting: bool) {
        self.counting.store(counting, Ordering::Relaxed);
    }

    /// Whether outcomes are to be looked at.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    /// Until when somebody is locked out, if they are at `now`; both in Unix seconds.
    #[must_use]
    pub fn locked_until(&self, whom: Whom<'_>, now: u64) -> Option<u64> {
        if self.kept.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.find(whom).map(|lockout| lockout.until).filter(|until| now < *until)
    }

    /// Locks somebody out, unless they are already: first for `first` seconds, each time after it for twice as long, up to `longest`. Says
    /// whether there is a new lockout.
    pub(super) fn lock(&self, whom: Whom<'_>, status: u16, (first, longest): (u64, u64), now: u64) -> bool {
        let key = self.key(whom);
        let mut shard = self.shard(key);
        let level = match shard.get(&key).map(|known| known.lockout) {
            Some(known) if now < known.until => return false,
            Some(known) if now < known.remembered_until => known.level.saturating_add(1).min(LEVEL_MAX),
            _ => 0,
        };
        let until = now.saturating_add(first.max(1).saturating_mul(1 << level).min(longest.max(1)));
        let lockout = Lockout { until, remembered_until: until.saturating_add(longest), level, status, since: now };
        self.insert(&mut shard, key, LockedOut { per: whom.per(), name: whom.shown().into(), lockout }, now);
        drop(shard);
        self.made.get(whom.per() as usize).map(|made| made.fetch_add(1, Ordering::Relaxed));
        let mut changed = lock(&self.changed);
        // What is not noted is not written down; it is in force all the same.
        if changed.len() < SHARDS * SHARD_ROWS_MAX {
            changed.insert(key);
        }
        true
    }

    /// Puts a lockout in the place of the one that there may be. Says whether whom it is for is well-formed.
    pub fn put(&self, row: LockedOut, now: u64) -> bool {
        let Some(key) = row.whom().map(|whom| self.key(whom)) else { return false };
        self.insert(&mut self.shard(key), key, row, now);
        true
    }

    /// Forgets a lockout. Says whether there was one.
    pub fn lift(&self, whom: Whom<'_>) -> bool {
        let key = self.key(whom);
        let gone = self.shard(key).remove(&key).is_some();
        self.kept.fetch_sub(u64::from(gone), Ordering::Relaxed);
        gone
    }

    /// The lockout of somebody, also when it is only remembered.
    #[must_use]
    pub fn find(&self, whom: Whom<'_>) -> Option<Lockout> {
        let key = self.key(whom);
        self.shard(key).get(&key).map(|known| known.lockout)
    }

    /// Every lockout that is in force or remembered, by what was counted and name.
    #[must_use]
    pub fn list(&self, now: u64) -> Vec<LockedOut> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).values().filter(|row| now < row.lockout.until.max(row.lockout.remembered_until)).cloned());
        }
        all.sort_by(|a, b| (a.per, &a.name).cmp(&(b.per, &b.name)));
        all
    }

    /// What was made since this was asked last.
    #[must_use]
    pub fn take_changes(&self) -> Vec<LockedOut> {
        let changed = std::mem::take(&mut *lock(&self.changed));
        changed.into_iter().filter_map(|key| self.shard(key).get(&key).cloned()).collect()
    }

    /// How many there have been, in the order of [`LockoutPer::ALL`].
    #[must_use]
    pub fn made(&self) -> [u64; LockoutPer::ALL.len()] {
        self.made.each_ref().map(|made| made.load(Ordering::Relaxed))
    }

    fn key(&self, whom: Whom<'_>) -> u64 {
        self.hasher.hash_one(whom)
    }

    fn insert(&self, shard: &mut Shard, key: u64, row: LockedOut, now: u64) {
        if !shard.contains_key(&key) && shard.len() >= SHARD_ROWS_MAX {
            let before = shard.len();
            shard.retain(|_, known| now < known.lockout.remembered_until.max(known.lockout.until));
            if shard.len() >= SHARD_ROWS_MAX
                && let Some(first) = shard.iter().min_by_key(|(_, known)| known.lockout.until).map(|(key, _)| *key)
            {
                shard.remove(&first);
            }
            self.kept.fetch_sub((before - shard.len()) as u64, Ordering::Relaxed);
        }
        if shard.insert(key, row).is_none() {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        static NEVER: std::sync::LazyLock<Mutex<Shard>> = std::sync::LazyLock::new(Mutex::default);
        // INVARIANT: the remainder is below the number of shards.
        lock(self.shards.get(key as usize % SHARDS).unwrap_or(&NEVER))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{LockedOut, Lockout, LockoutPer, Lockouts, SHARD_ROWS_MAX, SHARDS, Whom};

    fn named(per: LockoutPer, realm: &'static str, name: &'static str) -> Whom<'static> {
        Whom::Named { per, realm, name }
    }

    #[test]
    fn lockouts_double_up_to_the_longest_and_begin_anew_for_who_has_behaved_that_long() {
        let (lockouts, bob) = (Lockouts::default(), named(LockoutPer::Account, "corp", "bob"));
        let lock = |now| lockouts.lock(bob, 401, (60, 600), now).then(|| lockouts.find(bob).unwrap().until - now);
        assert_eq!((lock(0), lock(59), lock(60)), (Some(60), None, Some(120)));
        assert_eq!((lock(180), lock(420), lock(1020), lock(2220)), (Some(240), Some(480), Some(600), Some(60)));
        assert_eq!((lockouts.locked_until(bob, 2279), lockouts.locked_until(bob, 2280)), (Some(2280), None));
    }

    #[test]
    fn whoever_is_called_alike_elsewhere_is_somebody_else() {
        let lockouts = Lockouts::default();
        lockouts.lock(named(LockoutPer::Account, "corp", "bob"), 403, (60, 600), 0);
        for (per, realm, name, locked) in [
            (LockoutPer::Account, "corp", "bob", true),
            (LockoutPer::Login, "corp", "bob", false),
            (LockoutPer::Key, "corp", "bob", false),
            (LockoutPer::Account, "partner", "bob", false),
            (LockoutPer::Account, "cor", "pbob", false),
        ] {
            assert_eq!(lockouts.locked_until(named(per, realm, name), 1).is_some(), locked, "{per:?} {realm} {name}");
        }
        let client = Whom::parse(LockoutPer::ClientIp, "2001:db8::7").unwrap();
        assert!(lockouts.lock(client, 401, (60, 600), 0));
        assert!(lockouts.locked_until(Whom::parse(LockoutPer::ClientIp, "2001:db8::9").unwrap(), 1).is_some());
        let shown: Vec<_> = lockouts.list(0).into_iter().map(|row| format!("{} {}", row.per.as_str(), row.name)).collect();
        assert_eq!(shown, ["client_ip 2001:db8::/64", "account corp/bob"]);
        assert_eq!(lockouts.made(), [1, 1, 0, 0]);
        assert!(lockouts.lift(client) && !lockouts.lift(client));
        assert!(Whom::parse(LockoutPer::ClientIp, "10.0.0.0/8").is_none() && Whom::parse(LockoutPer::Login, "bob").is_none());
    }

    #[test]
    fn rows_are_bounded_and_what_is_written_comes_back() {
        let lockouts = Lockouts::default();
        for number in 0..3 * SHARDS * SHARD_ROWS_MAX {
            let name = format!("api/user{number}");
            lockouts.lock(Whom::parse(LockoutPer::Login, &name).unwrap(), 401, (60, 600), 5);
        }
        let all = lockouts.list(5);
        assert!(all.len() <= SHARDS * SHARD_ROWS_MAX);
        assert_eq!(lockouts.take_changes().iter().filter(|row| !all.contains(row)).count(), 0);
        assert!(lockouts.take_changes().is_empty());
        let again = Lockouts::default();
        assert!(all.iter().all(|row| again.put(row.clone(), 5)));
        // Each process shares rows out to parts in a way of its own; full tables do not come back whole.
        assert!(again.list(5).len() > all.len() * 9 / 10);
        let lockout = Lockout { until: 9, remembered_until: 9, level: 0, status: 401, since: 0 };
        assert!(!again.put(LockedOut { per: LockoutPer::ClientIp, name: "nonsense".into(), lockout }, 5));
    }
}
