//! Requests that are signed: who signed one, and whether all that counts is as it was signed. Values in, a result out.
//!
//! Two forms: messages of Standard Webhooks, which sign an id, a time and the body; and HTTP message signatures (RFC 9421).

mod base64;
mod component;
mod content_digest;
mod key;
mod message;
mod structured;
mod webhook;

pub use base64::{decode, encode};
pub use component::{RequestParts, is_field_name};
pub use content_digest::check_content_digest;
pub use key::{Algorithm, KEY_FILE_BYTES_MAX, SignatureKey};
pub use message::{CONTENT_DIGEST, MESSAGE_FIELDS, MessageFault, MessageSignature};
pub use webhook::{Delivery, WEBHOOK_FIELDS, WebhookFault};

#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod tests;
