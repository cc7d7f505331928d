//! A token in compact form: three parts, read once, before anything of it is believed.

use crate::binding::Binding;
use crate::json::Json;
use crate::verify::Fault;
use crate::{Algorithm, base64};

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest header and the longest signature, as they are written.
pub(crate) const HEADER_BYTES_MAX: usize = 2048;
pub(crate) const SIGNATURE_BYTES_MAX: usize = 2048;
/// The longest text that tells who somebody or something is.
const NAME_BYTES_MAX: usize = 512;
/// How many audiences a token may name.
const AUDIENCES_MAX: usize = 64;
/// The last second of the year 9999.
pub(crate) const TIME_MAX: u64 = 253_402_300_799;

/// Members of a header that bring a key along, say where one is, or demand what is not understood here (RFC 8725 sections 3.1, 3.10).
const FORBIDDEN: [&str; 9] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "p2c"];

/// What a token says of how it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Which of the issuer's keys.
    pub key_id: Option<Box<str>>,
    /// Its type, lower case and without `application/`.
    pub token_type: Option<Box<str>>,
}

/// What a token says, with the types that RFC 7519 and RFC 9068 give it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// `iss`
    pub issuer: Box<str>,
    /// `sub`
    pub subject: Box<str>,
    /// `aud`, one at the least.
    pub audiences: Box<[Box<str>]>,
    /// `exp`, in seconds since the Unix epoch.
    pub expires: u64,
    /// `nbf`
    pub not_before: Option<u64>,
    /// `iat`
    pub issued: Option<u64>,
    /// `client_id`, else `azp`.
    pub client: Option<Box<str>>,
    /// `jti`
    pub token_id: Option<Box<str>>,
    /// `cnf`
    pub binding: Binding,
    /// All of them.
    pub all: Json,
}

/// A token that is well-formed. Nothing of it is true before its signature is verified.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    pub(crate) signed: &'t [u8],
    pub(crate) signature: Vec<u8>,
    /// How it is signed.
    pub header: Header,
    /// What it says.
    pub claims: Claims,
}

impl<'t> Token<'t> {
    /// Reads a token (RFC 7515 section 5.2, the JWS compact serialisation alone).
    ///
    /// # Errors
    /// What is wrong with it, for logs.
    pub fn parse(text: &'t [u8]) -> Result<Self, Fault> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let Parts { signed, signature, header, payload } = parts(text)?;
        if header.len() > HEADER_BYTES_MAX || signature.len() > SIGNATURE_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let header = read_header(&json(header, Fault::HeaderMalformed)?)?;
        let claims = read_claims(json(payload, Fault::ClaimsMalformed)?, None)?;
        let signature = base64::decode(signature).filter(|bytes| !bytes.is_empty()).ok_or(Fault::NotCompact)?;
        Ok(Self { signed, signature, header, claims })
    }
}

/// A token, cut at its dots.
pub(crate) struct Parts<'t> {
    /// Header and payload.
    pub(crate) signed: &'t [u8],
    /// The signature.
    pub(crate) signature: &'t [u8],
    /// The header.
    pub(crate) header: &'t [u8],
    /// The payload.
    pub(crate) payload: &'t [u8],
}

/// Cuts a token. Stops at the fifth part: a text of dots alone costs nothing.
pub(crate) fn parts(text: &[u8]) -> Result<Parts<'_>, Fault> {
    let mut dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (Some(first), Some(second)) = (dots.next(), dots.next()) else { return Err(Fault::NotCompact) };
    if dots.next().is_some() {
        // Five parts are an encrypted token (RFC 7516 section 3.1).
        return Err(if dots.next().is_some() && dots.next().is_none() { Fault::Encrypted } else { Fault::NotCompact });
    }
    let part = |from: usize, to: usize| text.get(from..to).ok_or(Fault::NotCompact);
    Ok(Parts {
        signed: part(0, second)?,
        signature: part(second + 1, text.len())?,
        header: part(0, first)?,
        payload: part(first + 1, second)?,
    })
}

pub(crate) fn json(part: &[u8], fault: Fault) -> Result<Json, Fault> {
    object(part).ok_or(fault)
}

/// The object that a part of a token is.
pub(crate) fn object(part: &[u8]) -> Option<Json> {
    base64::decode(part).and_then(|bytes| Json::parse(&bytes)).filter(|json| matches!(json, Json::Object(_)))
}

pub(crate) fn read_header(json: &Json) -> Result<Header, Fault> {
    if FORBIDDEN.iter().any(|name| json.member(name).is_some()) {
        return Err(Fault::HeaderForbidden);
    }
    let text = |name: &str| match json.member(name) {
        None => Ok(None),
        Some(value) => value.as_text().filter(|text| is_name(text)).map(Some).ok_or(Fault::HeaderMalformed),
    };
    let algorithm = text("alg")?.ok_or(Fault::HeaderMalformed)?;
    let algorithm = Algorithm::of_name(algorithm).ok_or(Fault::AlgorithmRefused)?;
    let token_type = text("typ")?.map(|written| {
        let written = written.to_ascii_lowercase();
        written.strip_prefix("application/").map_or(&*written, |rest| rest).into()
    });
    Ok(Header { algorithm, key_id: text("kid")?.map(Into::into), token_type })
}

/// Whether a text may tell who somebody is: bounded, not empty, and without what could be read as something else in a log or a field.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

/// Reads claims: those of a token, or those that its issuer, which is then known, tells of it. Such a one need not name itself, nor a subject besides
/// the client.
pub(crate) fn read_claims(all: Json, told_by: Option<&str>) -> Result<Claims, Fault> {
    let text = |name: &str| match all.member(name) {
        None => Ok(None),
        Some(value) => value.as_text().filter(|text| is_name(text)).map(|text| Some(text.into())).ok_or(Fault::ClaimsMalformed),
    };
    let time = |name: &str| match all.member(name) {
        None => Ok(None),
        Some(Json::Whole(seconds)) if *seconds <= TIME_MAX => Ok(Some(*seconds)),
        Some(_) => Err(Fault::ClaimsMalformed),
    };
    let client = text("client_id")?.or(text("azp")?);
    Ok(Claims {
        issuer: text("iss")?.or(told_by.map(Box::from)).ok_or(Fault::ClaimMissing)?,
        subject: text("sub")?.or(client.clone().filter(|_| told_by.is_some())).ok_or(Fault::ClaimMissing)?,
        audiences: audiences(all.member("aud").ok_or(Fault::ClaimMissing)?)?,
        expires: time("exp")?.ok_or(Fault::ClaimMissing)?,
        not_before: time("nbf")?,
        issued: time("iat")?,
        client,
        token_id: text("jti")?,
        binding: Binding::of(&all)?,
        all,
    })
}

fn audiences(value: &Json) -> Result<Box<[Box<str>]>, Fault> {
    let name = |value: &Json| value.as_text().filter(|text| is_name(text)).map(Box::from).ok_or(Fault::ClaimsMalformed);
    match value {
        Json::Text(_) => Ok(Box::new([name(value)?])),
        Json::List(items) if !items.is_empty() && items.len() <= AUDIENCES_MAX => items.iter().map(name).collect(),
        _ => Err(Fault::ClaimsMalformed),
    }
}
