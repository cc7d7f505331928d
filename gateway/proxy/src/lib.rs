//! The way of a request: ties listener, router, policies and upstream together. [`serve_connection`] is where it begins.

mod alarm;
mod answer;
mod balancer;
mod body;
mod buffers;
mod client_io;
mod connection;
mod date;
mod decide;
mod decode;
mod drain;
mod forward;
mod forwarded_fields;
mod h2;
mod life_of_a_request;
mod look;
mod pace;
mod plane;
mod respond;
mod route;
mod snapshot;
mod stream;
mod tunnel;
mod upstream_head;
mod worker;
mod write;

pub use connection::serve_connection;
pub use plane::{DataPlane, Hurry, SinkMaker};
pub use portcullis_wire::HeadLimits;
pub use route::{check_form, check_method};
pub use snapshot::{ClientAddressRule, Listener, ListenerKey, ListenerLimits, ListenerMode, Published, Route, Snapshot};
pub use worker::{Worker, WorkerView};
