use super::{Proof, ProofFault, ProofRules, key_thumbprint};
use crate::{Algorithm, Json};
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_testing_kit::{SigningKey, base64url};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

/// The proof of RFC 9449 section 7.1, and the token that goes with it.
const EXAMPLE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const EXAMPLE_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
/// The thumbprint of its key, by section 6.1.
const EXAMPLE_KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn hash(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap()
}

fn rules() -> ProofRules {
    ProofRules { algorithms: Algorithm::ALL.into_iter().collect(), age_max: 60, leeway: 5, nonces: false }
}

fn header(key: &SigningKey) -> Value {
    let mut jwk = key.jwk();
    ["kid", "use", "alg"].iter().for_each(|name| drop(jwk.as_object_mut().unwrap().remove(*name)));
    json!({ "typ": "dpop+jwt", "alg": key.algorithm(), "jwk": jwk })
}

fn claims() -> Value {
    json!({ "jti": "1", "htm": "GET", "htu": "https://a.test/", "iat": NOW, "ath": base64url(&hash("token")) })
}

fn changed(mut value: Value, name: &str, to: Option<Value>) -> Value {
    match to {
        Some(to) => value[name] = to,
        None => drop(value.as_object_mut().unwrap().remove(name)),
    }
    value
}

#[test]
fn the_example_of_the_standard_is_a_proof() {
    let proof = Proof::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(proof.verify(), Ok(()));
    assert_eq!(base64url(&proof.key), EXAMPLE_KEY);
    assert_eq!((&*proof.method, &*proof.target), ("GET", "https://resource.example.org/protectedresource"));
    assert_eq!((&*proof.id, proof.issued, proof.nonce.as_deref()), ("e1j3V_bKic8-LAEB", 1_562_262_618, None));
    let checked = |token: &str, now: u64| proof.check(&rules(), &proof.key, &hash(token), now);
    assert_eq!(checked(EXAMPLE_TOKEN, 1_562_262_618), Ok(()));
    assert_eq!(checked("another", 1_562_262_618), Err(ProofFault::TokenOther));
    assert_eq!(checked(EXAMPLE_TOKEN, NOW), Err(ProofFault::Stale));
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    // Its section 3.1, with members that do not count.
    let jwk = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    let print = key_thumbprint(&Json::parse(jwk.as_bytes()).unwrap()).unwrap();
    assert_eq!(base64url(&print), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn every_kind_of_key_proves() {
    for key in [SigningKey::p256("k"), SigningKey::rsa("k"), SigningKey::ed25519("k")] {
        let text = key.sign(&header(&key), &claims());
        let proof = Proof::parse(text.as_bytes()).unwrap();
        assert_eq!(proof.verify(), Ok(()), "{}", key.algorithm());
        assert_eq!(proof.check(&rules(), &proof.key, &hash("token"), NOW), Ok(()));
        let few = ProofRules { algorithms: [Algorithm::Ps512].into_iter().collect(), ..rules() };
        assert_eq!(proof.check(&few, &proof.key, &hash("token"), NOW), Err(ProofFault::AlgorithmRefused));
        assert_eq!(proof.check(&rules(), &[0; 32], &hash("token"), NOW), Err(ProofFault::KeyOther));
        let other = SigningKey::p256("k");
        let forged = other.sign(&header(&key), &claims());
        assert!(Proof::parse(forged.as_bytes()).unwrap().verify().is_err());
    }
}

#[test]
fn it_is_worth_something_for_a_moment() {
    let key = SigningKey::p256("k");
    let text = key.sign(&header(&key), &claims());
    let proof = Proof::parse(text.as_bytes()).unwrap();
    let at = |now: u64| proof.check(&rules(), &proof.key, &hash("token"), now);
    assert_eq!((at(NOW - 5), at(NOW + 60)), (Ok(()), Ok(())));
    assert_eq!((at(NOW - 6), at(NOW + 61)), (Err(ProofFault::NotYet), Err(ProofFault::Stale)));
}

#[test]
fn what_its_header_may_not_say() {
    let key = SigningKey::p256("k");
    let jwk = |name: &str, to: Option<Value>| {
        let jwk = changed(header(&key)["jwk"].clone(), name, to);
        changed(header(&key), "jwk", Some(jwk))
    };
    for (header, fault) in [
        (changed(header(&key), "typ", Some(json!("at+jwt"))), ProofFault::TypeRefused),
        (changed(header(&key), "typ", Some(json!("DPOP+JWT"))), ProofFault::TypeRefused),
        (changed(header(&key), "typ", None), ProofFault::TypeRefused),
        (changed(header(&key), "alg", Some(json!("none"))), ProofFault::AlgorithmRefused),
        (changed(header(&key), "alg", Some(json!("HS256"))), ProofFault::AlgorithmRefused),
        (changed(header(&key), "alg", Some(json!("ES384"))), ProofFault::KeyUnfit),
        (changed(header(&key), "alg", Some(json!("RS256"))), ProofFault::KeyUnfit),
        (changed(header(&key), "alg", None), ProofFault::HeaderMalformed),
        (changed(header(&key), "jwk", None), ProofFault::KeyUnfit),
        (changed(header(&key), "jwk", Some(json!("x"))), ProofFault::KeyUnfit),
        (changed(header(&key), "jku", Some(json!("https://a.test/"))), ProofFault::HeaderForbidden),
        (changed(header(&key), "crit", Some(json!(["b64"]))), ProofFault::HeaderForbidden),
        (changed(header(&key), "x5c", Some(json!([]))), ProofFault::HeaderForbidden),
        (jwk("d", Some(json!("AQ"))), ProofFault::KeyPrivate),
        (jwk("k", Some(json!("AQ"))), ProofFault::KeyPrivate),
        (jwk("kty", Some(json!("oct"))), ProofFault::KeyPrivate),
        (jwk("crv", Some(json!("secp256k1"))), ProofFault::KeyUnfit),
        (jwk("x", Some(json!("AQ"))), ProofFault::KeyUnfit),
        (jwk("alg", Some(json!("ES512"))), ProofFault::KeyUnfit),
        (jwk("use", Some(json!("enc"))), ProofFault::KeyUnfit),
    ] {
        let text = key.sign(&header, &claims());
        assert_eq!(Proof::parse(text.as_bytes()).unwrap_err(), fault, "{header}");
    }
    // A point that is not on its curve.
    let off = jwk("x", Some(json!(base64url(&[1; 32]))));
    let text = key.sign(&off, &claims());
    assert_eq!(Proof::parse(text.as_bytes()).unwrap().verify(), Err(ProofFault::SignatureWrong));
}

#[test]
fn what_its_claims_must_say() {
    let key = SigningKey::p256("k");
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        let text = key.sign(&header(&key), &changed(claims(), name, None));
        assert_eq!(Proof::parse(text.as_bytes()).unwrap_err(), ProofFault::ClaimMissing, "{name}");
    }
    for (name, to) in [
        ("jti", json!("")),
        ("jti", json!("x".repeat(257))),
        ("jti", json!("a\u{0}")),
        ("jti", json!(1)),
        ("htm", json!(["GET"])),
        ("htu", json!(null)),
        ("iat", json!("1800000000")),
        ("iat", json!(1_800_000_000.5)),
        ("iat", json!(u64::MAX)),
        ("ath", json!("AQ")),
        ("nonce", json!(7)),
        ("nonce", json!("n".repeat(257))),
    ] {
        let text = key.sign(&header(&key), &changed(claims(), name, Some(to.clone())));
        assert_eq!(Proof::parse(text.as_bytes()).unwrap_err(), ProofFault::ClaimsMalformed, "{name} {to}");
    }
}

#[test]
fn what_is_no_proof_costs_nothing() {
    let key = SigningKey::p256("k");
    let good = key.sign(&header(&key), &claims());
    for bad in [String::new(), ".".repeat(8000), format!("{good}."), format!("{good}="), good.replace('.', ".."), good.repeat(2)] {
        assert_eq!(Proof::parse(bad.as_bytes()).unwrap_err(), ProofFault::NotCompact, "{bad}");
    }
    assert_eq!(Proof::parse(&vec![b'.'; 9000]).unwrap_err(), ProofFault::TooLong);
    let twice = r#"{"jti":"1","jti":"2","htm":"GET","htu":"https://a.test/","iat":1,"ath":""}"#;
    let text = key.sign_raw(&header(&key).to_string(), twice, "ES256");
    assert_eq!(Proof::parse(text.as_bytes()).unwrap_err(), ProofFault::ClaimsMalformed);
}
