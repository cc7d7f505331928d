//! Where requests wait for a connection when all places of an upstream are taken.

use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// The waiting room of one upstream, shared by all workers. Bounded; whoever waits has a deadline.
#[derive(Debug, Default)]
pub struct Room {
    pending: AtomicU32,
    place: Notify,
}

impl Room {
    /// How many wait.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Goes in, unless `limit` are there already.
    pub(crate) fn enter(&self, limit: u32) -> Option<Waiting<'_>> {
        let more = |pending| (pending < limit).then_some(pending + 1);
        let entered = self.pending.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
        entered.ok().map(|before| Waiting { room: self, first: before == 0 })
    }

    /// A place has become free, or a connection: one who waits is told.
    pub(crate) fn one_place_more(&self) {
        if self.pending.load(Ordering::Acquire) > 0 {
            self.place.notify_one();
        }
    }
}

/// Somebody who waits; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'r> {
    room: &'r Room,
    first: bool,
}

impl Waiting<'_> {
    /// Whether nobody else was there.
    pub(crate) fn is_first(&self) -> bool {
        self.first
    }

    /// Waits until a place may have become free.
    pub(crate) async fn wait(&self) {
        self.room.place.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.room.pending.fetch_sub(1, Ordering::AcqRel);
        // Whoever leaves may have been told of a place in the moment it gave up: the next one looks.
        self.room.one_place_more();
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[tokio::test(start_paused = true)]
    async fn a_place_reaches_one_who_waits_and_the_room_has_a_bound() {
        let room = Room::default();
        let (first, second) = (room.enter(2).unwrap(), room.enter(2));
        assert!(second.is_some() && room.enter(2).is_none());
        room.one_place_more();
        first.wait().await;
        drop(first);
        assert!(room.enter(2).is_some());
    }
}
