//! Key sets in files.

use portcullis_engines_jose::{KEY_SET_BYTES_MAX, KeySet, Unfit};
use portcullis_gateway_policy::{FileContent, FileFormat, FileProblem};

/// How such files are read.
pub const KEYS: FileFormat = FileFormat { bytes_max: KEY_SET_BYTES_MAX as u64, read: |bytes| read(bytes).map(FileContent::new) };

/// A JSON Web Key Set. Keys for something else may stand in it; one that is wrong, or that somebody could sign with, may not.
fn read(bytes: &[u8]) -> Result<KeySet, Vec<FileProblem>> {
    let problem = |what: String| FileProblem { line: None, what };
    let (keys, unfit) = KeySet::parse(bytes).map_err(|fault| vec![problem(fault.as_str().to_owned())])?;
    let problems: Vec<FileProblem> = unfit
        .into_iter()
        .filter_map(|(at, why)| match why {
            Unfit::ForOther => None,
            Unfit::Private => Some(format!("key {} of the set is private or shared; leave it out and withdraw it", at + 1)),
            Unfit::Malformed => {
                Some(format!("key {} of the set is not well-formed or too weak; correct it or leave it out", at + 1))
            }
        })
        .map(problem)
        .collect();
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::read;
    use portcullis_testing_kit::{SigningKey, key_set};
    use serde_json::json;

    #[test]
    fn keys_that_could_sign_are_not_for_a_gateway() {
        let key = SigningKey::p256("k");
        assert_eq!(read(key_set(&[&key]).as_bytes()).unwrap().len(), 1);
        let with = |other: serde_json::Value| read(json!({ "keys": [key.jwk(), other] }).to_string().as_bytes());
        assert_eq!(with(json!({ "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" })).unwrap().len(), 1);
        for (other, said) in [
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), "key 2 of the set is private or shared"),
            (json!({ "kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ" }), "key 2 of the set is not well-formed"),
        ] {
            assert!(with(other).unwrap_err()[0].what.starts_with(said), "{said}");
        }
        assert!(read(b"").unwrap_err()[0].what.contains("not a JSON Web Key Set"));
    }
}
