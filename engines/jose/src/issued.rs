//! What a provider answers when it gives a token (RFC 6749 section 5.1, RFC 8693 section 2.2.1).

use crate::json::Json;
use std::time::Duration;

/// The longest answer that is looked at, in bytes.
pub const ISSUED_BYTES_MAX: usize = 64 * 1024;
/// The longest token in it.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The longest life that is believed.
const LIFE_MAX: Duration = Duration::from_hours(24);

/// A token that a provider has given. It does not print.
pub struct Issued {
    /// As it is shown: visible ASCII without spaces.
    pub token: Box<str>,
    /// For how long, from when it was asked for.
    pub life: Duration,
    /// What kind it is said to be (RFC 8693 section 3), where that is said.
    pub kind: Option<Box<str>>,
}

/// The bearer token of an answer.
///
/// # Errors
/// What is wrong, for the operator; nothing of the answer is in it.
pub fn read_issued(answer: &[u8]) -> Result<Issued, &'static str> {
    let answer = Json::parse(answer).ok_or("the answer is not a JSON object, no member twice")?;
    let text = |name: &str| answer.member(name).and_then(Json::as_text);
    let is_token = |token: &&str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(is_fit)
    };
    let token = text("access_token").filter(is_token).ok_or("the answer has no access token that can be sent")?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("the answer has another `token_type` than Bearer");
    }
    // Without an end nobody could say when to ask for the next.
    let Some(Json::Whole(seconds @ 1..)) = answer.member("expires_in") else {
        return Err("the answer does not say in `expires_in` how long the token is valid");
    };
    let kind = answer.member("issued_token_type").map(|kind| kind.as_text().unwrap_or_default().into());
    Ok(Issued { token: token.into(), life: Duration::from_secs(*seconds).min(LIFE_MAX), kind })
}

#[cfg(test)]
mod tests {
    use super::read_issued;
    use std::time::Duration;

    #[test]
    fn a_token_has_an_end_that_is_believed_for_a_day_at_the_most() {
        let issued = |text: &str| read_issued(text.as_bytes()).ok().unwrap();
        let short = issued(r#"{"access_token":"t.o-k=","token_type":"bearer","expires_in":100}"#);
        assert_eq!((&*short.token, short.life, short.kind), ("t.o-k=", Duration::from_secs(100), None));
        let long = issued(r#"{"access_token":"t","token_type":"Bearer","expires_in":99999999999,"issued_token_type":"urn:a"}"#);
        assert_eq!((long.life, long.kind.as_deref()), (Duration::from_hours(24), Some("urn:a")));
    }

    #[test]
    fn what_is_no_answer_is_no_token() {
        for bad in [
            "",
            "<html>",
            r#"{"access_token":"t","token_type":"Bearer"}"#,
            r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#,
            r#"{"access_token":"t","token_type":"Bearer","expires_in":"60"}"#,
            r#"{"access_token":"t","token_type":"DPoP","expires_in":60}"#,
            r#"{"access_token":"t","token_type":"N_A","expires_in":60}"#,
            r#"{"access_token":"","token_type":"Bearer","expires_in":60}"#,
            "{\"access_token\":\"a\\r\\nx: y\",\"token_type\":\"Bearer\",\"expires_in\":60}",
            r#"{"access_token":"t","access_token":"u","token_type":"Bearer","expires_in":60}"#,
        ] {
            assert!(read_issued(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
