//! Where a provider is asked, as it says itself (OpenID Connect Discovery section 3).

use arc_swap::ArcSwapOption;
use portcullis_engines_jose::Json;
use std::sync::Arc;

/// The longest URL of a provider that is used.
const URL_BYTES_MAX: usize = 2048;

/// Where a provider is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderEndpoints {
    /// Where browsers are sent to log in: a URL.
    pub authorization: Option<Box<str>>,
    /// Where the gateway gets tokens: path and query on the issuer's own host.
    pub token: Option<Box<str>>,
    /// Where the gateway asks about tokens: path and query on the issuer's own host.
    pub introspection: Option<Box<str>>,
    /// Where browsers are sent to log out: a URL.
    pub end_session: Option<Box<str>>,
    /// Whether every answer of it that comes by a browser says whose it is (RFC 9207).
    pub says_issuer: bool,
}

impl ProviderEndpoints {
    /// What a discovery document says; `origin` is the scheme and host of the issuer.
    ///
    /// SECURITY: the gateway itself asks the issuer's own host alone; browsers are sent there, or elsewhere by TLS.
    #[must_use]
    pub fn read(document: &Json, origin: &str) -> Self {
        let text = |name: &str| document.member(name).and_then(Json::as_text).filter(|url| is_plain(url));
        let on_origin = |url: &str| url.strip_prefix(origin).filter(|rest| rest.starts_with('/')).map(Box::from);
        let for_browsers = |url: &&str| on_origin(url).is_some() || url.starts_with("https://");
        Self {
            authorization: text("authorization_endpoint").filter(for_browsers).map(Box::from),
            token: text("token_endpoint").and_then(on_origin),
            introspection: text("introspection_endpoint").and_then(on_origin),
            end_session: text("end_session_endpoint").filter(for_browsers).map(Box::from),
            says_issuer: document.member("authorization_response_iss_parameter_supported") == Some(&Json::Bool(true)),
        }
    }
}

fn is_plain(url: &str) -> bool {
    url.len() <= URL_BYTES_MAX && url.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && !b"#\"<>\\".contains(&byte))
}

/// The same, replaced by control; none as long as the provider has not been asked.
#[derive(Debug, Default)]
pub struct LiveEndpoints(ArcSwapOption<ProviderEndpoints>);

impl LiveEndpoints {
    /// What is known.
    #[must_use]
    pub fn get(&self) -> Option<Arc<ProviderEndpoints>> {
        self.0.load_full()
    }

    /// Puts what a provider says now in force.
    pub fn replace(&self, endpoints: ProviderEndpoints) {
        self.0.store(Some(Arc::new(endpoints)));
    }
}

#[cfg(test)]
mod tests {
    use super::ProviderEndpoints;
    use portcullis_engines_jose::Json;

    #[test]
    fn e111_a_provider_leads_the_gateway_to_its_own_host_and_browsers_to_tls() {
        let read = |url: &str| {
            let document = format!(r#"{{"authorization_endpoint":"{url}","token_endpoint":"{url}"}}"#);
            let found = ProviderEndpoints::read(&Json::parse(document.as_bytes()).unwrap(), "http://id.test:1");
            (found.authorization.is_some(), found.token.as_deref().map(str::to_owned))
        };
        assert_eq!(read("http://id.test:1/t?a=b"), (true, Some("/t?a=b".to_owned())));
        assert_eq!(read("https://login.test/t"), (true, None));
        for bad in [
            "http://id.test:1",
            "http://id.test:10/t",
            "http://id.test:1@evil.test/t",
            "http://169.254.169.254/t",
            "javascript:alert(1)",
            "//evil.test/t",
            "https://a/ b",
            "https://a/#b",
            "https://a/\\\\b",
        ] {
            assert_eq!(read(bad), (false, None), "{bad}");
        }
    }
}
