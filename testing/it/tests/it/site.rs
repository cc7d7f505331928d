//! A gateway before an upstream that remembers everything: what most attack tests need.

use portcullis_testing_kit::{Gateway, Plain, Response, Witness, ask};
use std::net::SocketAddr;

/// A gateway and its upstream.
pub struct Site {
    pub gateway: Gateway,
    pub witness: Witness,
}

/// Everything goes to an upstream that answers 200 and `ok`.
pub fn site() -> Site {
    site_with(|_| {})
}

/// As [`site`], with a changed configuration.
pub fn site_with(change: impl FnOnce(&mut Plain)) -> Site {
    let witness = Witness::ok();
    let mut plain = Plain::to(witness.address());
    change(&mut plain);
    Site { gateway: plain.start(), witness }
}

impl Site {
    pub fn http(&self) -> SocketAddr {
        self.gateway.http()
    }

    /// The request is refused with this status and code, as problem+json, the connection ends, and nothing follows.
    #[track_caller]
    pub fn refuses(&self, request: impl AsRef<[u8]>, status: u16, code: &str) {
        let request = request.as_ref();
        let shown = String::from_utf8_lossy(request).into_owned();
        let responses = ask(self.http(), request);
        let [response] = responses.as_slice() else { panic!("{} responses to {shown:?}: {responses:#?}", responses.len()) };
        assert_eq!(
            (response.status, response.code().as_str()),
            (status, code),
            "to {shown:?}\n{}{}",
            response.head,
            response.text()
        );
        assert_eq!(response.field("content-type"), Some("application/problem+json"), "to {shown:?}");
        assert_eq!(response.field("connection"), Some("close"), "to {shown:?}");
    }

    /// Nothing of what was sent before has reached the upstream, and the gateway still serves: a good request is all that it sees.
    #[track_caller]
    pub fn nothing_reached_upstream(&mut self) {
        self.gateway.is_well();
        assert_eq!(self.witness.texts(), Vec::<String>::new());
        assert_eq!(self.gateway.get("/good").status, 200);
        let seen = self.witness.sole_text();
        assert!(seen.starts_with("GET /good HTTP/1.1\r\n"), "{seen}");
    }

    /// The one response to a request on a connection that ends with it.
    #[track_caller]
    pub fn answer(&self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let mut responses = ask(self.http(), request);
        assert_eq!(responses.len(), 1, "to {:?}: {responses:#?}", String::from_utf8_lossy(request));
        responses.remove(0)
    }

    /// What the upstream was sent for a request that is forwarded.
    #[track_caller]
    pub fn forwarded(&self, request: impl AsRef<[u8]>) -> String {
        let before = self.witness.requests().len();
        let response = self.answer(request);
        assert_eq!(response.status, 200, "{}{}", response.head, response.text());
        let mut texts = self.witness.texts();
        assert_eq!(texts.len(), before + 1, "{texts:#?}");
        texts.remove(before)
    }
}

/// A GET of `/x` with these lines after the Host, on a connection that ends with it.
pub fn get_with(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}Connection: close\r\n\r\n")
}

/// A POST to `/x` with these lines after the Host, and what follows the head.
pub fn post_with(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n{body}")
}
