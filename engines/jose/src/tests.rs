use crate::{Algorithm, Fault, Holding, KEY_SET_BYTES_MAX, KeySet, KeySetFault, Rules, TOKEN_BYTES_MAX, Token, TokenType, Unfit};
use crate::{check_claims, verify_signature};
use portcullis_testing_kit::{SigningKey, base64url, claims_at, key_set};
use serde_json::{Value, json};
use std::sync::OnceLock;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://id.test";

fn rsa() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::rsa("r1"))
}

fn claims() -> Value {
    claims_at(NOW, ISSUER, "https://api.test")
}

fn rules() -> Rules {
    Rules {
        issuer: ISSUER.into(),
        algorithms: Algorithm::ALL.into_iter().collect(),
        types: [TokenType::AccessToken].into(),
        holdings: [Holding::Bearer].into_iter().collect(),
        leeway: 30,
        lifetime_max: 86_400,
    }
}

fn keys(keys: &[&SigningKey]) -> KeySet {
    KeySet::parse(key_set(keys).as_bytes()).unwrap().0
}

fn judge_with(token: &str, keys: &KeySet, rules: &Rules) -> Result<(), Fault> {
    let token = Token::parse(token.as_bytes())?;
    check_claims(&token, rules, NOW)?;
    verify_signature(&token, keys).map(|_| ())
}

fn judge(token: &str) -> Result<(), Fault> {
    judge_with(token, &keys(&[rsa()]), &rules())
}

/// The claims with some of them replaced; `null` takes one away.
fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[test]
fn tokens_of_every_kind_of_key_are_verified() {
    let (ec, ed) = (SigningKey::p256("e1"), SigningKey::ed25519("d1"));
    let all = keys(&[rsa(), &ec, &ed]);
    for key in [rsa(), &ec, &ed] {
        assert_eq!(judge_with(&key.token(&claims()), &all, &rules()), Ok(()), "{}", key.id);
        let (token, other) = (key.token(&claims()), key.token(&with(&json!({ "sub": "root" }))));
        let (signed, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{signature}");
        assert_eq!(judge_with(&forged, &all, &rules()), Err(Fault::SignatureWrong), "{}", key.id);
    }
    // By the other name of RFC 9864, and by a key that does not name its algorithm.
    let header = json!({ "alg": "Ed25519", "kid": "d1", "typ": "application/AT+JWT" });
    assert_eq!(judge_with(&ed.sign(&header, &claims()), &all, &rules()), Ok(()));
    let mut jwk = rsa().jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let open = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap().0;
    for algorithm in ["RS256", "RS384", "PS256"] {
        let header = json!({ "alg": algorithm, "kid": "r1", "typ": "at+jwt" });
        assert_eq!(judge_with(&rsa().sign(&header, &claims()), &open, &rules()), Ok(()), "{algorithm}");
    }
}

#[test]
fn e101_the_token_does_not_choose_its_algorithm() {
    let signed_by = |algorithm: &str| rsa().sign(&json!({ "alg": algorithm, "kid": "r1", "typ": "at+jwt" }), &claims());
    for algorithm in ["none", "None", "nOnE", "NONE", "HS256", "HS384", "HS512", "RS1", "rs256", "RS256 ", "ES256K", "", "dir"] {
        let refused = judge(&signed_by(algorithm)).unwrap_err();
        assert!(matches!(refused, Fault::AlgorithmRefused | Fault::HeaderMalformed), "{algorithm}: {refused}");
    }
    // Another algorithm than the key says, or than the key can be used with.
    for algorithm in ["RS384", "PS256", "ES256", "EdDSA"] {
        assert_eq!(judge(&signed_by(algorithm)), Err(Fault::KeyUnfit), "{algorithm}");
    }
    // One that the issuer does not use, although the key fits.
    let only = Rules { algorithms: [Algorithm::Es256].into_iter().collect(), ..rules() };
    assert_eq!(judge_with(&rsa().token(&claims()), &keys(&[rsa()]), &only), Err(Fault::AlgorithmRefused));
    // Without a signature.
    let token = rsa().token(&claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(judge(&format!("{signed}.")), Err(Fault::NotCompact));
    assert_eq!(judge(signed), Err(Fault::NotCompact));
}

#[test]
fn e102_a_key_never_comes_from_the_token() {
    let attacker = SigningKey::rsa("r1");
    for (name, value) in [
        ("jwk", attacker.jwk()),
        ("jku", json!("https://evil.test/keys")),
        ("x5u", json!("https://evil.test/chain")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("jwk", Value::Null),
    ] {
        let mut header = attacker.header();
        header[name] = value;
        assert_eq!(judge(&attacker.sign(&header, &claims())), Err(Fault::HeaderForbidden), "{name}");
        assert_eq!(judge(&rsa().sign(&header, &claims())), Err(Fault::HeaderForbidden), "{name}, well signed");
    }
    assert_eq!(judge(&attacker.token(&claims())), Err(Fault::SignatureWrong));
}

#[test]
fn e103_a_key_id_is_only_compared() {
    for id in ["../../../../dev/null", "' UNION SELECT 'a", "https://evil.test/k", "R1", "r1 ", "r", "r11"] {
        let header = json!({ "alg": "RS256", "kid": id, "typ": "at+jwt" });
        assert_eq!(judge(&rsa().sign(&header, &claims())), Err(Fault::KeyUnknown), "{id}");
    }
    for id in [json!("r1\u{0}"), json!({ "r1": 1 }), json!(["r1"]), json!(1), json!(""), json!("a".repeat(600)), Value::Null] {
        let header = json!({ "alg": "RS256", "kid": id, "typ": "at+jwt" });
        assert_eq!(judge(&rsa().sign(&header, &claims())), Err(Fault::HeaderMalformed), "{id}");
    }
    let header = json!({ "alg": "RS256", "kid": "a".repeat(1 << 20), "typ": "at+jwt" });
    assert_eq!(judge(&rsa().sign(&header, &claims())), Err(Fault::TooLong));
    // Without an id there must be no doubt.
    let header = json!({ "alg": "RS256", "typ": "at+jwt" });
    assert_eq!(judge(&rsa().sign(&header, &claims())), Ok(()));
    let two = keys(&[rsa(), &SigningKey::rsa("r2")]);
    assert_eq!(judge_with(&rsa().sign(&header, &claims()), &two, &rules()), Err(Fault::KeyUnfit));
}

#[test]
fn e104_claims_have_their_types_and_each_is_there_once() {
    for (changes, fault) in [
        (json!({ "aud": 1 }), Fault::ClaimsMalformed),
        (json!({ "aud": [] }), Fault::ClaimsMalformed),
        (json!({ "aud": ["https://api.test", 1] }), Fault::ClaimsMalformed),
        (json!({ "aud": {} }), Fault::ClaimsMalformed),
        (json!({ "aud": null }), Fault::ClaimMissing),
        (json!({ "exp": "1900000000" }), Fault::ClaimsMalformed),
        (json!({ "exp": 1_800_000_100.5 }), Fault::ClaimsMalformed),
        (json!({ "exp": -1 }), Fault::ClaimsMalformed),
        (json!({ "exp": 9_007_199_254_740_993_u64 }), Fault::ClaimsMalformed),
        (json!({ "exp": null }), Fault::ClaimMissing),
        (json!({ "exp": 253_402_300_799_u64 }), Fault::LivesTooLong),
        (json!({ "exp": NOW - 30 }), Fault::Expired),
        (json!({ "nbf": NOW + 31 }), Fault::NotYet),
        (json!({ "iat": NOW + 31 }), Fault::NotYet),
        (json!({ "nbf": "1" }), Fault::ClaimsMalformed),
        (json!({ "iat": true }), Fault::ClaimsMalformed),
        (json!({ "iat": null }), Fault::ClaimMissing),
        (json!({ "sub": "" }), Fault::ClaimsMalformed),
        (json!({ "sub": "a\u{0}b" }), Fault::ClaimsMalformed),
        (json!({ "sub": "a\r\nX: b" }), Fault::ClaimsMalformed),
        (json!({ "sub": ["alice"] }), Fault::ClaimsMalformed),
        (json!({ "sub": null }), Fault::ClaimMissing),
        (json!({ "jti": null }), Fault::ClaimMissing),
        (json!({ "client_id": null }), Fault::ClaimMissing),
        (json!({ "client_id": 7 }), Fault::ClaimsMalformed),
        (json!({ "iss": "https://id.test/" }), Fault::IssuerOther),
        (json!({ "iss": "https://ID.test" }), Fault::IssuerOther),
        (json!({ "iss": ["https://id.test"] }), Fault::ClaimsMalformed),
        (json!({ "cnf": { "jkt": "x" } }), Fault::ClaimsMalformed),
        (json!({ "cnf": { "jkt": "A".repeat(43) } }), Fault::Bound),
        (json!({ "cnf": { "kid": "a" } }), Fault::Bound),
    ] {
        assert_eq!(judge(&rsa().token(&with(&changes))), Err(fault), "{changes}");
    }
    for changes in
        [json!({ "exp": NOW - 29 }), json!({ "nbf": NOW + 30 }), json!({ "aud": ["a", "b"] }), json!({ "exp": NOW + 86_430 })]
    {
        assert_eq!(judge(&rsa().token(&with(&changes))), Ok(()), "{changes}");
    }
    let raw = |claims: &str| judge(&rsa().sign_raw(&rsa().header().to_string(), claims, "RS256"));
    let text = claims().to_string();
    for wrong in [
        text.replacen('{', "{\"exp\":1,", 1),
        text.replacen("\"exp\":1800000600", "\"exp\":1e400", 1),
        text.replacen("\"exp\":1800000600", "\"exp\":NaN", 1),
        text.replacen("\"exp\":1800000600", "\"exp\":1.8e9", 1),
        format!("{text} x"),
        format!("[{text}]"),
        format!("{}{text}", '\u{feff}'),
        text.replacen('{', &format!("{{\"deep\":{}{},", "[".repeat(500), "]".repeat(500)), 1),
        "null".to_owned(),
        String::new(),
    ] {
        assert_eq!(raw(&wrong), Err(Fault::ClaimsMalformed), "{}", wrong.get(..60).unwrap_or(&wrong));
    }
    let header = r#"{"alg":"none","alg":"RS256","kid":"r1","typ":"at+jwt"}"#;
    assert_eq!(judge(&rsa().sign_raw(header, &text, "RS256")), Err(Fault::HeaderMalformed));
}

#[test]
fn e105_encrypted_tokens_cost_nothing() {
    let header = base64url(
        json!({ "alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2_147_483_647, "p2s": "x" }).to_string().as_bytes(),
    );
    assert_eq!(judge(&format!("{header}.a.b.c.d")), Err(Fault::Encrypted));
    assert_eq!(judge(&format!("{header}.{}.a", base64url(b"{}"))), Err(Fault::HeaderForbidden));
}

#[test]
fn e107_what_is_no_token_is_seen_at_once() {
    for text in [String::new(), ".".to_owned(), "..".to_owned(), ".".repeat(TOKEN_BYTES_MAX), "a.b.c".to_owned(), "a..".to_owned()]
    {
        assert!(judge(&text).is_err(), "{}", text.len());
    }
    assert_eq!(judge(&".".repeat(1 << 20)), Err(Fault::TooLong));
    let long = with(&json!({ "x": "a".repeat(TOKEN_BYTES_MAX) }));
    assert_eq!(judge(&rsa().token(&long)), Err(Fault::TooLong));
    // Another spelling of the same bytes is another token.
    let token = rsa().token(&claims());
    for wrong in [format!("{token}="), format!("{token}\n"), format!(" {token}"), token.replacen('.', "..", 1), format!("{token}.")]
    {
        assert!(judge(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn only_access_tokens_are_taken_also_where_their_type_is_not_said() {
    let jwt = Rules { types: [TokenType::Jwt].into(), ..rules() };
    let keys = keys(&[rsa()]);
    let judge = |typ: Value, changes: &Value, rules: &Rules| {
        let mut header = json!({ "alg": "RS256", "kid": "r1" });
        if !typ.is_null() {
            header["typ"] = typ;
        }
        judge_with(&rsa().sign(&header, &with(changes)), &keys, rules)
    };
    let none = json!({});
    for typ in [json!("JWT"), json!("jwt"), json!("application/jwt"), Value::Null] {
        assert_eq!(judge(typ.clone(), &none, &jwt), Ok(()), "{typ}");
        assert_eq!(judge(typ, &none, &rules()), Err(Fault::TypeRefused));
    }
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "id_token+jwt", "JWE", "jose", "at+jwt", "at+jwt "] {
        assert_eq!(judge(json!(typ), &none, &jwt), Err(Fault::TypeRefused), "{typ}");
    }
    for changes in [
        json!({ "nonce": "n" }),
        json!({ "at_hash": "h" }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
        json!({ "htm": "GET", "htu": "https://api.test/" }),
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "typ": 1 }),
    ] {
        assert_eq!(judge(json!("JWT"), &changes, &jwt), Err(Fault::NotForAccess), "{changes}");
    }
    assert_eq!(judge(json!("JWT"), &json!({ "typ": "Bearer", "azp": "shop", "client_id": null }), &jwt), Ok(()));
}

fn set(keys: Value) -> Result<(KeySet, Vec<(usize, Unfit)>), KeySetFault> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn e109_keys_that_are_wrong_weak_or_for_something_else_are_not_used() {
    let good = SigningKey::p256("good").jwk();
    let changed = |changes: &[(&str, Value)]| {
        let mut jwk = SigningKey::p256("k").jwk();
        changes.iter().for_each(|(name, value)| jwk[*name] = value.clone());
        jwk
    };
    let x = |length: usize| json!(base64url(&vec![7; length]));
    for (jwk, why) in [
        (changed(&[("y", x(32))]), Unfit::Malformed),
        (changed(&[("x", x(31))]), Unfit::Malformed),
        (changed(&[("x", x(33))]), Unfit::Malformed),
        (changed(&[("alg", json!("RS256"))]), Unfit::Malformed),
        (changed(&[("alg", json!("ES384"))]), Unfit::Malformed),
        (changed(&[("kty", json!(1))]), Unfit::Malformed),
        (changed(&[("kid", json!(1))]), Unfit::Malformed),
        (changed(&[("d", x(32))]), Unfit::Private),
        (json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }), Unfit::Private),
        (changed(&[("use", json!("enc"))]), Unfit::ForOther),
        (changed(&[("key_ops", json!(["sign"]))]), Unfit::ForOther),
        (changed(&[("key_ops", json!("verify"))]), Unfit::Malformed),
        (changed(&[("alg", json!("ECDH-ES"))]), Unfit::ForOther),
        (changed(&[("crv", json!("secp256k1"))]), Unfit::ForOther),
        (json!({ "kty": "RSA", "n": base64url(&[0xff; 128]), "e": "AQAB" }), Unfit::Malformed),
        (json!({ "kty": "RSA", "n": base64url(&[0xff; 256]), "e": "AQ" }), Unfit::Malformed),
        (json!({ "kty": "RSA", "n": base64url(&[0xff; 2048]), "e": "AQAB" }), Unfit::Malformed),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": x(31) }), Unfit::Malformed),
        (json!("k"), Unfit::Malformed),
    ] {
        let (keys, unfit) = set(json!([jwk, good])).unwrap();
        assert_eq!((keys.len(), unfit), (1, vec![(0, why)]), "{jwk}");
    }
}

#[test]
fn a_key_set_is_bounded_and_clear() {
    let key = SigningKey::p256("k");
    assert_eq!(set(json!([key.jwk(), key.jwk()])).unwrap().0.len(), 1, "the same key twice is one");
    assert_eq!(set(json!([key.jwk(), SigningKey::p256("k").jwk()])).unwrap_err(), KeySetFault::Ambiguous);
    assert_eq!(set(json!([key.jwk(), rsa().jwk(), SigningKey::ed25519("k").jwk()])).unwrap().0.len(), 3, "one id, two kinds");
    assert_eq!(set(json!([])).unwrap_err(), KeySetFault::NoKey);
    assert_eq!(set(json!(vec![key.jwk(); 1025])).unwrap_err(), KeySetFault::TooMany);
    for bad in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", "<html>", "null", "{\"keys\":[]} x"] {
        assert!(matches!(KeySet::parse(bad.as_bytes()), Err(KeySetFault::NotASet | KeySetFault::NoKey)), "{bad}");
    }
    assert_eq!(KeySet::parse(&vec![b' '; KEY_SET_BYTES_MAX + 1]).unwrap_err(), KeySetFault::TooLong);
    let mark = |keys: &KeySet| verify_signature(&Token::parse(key.token(&claims()).as_bytes()).unwrap(), keys).unwrap();
    let (one, two) = (keys(&[&key, rsa()]), keys(&[&key]));
    assert_eq!(mark(&one), mark(&two));
    assert!(one.has(&mark(&two)) && !keys(&[rsa()]).has(&mark(&two)));
}
