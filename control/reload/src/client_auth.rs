//! How the gateway proves to a provider who it is: by a secret (RFC 6749 section 2.3.1), or by what it signs with a private key (RFC 7523 section 2.2).
//! What is found where the configuration says decides, so that it can be changed there without a reload.

use portcullis_engines_jose::{SigningKeys, base64url};
use portcullis_gateway_policy::SecretSource;
use portcullis_gateway_upstream::PostedForm;
use portcullis_model::Secret;
use serde_json::json;
use std::io::Read;
use std::sync::Arc;

/// The longest secret or key.
const SECRET_BYTES_MAX: usize = 4096;
/// How long an assertion is good, in seconds: for one question.
const ASSERTION_LIFE: u64 = 60;

/// Looks up a variable of the environment.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the gateway has to prove itself with.
pub(crate) enum ClientProof {
    /// A secret, which the provider knows too.
    Secret(Secret<String>),
    /// A private key, of which the provider knows the public half.
    Key(Box<SigningKeys>),
}

impl ClientProof {
    /// Finds it: one line, without its end, or a private key in PEM.
    ///
    /// # Errors
    /// What is wrong, without a word of what is there.
    pub(crate) fn find(source: &SecretSource, environment: &Environment) -> Result<Self, String> {
        let text = text_of(source, environment)?;
        // SECURITY: what looks like a key is never sent as a secret.
        if text.reveal().contains("-----BEGIN") {
            let keys =
                SigningKeys::read(text.reveal().as_bytes()).map_err(|fault| format!("it looks like a private key, and {fault}"))?;
            return Ok(Self::Key(Box::new(keys)));
        }
        one_line(&text).map(Self::Secret)
    }

    /// A form for a provider, with the proof that it comes from the client of this name.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn form(&self, body: Secret<Vec<u8>>, client_id: &str, issuer: &str, now: u64) -> Result<PostedForm, String> {
        match self {
            Self::Secret(secret) => Ok(PostedForm::by_client(body, client_id, secret)),
            Self::Key(keys) => {
                let assertion = assertion(keys, client_id, issuer, now).ok_or("the system gives no random bytes")?;
                Ok(PostedForm::by_assertion(body, client_id, &assertion))
            }
        }
    }
}

/// A secret of one line, without its end.
///
/// # Errors
/// What is wrong, without a word of what is there.
pub(crate) fn secret(source: &SecretSource, environment: &Environment) -> Result<Secret<String>, String> {
    one_line(&text_of(source, environment)?)
}

fn text_of(source: &SecretSource, environment: &Environment) -> Result<Secret<String>, String> {
    match source {
        SecretSource::Env(name) => {
            environment(name).map(Secret::new).ok_or_else(|| format!("there is no variable `{name}` in the environment"))
        }
        SecretSource::File(path) => {
            let mut text = String::new();
            let read = std::fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX as u64 + 2).read_to_string(&mut text));
            read.map_err(|error| format!("`{}` cannot be read: {}", path.display(), error.kind()))?;
            Ok(Secret::new(text))
        }
    }
}

fn one_line(text: &Secret<String>) -> Result<Secret<String>, String> {
    let bare = text.reveal().trim_end_matches(['\r', '\n']);
    if bare.is_empty() || bare.len() > SECRET_BYTES_MAX || bare.chars().any(char::is_control) {
        return Err(format!("it is not one line of 1 to {SECRET_BYTES_MAX} bytes"));
    }
    Ok(Secret::new(bare.to_owned()))
}

/// What the client signs of itself, for this provider alone: for its issuer and nothing else, so that no other one could use it.
fn assertion(keys: &SigningKeys, client_id: &str, issuer: &str, now: u64) -> Option<String> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).ok()?;
    let end = now.saturating_add(ASSERTION_LIFE);
    let claims = json!({ "iss": client_id, "sub": client_id, "aud": issuer, "jti": base64url(&id), "iat": now, "exp": end });
    keys.first().sign("JWT", &claims)
}

#[cfg(test)]
mod tests {
    use super::{ClientProof, Environment};
    use portcullis_gateway_policy::SecretSource;
    use std::sync::Arc;

    #[test]
    fn what_is_found_decides_how_the_client_proves_itself() {
        let find = |text: &'static str| {
            let environment: Environment = Arc::new(move |_| Some(text.to_owned()));
            ClientProof::find(&SecretSource::Env("A".to_owned()), &environment)
        };
        assert!(matches!(find("secret\r\n"), Ok(ClientProof::Secret(secret)) if secret.reveal() == "secret"));
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGq27VlW4C/Lbhjk5aHORVuUmHiJ67fv/CTc+Xty6188\n-----END PRIVATE KEY-----\n";
        assert!(matches!(find(key), Ok(ClientProof::Key(_))));
        // A damaged key is no secret, and nothing of it is told.
        let told = find("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----").err().unwrap();
        assert!(told.starts_with("it looks like a private key, and ") && !told.contains("MC4"), "{told}");
        for bad in ["", "\n", "two\nlines"] {
            assert!(find(bad).is_err(), "{bad:?}");
        }
    }
}
