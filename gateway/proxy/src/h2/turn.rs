//! When a connection has its next turn.
//!
//! The library asks for its connection to be polled whenever a stream hands something over. The streams are a part of the same task, and the
//! connection is polled after them in any case: to be woken for that as well would be a turn for nothing behind each turn.

use futures_util::task::AtomicWaker;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

/// What the library wakes: the task, or during a turn whoever has it.
#[derive(Default)]
pub(super) struct Bell {
    in_turn: AtomicBool,
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// Begins a turn of the task.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.in_turn.store(true, Ordering::SeqCst);
    }

    /// To be called before the library is polled, which does all that it was rung for.
    pub(super) fn hear(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }

    /// Ends the turn; there is another one at once if it was rung since the library was polled.
    pub(super) fn end_turn(&self, cx: &Context<'_>) {
        self.in_turn.store(false, Ordering::SeqCst);
        if self.rung.swap(false, Ordering::SeqCst) {
            cx.waker().wake_by_ref();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, as `end_turn` has the other one: either it is heard there or seen here, from whichever thread.
        self.rung.store(true, Ordering::SeqCst);
        if !self.in_turn.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// Ends this turn so that there is another one as soon as everybody else who has something to do has had theirs.
pub(super) fn take_another_turn(cx: &mut Context<'_>) {
    // Unlike a wake-up, it also lets the worker look at its sockets first.
    let _again = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use super::Bell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_is_woken_for_what_nobody_has_heard() {
        let (bell, count) = (Arc::<Bell>::default(), Arc::<Count>::default());
        let (waker, task) = (Waker::from(Arc::clone(&bell)), Waker::from(Arc::clone(&count)));
        let cx = Context::from_waker(&task);
        let woken = || count.0.swap(0, Ordering::Relaxed);
        bell.begin_turn(&cx);
        waker.wake_by_ref();
        assert_eq!(woken(), 0, "in its turn");
        bell.hear();
        bell.end_turn(&cx);
        assert_eq!(woken(), 0, "it was heard");
        waker.wake_by_ref();
        assert_eq!(woken(), 1, "between turns");
        bell.begin_turn(&cx);
        bell.hear();
        waker.wake_by_ref();
        bell.end_turn(&cx);
        assert_eq!(woken(), 1, "rung after it was heard last");
        bell.begin_turn(&cx);
        bell.end_turn(&cx);
        assert_eq!(woken(), 0);
    }
}
