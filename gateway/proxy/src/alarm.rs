//! One timer for a connection, cheap to move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A deadline that is moved with every step of a connection. The timer behind it is only armed anew when the deadline comes
/// nearer than what it is armed for; a deadline that moves later costs nothing until the timer rings.
pub(crate) struct Alarm {
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Alarm {
    pub(crate) fn new(after: Duration) -> Self {
        Self::at(Instant::now() + after)
    }

    pub(crate) fn at(deadline: Instant) -> Self {
        Self { timer: Box::pin(tokio::time::sleep_until(deadline)), deadline }
    }

    /// Moves the deadline.
    pub(crate) fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.timer.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if self.timer.deadline() >= self.deadline => return Poll::Ready(()),
                Poll::Ready(()) => self.timer.as_mut().reset(self.deadline),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Alarm;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::time::Instant;

    async fn rings_after(alarm: &mut Alarm) -> Duration {
        let start = Instant::now();
        poll_fn(|cx| alarm.poll(cx)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_last_deadline_set() {
        let mut alarm = Alarm::new(Duration::from_secs(1));
        alarm.set(Instant::now() + Duration::from_secs(9));
        assert_eq!(rings_after(&mut alarm).await.as_secs(), 9);
        alarm.set(Instant::now() + Duration::from_secs(60));
        alarm.set(Instant::now() + Duration::from_secs(2));
        assert_eq!(rings_after(&mut alarm).await.as_secs(), 2);
    }
}
