//! What a token is bound to (`cnf`, RFC 7800): a client certificate (RFC 8705 section 3.1), a key of the client's (RFC 9449 section 6.1), both, or
//! nothing.

use crate::base64;
use crate::json::Json;
use crate::verify::Fault;

/// A SHA-256 thumbprint.
pub type Thumbprint = [u8; 32];

/// What must be proven by whoever shows a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The client certificate with this thumbprint (`x5t#S256`).
    pub certificate: Option<Thumbprint>,
    /// The key with this thumbprint (`jkt`).
    pub key: Option<Thumbprint>,
}

/// How a token may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// By whoever has it.
    Bearer,
    /// By the client whose certificate it is bound to.
    Certificate,
    /// By the client whose key it is bound to.
    Key,
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings(u8);

impl Holdings {
    /// Whether it has this one.
    #[must_use]
    pub fn contains(self, holding: Holding) -> bool {
        self.0 & (1 << holding as u8) != 0
    }
}

impl FromIterator<Holding> for Holdings {
    fn from_iter<I: IntoIterator<Item = Holding>>(holdings: I) -> Self {
        Self(holdings.into_iter().fold(0, |bits, holding| bits | 1 << holding as u8))
    }
}

impl Binding {
    /// Reads `cnf` of what is said of a token.
    ///
    /// # Errors
    /// [`Fault::Bound`] when it is bound to something that is not known here; [`Fault::ClaimsMalformed`] when a thumbprint is none.
    pub fn of(claims: &Json) -> Result<Self, Fault> {
        let members = match claims.member("cnf") {
            None => return Ok(Self::default()),
            Some(Json::Object(members)) if !members.is_empty() => members,
            Some(_) => return Err(Fault::ClaimsMalformed),
        };
        let mut binding = Self::default();
        for (name, value) in members {
            // SECURITY: what is not understood binds as well; a token of which half the proof is asked for could be stolen.
            let slot = match &**name {
                "x5t#S256" => &mut binding.certificate,
                "jkt" => &mut binding.key,
                _ => return Err(Fault::Bound),
            };
            *slot = Some(value.as_text().and_then(thumbprint).ok_or(Fault::ClaimsMalformed)?);
        }
        Ok(binding)
    }

    /// Checks that a token so bound may be shown at all.
    ///
    /// # Errors
    /// [`Fault::Unbound`] when it should be bound, [`Fault::Bound`] when nobody asks for the proof.
    pub fn check(self, accepted: Holdings) -> Result<(), Fault> {
        let bound = [(self.certificate, Holding::Certificate), (self.key, Holding::Key)];
        let mut bound = bound.into_iter().filter(|(thumbprint, _)| thumbprint.is_some()).map(|(_, holding)| holding).peekable();
        if bound.peek().is_none() {
            return if accepted.contains(Holding::Bearer) { Ok(()) } else { Err(Fault::Unbound) };
        }
        if bound.all(|holding| accepted.contains(holding)) { Ok(()) } else { Err(Fault::Bound) }
    }
}

/// Thirty-two bytes in base64url.
pub(crate) fn thumbprint(text: &str) -> Option<Thumbprint> {
    base64::decode(text.as_bytes())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Binding, Holding, Holdings};
    use crate::{Fault, Json};

    const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn of(claims: &str) -> Result<Binding, Fault> {
        Binding::of(&Json::parse(claims.replace('@', ONE).as_bytes()).unwrap())
    }

    #[test]
    fn what_is_bound_must_be_understood_whole() {
        let zero = Some([0; 32]);
        assert_eq!(of("{}"), Ok(Binding::default()));
        assert_eq!(of(r#"{"cnf":{"x5t#S256":"@"}}"#), Ok(Binding { certificate: zero, key: None }));
        assert_eq!(of(r#"{"cnf":{"jkt":"@","x5t#S256":"@"}}"#), Ok(Binding { certificate: zero, key: zero }));
        for unknown in [r#"{"jwk":{}}"#, r#"{"x5t#S256":"@","kid":"a"}"#, r#"{"jkt":"@","x5t":"a"}"#, r#"{"JKT":"@"}"#] {
            assert_eq!(of(&format!("{{\"cnf\":{unknown}}}")), Err(Fault::Bound), "{unknown}");
        }
        for malformed in
            ["{}", "null", "[]", "\"@\"", "true", r#"{"jkt":"x"}"#, r#"{"jkt":"@A"}"#, r#"{"jkt":""}"#, r#"{"x5t#S256":["@"]}"#]
        {
            assert_eq!(of(&format!("{{\"cnf\":{malformed}}}")), Err(Fault::ClaimsMalformed), "{malformed}");
        }
    }

    #[test]
    fn a_token_is_shown_as_its_provider_accepts_it() {
        let zero = Some([0; 32]);
        let (plain, both) = (Binding::default(), Binding { certificate: zero, key: zero });
        let (certificate, key) = (Binding { key: None, ..both }, Binding { certificate: None, ..both });
        let all = [plain, certificate, key, both];
        let judged = |accepted: &[Holding]| {
            let accepted: Holdings = accepted.iter().copied().collect();
            all.map(|binding| binding.check(accepted).err())
        };
        let (bound, unbound) = (Some(Fault::Bound), Some(Fault::Unbound));
        assert_eq!(judged(&[Holding::Bearer]), [None, bound, bound, bound]);
        assert_eq!(judged(&[Holding::Certificate]), [unbound, None, bound, bound]);
        assert_eq!(judged(&[Holding::Bearer, Holding::Key]), [None, bound, None, bound]);
        assert_eq!(judged(&[Holding::Certificate, Holding::Key]), [unbound, None, None, None]);
        assert_eq!(judged(&[]), [unbound, bound, bound, bound]);
    }
}
