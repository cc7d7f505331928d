//! Bytes to messages and back: HTTP/1.1 without any I/O, and the canonical form of a request.
//!
//! Bytes are read once. What could be read in two ways is refused, never repaired (docs/canonical.md), and what goes upstream is
//! written from the canonical form.

mod bytes;
mod chunked;
pub mod client_address;
pub mod cookie;
mod error;
mod fields;
mod fields_of_h2;
mod finder;
mod form;
mod frame_meter;
mod framing;
mod host;
mod hygiene;
mod method;
mod name;
mod path;
mod proxy_protocol;
mod query;
mod request;
mod response;
mod span;
mod status;
mod uri;
mod websocket;

pub use chunked::{ChunkStep, ChunkedDecoder, Trailers, write_chunk_head, write_last_chunk};
pub use error::WireError;
pub use fields::{FieldValue, Fields};
pub use finder::{HeadFinder, HeadLimits};
pub use form::{form_decode, form_encode};
pub use frame_meter::{Flood, FrameMeter};
pub use framing::{BodyFraming, ResponseFraming};
pub use hygiene::{is_gateways_own, is_same_field};
pub use method::Method;
pub use name::{KnownName, NameSet};
pub use path::unescape;
pub use proxy_protocol::{PROXY_HEADER_BYTES_MAX, ProxyHeader, parse_proxy_header};
pub use query::query_pairs;
pub use request::{PseudoFields, RequestHead, Version};
pub use response::ResponseHead;
pub use uri::CanonicalUri;
pub use websocket::{GOING_AWAY, POLICY_VIOLATION, WebsocketFrames, websocket_close};
