use super::{SIGNING_KEYS, compile, publish};
use crate::testing::{access, exchange};
use portcullis_engines_jose::Token;
use portcullis_gateway_policy::{
    CredentialsContext, CredentialsPlan, Exchange, LiveFile, LiveFiles, Policy, Scheme, SignPlan, SignerPlan, StatePool, Step,
    Verdict,
};
use portcullis_model::{Principal, Reason};
use portcullis_wire::KnownName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const NOW: u64 = 1_795_521_600;
const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGq27VlW4C/Lbhjk5aHORVuUmHiJ67fv/CTc+Xty6188\n-----END PRIVATE KEY-----\n";

fn plan() -> SignPlan {
    let signer = SignerPlan { name: "gw".into(), issuer: "https://gw.test".into(), host: "gw.test".into(), keys: "k.pem".into() };
    SignPlan { signer: Arc::new(signer), audience: "https://orders.test".into(), life: Duration::from_mins(1) }
}

fn files() -> LiveFiles {
    let mut files = LiveFiles::default();
    files.insert(PathBuf::from("k.pem"), Arc::new(LiveFile::new((SIGNING_KEYS.read)(KEY.as_bytes()).map_err(drop).unwrap())));
    files
}

fn policy(is_public: bool) -> Arc<dyn Policy> {
    let (plan, (_, words)) = (CredentialsPlan::Sign(plan()), access(&["corp"], &["corp/reader"], &["a"]));
    let (files, pool) = (files(), StatePool::default());
    compile(&CredentialsContext { plan: &plan, is_public, words: &words, files: &files, pool: &pool }).unwrap()
}

fn caller(subject: &str, ends: u64) -> Principal {
    let (_, words) = access(&["corp"], &["corp/reader"], &["a"]);
    Principal {
        provider: "corp".into(),
        subject: subject.into(),
        client: None,
        consumer: None,
        grants: words.grants("corp", ["reader"], ["a"]),
        expires_unix_seconds: ends,
        issued_unix_seconds: 0,
        marks: Box::default(),
        ends_unix_seconds: ends,
    }
}

/// What stands in `Authorization` behind the policy, at a time.
fn shown(policy: &dyn Policy, caller: Option<Principal>, now: u64) -> Result<Option<String>, Reason> {
    let mut exchange: Exchange =
        exchange("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer of-the-client\r\n\r\n", Scheme::Https);
    exchange.record.started_unix_micros = now * 1_000_000;
    caller.into_iter().for_each(|caller| exchange.identify(Arc::new(caller)));
    let Step::Ready(verdict) = policy.on_request(&mut exchange) else { panic!("it is waited for") };
    match verdict {
        Verdict::Continue => {
            let mut values = exchange.request.fields().values(KnownName::Authorization);
            let value = values.next().map(|value| String::from_utf8(value.to_vec()).unwrap());
            assert!(values.next().is_none());
            Ok(value)
        }
        Verdict::Reject(rejection) => Err(rejection.reason),
        Verdict::Respond(_) => panic!("it answers"),
    }
}

#[test]
fn a_token_is_used_again_until_a_quarter_of_its_life_is_left() {
    let policy = policy(false);
    let at = |now: u64| shown(&*policy, Some(caller("alice", u64::MAX)), now).unwrap().unwrap();
    let first = at(NOW);
    assert_eq!((at(NOW + 44), at(NOW + 44)), (first.clone(), first.clone()));
    let second = at(NOW + 45);
    assert_ne!(second, first);
    // What was signed by a clock that ran ahead is of the future.
    assert_ne!(at(NOW), second);
    let claims = |shown: &str| {
        let token = Token::parse(shown.strip_prefix("Bearer ").unwrap().as_bytes()).unwrap();
        (token.claims.subject.to_string(), token.claims.issued, token.claims.expires)
    };
    assert_eq!(claims(&second), ("corp/alice".to_owned(), Some(NOW + 45), NOW + 105));
    // It ends with the credential of its caller, and belongs to one caller.
    let short = shown(&*policy, Some(caller("alice", NOW + 10)), NOW).unwrap().unwrap();
    assert_eq!(claims(&short), ("corp/alice".to_owned(), Some(NOW), NOW + 10));
    let other = shown(&*policy, Some(caller("bob", u64::MAX)), NOW).unwrap().unwrap();
    assert_eq!(claims(&other).0, "corp/bob");
}

#[test]
fn what_the_client_shows_never_passes_and_nobody_is_vouched_for_unknown() {
    assert_eq!(shown(&*policy(true), None, NOW), Ok(None));
    assert_eq!(shown(&*policy(false), None, NOW), Err(Reason::CredentialsMissing));
    assert_eq!(policy(false).trailers_dropped().0, ["authorization".into()]);
}

#[test]
fn without_its_keys_nothing_runs() {
    let (plan, (_, words)) = (CredentialsPlan::Sign(plan()), access(&["corp"], &["corp/reader"], &["a"]));
    let (files, pool) = (LiveFiles::default(), StatePool::default());
    let context = CredentialsContext { plan: &plan, is_public: false, words: &words, files: &files, pool: &pool };
    assert!(compile(&context).is_err());
    assert!(publish(&super::tests::plan().signer, &files).is_err());
}
