//! HTTP message signatures of requests (RFC 9421).

use crate::component::{Component, RequestParts};
use crate::structured::{Bare, TextList, byte_sequences, lists, push_text};
use crate::{Algorithm, SignatureKey};
use std::fmt;

/// The header fields with signatures, and what they cover.
pub const MESSAGE_FIELDS: [&str; 2] = ["signature-input", "signature"];
/// The header field with the digest of the body (RFC 9530).
pub const CONTENT_DIGEST: &str = "content-digest";

/// How long each of the two fields may be, in bytes.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// What is wrong with a signed request, for logs; clients are not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFault {
    /// A field is missing.
    FieldMissing,
    /// The fields are not well-formed.
    Malformed,
    /// No signature is by a key that is known, or has the tag.
    KeyUnknown,
    /// Several are.
    Several,
    /// A parameter is missing, or is not one.
    ParameterMalformed,
    /// It names another algorithm than its key's.
    AlgorithmOther,
    /// It is too old, or has ended.
    Stale,
    /// It is from the future.
    Early,
    /// It does not cover what it must.
    CoversLittle,
    /// It covers something that is not known.
    ComponentUnknown,
    /// It covers something that the request does not have, or that could be read in two ways.
    ComponentMissing,
    /// The key has not signed it.
    SignatureWrong,
    /// `Content-Digest` is not well-formed, or has no algorithm that is known.
    DigestMalformed,
    /// The body is another.
    DigestOther,
}

impl MessageFault {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldMissing => "Signature-Input or Signature is missing",
            Self::Malformed => {
                "Signature-Input or Signature is not well-formed, has more than 8 signatures, or one that the other does not have"
            }
            Self::KeyUnknown => "no signature is by a key that is known, with the tag that is wanted",
            Self::Several => "several signatures are by keys that are known",
            Self::ParameterMalformed => "a parameter of the signature is missing, unknown or not well-formed",
            Self::AlgorithmOther => "the signature names another algorithm than its key's",
            Self::Stale => "the signature is older than age_max, or has expired",
            Self::Early => "the signature is from the future by more than leeway",
            Self::CoversLittle => {
                "the signature does not cover the method, the target, the digest of the body or a field that it must"
            }
            Self::ComponentUnknown => "the signature covers a component that is not known, or has a parameter that is not taken",
            Self::ComponentMissing => "the signature covers something that the request does not have, or has in two readings",
            Self::SignatureWrong => "the key has not signed this request",
            Self::DigestMalformed => "Content-Digest is not well-formed, or has neither sha-256 nor sha-512",
            Self::DigestOther => "the body is not the one that Content-Digest tells of",
        }
    }
}

impl fmt::Display for MessageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The signature of a request, and what it says of itself.
#[derive(Debug)]
pub struct MessageSignature {
    /// The id of the key.
    pub key: String,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// Until when it is good, if it says so.
    pub expires: Option<u64>,
    algorithm: Option<String>,
    components: Vec<Component>,
    parameters: TextList,
    signature: Vec<u8>,
}

impl MessageSignature {
    /// Reads the two fields of a request, each with its lines joined by a comma, and picks the one signature that is by a known key and, where a tag is
    /// wanted, has it. Others, which somebody else may check, are passed over.
    ///
    /// # Errors
    /// When they are not well-formed, or there is not exactly one such signature.
    pub fn read(
        inputs: &[u8],
        signatures: &[u8],
        is_known: impl Fn(&str) -> bool,
        tag: Option<&str>,
    ) -> Result<Self, MessageFault> {
        if inputs.len() > FIELD_BYTES_MAX || signatures.len() > FIELD_BYTES_MAX {
            return Err(MessageFault::Malformed);
        }
        let (inputs, signatures) = lists(inputs).zip(byte_sequences(signatures)).ok_or(MessageFault::Malformed)?;
        let label_of = |label: &str| signatures.iter().find(|(other, _)| other == label);
        if inputs.len() != signatures.len() || inputs.iter().any(|(label, _)| label_of(label).is_none()) {
            return Err(MessageFault::Malformed);
        }
        let text_of = |list: &TextList, wanted: &str| {
            list.parameters.iter().find_map(|(key, value)| match value {
                Bare::Text(text) if key == wanted => Some(text.clone()),
                _ => None,
            })
        };
        let is_wanted = |list: &TextList| {
            text_of(list, "keyid").is_some_and(|key| is_known(&key))
                && tag.is_none_or(|tag| text_of(list, "tag").as_deref() == Some(tag))
        };
        let mut wanted = inputs.iter().filter(|(_, list)| is_wanted(list));
        let (label, list) = wanted.next().ok_or(MessageFault::KeyUnknown)?;
        if wanted.next().is_some() {
            // SECURITY: whose request it is must not depend on which of them is looked at.
            return Err(MessageFault::Several);
        }
        let signature = label_of(label).map(|(_, bytes)| bytes.clone()).ok_or(MessageFault::Malformed)?;
        Self::of(list, signature)
    }

    fn of(list: &TextList, signature: Vec<u8>) -> Result<Self, MessageFault> {
        let (mut created, mut expires, mut key, mut algorithm) = (None, None, None, None);
        for (name, value) in &list.parameters {
            match (&**name, value) {
                ("created", Bare::Integer(time)) => created = Some(*time),
                ("expires", Bare::Integer(time)) => expires = Some(*time),
                ("keyid", Bare::Text(text)) => key = Some(text.clone()),
                ("alg", Bare::Text(text)) => algorithm = Some(text.clone()),
                ("nonce" | "tag", Bare::Text(_)) => {}
                _ => return Err(MessageFault::ParameterMalformed),
            }
        }
        let (created, key) = created.zip(key).ok_or(MessageFault::ParameterMalformed)?;
        let mut components = Vec::with_capacity(list.items.len());
        for (name, parameters) in &list.items {
            let component = Component::of(name, parameters).ok_or(MessageFault::ComponentUnknown)?;
            if components.contains(&component) {
                return Err(MessageFault::ComponentUnknown);
            }
            components.push(component);
        }
        Ok(Self { key, created, expires, algorithm, components, parameters: list.clone(), signature })
    }

    /// Checks that its key is for the algorithm that it names, if it names one.
    ///
    /// # Errors
    /// When it names another: what verifies is never the signature's to say.
    pub fn check_algorithm(&self, algorithm: Algorithm) -> Result<(), MessageFault> {
        let is_named = self.algorithm.as_deref().is_none_or(|named| named == algorithm.as_str());
        if is_named { Ok(()) } else { Err(MessageFault::AlgorithmOther) }
    }

    /// Until when it is worth something, if it may be `age_max` seconds old.
    #[must_use]
    pub fn ends(&self, age_max: u64) -> u64 {
        let oldest = self.created.saturating_add(age_max);
        self.expires.map_or(oldest, |expires| expires.min(oldest))
    }

    /// Checks that it was made just now.
    ///
    /// # Errors
    /// When it is older than `age_max` seconds, has expired, or is from further in the future than `leeway`.
    pub fn check_time(&self, now: u64, age_max: u64, leeway: u64) -> Result<(), MessageFault> {
        if self.created > now.saturating_add(leeway) {
            return Err(MessageFault::Early);
        }
        if self.ends(age_max) < now {
            return Err(MessageFault::Stale);
        }
        Ok(())
    }

    /// Whether it covers a field.
    #[must_use]
    pub fn covers_field(&self, name: &str) -> bool {
        self.components.iter().any(|component| matches!(component, Component::Field(field) if field == name))
    }

    /// Checks that it covers what a request is: its method, its host, path and query, the digest of a body, and of these fields each that is there.
    ///
    /// # Errors
    /// When something could be changed without the signature telling.
    pub fn check_covers<'f>(
        &self,
        request: &RequestParts<'_>,
        has_body: bool,
        mut fields: impl Iterator<Item = &'f str>,
    ) -> Result<(), MessageFault> {
        let covers = |component: &Component| self.components.contains(component);
        let query = request.query.is_none() || covers(&Component::Query);
        let target = covers(&Component::RequestTarget) || covers(&Component::Path) && query;
        let target = covers(&Component::TargetUri) || covers(&Component::Authority) && target;
        let body = !has_body || self.covers_field(CONTENT_DIGEST);
        let is_all = fields.all(|name| self.covers_field(name) || (request.field)(name).is_none());
        if covers(&Component::Method) && target && body && is_all { Ok(()) } else { Err(MessageFault::CoversLittle) }
    }

    /// What was signed (section 2.5).
    ///
    /// # Errors
    /// When it covers something that the request does not have.
    pub fn base(&self, request: &RequestParts<'_>) -> Result<Vec<u8>, MessageFault> {
        let mut base = Vec::with_capacity(1024);
        for component in &self.components {
            component.push_identifier(&mut base);
            base.extend_from_slice(b": ");
            component.push_value(request, &mut base).ok_or(MessageFault::ComponentMissing)?;
            base.push(b'\n');
        }
        base.extend_from_slice(b"\"@signature-params\": (");
        for (at, component) in self.components.iter().enumerate() {
            if at > 0 {
                base.push(b' ');
            }
            component.push_identifier(&mut base);
        }
        base.push(b')');
        for (name, value) in &self.parameters.parameters {
            base.extend_from_slice(format!(";{name}=").as_bytes());
            match value {
                Bare::Integer(number) => base.extend_from_slice(number.to_string().as_bytes()),
                Bare::Text(text) => push_text(text, &mut base),
                Bare::Other => return Err(MessageFault::ParameterMalformed),
            }
        }
        Ok(base)
    }

    /// Whether the key has signed this.
    #[must_use]
    pub fn is_by(&self, key: &SignatureKey, base: &[u8]) -> bool {
        key.has_signed(&[base], &self.signature)
    }
}
