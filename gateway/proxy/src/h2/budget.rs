//! What the answers on a connection may take of memory while their client does not read them.
//!
//! Each stream may hand the library some bytes before they can be written; a hundred streams of a client that reads nothing would add
//! up to megabytes. So all of a connection share one budget, and whoever finds it used up waits before more is read from an upstream.

use bytes::{Buf, Bytes};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bytes that the streams of a connection may have handed over that are not written yet. One more hand-over may exceed it.
const BUFFERED_BYTES_MAX: usize = 128 * 1024;

/// The budget of one connection.
#[derive(Default)]
pub(super) struct Budget {
    used: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
    /// How often those who waited have been woken.
    round: Cell<u64>,
}

/// The place of a stream among those who wait.
#[derive(Clone, Copy)]
pub(super) struct Place {
    round: u64,
    number: usize,
}

impl Budget {
    /// Waits until something may be handed over. `place` is the stream's own, and kept by it.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, place: &mut Option<Place>) -> Poll<()> {
        if self.used.get() < BUFFERED_BYTES_MAX {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        let round = self.round.get();
        let own = place.filter(|place| place.round == round).and_then(|place| waiting.get_mut(place.number));
        match own {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *place = Some(Place { round, number: waiting.len() });
                waiting.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Counts bytes until what holds them is dropped, which the library does when they are written or given up.
    pub(super) fn hold(self: &Rc<Self>, bytes: Bytes) -> Held {
        let size = bytes.len();
        self.used.set(self.used.get() + size);
        Held { bytes, size, budget: Rc::clone(self) }
    }

    fn give_back(&self, size: usize) {
        let before = self.used.get();
        let used = before.saturating_sub(size);
        self.used.set(used);
        // In the order in which they began to wait; those who find it used up again wait behind the others.
        if used <= BUFFERED_BYTES_MAX / 2 && !self.waiting.borrow().is_empty() {
            self.round.set(self.round.get() + 1);
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Bytes of an answer that the library is to write.
pub(super) struct Held {
    bytes: Bytes,
    size: usize,
    budget: Rc<Budget>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.size);
    }
}

impl Buf for Held {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFERED_BYTES_MAX, Budget, Bytes};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn d77_whoever_finds_it_used_up_is_woken_once_when_half_of_it_is_back() {
        let budget = Rc::new(Budget::default());
        let counts: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
        let mut places = [None; 3];
        let mut poll = |number: usize| {
            let waker = Waker::from(Arc::clone(&counts[number]));
            budget.poll_room(&mut Context::from_waker(&waker), &mut places[number])
        };
        let mut held: Vec<_> = (0..BUFFERED_BYTES_MAX / 1024).map(|_| budget.hold(Bytes::from(vec![0; 1024]))).collect();
        for _ in 0..5 {
            assert_eq!([0, 1, 2].map(&mut poll), [Poll::Pending; 3]);
        }
        let woken = || counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
        held.truncate(BUFFERED_BYTES_MAX / 1024 / 2 + 1);
        assert_eq!(woken(), [0, 0, 0]);
        held.pop();
        assert_eq!(woken(), [1, 1, 1]);
        held.clear();
        assert_eq!((woken(), poll(1)), (vec![1, 1, 1], Poll::Ready(())));
    }
}
