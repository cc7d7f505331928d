//! `identity.logins`: people who log in with a browser.

use super::{BasePath, Numbered, Word};
use portcullis_model_settings::{
    Decode, Diagnostics, Name, Node, Schema, SecretRef, Spanned, Value, choice, scalar_schema, section,
};
use std::sync::Arc;
use std::time::Duration;

section! {
    /// How people log in with a browser (OpenID Connect, code flow with PKCE). To an API this is another provider: roles are known as
    /// `NAME/ROLE`, and what the provider says of roles is believed as it says it in ID tokens. At the provider the address to come back to is
    /// `ORIGIN/.portcullis/login/NAME/callback`.
    pub struct LoginSettings {
        /// The provider at which they log in, with `keys: { discover: … }`.
        pub provider: Spanned<Name>,
        /// What the gateway is called there.
        pub client_id: Word,
        /// Its secret there; or a private key (PEM, P-256 or Ed25519), with which it signs who it is (`private_key_jwt`, RFC 7523). It is read
        /// whenever it is needed, so that it can be changed without a reload.
        pub client_secret: Spanned<SecretRef>,
        /// Where browsers reach what is protected. A login is for one host, since its cookies are.
        pub origin: Spanned<HttpsOrigin>,
        /// The scopes that are asked for.
        pub scopes: Numbered<Word> = Numbered(vec![(0, Word("openid".into()))]),
        /// What the provider is to ask for in any case.
        pub prompt: Option<LoginPrompt>,
        /// Where the provider sends browsers after a logout: a path of `origin`. The whole address must be known there
        /// (`post_logout_redirect_uris`). Without it the provider shows a page of its own.
        pub after_logout: Option<BasePath>,
        /// How long a session may go unused.
        pub idle: Duration where (Duration::from_mins(1), Duration::from_hours(24 * 7)) = Duration::from_hours(1),
        /// How long a session lasts at the most. It ends with the ID token in any case; who wants to see a page then is sent to the provider
        /// again, which often asks nothing.
        pub lifetime: Duration where (Duration::from_mins(1), Duration::from_hours(24 * 31)) = Duration::from_hours(12),
    }
}

choice! {
    /// What a provider is to ask for.
    pub enum LoginPrompt {
        /// The password, or what stands for it, also of those who have logged in.
        Login = "login",
        /// Whether the gateway may know what it asks for.
        Consent = "consent",
        /// Which account.
        SelectAccount = "select_account",
    }
}

/// The scheme and host of what browsers see, with its port where that is not 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsOrigin {
    /// As browsers write it.
    pub text: Arc<str>,
    /// The host of it.
    pub host: Arc<str>,
}

impl HttpsOrigin {
    fn parse(text: &str) -> Option<Self> {
        let authority = text.strip_prefix("https://")?;
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let is_port = |port: &str| !port.starts_with('0') && port != "443" && port.parse::<u16>().is_ok();
        let is_sound = host.len() <= 253 && host.split('.').all(is_label) && port.is_none_or(is_port);
        is_sound.then(|| Self { text: text.into(), host: host.into() })
    }
}

impl Decode for HttpsOrigin {
    fn decode(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let origin = node.as_str().and_then(Self::parse);
        if origin.is_none() {
            diagnostics
                .wrong(node, "an origin as browsers write it, such as `https://app.example.com`, with a port that is not 443");
        }
        origin
    }

    fn encode(&self) -> Value {
        Value::from(&*self.text)
    }

    fn schema() -> Schema {
        scalar_schema("origin", Some("^https://[a-z0-9.-]+(:[0-9]+)?$"), "https://app.example.com")
    }
}

#[cfg(test)]
mod tests {
    use super::HttpsOrigin;

    #[test]
    fn an_origin_is_as_browsers_write_it() {
        for good in ["https://app.example.com", "https://a:8443", "https://127.0.0.1:65535"] {
            assert_eq!(HttpsOrigin::parse(good).map(|origin| origin.text.to_string()).as_deref(), Some(good));
        }
        for bad in [
            "http://app.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "https://app.example.com:443",
            "https://app.example.com:0",
            "https://app.example.com:70000",
            "https://a..b",
            "https://",
            "https://u@a",
            "https://*.example.com",
            "https://a b",
            "app.example.com",
        ] {
            assert_eq!(HttpsOrigin::parse(bad), None, "{bad}");
        }
    }
}
