//! Typed values: times, sizes, rates, networks, addresses, methods, dates, files and references to secrets.

mod date;
mod files;
mod methods;
mod net;
mod quantity;

pub use date::Date;
pub use files::{FilePath, SecretRef};
pub use methods::{Method, Methods};
pub use quantity::{ByteRate, ByteSize, Percent, RequestRate};
