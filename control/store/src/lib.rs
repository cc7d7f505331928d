//! What several nodes share: a connection to Redis or Valkey on a thread of its own, which nothing on the way of a request waits for, and
//! journals that are kept equal over it.

mod connection;
mod facts;
mod follow;
mod journal;
mod replies;

pub use connection::{PasswordReader, StoreSettings};
pub use facts::{StoreFacts, StoreState};
pub use follow::{Journals, Store, StoreReport};
pub use journal::{Journal, Line, Reconciled};
