//! What the gateway itself fetches from an upstream: documents of bounded length. It cannot carry a client's request; a form may be posted
//! for it, with the gateway's own credentials.

use crate::connect::open;
use crate::connection::Stream;
use crate::errand::send;
use crate::{Endpoint, Upstream};
use portcullis_model::Secret;
use portcullis_wire::form_encode;
use portcullis_wire::{ChunkStep, ChunkedDecoder, HeadFinder, HeadLimits, KnownName, Method, ResponseFraming, ResponseHead};
use std::fmt;
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::timeout;

/// What the head of an answer may have.
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 32 * 1024, fields_max: 128, target_bytes_max: 8 * 1024 };

/// A document that is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The host asked for, with its port where that is not the scheme's own.
    pub authority: String,
    /// The path and query, which begin with `/` and have no character that could end the line.
    pub target: String,
    /// The longest document, in bytes.
    pub bytes_max: usize,
}

/// A form that is posted for a document (RFC 6749 section 3.2).
#[derive(Debug)]
pub struct PostedForm {
    /// The form, `application/x-www-form-urlencoded`.
    pub body: Secret<Vec<u8>>,
    /// The value of `Authorization`, without line ends.
    pub authorization: Option<Secret<String>>,
}

impl PostedForm {
    /// A form with the gateway's credentials as a client of the provider that gets it (RFC 6749 section 2.3.1).
    #[must_use]
    pub fn by_client(body: Secret<Vec<u8>>, client_id: &str, secret: &Secret<String>) -> Self {
        let encoded = |text: &str| form_encode(&[("", text)]).split_off(1);
        let pair = Secret::new(format!("{}:{}", encoded(client_id), encoded(secret.reveal())));
        let authorization = Secret::new(format!("Basic {}", base64(pair.reveal().as_bytes())));
        Self { body, authorization: Some(authorization) }
    }

    /// A form with what the gateway has signed of itself, as a client of the provider that gets it (RFC 7523 section 2.2).
    #[must_use]
    pub fn by_assertion(body: Secret<Vec<u8>>, client_id: &str, assertion: &str) -> Self {
        const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let proof = form_encode(&[("client_id", client_id), ("client_assertion_type", KIND), ("client_assertion", assertion)]);
        let body = Secret::new([body.reveal(), b"&".as_slice(), proof.as_bytes()].concat());
        Self { body, authorization: None }
    }
}

/// The standard alphabet with padding (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len() / 3 * 4 + 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = [18, 12, 6, 0].map(|shift| DIGITS.get((bits >> shift & 0x3f) as usize).copied().unwrap_or(b'='));
        out.extend(digits.iter().enumerate().map(|(at, digit)| if at > chunk.len() { '=' } else { char::from(*digit) }));
    }
    out
}

/// Why a document could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// The upstream has no endpoint at the moment, or may not be spoken to in plain text any more.
    NoEndpoint,
    /// Not complete in time.
    Late,
    /// No connection, or no TLS that could be verified.
    Unreachable,
    /// The connection ended before the document.
    Ended,
    /// What was answered is not HTTP as it should be.
    Malformed,
    /// The document is longer than it may be.
    TooLong,
    /// It answered with another status than 200. Redirects are not followed.
    Status(u16),
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEndpoint => f.write_str("the upstream has no endpoint that may be asked"),
            Self::Late => f.write_str("no whole answer in time"),
            Self::Unreachable => f.write_str("no connection"),
            Self::Ended => f.write_str("the connection ended before the answer"),
            Self::Malformed => f.write_str("the answer is not well-formed"),
            Self::TooLong => f.write_str("the answer is too long"),
            Self::Status(status @ 300..=399) => write!(f, "status {status}; redirects are not followed"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

impl Fetch {
    /// Fetches the document from the first endpoint of `upstream` that gives it, each within a time.
    ///
    /// # Errors
    /// Why the last one that was asked did not give it.
    pub async fn run(&self, upstream: &Upstream, within: Duration, now_unix_seconds: u64) -> Result<Vec<u8>, FetchFailure> {
        self.run_with(None, upstream, within, now_unix_seconds).await
    }

    /// Posts a form for the document. What it holds may be good for one use alone, so another endpoint is asked only where there was no
    /// connection to the one before.
    ///
    /// # Errors
    /// Why the last one that was asked did not give it.
    pub async fn post(
        &self,
        form: &PostedForm,
        upstream: &Upstream,
        within: Duration,
        now_unix_seconds: u64,
    ) -> Result<Vec<u8>, FetchFailure> {
        self.run_with(Some(form), upstream, within, now_unix_seconds).await
    }

    async fn run_with(
        &self,
        form: Option<&PostedForm>,
        upstream: &Upstream,
        within: Duration,
        now_unix_seconds: u64,
    ) -> Result<Vec<u8>, FetchFailure> {
        if upstream.settings.plaintext_expires.is_some_and(|end| end <= now_unix_seconds) {
            return Err(FetchFailure::NoEndpoint);
        }
        let set = upstream.endpoints().clone();
        let mut failure = FetchFailure::NoEndpoint;
        for endpoint in set.endpoints() {
            match timeout(within, self.ask(form, endpoint)).await {
                Ok(Ok(document)) => return Ok(document),
                Ok(Err(other)) => failure = other,
                Err(_) => failure = FetchFailure::Late,
            }
            if form.is_some() && failure != FetchFailure::Unreachable {
                break;
            }
        }
        Err(failure)
    }

    /// The bytes that are sent.
    fn request(&self, form: Option<&PostedForm>) -> Secret<Vec<u8>> {
        let method = if form.is_some() { "POST" } else { "GET" };
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nhost: {}\r\naccept: application/json\r\nuser-agent: portcullis\r\nconnection: close\r\n",
            self.target, self.authority
        )
        .into_bytes();
        if let Some(PostedForm { body, authorization }) = form {
            if let Some(authorization) = authorization {
                request.extend([b"authorization: ", authorization.reveal().as_bytes(), b"\r\n"].concat());
            }
            let body = body.reveal();
            let framing = format!("content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n", body.len());
            request.extend(framing.as_bytes());
            request.extend(body);
        } else {
            request.extend(b"\r\n");
        }
        Secret::new(request)
    }

    async fn ask(&self, form: Option<&PostedForm>, endpoint: &Endpoint) -> Result<Vec<u8>, FetchFailure> {
        let mut stream = open(endpoint).await.map_err(|_| FetchFailure::Unreachable)?;
        send(&mut stream, self.request(form).reveal()).await.map_err(|_| FetchFailure::Ended)?;
        let (head, rest) = receive_head(&mut stream).await?;
        if head.status() != 200 {
            return Err(FetchFailure::Status(head.status()));
        }
        // Nothing else was asked for, and nothing is unpacked here.
        if head.fields().first(KnownName::ContentEncoding).is_some() {
            return Err(FetchFailure::Malformed);
        }
        self.receive_body(&mut stream, head.framing(), rest).await
    }

    async fn receive_body(
        &self,
        stream: &mut Stream,
        framing: ResponseFraming,
        mut rest: Vec<u8>,
    ) -> Result<Vec<u8>, FetchFailure> {
        let mut decoder = ChunkedDecoder::for_response();
        let mut body = Vec::new();
        loop {
            let done = match framing {
                ResponseFraming::None => true,
                ResponseFraming::Length(length) if length > self.bytes_max as u64 => return Err(FetchFailure::TooLong),
                ResponseFraming::Length(length) => {
                    body.append(&mut rest);
                    body.len() as u64 >= length
                }
                ResponseFraming::Chunked => decode(&mut decoder, &rest, &mut body)?,
                ResponseFraming::UntilClose => {
                    body.append(&mut rest);
                    false
                }
            };
            // What comes after the end belongs to nobody: the connection is not used again.
            if let ResponseFraming::Length(length) = framing {
                body.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            }
            if body.len() > self.bytes_max {
                return Err(FetchFailure::TooLong);
            }
            if done {
                return Ok(body);
            }
            rest = receive(stream).await?;
            match (rest.is_empty(), framing) {
                (true, ResponseFraming::UntilClose) => return Ok(body),
                (true, _) => return Err(FetchFailure::Ended),
                _ => {}
            }
        }
    }
}

/// Whether that was the end of a chunked body.
fn decode(decoder: &mut ChunkedDecoder, mut bytes: &[u8], body: &mut Vec<u8>) -> Result<bool, FetchFailure> {
    while !bytes.is_empty() {
        let (consumed, step) = decoder.step(bytes).map_err(|_| FetchFailure::Malformed)?;
        match step {
            ChunkStep::Data { range } => body.extend_from_slice(bytes.get(range).unwrap_or_default()),
            ChunkStep::Done => return Ok(true),
            ChunkStep::NeedMore => {}
        }
        bytes = bytes.get(consumed.max(1)..).unwrap_or_default();
    }
    Ok(false)
}

/// What has come; nothing at the end.
async fn receive(stream: &mut Stream) -> Result<Vec<u8>, FetchFailure> {
    let mut buffer = vec![0_u8; 8 * 1024];
    let count = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.map_err(|_| FetchFailure::Ended)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// The head of the answer that counts, and what came behind it.
async fn receive_head(stream: &mut Stream) -> Result<(ResponseHead, Vec<u8>), FetchFailure> {
    let (mut received, mut finder, mut head) = (Vec::new(), HeadFinder::default(), ResponseHead::default());
    loop {
        let more = receive(stream).await?;
        if more.is_empty() {
            return Err(FetchFailure::Ended);
        }
        received.extend(more);
        // The finder bounds what is received: a head that is longer is malformed.
        while let Some(length) = finder.find(&received, &LIMITS).map_err(|_| FetchFailure::Malformed)? {
            let bytes: Vec<u8> = received.drain(..length).collect();
            finder.reset();
            head.parse(&bytes, &LIMITS, Method::parse(b"GET")).map_err(|_| FetchFailure::Malformed)?;
            // Interim answers come before the one that counts.
            if head.status() >= 200 {
                return Ok((head, received));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fetch, PostedForm, base64};
    use portcullis_model::Secret;

    #[test]
    fn base64_is_padded() {
        let all = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(all, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn a_form_is_posted_whole_and_does_not_print() {
        let fetch = Fetch { authority: "id.test:8443".to_owned(), target: "/token?a=b".to_owned(), bytes_max: 1 };
        let form = PostedForm::by_client(Secret::new(b"code=hidden".to_vec()), "a:b", &Secret::new("hid+den".to_owned()));
        let sent = String::from_utf8(fetch.request(Some(&form)).reveal().clone()).unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /token?a=b HTTP/1.1\r\nhost: id.test:8443\r\n"), "{head}");
        assert!(
            head.contains("\r\nauthorization: Basic YSUzQWI6aGlkJTJCZGVu\r\n") && head.ends_with("\r\ncontent-length: 11"),
            "{head}"
        );
        assert_eq!(body, "code=hidden");
        assert!(!format!("{form:?}").contains("idden"));
        let got = String::from_utf8(fetch.request(None).reveal().clone()).unwrap();
        assert!(got.starts_with("GET /token?a=b HTTP/1.1\r\n") && got.ends_with("\r\nconnection: close\r\n\r\n"), "{got}");
    }
}
