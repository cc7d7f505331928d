//! What must hold for any bytes.

use portcullis_control_config::load_text;
use portcullis_engines_jose::{
    Algorithm, Holding, KeySet, LogoutToken, Proof, ProofRules, Rules, Token, TokenType, check_claims, verify_signature,
};
use portcullis_engines_keys::{KeyFile, KeyTable, check};
use portcullis_engines_signatures::{Delivery, MessageSignature, RequestParts, SignatureKey, check_content_digest};
use portcullis_model::Clock;
use portcullis_wire::{
    ChunkStep, ChunkedDecoder, Fields, FrameMeter, HeadFinder, HeadLimits, KnownName, Method, PROXY_HEADER_BYTES_MAX, PseudoFields,
    RequestHead, ResponseHead, cookie::remove_cookies, parse_proxy_header,
};

/// The head that a client sent, if it is one.
pub(crate) fn accepted(data: &[u8]) -> Option<(RequestHead, usize)> {
    accepted_with(data, &HeadLimits::default())
}

fn accepted_with(data: &[u8], limits: &HeadLimits) -> Option<(RequestHead, usize)> {
    let length = HeadFinder::default().find(data, limits).ok()??;
    let mut head = RequestHead::default();
    head.parse(data.get(..length)?, limits).ok()?;
    Some((head, length))
}

/// A head found whole is found byte by byte; what is accepted is written in a form that is accepted again and means the same; and
/// nothing that ends here gets through.
pub(crate) fn request_head(data: &[u8]) {
    let limits = HeadLimits::default();
    let whole = HeadFinder::default().find(data, &limits);
    let mut finder = HeadFinder::default();
    let slow = (1..=data.len())
        .map(|end| finder.find(data.get(..end).unwrap_or_default(), &limits))
        .find(|step| !matches!(step, Ok(None)));
    match (&whole, slow) {
        (Ok(Some(_)), Some(Ok(Some(found)))) => assert_eq!(whole, Ok(Some(found))),
        (Ok(None), None) | (Err(_), _) => {}
        (whole, slow) => panic!("found {whole:?} whole and {slow:?} byte by byte"),
    }
    let Some((mut head, _)) = accepted(data) else { return };
    head.strip_untrusted();
    let mut out = Vec::new();
    head.write_to(&mut out);
    let (again, length) = accepted(&out).expect("what is written is accepted");
    assert_eq!(length, out.len());
    assert_eq!((head.path(), head.query(), head.host(), head.port()), (again.path(), again.query(), again.host(), again.port()));
    assert_eq!((head.method_bytes(), head.framing()), (again.method_bytes(), again.framing()));
    assert_eq!(head.path_has_encoded_slash(), again.path_has_encoded_slash());
    assert!(!again.path().replace("%2F", "/").contains("//"), "an empty segment for who decodes `%2F`: {}", again.path());
    for (name, _) in again.fields().iter() {
        let folded: Vec<u8> = name.iter().map(|byte| if matches!(byte, b'_' | b'.') { b'-' } else { *byte }).collect();
        let forbidden: [&[u8]; 5] = [b"x-forwarded-", b"x-original-", b"forwarded", b"x-real-ip", b"te"];
        assert!(
            !forbidden.iter().any(|prefix| folded == *prefix || (prefix.ends_with(b"-") && folded.starts_with(prefix))),
            "{folded:?}"
        );
    }
}

/// An answer that is accepted is written with one framing, and no line of it ends early.
pub(crate) fn response_head(data: &[u8]) {
    let limits = HeadLimits::default();
    let Ok(Some(length)) = HeadFinder::default().find(data, &limits) else { return };
    let mut head = ResponseHead::default();
    if head.parse(data.get(..length).unwrap_or_default(), &limits, Method::Get).is_err() {
        return;
    }
    head.strip_hop_by_hop();
    let mut out = Vec::new();
    head.write_to(&mut out, head.framing(), Some("close"), false);
    let mut again = ResponseHead::default();
    assert_eq!(HeadFinder::default().find(&out, &HeadLimits { head_bytes_max: 1 << 20, ..limits }), Ok(Some(out.len())));
    again.parse(&out, &HeadLimits { fields_max: 256, ..limits }, Method::Get).expect("what is written is accepted");
    assert_eq!((head.status(), head.framing()), (again.status(), again.framing()));
}

/// A body is the same however it is cut, and nothing is consumed beyond its end.
pub(crate) fn chunked(data: &[u8]) {
    let decode = |piece: usize| {
        let (mut decoder, mut body, mut total) = (ChunkedDecoder::for_request(), Vec::new(), 0);
        for part in data.chunks(piece) {
            let mut at = 0;
            while at < part.len() {
                let rest = part.get(at..).unwrap_or_default();
                let (consumed, step) = decoder.step(rest).ok()?;
                assert!(consumed > 0 || step == ChunkStep::Done, "a step that neither consumes nor ends");
                match step {
                    ChunkStep::Data { range } => body.extend_from_slice(rest.get(range).expect("a range of the input")),
                    ChunkStep::Done => return Some((body, Some(total + at + consumed))),
                    ChunkStep::NeedMore => {}
                }
                at += consumed;
            }
            total += part.len();
        }
        Some((body, None))
    };
    let whole = decode(data.len().max(1));
    for piece in [1, 3, 16] {
        assert_eq!(whole, decode(piece), "cut into pieces of {piece}");
    }
}

fn target_of(target: &[u8]) -> Option<(RequestHead, usize)> {
    accepted(&[b"GET ".as_slice(), target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat())
}

/// The canonical form of a path is its own canonical form, and has nothing in it that readers disagree about.
pub(crate) fn canonical_path(data: &[u8]) {
    let Some((head, _)) = target_of(&[b"/".as_slice(), data].concat()) else { return };
    let path = head.path().to_owned();
    let (again, _) = target_of(path.as_bytes()).expect("a canonical path is accepted");
    assert_eq!(again.path(), path);
    let lower = path.to_ascii_lowercase();
    for bad in ["//", "/./", "/../", "%2e", "%5c", "%3b", "%00", ";", "\\", "#", "?"] {
        assert!(!lower.contains(bad), "{path} has {bad}");
    }
    assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
}

/// The canonical form of a query is its own canonical form.
pub(crate) fn query(data: &[u8]) {
    let Some((head, _)) = target_of(&[b"/?".as_slice(), data].concat()) else { return };
    let Some(query) = head.query().map(str::to_owned) else { return };
    let (again, _) = target_of(format!("/?{query}").as_bytes()).expect("a canonical query is accepted");
    assert_eq!(again.query(), Some(query.as_str()));
    assert!(!query.contains([';', '[', ']', '#', ' ', '\\']), "{query}");
}

/// A header of the PROXY protocol is told within its bound, is the same however it comes and whatever follows, and its length is
/// exact: one byte less is not enough.
pub(crate) fn proxy_header(data: &[u8]) {
    let whole = parse_proxy_header(data);
    match whole {
        Ok(Some(header)) => {
            assert!(header.length <= data.len().min(PROXY_HEADER_BYTES_MAX), "{header:?}");
            let exact = data.get(..header.length).unwrap_or_default();
            assert_eq!(parse_proxy_header(exact), whole);
            assert_eq!(parse_proxy_header(exact.split_last().map_or(&[][..], |(_, before)| before)), Ok(None));
            let follows = [exact, b"\r\n\r\nPROXY "].concat();
            assert_eq!(parse_proxy_header(&follows), whole);
        }
        Ok(None) => assert!(data.len() < PROXY_HEADER_BYTES_MAX, "more is waited for than allowed"),
        Err(_) => {}
    }
}

/// Any text is a configuration or a report, never a panic; and what is accepted is accepted again in canonical form.
pub(crate) fn config(data: &[u8]) {
    let clock = Clock::fixed(1_795_440_000_000_000);
    match load_text("fuzz.yaml", data, &[], &clock) {
        Err(report) => assert!(report.errors() > 0 && !report.render(false).is_empty()),
        Ok(plan) => {
            let again = load_text("fuzz.yaml", plan.to_canonical_yaml().as_bytes(), &[], &clock);
            let again = again.unwrap_or_else(|report| panic!("refused in canonical form: {}", report.render(false)));
            assert_eq!(plan.to_canonical_yaml(), again.to_canonical_yaml());
        }
    }
}

/// A head made of fields is written in a form that is accepted as HTTP/1 and means the same; line ends never get through. The input is
/// lines of `name: value`; those of pseudo-fields may come anywhere.
pub(crate) fn http2_head(data: &[u8]) {
    let (mut pseudo, mut fields) = (PseudoFields::default(), Vec::new());
    for line in data.split(|byte| *byte == b'\n') {
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map_or(line.len(), |at| at + 1);
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        match name {
            b":method" => pseudo.method = value,
            b":scheme" => pseudo.scheme = Some(value),
            b":authority" => pseudo.authority = Some(value),
            b":path" => pseudo.path = Some(value),
            b":protocol" => pseudo.protocol = Some(value),
            _ => fields.push((name, value)),
        }
    }
    for ends in [true, false] {
        let mut head = RequestHead::default();
        if head.read_fields(&pseudo, fields.iter().copied(), b"https", ends, &HeadLimits::default()).is_err() {
            continue;
        }
        head.strip_untrusted();
        let mut out = Vec::new();
        head.write_to(&mut out);
        if head.wants_websocket() {
            continue;
        }
        let (again, length) =
            accepted_with(&out, &HeadLimits { head_bytes_max: 1 << 20, fields_max: 256, target_bytes_max: 1 << 16 })
                .expect("what is written is accepted");
        assert_eq!(length, out.len());
        assert_eq!(
            (head.path(), head.query(), head.host(), head.port()),
            (again.path(), again.query(), again.host(), again.port())
        );
        assert_eq!((head.method_bytes(), head.framing()), (again.method_bytes(), again.framing()));
    }
}

/// The meter reads the same frames however the bytes are cut, and what it finds never makes it panic.
pub(crate) fn frame_meter(data: &[u8]) {
    let run = |piece: usize| {
        let mut meter = FrameMeter::new(4096, 0);
        let outcome = data.chunks(piece.max(1)).try_for_each(|part| meter.incoming(part, 5));
        (outcome, outcome.is_ok().then(|| meter.header_block_since_ms()))
    };
    let whole = run(data.len());
    for piece in [1, 7, 64] {
        assert_eq!(run(piece), whole, "cut into pieces of {piece}");
    }
    let mut meter = FrameMeter::new(4096, 0);
    let _bounded = data.chunks(5).try_for_each(|part| meter.outgoing(part, 5));
}

/// No bytes are a good token of a key that nobody signs with, whether they are the token itself or header and claims of one.
pub(crate) fn token(data: &[u8]) {
    const KEYS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k"}]}"#;
    let (keys, _) = KeySet::parse(KEYS).expect("a key set");
    let rules = Rules {
        issuer: "https://id.test".into(),
        algorithms: Algorithm::ALL.into_iter().collect(),
        types: [TokenType::AccessToken, TokenType::Jwt].into(),
        holdings: [Holding::Bearer].into_iter().collect(),
        leeway: 30,
        lifetime_max: u64::MAX,
    };
    let judge = |token: &[u8]| {
        let Ok(token) = Token::parse(token) else { return };
        let claims = &token.claims;
        assert!(!claims.audiences.is_empty() && !claims.subject.chars().any(char::is_control), "{claims:?}");
        let _judged = check_claims(&token, &rules, 1_800_000_000);
        assert!(verify_signature(&token, &keys).is_err(), "nobody has signed this");
    };
    judge(data);
    let (header, claims) = data.split_at(data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    judge([encoded(header), encoded(claims), encoded(&[7; 64])].join(".").as_bytes());
}

/// A logout token that nobody has signed is none; what is taken of one says who, and which one it is.
pub(crate) fn logout_token(data: &[u8]) {
    const KEYS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k"}]}"#;
    let (keys, _) = KeySet::parse(KEYS).expect("a key set");
    let rules = Rules {
        issuer: "https://id.test".into(),
        algorithms: Algorithm::ALL.into_iter().collect(),
        types: [TokenType::AccessToken].into(),
        holdings: [Holding::Bearer].into_iter().collect(),
        leeway: 30,
        lifetime_max: u64::MAX,
    };
    let judge = |token: &[u8]| {
        let Ok(token) = LogoutToken::read(token, &rules, "app", 1_800_000_000) else { return };
        assert!(token.subject.is_some() || token.session.is_some(), "{token:?}");
        assert!(!token.token_id.is_empty() && token.ends > 1_800_000_000, "{token:?}");
        assert!(token.verify(&keys).is_err(), "nobody has signed this");
    };
    judge(data);
    let (header, claims) = data.split_at(data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    judge([encoded(header), encoded(claims), encoded(&[7; 64])].join(".").as_bytes());
}

/// Whatever a browser sends as cookies, none of the gateway's own is left by who reads them as we do, and all others are.
pub(crate) fn cookies(data: &[u8]) {
    const PREFIX: &str = "__Host-portcullis-";
    let mut fields = Fields::default();
    for line in data.split(|byte| *byte == b'\n') {
        if fields.append(KnownName::Cookie, line).is_err() {
            return;
        }
    }
    let read = |fields: &Fields| {
        let pairs = |line: &[u8]| line.split(|byte| *byte == b';').map(|pair| pair.trim_ascii().to_vec()).collect::<Vec<_>>();
        let all = fields.values(KnownName::Cookie).flat_map(pairs);
        all.filter(|pair| !pair.is_empty()).collect::<Vec<_>>()
    };
    let is_ours = |pair: &[u8]| pair.get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX.as_bytes()));
    let wanted: Vec<Vec<u8>> = read(&fields).into_iter().filter(|pair| !is_ours(pair)).collect();
    remove_cookies(&mut fields, KnownName::Cookie, PREFIX);
    assert_eq!(read(&fields), wanted);
}

/// A proof is read the same each time; one that was signed is not what it says when a bit of it is another; and none is for a key or a token
/// that it does not name.
pub(crate) fn proof(data: &[u8]) {
    let rules = ProofRules { algorithms: Algorithm::ALL.into_iter().collect(), age_max: u64::MAX, leeway: u64::MAX, nonces: false };
    let judge = |text: &[u8]| {
        let Ok(proof) = Proof::parse(text) else { return };
        assert!(!proof.id.is_empty() && !proof.id.chars().any(char::is_control), "{proof:?}");
        assert_eq!(proof.check(&rules, &proof.key, &proof.token, 0), Ok(()));
        assert!(proof.check(&rules, &[7; 32], &proof.token, 0).is_err() && proof.check(&rules, &proof.key, &[7; 32], 0).is_err());
        if proof.verify().is_err() {
            return;
        }
        let mut other = text.to_vec();
        let last = other.iter().rposition(|byte| *byte == b'.').and_then(|dot| dot.checked_sub(3)).unwrap_or(0);
        other.get_mut(last).into_iter().for_each(|byte| *byte ^= 1);
        assert!(Proof::parse(&other).map_or(true, |other| other.verify().is_err()), "another text with the same signature");
    };
    judge(data);
    let (header, claims) = data.split_at(data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    judge([encoded(header), encoded(claims), encoded(&[7; 64])].join(".").as_bytes());
}

fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(DIGITS.get((bits & 63) as usize).copied().unwrap_or_default());
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        out.extend((0..=three.len()).map(|at| digit(bits >> (18 - 6 * at))));
    }
    out
}

/// What is a key set has a key, and is one again without what is unfit.
pub(crate) fn key_set(data: &[u8]) {
    if let Ok((keys, unfit)) = KeySet::parse(data) {
        assert!(!keys.is_empty() && keys.len() <= 1024 && unfit.len() <= 1024);
    }
}

/// What is a file of API keys is written in a form that is read again and means the same; and no bytes are a key of one, except by its hash key.
pub(crate) fn key_file(data: &[u8]) {
    let (key, file) = data.split_at(data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    for bytes in [data, file] {
        let Ok(keys) = KeyFile::read(bytes) else { continue };
        let again = KeyFile::read(keys.to_text().as_bytes()).expect("what is written is read");
        assert_eq!(keys.entries, again.entries);
        let table = KeyTable::new(keys);
        for shown in [key, data, b"pck_"] {
            assert!(table.find(shown, 1_800_000_000).is_err(), "nobody has made this key");
        }
    }
    if let Some(id) = check(key.trim_ascii_end()) {
        assert!(id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }
}

/// The fields of a signed message, a line each and then its body: what is read is read in one way, and nothing is signed that the key has not.
pub(crate) fn signature(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (id, time, signatures, body) = (next(), next(), next(), next());
    let Ok(delivery) = Delivery::read(id, time, signatures) else { return };
    assert_eq!(delivery.sent.to_string().as_bytes(), time);
    assert!(!id.contains(&b'.'), "an id that could be cut elsewhere");
    let key = SignatureKey::read(b"a-key-that-the-fuzzer-does-not-see").expect("a key");
    assert!(!delivery.is_signed_by(&key, body));
}

/// The fields of a signed request, a line each, and its query: what was signed is made in one way, says where each part ends, and no key has signed it.
pub(crate) fn message_signature(data: &[u8]) {
    let mut lines = data.splitn(5, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (inputs, signatures, digest, query, value) = (next(), next(), next(), next(), next());
    let is_other = check_content_digest(digest, b"a").is_err() || check_content_digest(digest, b"b").is_err();
    assert!(is_other, "two bodies with one digest");
    let Ok(signed) = MessageSignature::read(inputs, signatures, |id| id.starts_with('k'), None) else { return };
    assert!(signed.key.starts_with('k') && signed.created < 1_000_000_000_000_000);
    let clean: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'\n').collect();
    let field = |_: &str| Some(clean.clone());
    let query = std::str::from_utf8(query).ok();
    let request = RequestParts { method: b"POST", is_https: true, authority: "a.test", path: "/p", query, field: &field };
    let Ok(base) = signed.base(&request) else { return };
    let last = base.split(|byte| *byte == b'\n').next_back().unwrap_or_default();
    let parameters = last.strip_prefix(b"\"@signature-params\": ").expect("the parameters are the last line");
    // What is written is read as what it was written from.
    let again = MessageSignature::read(&[b"x=", parameters].concat(), b"x=:AA==:", |_| true, None).expect("it is well-formed");
    assert_eq!(again.base(&request), Ok(base.clone()));
    let key = SignatureKey::read(b"a-key-that-the-fuzzer-does-not-see").expect("a key");
    assert!(!signed.is_by(&key, &base));
}
