//! Who or what has been revoked: a set that control replaces, and that workers ask about every caller.

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_model::{Mark, Principal};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocable<'t> {
    /// A token, by its `jti`, which its issuer gives once (RFC 7519 section 4.1.7).
    Token {
        /// `iss`
        issuer: &'t str,
        /// `jti`
        id: &'t str,
    },
    /// Every token of somebody.
    Subject {
        /// `iss`
        issuer: &'t str,
        /// `sub`
        subject: &'t str,
    },
    /// A session at a provider, by its `sid` (OpenID Connect Back-Channel Logout section 2.1).
    Session {
        /// `iss`
        issuer: &'t str,
        /// `sid`
        id: &'t str,
    },
    /// An API key, by its id.
    Key {
        /// The name of its store.
        store: &'t str,
        /// The id.
        id: &'t str,
    },
    /// A client's certificate, by the SHA-256 of its DER.
    Certificate {
        /// The hash.
        fingerprint: &'t [u8],
    },
}

impl Revocable<'_> {
    /// What it is known by. Equal only for equal things: parts are written with their lengths, and hashed.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let (kind, first, second): (&[u8], &[u8], &[u8]) = match self {
            Self::Token { issuer, id } => (b"token", issuer.as_bytes(), id.as_bytes()),
            Self::Subject { issuer, subject } => (b"subject", issuer.as_bytes(), subject.as_bytes()),
            Self::Session { issuer, id } => (b"session", issuer.as_bytes(), id.as_bytes()),
            Self::Key { store, id } => (b"key", store.as_bytes(), id.as_bytes()),
            Self::Certificate { fingerprint } => (b"certificate", fingerprint, b""),
        };
        let mut context = Context::new(&SHA256);
        for part in [kind, first, second] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut mark = Mark::default();
        mark.0.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
        mark
    }
}

/// How far a revocation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Credentials that were issued by then, in seconds since the Unix epoch; `u64::MAX` for all.
    pub issued_until: u64,
    /// Until when it is in force, in seconds since the Unix epoch; `u64::MAX` for ever.
    pub until: u64,
}

/// For how long what has ended by itself is remembered, in seconds: every exchange that could still begin by it has begun by then.
const ENDED_FOR: u64 = 600;
/// How many such are remembered; workers have long seen those that came first.
const ENDED_MAX: usize = 65_536;

/// What has been revoked, and what has ended by itself. Looking at it takes no lock.
pub struct Revocations {
    /// From when the times here are counted; it is never put back.
    epoch: Instant,
    /// When everything was known that other nodes have revoked, in milliseconds from then and one more; 0: never.
    known: AtomicU64,
    /// How many there are: most gateways have none, and look no further.
    count: AtomicU64,
    ended_count: AtomicU64,
    revision: AtomicU64,
    reaches: ArcSwap<HashMap<Mark, Reach>>,
    /// Sessions that are over, until when that is remembered; they are not to be found any more, but what goes on by them has to end.
    ended: ArcSwap<HashMap<Mark, u64>>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            known: AtomicU64::default(),
            count: AtomicU64::default(),
            ended_count: AtomicU64::default(),
            revision: AtomicU64::default(),
            reaches: ArcSwap::default(),
            ended: ArcSwap::default(),
        }
    }
}

impl Revocations {
    /// Everything that other nodes had revoked at this time is known.
    pub fn known_at(&self, at: Instant) {
        let millis = u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX);
        self.known.store(millis.saturating_add(1), Ordering::Release);
    }

    /// Whether everything is known that other nodes had revoked so long ago.
    #[must_use]
    pub fn is_known_within(&self, age_max: Duration) -> bool {
        let known = self.known.load(Ordering::Acquire);
        let since = |known: u64| self.epoch.elapsed().saturating_sub(Duration::from_millis(known - 1));
        known > 0 && since(known) <= age_max
    }

    /// Puts another set in force, for every request from now on. Workers end what goes on when they see another revision.
    pub fn replace(&self, reaches: HashMap<Mark, Reach>) {
        let count = reaches.len() as u64;
        self.reaches.store(Arc::new(reaches));
        self.count.store(count, Ordering::Release);
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends what goes on by these, which nobody can begin anything by any more.
    pub fn end(&self, marks: &[Mark], now_unix_seconds: u64) {
        self.ended.rcu(|ended| {
            let is_remembered = |until: &u64| now_unix_seconds < *until;
            let mut next: HashMap<Mark, u64> = match ended.len() < ENDED_MAX {
                true => ended.iter().filter(|(_, until)| is_remembered(until)).map(|(mark, until)| (*mark, *until)).collect(),
                false => HashMap::new(),
            };
            next.extend(marks.iter().map(|mark| (*mark, now_unix_seconds.saturating_add(ENDED_FOR))));
            next
        });
        self.ended_count.store(self.ended.load().len() as u64, Ordering::Release);
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes with every set.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Whether a caller has been revoked, by anything that they are known by.
    #[must_use]
    pub fn has(&self, principal: &Principal, now_unix_seconds: u64) -> bool {
        self.has_any(&principal.marks, principal.issued_unix_seconds, now_unix_seconds)
    }

    /// Whether a certificate has been revoked.
    #[must_use]
    pub fn has_certificate(&self, certificate: Mark, now_unix_seconds: u64) -> bool {
        self.has_any(&[certificate], 0, now_unix_seconds)
    }

    /// Whether a credential has been revoked that is known by these marks and was issued then, in seconds since the Unix epoch.
    #[must_use]
    pub fn has_any(&self, marks: &[Mark], issued: u64, now: u64) -> bool {
        if self.ended_count.load(Ordering::Acquire) > 0 {
            let ended = self.ended.load();
            if marks.iter().any(|mark| ended.get(mark).is_some_and(|until| now < *until)) {
                return true;
            }
        }
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let reaches = self.reaches.load();
        let reaches = |mark: &Mark| reaches.get(mark).is_some_and(|reach| now < reach.until && issued <= reach.issued_until);
        marks.iter().any(reaches)
    }
}

#[cfg(test)]
mod tests {
    use super::{Reach, Revocable, Revocations};
    use std::collections::HashSet;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn marks_are_equal_for_equal_things_alone() {
        let things = [
            Revocable::Token { issuer: "a", id: "bc" },
            Revocable::Token { issuer: "ab", id: "c" },
            Revocable::Subject { issuer: "a", subject: "bc" },
            Revocable::Session { issuer: "a", id: "bc" },
            Revocable::Key { store: "a", id: "bc" },
            Revocable::Certificate { fingerprint: b"abc" },
        ];
        assert_eq!(things.iter().map(Revocable::mark).collect::<HashSet<_>>().len(), things.len());
        assert_eq!(things[0].mark(), Revocable::Token { issuer: "a", id: "bc" }.mark());
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_have_revoked_is_known_for_as_long_as_is_said() {
        let (revocations, minute) = (Revocations::default(), Duration::from_mins(1));
        assert!(!revocations.is_known_within(minute));
        revocations.known_at(Instant::now());
        assert!(revocations.is_known_within(minute));
        tokio::time::advance(minute).await;
        assert!(revocations.is_known_within(minute));
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(!revocations.is_known_within(minute));
        revocations.known_at(Instant::now());
        assert!(revocations.is_known_within(minute));
    }

    #[test]
    fn a_revocation_reaches_what_was_issued_by_then_and_as_long_as_it_is_in_force() {
        let (revocations, mark) = (Revocations::default(), Revocable::Subject { issuer: "i", subject: "s" }.mark());
        assert!(!revocations.has_any(&[mark], 0, 0));
        let before = revocations.revision();
        revocations.replace([(mark, Reach { issued_until: 100, until: 200 })].into());
        assert_ne!(before, revocations.revision());
        let other = Revocable::Subject { issuer: "i", subject: "t" }.mark();
        for (marks, issued, now, revoked) in [
            (&[other, mark][..], 100, 199, true),
            (&[mark], 101, 199, false),
            (&[mark], 0, 200, false),
            (&[other], 0, 199, false),
            (&[], 0, 0, false),
        ] {
            assert_eq!(revocations.has_any(marks, issued, now), revoked, "{issued} {now}");
        }
        revocations.end(&[other], 100);
        assert!(revocations.has_any(&[other], 0, 699) && !revocations.has_any(&[other], 0, 700));
        revocations.replace([].into());
        assert!(!revocations.has_any(&[mark], 0, 0));
    }
}
