//! One question at a time about the same thing: who comes meanwhile waits for its answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What a question is known by.
type Key = [u8; 32];
type Open<V> = HashMap<Key, watch::Receiver<Option<V>>>;

/// The questions that are open, of all workers. There are at most as many as there are requests that ask.
pub struct Flights<V> {
    open: Mutex<Open<V>>,
}

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self { open: Mutex::default() }
    }
}

/// Who asks, as long as it asks. Whoever waits is woken when it goes away without an answer, and one of them asks.
struct Lead<'f, V> {
    flights: &'f Flights<V>,
    key: Key,
    answer: watch::Sender<Option<V>>,
}

impl<V> Drop for Lead<'_, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

enum Seat<'f, V> {
    Lead(Lead<'f, V>),
    Follow(watch::Receiver<Option<V>>),
}

impl<V> Flights<V> {
    fn lock(&self) -> MutexGuard<'_, Open<V>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, key: Key) -> Seat<'_, V> {
        let mut open = self.lock();
        if let Some(answer) = open.get(&key) {
            return Seat::Follow(answer.clone());
        }
        let (sender, receiver) = watch::channel(None);
        open.insert(key, receiver);
        Seat::Lead(Lead { flights: self, key, answer: sender })
    }
}

impl<V: Clone> Flights<V> {
    /// The answer to a question: that of whoever asks already, or else of `ask`. Nothing is asked twice at the same time.
    pub async fn join<F: Future<Output = V>>(&self, key: Key, ask: impl FnOnce() -> F) -> V {
        loop {
            match self.seat(key) {
                Seat::Lead(lead) => {
                    let answer = ask().await;
                    lead.answer.send_replace(Some(answer.clone()));
                    return answer;
                }
                Seat::Follow(mut answer) => {
                    // An error means that who asked has gone away: then somebody else asks.
                    if let Ok(answer) = answer.wait_for(Option::is_some).await
                        && let Some(answer) = &*answer
                    {
                        return answer.clone();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flights;
    use std::cell::Cell;
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::task::Poll;
    use tokio::sync::oneshot;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Lets a future go as far as it can.
    async fn advance<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        let mut future = Some(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().map_or(Poll::Pending, |future| future.as_mut().poll(cx)))).await
    }

    #[test]
    fn who_comes_meanwhile_has_the_same_answer() {
        run(async {
            let (flights, asked) = (Flights::<u32>::default(), Cell::new(0));
            let (answer, answered) = oneshot::channel();
            let ask = async || answered.await.unwrap();
            let mut first = pin!(flights.join([1; 32], || {
                asked.set(asked.get() + 1);
                ask()
            }));
            let never = || async { panic!("asked twice") };
            let mut second = pin!(flights.join([1; 32], never));
            assert!(advance(first.as_mut()).await.is_pending() && advance(second.as_mut()).await.is_pending());
            assert_eq!(flights.join([2; 32], async || 8).await, 8, "another question does not wait");
            answer.send(7).unwrap();
            assert_eq!((first.await, second.await, asked.get()), (7, 7, 1));
            assert_eq!(flights.join([1; 32], async || 9).await, 9, "it is asked anew when it has been answered");
        });
    }

    #[test]
    fn who_waits_asks_when_who_asked_goes_away() {
        run(async {
            let flights = Flights::<u32>::default();
            let mut second = pin!(flights.join([1; 32], async || 7));
            {
                let mut first = pin!(flights.join([1; 32], pending));
                assert!(advance(first.as_mut()).await.is_pending() && advance(second.as_mut()).await.is_pending());
            }
            assert_eq!(second.await, 7);
            assert!(flights.lock().is_empty());
        });
    }
}
