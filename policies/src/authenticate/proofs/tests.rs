use super::replays::InProcess;
use super::{CLOCK_SLACK, Proofs};
use crate::testing::exchange;
use aws_lc_rs::digest::{SHA256, digest};
use portcullis_engines_jose::{Algorithm, Proof, ProofRules};
use portcullis_gateway_policy::{Exchange, Scheme};
use portcullis_model::{Reason, Rejection};
use portcullis_testing_kit::{SigningKey, unix_seconds};
use serde_json::{Value, json};
use std::time::Duration;

const TOKEN: &str = "token";

fn rules(nonces: bool) -> ProofRules {
    ProofRules { algorithms: Algorithm::ALL.into_iter().collect(), age_max: 60, leeway: 5, nonces }
}

fn request(lines: &str, proofs: &[&str], scheme: Scheme) -> Exchange {
    let fields: String = proofs.iter().map(|proof| format!("DPoP: {proof}\r\n")).collect();
    exchange(&format!("{lines}\r\n{fields}\r\n"), scheme)
}

fn judge(proofs: &Proofs, rules: &ProofRules, exchange: &Exchange, key: &SigningKey, now: u64) -> Result<(), Rejection> {
    let example = key.proof("GET", "https://a.test/", Some(TOKEN), &json!({}));
    let print = Proof::parse(example.as_bytes()).unwrap().key;
    let token: [u8; 32] = digest(&SHA256, TOKEN.as_bytes()).as_ref().try_into().unwrap();
    proofs.check(exchange, rules, &print, &token, now)
}

fn reason(outcome: Result<(), Rejection>) -> Option<Reason> {
    outcome.err().map(|rejection| rejection.reason)
}

#[test]
fn a_proof_is_for_one_request_and_shown_once() {
    let (proofs, key, now) = (Proofs::default(), SigningKey::p256("k"), unix_seconds());
    let made = |method: &str, target: &str| key.proof(method, target, Some(TOKEN), &json!({}));
    let with = |proof: &str| {
        let exchange = request("POST /orders/7?x=1 HTTP/1.1\r\nHost: A.test", &[proof], Scheme::Https);
        reason(judge(&proofs, &rules(false), &exchange, &key, now))
    };
    for target in ["https://a.test/orders/7", "https://A.TEST:443/orders/%37", "https://a.test/orders/7?y=2#z"] {
        let proof = made("POST", target);
        assert_eq!((with(&proof), with(&proof)), (None, Some(Reason::ProofInvalid)), "{target}");
    }
    for (method, target) in [
        ("GET", "https://a.test/orders/7"),
        ("post", "https://a.test/orders/7"),
        ("POST", "http://a.test/orders/7"),
        ("POST", "https://a.test:8443/orders/7"),
        ("POST", "https://b.test/orders/7"),
        ("POST", "https://a.test/orders/7/"),
        ("POST", "https://a.test/orders"),
        ("POST", "/orders/7"),
        ("POST", "https://a.test@b.test/orders/7"),
    ] {
        assert_eq!(with(&made(method, target)), Some(Reason::ProofInvalid), "{method} {target}");
    }
    // By plain text and another port.
    let exchange = |proof: &str| request("GET / HTTP/1.1\r\nHost: a.test:8080", &[proof], Scheme::Http);
    let plain = |target: &str| reason(judge(&proofs, &rules(false), &exchange(&made("GET", target)), &key, now));
    assert_eq!((plain("http://a.test:8080"), plain("http://a.test/")), (None, Some(Reason::ProofInvalid)));
}

#[test]
fn there_is_exactly_one_proof() {
    let (proofs, key, now) = (Proofs::default(), SigningKey::p256("k"), unix_seconds());
    let one = || key.proof("GET", "https://a.test/", Some(TOKEN), &json!({}));
    let with = |fields: &[&str]| {
        let exchange = request("GET / HTTP/1.1\r\nHost: a.test", fields, Scheme::Https);
        reason(judge(&proofs, &rules(false), &exchange, &key, now))
    };
    let (first, second) = (one(), one());
    for bad in [vec![], vec![&*first, &*second], vec![&*first, &*first], vec![&*format!("{first}, {second}")], vec![""]] {
        assert_eq!(with(&bad), Some(Reason::ProofInvalid), "{bad:?}");
    }
    assert_eq!(with(&[&first]), None);
}

#[test]
fn what_cannot_be_remembered_is_not_taken() {
    let (key, now) = (SigningKey::p256("k"), unix_seconds());
    let proofs = Proofs { replays: Box::new(InProcess::with(0)), ..Proofs::default() };
    let proof = key.proof("GET", "https://a.test/", Some(TOKEN), &json!({}));
    let exchange = request("GET / HTTP/1.1\r\nHost: a.test", &[&proof], Scheme::Https);
    assert_eq!(reason(judge(&proofs, &rules(false), &exchange, &key, now)), Some(Reason::ProofsExhausted));
    // What is not good takes no room, and is told so.
    let stale = key.proof("GET", "https://a.test/", Some(TOKEN), &json!({ "iat": now - 100 }));
    let exchange = request("GET / HTTP/1.1\r\nHost: a.test", &[&stale], Scheme::Https);
    assert_eq!(reason(judge(&proofs, &rules(false), &exchange, &key, now)), Some(Reason::ProofInvalid));
}

/// A proof of these claims by the key, at a moment of both clocks.
fn at(proofs: &Proofs, rules: &ProofRules, key: &SigningKey, claims: &Value, now: u64, arrived: u64) -> Result<(), Rejection> {
    let proof = key.proof("GET", "https://a.test/", Some(TOKEN), claims);
    let mut exchange = request("GET / HTTP/1.1\r\nHost: a.test", &[&proof], Scheme::Https);
    exchange.arrived = Duration::from_secs(arrived);
    judge(proofs, rules, &exchange, key, now)
}

#[test]
fn a_nonce_is_asked_for_and_ends() {
    let (proofs, key, now) = (Proofs::default(), SigningKey::p256("k"), unix_seconds());
    let ask = |nonce: Option<&str>, arrived: u64| {
        let claims = nonce.map_or(json!({}), |nonce| json!({ "nonce": nonce }));
        at(&proofs, &rules(true), &key, &claims, now, arrived)
    };
    let refused = ask(None, 100).unwrap_err();
    assert_eq!(refused.reason, Reason::ProofNonceNeeded);
    let nonce = refused.nonce.unwrap();
    assert_eq!((ask(Some(&nonce), 100), ask(Some(&nonce), 179)), (Ok(()), Ok(())));
    let later = ask(Some(&nonce), 180).unwrap_err();
    assert_eq!(later.reason, Reason::ProofNonceNeeded);
    assert!(ask(Some(&later.nonce.unwrap()), 180).is_ok() && ask(Some("0"), 180).is_err());
}

#[test]
fn a_clock_that_is_put_back_makes_no_old_proof_good_again() {
    let (proofs, key, now) = (Proofs::default(), SigningKey::p256("k"), unix_seconds());
    let old = json!({ "jti": "old", "iat": now });
    assert!(at(&proofs, &rules(false), &key, &old, now, 0).is_ok());
    // Remembered for its time and a little longer, whatever the clock says.
    let again = |now: u64, arrived: u64| at(&proofs, &rules(false), &key, &old, now, arrived).unwrap_err().reason;
    assert_eq!(again(now + 60, 60), Reason::ProofInvalid);
    assert_eq!(again(now + 60, 60 + CLOCK_SLACK), Reason::ProofInvalid);
    // Ten minutes later it is forgotten, and the clock is put back to when it was good.
    let next = json!({ "iat": now + 600 });
    assert!(at(&proofs, &rules(false), &key, &next, now + 600, 600).is_ok());
    assert_eq!(again(now + 5, 605), Reason::ProofNonceNeeded);
    // Who asks anew is served meanwhile.
    let refused = at(&proofs, &rules(false), &key, &json!({ "iat": now + 5 }), now + 5, 605).unwrap_err();
    let anew = json!({ "iat": now + 5, "nonce": refused.nonce.unwrap() });
    assert!(at(&proofs, &rules(false), &key, &anew, now + 5, 605).is_ok());
}
