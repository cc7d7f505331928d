//! How a worker ends: what its connections are told, and when each of them goes.
//!
//! Every connection leaves its waker here once, when it begins, so that an idle one costs nothing until the worker ends, and hears of
//! it at once then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a connection is kept that has been served just now. Its client has been told by the last answer that it may go on, and
/// may have sent the next request already; it learns from the answer to that one that it is to go elsewhere.
pub(crate) const IDLE_GRACE: Duration = Duration::from_secs(1);
/// The same for a connection that has just been made: nothing has come of it yet, but its client wants something.
pub(crate) const FIRST_GRACE: Duration = Duration::from_secs(3);

/// Where a worker is on the way to its end. Never goes back, but for [`Stage::Leaving`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves.
    #[default]
    Serving,
    /// It serves, and asks clients to go elsewhere: connections end with the exchange they are in.
    Leaving,
    /// As before, and connections that wait for a request end.
    Ending,
    /// What is left is cut off.
    Cut,
}

/// The stage, and who is to hear of the next one. Holds one entry for each connection, so the caps on connections bound it.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    stage: Cell<Stage>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    emptied: Notify,
}

impl Drain {
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Enters a later stage; everybody hears of it.
    pub(crate) fn enter(&self, stage: Stage) {
        if stage > self.stage.get() {
            self.stage.set(stage);
            self.wake_all();
        }
    }

    /// Wakes every connection, to look what has changed.
    pub(crate) fn wake_all(&self) {
        self.wakers.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Serves as before, unless the end has begun.
    pub(crate) fn come_back(&self) {
        if self.stage.get() == Stage::Leaving {
            self.stage.set(Stage::Serving);
        }
    }

    /// Counts a connection that has been accepted, until the place is dropped.
    pub(crate) fn place(self: &Rc<Self>) -> Place {
        let at = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        Place { drain: Rc::clone(self), at }
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.wakers.borrow().len() - self.free.borrow().len()
    }

    /// Waits until there is no connection.
    pub(crate) async fn emptied(&self) {
        while self.connections() > 0 {
            self.emptied.notified().await;
        }
    }
}

/// A connection's entry.
#[derive(Debug)]
pub(crate) struct Place {
    drain: Rc<Drain>,
    at: usize,
}

impl Place {
    /// Wakes the task of this connection when the stage changes.
    pub(crate) fn wake(&self, waker: Option<Waker>) {
        if let Some(slot) = self.drain.wakers.borrow_mut().get_mut(self.at) {
            *slot = waker;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wake(None);
        self.drain.free.borrow_mut().push(self.at);
        if self.drain.stage() > Stage::Leaving && self.drain.connections() == 0 {
            self.drain.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Drain, Place, Stage};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn everybody_who_is_there_hears_of_each_stage_once() {
        let (drain, woken) = (Rc::new(Drain::default()), Arc::new(Woken::default()));
        let begin = || -> Place {
            let place = drain.place();
            place.wake(Some(Waker::from(Arc::clone(&woken))));
            place
        };
        let first = begin();
        let second = begin();
        drain.enter(Stage::Ending);
        drain.enter(Stage::Leaving);
        assert_eq!((drain.stage(), woken.0.load(Ordering::Relaxed), drain.connections()), (Stage::Ending, 2, 2));
        drop(first);
        let _third = begin();
        drop(second);
        drain.enter(Stage::Cut);
        assert_eq!((woken.0.load(Ordering::Relaxed), drain.connections()), (3, 1));
    }

    #[test]
    fn only_who_was_leaving_comes_back() {
        let drain = Drain::default();
        drain.enter(Stage::Leaving);
        drain.come_back();
        assert_eq!(drain.stage(), Stage::Serving);
        drain.enter(Stage::Ending);
        drain.come_back();
        assert_eq!(drain.stage(), Stage::Ending);
    }

    #[tokio::test]
    async fn the_last_one_to_go_is_noticed() {
        let drain = Rc::new(Drain::default());
        drain.emptied().await;
        let last = drain.place();
        drain.enter(Stage::Ending);
        let emptied = drain.emptied();
        let goes = async {
            tokio::task::yield_now().await;
            drop(last);
        };
        tokio::join!(emptied, goes);
        assert_eq!(drain.connections(), 0);
    }
}
