//! Sessions: who has logged in, known by the hash of a random name that their browser alone has.
//!
//! They are in memory, so they end with the process. All that anybody may do with them is here, so that a store that several nodes share can
//! take its place.

use super::seal::Sealed;
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_engines_jose::base64url;
use portcullis_gateway_policy::StateDigest;
use portcullis_model::{Mark, Principal};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SHARDS: usize = 64;
/// How many sessions a login has at the most.
pub(super) const SESSIONS_MAX: usize = 16_384;
/// How many of them one person has; with another the oldest ends.
const OF_ONE_MAX: usize = 32;
/// How often those that are over are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What is kept of a random name: who reads the table has no session.
pub(super) type Key = [u8; 32];

/// The key of a name.
pub(super) fn key_of(name: &str) -> Key {
    let mut key = Key::default();
    key.iter_mut().zip(digest(&SHA256, name.as_bytes()).as_ref()).for_each(|(slot, byte)| *slot = *byte);
    key
}

/// A name that nobody guesses: 256 random bits. Nothing when the system gives none.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(base64url(&bytes))
}

/// What the provider has said last of who has logged in.
pub(super) struct Word {
    /// Who.
    pub(super) subject: Box<str>,
    /// The roles that the provider names.
    pub(super) roles: Box<[Box<str>]>,
    /// The scopes that it granted.
    pub(super) scopes: Box<[Box<str>]>,
    /// When it said so, in seconds since the Unix epoch.
    pub(super) issued: u64,
    /// Until when it says so.
    pub(super) expires: u64,
    /// From when on its word is not taken any more, leeway included.
    pub(super) ends: u64,
    /// What they are known by when they are revoked, and when they log out at the provider: person first.
    pub(super) marks: Box<[Mark]>,
    /// The ID token, to log out with.
    pub(super) id_token: Option<Sealed>,
    /// What the provider is asked again with, if it gave anything.
    pub(super) refresh: Option<Sealed>,
}

/// A principal, with what it was made by.
type Made = (StateDigest, Arc<Principal>);

/// A session.
pub(super) struct Session {
    began: Duration,
    /// When it was used last, in seconds.
    used: AtomicU64,
    word: Mutex<Arc<Word>>,
    made: Mutex<Option<Made>>,
    /// What goes on by it is known by, beside the marks of its word.
    own: Mark,
    /// Held while the provider is asked again, with when that last failed.
    refreshing: tokio::sync::Mutex<Option<Duration>>,
}

impl Session {
    /// One that begins now.
    pub(super) fn new(word: Word, now: Duration) -> Self {
        Self {
            began: now,
            used: AtomicU64::new(now.as_secs()),
            word: Mutex::new(Arc::new(word)),
            made: Mutex::default(),
            own: Mark::default(),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// What goes on by this session alone is known by.
    pub(super) fn own(&self) -> Mark {
        self.own
    }

    /// Waits until nobody asks the provider again.
    pub(super) async fn refreshing(&self) -> tokio::sync::MutexGuard<'_, Option<Duration>> {
        self.refreshing.lock().await
    }

    /// What the provider has said anew of the same person.
    pub(super) fn replace(&self, word: Word) {
        let mut made = lock(&self.made);
        *lock(&self.word) = Arc::new(word);
        *made = None;
    }

    /// What the provider has said.
    pub(super) fn word(&self) -> Arc<Word> {
        Arc::clone(&lock(&self.word))
    }

    /// Who it is, made once for each configuration.
    pub(super) fn principal(&self, by: StateDigest, make: impl FnOnce(&Word) -> Principal) -> Arc<Principal> {
        let mut made = lock(&self.made);
        match &*made {
            Some((known, principal)) if *known == by => Arc::clone(principal),
            _ => {
                let mut principal = make(&self.word());
                principal.marks = principal.marks.iter().copied().chain([self.own]).collect();
                let principal = Arc::new(principal);
                *made = Some((by, Arc::clone(&principal)));
                principal
            }
        }
    }

    fn is_alive(&self, limits: &Limits, now: Duration) -> bool {
        let unused = now.saturating_sub(Duration::from_secs(self.used.load(Ordering::Relaxed)));
        unused < limits.idle && now.saturating_sub(self.began) < limits.lifetime
    }
}

/// How long sessions last.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Unused.
    pub(super) idle: Duration,
    /// At the most.
    pub(super) lifetime: Duration,
}

type Shard = HashMap<Key, Arc<Session>>;

/// Those of one login.
pub(super) struct Sessions {
    shards: Box<[Mutex<Shard>]>,
    /// By what they end together: those of one person, those of one session at the provider. Locked before any shard.
    names: Mutex<HashMap<Mark, Vec<Key>>>,
    count: AtomicUsize,
    swept: AtomicU64,
}

impl Default for Sessions {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { shards, names: Mutex::default(), count: AtomicUsize::new(0), swept: AtomicU64::new(0) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let [first, ..] = key;
        self.shards.get(usize::from(*first) % SHARDS).map(lock)
    }

    /// The session of this name, if it is alive; it has been used then.
    pub(super) fn find(&self, name: &str, limits: &Limits, now: Duration) -> Option<Arc<Session>> {
        let key = key_of(name);
        let session = self.shard(&key)?.get(&key).map(Arc::clone)?;
        if !session.is_alive(limits, now) {
            self.end(name);
            return None;
        }
        session.used.fetch_max(now.as_secs(), Ordering::Relaxed);
        Some(session)
    }

    /// Keeps a session under a new name. Nothing when there are as many as there may be.
    pub(super) fn begin(&self, mut session: Session, limits: &Limits, now: Duration) -> Option<String> {
        self.sweep(limits, now);
        let name = random()?;
        let key = key_of(&name);
        session
            .own
            .0
            .iter_mut()
            .zip(digest(&SHA256, &[b"session".as_slice(), &key].concat()).as_ref())
            .for_each(|(slot, byte)| *slot = *byte);
        let mut names = lock(&self.names);
        let word = session.word();
        if let Some(own) = word.marks.first().and_then(|person| names.get(person))
            && own.len() >= OF_ONE_MAX
            && let Some(oldest) = own.first().copied()
        {
            self.forget(&oldest, &mut names);
        }
        if self.count.load(Ordering::Relaxed) >= SESSIONS_MAX {
            return None;
        }
        for mark in &word.marks {
            names.entry(*mark).or_default().push(key);
        }
        self.shard(&key)?.insert(key, Arc::new(session));
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(name)
    }

    /// Ends the session of this name, and gives it.
    pub(super) fn end(&self, name: &str) -> Option<Arc<Session>> {
        self.forget(&key_of(name), &mut lock(&self.names))
    }

    /// Ends all sessions that are known by a mark, and gives what goes on by them.
    pub(super) fn end_all(&self, mark: Mark) -> Vec<Mark> {
        let mut names = lock(&self.names);
        let keys = names.get(&mark).cloned().unwrap_or_default();
        keys.iter().filter_map(|key| self.forget(key, &mut names)).map(|session| session.own).collect()
    }

    fn forget(&self, key: &Key, names: &mut HashMap<Mark, Vec<Key>>) -> Option<Arc<Session>> {
        let session = self.shard(key)?.remove(key)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        for mark in &session.word().marks {
            if let Some(keys) = names.get_mut(mark) {
                keys.retain(|known| known != key);
                if keys.is_empty() {
                    names.remove(mark);
                }
            }
        }
        Some(session)
    }

    /// Forgets those that are over, now and then.
    fn sweep(&self, limits: &Limits, now: Duration) {
        let before = Duration::from_secs(self.swept.load(Ordering::Relaxed));
        if now.saturating_sub(before) < SWEEP_EVERY {
            return;
        }
        self.swept.store(now.as_secs(), Ordering::Relaxed);
        let mut names = lock(&self.names);
        for shard in &self.shards {
            let over = |(key, session): (&Key, &Arc<Session>)| (!session.is_alive(limits, now)).then_some(*key);
            let over: Vec<Key> = lock(shard).iter().filter_map(over).collect();
            over.iter().for_each(|key| drop(self.forget(key, &mut names)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, OF_ONE_MAX, SESSIONS_MAX, Session, Sessions, Word};
    use portcullis_model::Mark;
    use std::time::Duration;

    const LIMITS: Limits = Limits { idle: Duration::from_secs(100), lifetime: Duration::from_secs(250) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn session(person: u32, now: u64) -> Session {
        let mut mark = Mark::default();
        mark.0[..4].copy_from_slice(&person.to_le_bytes());
        let word = Word {
            subject: person.to_string().into(),
            roles: Box::default(),
            scopes: Box::default(),
            issued: 0,
            expires: 0,
            ends: 0,
            marks: Box::new([mark]),
            id_token: None,
            refresh: None,
        };
        Session::new(word, at(now))
    }

    #[test]
    fn a_session_ends_unused_and_after_its_time() {
        let sessions = Sessions::default();
        let name = sessions.begin(session(1, 0), &LIMITS, at(0)).unwrap();
        let is_there = |now| sessions.find(&name, &LIMITS, at(now)).is_some();
        assert!(is_there(99) && is_there(198) && is_there(249));
        assert!(!is_there(250) && !is_there(0), "over is over");
        let unused = sessions.begin(session(1, 0), &LIMITS, at(0)).unwrap();
        assert!(sessions.find(&unused, &LIMITS, at(100)).is_none());
        assert!(sessions.find("", &LIMITS, at(0)).is_none());
    }

    #[test]
    fn there_are_no_more_sessions_than_there_may_be() {
        let sessions = Sessions::default();
        let own: Vec<_> = (0..=OF_ONE_MAX).map(|_| sessions.begin(session(0, 0), &LIMITS, at(0)).unwrap()).collect();
        let is_there = |name: &String| sessions.find(name, &LIMITS, at(1)).is_some();
        assert!(!is_there(&own[0]) && own[1..].iter().all(is_there), "the oldest of one person has ended");
        let others = (1..).map_while(|person| sessions.begin(session(person, 0), &LIMITS, at(0))).count();
        assert_eq!(others + OF_ONE_MAX, SESSIONS_MAX);
        assert!(own[1..].iter().all(is_there), "nobody loses theirs for it");
        assert!(sessions.end(&own[1]).is_some() && sessions.end(&own[1]).is_none());
        assert!(sessions.begin(session(7_000_000, 0), &LIMITS, at(0)).is_some());
        assert!(sessions.begin(session(7_000_001, 101), &LIMITS, at(101)).is_some(), "those that are over make room");
        assert!(super::lock(&sessions.names).len() < 10);
    }
}
