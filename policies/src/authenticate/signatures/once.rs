//! Each signature is taken once.

use crate::authenticate::proofs::{InProcess, Mark, Replays, Shown};
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_model::{Reason, Rejection};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// By how many seconds the clock may go back without anything being refused for it: for so long each signature is remembered beyond its end.
const CLOCK_SLACK: u64 = 10;

/// What is known of signatures, the same for all workers, senders and configurations of the process.
pub(in crate::authenticate) struct Once {
    replays: Box<dyn Replays>,
    /// What signatures are remembered by is mixed with this, so that nobody can choose where.
    secret: Option<[u8; 32]>,
    /// The latest second, since the Unix epoch, at which a signature was looked at.
    latest: AtomicU64,
}

impl Default for Once {
    fn default() -> Self {
        Self::with(InProcess::default())
    }
}

impl Once {
    pub(super) fn with(replays: InProcess) -> Self {
        let mut secret = [0; 32];
        let secret = aws_lc_rs::rand::fill(&mut secret).is_ok().then_some(secret);
        Self { replays: Box::new(replays), secret, latest: AtomicU64::new(0) }
    }

    /// Checks that the clock has not been put back behind the end of something that was good until `ends`, and has been forgotten.
    ///
    /// # Errors
    /// Then it cannot be told whether it was taken before.
    pub(super) fn check_clock(&self, now: u64, ends: u64) -> Result<(), Rejection> {
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        if ends.saturating_add(CLOCK_SLACK) < latest {
            let detail = "the clock was put back, so that a signature that was taken before could not be told";
            return Err(Rejection::new(Reason::ProofsExhausted, detail));
        }
        Ok(())
    }

    /// Takes what is known by these parts, unless it was taken before. It is good until `ends`, as the clock says that says `now`.
    ///
    /// # Errors
    /// When it was, or that cannot be told.
    pub(super) fn take(&self, parts: &[&[u8]], now: u64, ends: u64, arrived: Duration) -> Result<(), Rejection> {
        let mark = self.mark(parts).ok_or_else(|| Rejection::new(Reason::Internal, "there were no random bytes"))?;
        let left = ends.saturating_sub(now).saturating_add(1 + CLOCK_SLACK);
        match self.replays.show(mark, arrived, arrived.saturating_add(Duration::from_secs(left))) {
            Shown::First => Ok(()),
            Shown::Again => Err(super::invalid("the signature was taken before")),
            Shown::Full => Err(Rejection::new(Reason::ProofsExhausted, "as many signatures are remembered as may be")),
        }
    }

    /// Checks that what is known by these parts was not taken before, without taking it.
    ///
    /// # Errors
    /// When it was, or that cannot be told.
    pub(super) fn check_new(&self, parts: &[&[u8]], arrived: Duration) -> Result<(), Rejection> {
        let mark = self.mark(parts).ok_or_else(|| Rejection::new(Reason::Internal, "there were no random bytes"))?;
        if self.replays.knows(mark, arrived) { Err(super::invalid("the signature was taken before")) } else { Ok(()) }
    }

    fn mark(&self, parts: &[&[u8]]) -> Option<Mark> {
        let mut context = Context::new(&SHA256);
        context.update(self.secret.as_ref()?);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut mark = Mark::default();
        mark.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
        Some(mark)
    }
}
