//! `cluster`: what several nodes of the gateway share.

use super::{DangerSettings, EndpointHost};
use portcullis_model_settings::{
    Decode, Diagnostics, FilePath, Node, Schema, SecretRef, Spanned, Value, quoted, scalar_schema, section,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

section! {
    /// What several nodes of the gateway share. Without it each node knows only of itself.
    pub struct ClusterSettings {
        /// The store that they share: Redis 6.2 or newer, or Valkey.
        pub store: Option<Spanned<StoreSettings>>,
    }
}

section! {
    /// A store that several nodes share. What is revoked on one of them is in force on all within a second. Nothing on the way of a request
    /// waits for it; while it is away each node goes on with what it knows, and tells the others when it is there again.
    pub struct StoreSettings {
        /// Where it is: `rediss://` with a host name or IP address and a port, 6379 when none is written; or `redis://` with a loopback address.
        /// Other hosts in plain text need `danger_plaintext`.
        pub redis: Spanned<StoreUrl>,
        /// The user of its access control list; `default` when absent.
        pub user: Option<StoreUser>,
        /// The password there. It is read with every connection, so that it can be changed without a reload.
        pub password: Option<Spanned<SecretRef>>,
        /// A file with the authorities to believe of a `rediss://` store; the system's when there is none.
        pub trust: Option<Spanned<FilePath>>,
        /// What the names of all keys begin with: gateways with the same one share what they know.
        pub prefix: StorePrefix = StorePrefix::standard(),
        /// How old what is known of the others may be where `access` says `fresh: required`: then it is 503 `revocations_stale`.
        pub stale_max: Duration where (Duration::from_secs(5), Duration::from_hours(24)) = Duration::from_mins(1),
        /// Reaches a store on another machine without encryption, which everybody on the way can read and change.
        pub danger_plaintext: Option<Spanned<DangerSettings>>,
    }
}

/// What can be written for a store.
const EXAMPLE: &str = "write `rediss://`, a host name or IP address and a port, such as `rediss://valkey.internal:6379`; `redis://` is for \
                       this machine, such as `redis://127.0.0.1:6379`";

/// Where a store is: scheme, host and port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreUrl {
    /// Whether it is reached by TLS (`rediss://`).
    pub is_secure: bool,
    /// Where it is.
    pub host: EndpointHost,
}

impl StoreUrl {
    fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = |what: String| (what, EXAMPLE.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(format!("{} is not a URL", quoted(text))))?;
        let is_secure = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong(format!("{} is not a scheme for a store", quoted(scheme)))),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("the URL of a store has no path and no query".to_owned()));
        }
        EndpointHost::parse(authority, 6379).map(|host| Self { is_secure, host }).map_err(|(what, _)| wrong(what))
    }

    /// Whether what is said to it leaves this machine without encryption.
    #[must_use]
    pub fn exposes(&self) -> bool {
        !self.is_secure && !self.host.address().is_some_and(|one| one.ip().to_canonical().is_loopback())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl Decode for StoreUrl {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(text) = node.as_str() else {
            diagnostics.wrong(node, "a URL such as `rediss://valkey.internal:6379`");
            return None;
        };
        // SECURITY: what stands before `@` may be a password, so the line is not shown.
        if text.contains('@') {
            let help = "write `user` and `password: file:…` beside it, and take this password out of use";
            diagnostics.error_at_secret(node, "credentials do not belong in a URL", help);
            return None;
        }
        Self::parse(text).map_err(|(what, help)| diagnostics.error_with_help(node, what, help)).ok()
    }

    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }

    fn schema() -> Schema {
        scalar_schema("URL", Some("^rediss?://"), "rediss://valkey.internal:6379")
    }
}

/// A short word of plain letters.
macro_rules! plain_word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub Arc<str>);

        impl Decode for $name {
            fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                let text = node.as_str().filter(|text| (1..=64).contains(&text.len()) && text.bytes().all(is_plain));
                if text.is_none() {
                    diagnostics.wrong(node, concat!($what, ": 1 to 64 letters, digits, `-`, `_` and `.`, such as `", $example, "`"));
                }
                text.map(|text| Self(text.into()))
            }

            fn encode(&self) -> Value {
                Value::from(&*self.0)
            }

            fn schema() -> Schema {
                scalar_schema($what, Some("^[A-Za-z0-9._-]{1,64}$"), $example)
            }
        }
    };
}

plain_word! {
    /// What the names of all keys of a gateway begin with.
    StorePrefix, "a beginning for the names of keys", "portcullis"
}

impl StorePrefix {
    fn standard() -> Self {
        Self("portcullis".into())
    }
}

plain_word! {
    /// A user of the store.
    StoreUser, "a user of the store", "portcullis"
}
