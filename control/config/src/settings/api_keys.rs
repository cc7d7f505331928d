//! `identity.api_keys`: clients that are known by API keys.

use portcullis_model_settings::{Decode, Diagnostics, FilePath, Node, Schema, Value, quoted, scalar_schema, section};
use portcullis_wire::{KnownName, is_gateways_own};
use std::sync::Arc;
use std::time::Duration;

/// Uses are kept on disk every few seconds, and workers look at the time every second: much less would be refused by chance.
const IDLE_MIN: Duration = Duration::from_hours(1);
/// Longer than anybody waits.
const IDLE_MAX: Duration = Duration::from_hours(10 * 365 * 24);

section! {
    /// Clients that are known by API keys. To an API this is another provider; the roles of a key are known as `NAME/ROLE`.
    pub struct ApiKeysSettings {
        /// The header field that keys are shown in. It is never sent upstream.
        pub header: KeyHeader = KeyHeader::standard(),
        /// Where it is known whose a key is.
        pub store: KeyStoreSettings,
        /// How long a key may go unused before it is refused. Uses are noted from when the gateway first knew the store, beside the
        /// management socket; no key is idle before that long ago.
        pub idle_after: Option<Duration> where (Some(IDLE_MIN), Some(IDLE_MAX)),
    }
}

section! {
    /// Where it is known whose an API key is.
    pub struct KeyStoreSettings {
        /// The file that `portcullis key` makes and changes, with at most 200000 keys: it holds keyed hashes, never a key. It is read again
        /// when it changes, and one that is not right leaves the keys as they were.
        pub file: FilePath,
    }
}

/// The name of a header field for keys, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHeader(pub Arc<str>);

impl KeyHeader {
    fn standard() -> Self {
        Self("x-api-key".into())
    }
}

impl Decode for KeyHeader {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let text = node.as_str().filter(|text| !text.is_empty() && text.len() <= 64 && text.bytes().all(is_token));
        let Some(name) = text.map(str::to_ascii_lowercase) else {
            diagnostics.wrong(node, "the name of a header field, such as `X-Api-Key`");
            return None;
        };
        // What means something to others already would be taken from them, or say two things at once.
        if is_gateways_own(&name) || KnownName::ALL.iter().any(|known| known.as_str() == name) {
            let what = format!("{} is a header field with a meaning of its own", quoted(&name));
            diagnostics.error_with_help(node, what, "choose a name for keys alone, such as `X-Api-Key`");
            return None;
        }
        Some(Self(name.into()))
    }

    fn encode(&self) -> Value {
        Value::from(&*self.0)
    }

    fn schema() -> Schema {
        scalar_schema("header field", None, "X-Api-Key")
    }
}
