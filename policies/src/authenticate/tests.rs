use super::{API_KEYS, KEYS, compile};
use crate::testing::{access, exchange};
use portcullis_engines_jose::{Algorithm, Binding, ClaimPath, Holding, Rules, TokenType};
use portcullis_engines_keys::{Entry, HashKey, KeyFile, NewKey, RANDOM_BYTES};
use portcullis_gateway_policy::{
    AccessContext, Credentials, Exchange, FileContent, KeySource, KeyStorePlan, LiveFile, LiveFiles, Policy, ProviderPlan,
    RouteAccess, Scheme, StatePool, Step, Verdict,
};
use portcullis_model::Reason;
use portcullis_testing_kit::{SigningKey, claims_at, key_set};
use portcullis_wire::KnownName;
use serde_json::{Value, json};
use std::sync::Arc;

const NOW: u64 = 1_800_000_000;
const AUDIENCE: &str = "https://api.test";

/// Providers with a key each, and what they stand in.
struct World {
    keys: Vec<(&'static str, SigningKey)>,
    lives: Vec<Arc<LiveFile>>,
    providers: Vec<Arc<ProviderPlan>>,
    files: LiveFiles,
    pool: StatePool,
}

fn issuer(name: &str) -> String {
    format!("https://{name}.test")
}

impl World {
    fn new(names: &[&'static str]) -> Self {
        let keys: Vec<_> = names.iter().map(|name| (*name, SigningKey::p256("k"))).collect();
        let mut files = LiveFiles::default();
        let lives: Vec<_> = keys.iter().map(|(_, key)| Arc::new(LiveFile::new(content(&[key])))).collect();
        lives.iter().zip(names).for_each(|(live, name)| files.insert((*name).into(), Arc::clone(live)));
        let plan = |name: &&str| {
            Arc::new(ProviderPlan {
                name: (*name).into(),
                keys: KeySource::File((*name).into()),
                rules: Rules {
                    issuer: issuer(name).into(),
                    algorithms: [Algorithm::Es256].into_iter().collect(),
                    types: [TokenType::AccessToken].into(),
                    holdings: [Holding::Bearer].into_iter().collect(),
                    leeway: 30,
                    lifetime_max: 86_400,
                },
                proofs: None,
                introspection: None,
                roles: ClaimPath::parse("roles"),
                scopes: ClaimPath::member("scope"),
            })
        };
        Self { keys, lives, providers: names.iter().map(plan).collect(), files, pool: StatePool::default() }
    }

    fn policy(&self, any_of: &[&str], change: impl FnOnce(&mut RouteAccess)) -> Arc<dyn Policy> {
        let (mut route, words) = access(any_of, &["a/reader"], &["read"]);
        change(&mut route);
        let context = AccessContext {
            access: &route,
            providers: &self.providers,
            client_certificates: &[],
            logins: &[],
            api_keys: &[],
            signatures: &[],
            words: &words,
            files: &self.files,
            pool: &self.pool,
        };
        compile(&context).unwrap()
    }

    fn token(&self, provider: &str, changes: Value) -> String {
        let (_, key) = self.keys.iter().find(|(name, _)| *name == provider).unwrap();
        let mut claims = claims_at(NOW, &issuer(provider), AUDIENCE);
        changes.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        key.token(&claims)
    }
}

fn content(keys: &[&SigningKey]) -> FileContent {
    (KEYS.read)(key_set(keys).as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn ask_with(policy: &Arc<dyn Policy>, fields: &str, now: u64) -> (Option<Reason>, Exchange) {
    let mut exchange = exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), Scheme::Https);
    exchange.record.started_unix_micros = now * 1_000_000;
    let reason = match policy.on_request(&mut exchange) {
        Step::Ready(Verdict::Continue) => None,
        Step::Ready(Verdict::Reject(rejection)) => Some(rejection.reason),
        _ => panic!("neither continues nor refuses"),
    };
    (reason, exchange)
}

fn ask(policy: &Arc<dyn Policy>, token: &str) -> Option<Reason> {
    ask_with(policy, &format!("Authorization: Bearer {token}\r\n"), NOW).0
}

#[test]
fn who_is_calling_is_known_and_the_token_goes_no_further() {
    let world = World::new(&["a"]);
    let fields = format!("Authorization: bEARER  {}\r\n", world.token("a", json!({ "roles": ["reader"] })));
    for (credentials, sent) in [(Credentials::Remove, false), (Credentials::Pass, true)] {
        let change = |route: &mut RouteAccess| Arc::get_mut(&mut route.authenticate).unwrap().credentials = credentials;
        let (reason, exchange) = ask_with(&world.policy(&["a"], change), &fields, NOW);
        assert_eq!(reason, None);
        let principal = exchange.principal().unwrap();
        assert_eq!((&*principal.provider, &*principal.subject, principal.client.as_deref()), ("a", "alice", Some("shop")));
        assert_eq!(exchange.request.fields().first(KnownName::Authorization).is_some(), sent);
        assert!(!format!("{:?}", *exchange.record).contains("eyJ"), "the record knows nothing of the token");
    }
}

#[test]
fn what_is_not_one_bearer_token_is_refused() {
    let world = World::new(&["a"]);
    let policy = world.policy(&["a"], |_| ());
    let token = world.token("a", json!({}));
    for (fields, reason) in [
        (String::new(), Reason::CredentialsMissing),
        ("Authorization: Basic YTpi\r\n".to_owned(), Reason::CredentialsMissing),
        (format!("Authorization: DPoP {token}\r\n"), Reason::CredentialsMissing),
        (format!("Authorization: {token}\r\n"), Reason::CredentialsMissing),
        ("Authorization: Bearer\r\n".to_owned(), Reason::CredentialsAmbiguous),
        (format!("Authorization: Bearer {token} {token}\r\n"), Reason::CredentialsAmbiguous),
        (format!("Authorization: Bearer {token}, Bearer {token}\r\n"), Reason::CredentialsAmbiguous),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"), Reason::CredentialsAmbiguous),
        (format!("Authorization: Basic YTpi\r\nAuthorization: Bearer {token}\r\n"), Reason::CredentialsAmbiguous),
        ("Authorization: Bearer a.b.c\r\n".to_owned(), Reason::CredentialsInvalid),
        (format!("Authorization: Bearer {token}=\r\n"), Reason::CredentialsInvalid),
    ] {
        let (found, exchange) = ask_with(&policy, &fields, NOW);
        assert_eq!((found, exchange.principal()), (Some(reason), None), "{fields}");
    }
}

#[test]
fn e112_what_is_known_of_a_token_is_not_taken_where_it_is_not_meant() {
    let world = World::new(&["a", "b"]);
    let both = world.policy(&["a", "b"], |_| ());
    let only_b = world.policy(&["b"], |_| ());
    let change = |route: &mut RouteAccess| {
        Arc::get_mut(&mut route.authenticate).unwrap().audiences = vec!["https://other.test".into()];
    };
    let other_api = world.policy(&["a", "b"], change);
    let token = world.token("a", json!({}));
    for _ in 0..2 {
        assert_eq!(ask(&both, &token), None);
        assert_eq!(ask(&only_b, &token), Some(Reason::CredentialsInvalid));
        assert_eq!(ask(&other_api, &token), Some(Reason::CredentialsInvalid));
    }
    // By the name of one issuer and the key of another.
    let (_, key) = &world.keys[1];
    let forged = key.token(&claims_at(NOW, &issuer("a"), AUDIENCE));
    assert_eq!(ask(&both, &forged), Some(Reason::CredentialsInvalid));
}

#[test]
fn what_is_known_of_a_token_ends_with_it_and_with_its_key() {
    let world = World::new(&["a"]);
    let policy = world.policy(&["a"], |_| ());
    let token = world.token("a", json!({ "nbf": NOW }));
    let at = |now: u64| ask_with(&policy, &format!("Authorization: Bearer {token}\r\n"), now).0;
    assert_eq!((at(NOW), at(NOW + 629), at(NOW - 30)), (None, None, None));
    assert_eq!((at(NOW + 630), at(NOW - 31)), (Some(Reason::CredentialsInvalid), Some(Reason::CredentialsInvalid)));
    // Ten minutes back and forth change nothing.
    assert_eq!(at(NOW), None);
    let next = SigningKey::p256("k2");
    world.lives[0].replace(content(&[&next, &world.keys[0].1]));
    assert_eq!(at(NOW), None, "the key is still there");
    world.lives[0].replace(content(&[&next]));
    assert_eq!(at(NOW), Some(Reason::CredentialsInvalid), "the key was withdrawn");
    let by_next = next.token(&claims_at(NOW, &issuer("a"), AUDIENCE));
    assert_eq!(ask(&policy, &by_next), None);
}

#[test]
fn without_a_key_set_nothing_is_said_about_a_token() {
    let world = World::new(&["a"]);
    let policy = world.policy(&["a"], |_| ());
    let (known, new) = (world.token("a", json!({})), world.token("a", json!({ "jti": "2" })));
    assert_eq!(ask(&policy, &known), None);
    world.lives[0].replace(FileContent::new(()));
    assert_eq!((ask(&policy, &new), ask(&policy, &known)), (Some(Reason::KeysUnavailable), Some(Reason::KeysUnavailable)));
}

#[test]
fn e142_grants_follow_the_configuration_also_of_known_tokens() {
    let world = World::new(&["a"]);
    let token = world.token("a", json!({ "roles": ["reader", "writer"] }));
    let grants = |roles: &[&str]| {
        let (route, words) = access(&["a"], roles, &[]);
        let context = AccessContext {
            access: &route,
            providers: &world.providers,
            client_certificates: &[],
            logins: &[],
            api_keys: &[],
            signatures: &[],
            words: &words,
            files: &world.files,
            pool: &world.pool,
        };
        let (reason, exchange) = ask_with(&compile(&context).unwrap(), &format!("Authorization: Bearer {token}\r\n"), NOW);
        assert_eq!(reason, None);
        let expected = |role| words.grants("a", [role], []) == exchange.principal().unwrap().grants;
        (expected("reader"), expected("writer"))
    };
    assert_eq!(grants(&["a/reader"]), (true, false));
    assert_eq!(grants(&["a/writer"]), (false, true));
}

#[test]
fn a_cache_that_is_full_goes_on_and_stays_as_large_as_it_is() {
    let cache = super::cache::TokenCache::default();
    let world = World::new(&["a"]);
    let policy = world.policy(&["a"], |_| ());
    let (_, exchange) = ask_with(&policy, &format!("Authorization: Bearer {}\r\n", world.token("a", json!({}))), NOW);
    let principal = exchange.principal().unwrap();
    let key = {
        let keys = portcullis_engines_jose::KeySet::parse(key_set(&[&world.keys[0].1]).as_bytes()).unwrap().0;
        let token = world.token("a", json!({}));
        portcullis_engines_jose::verify_signature(&portcullis_engines_jose::Token::parse(token.as_bytes()).unwrap(), &keys).unwrap()
    };
    let hash = |number: u8| [1, 2, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let verified = |ends| {
        Arc::new(super::cache::Verified {
            principal: Arc::clone(principal),
            provider: [0; 32],
            audiences: Box::default(),
            binding: Binding::default(),
            key: Some(key),
            fresh_until: None,
            not_before: 0,
            ends,
        })
    };
    (0..9).for_each(|number| cache.keep(hash(number), verified(100 + u64::from(number))));
    assert!(cache.find(&hash(0)).is_none(), "the one that ends first made room");
    assert!((1..9).all(|number| cache.find(&hash(number)).is_some()));
    cache.keep(hash(3), verified(500));
    assert_eq!((1..9).filter(|number| cache.find(&hash(*number)).is_some()).count(), 8);
}

#[test]
fn a_key_is_found_in_the_store_of_its_header_and_is_ended_by_its_file() {
    let mut file = KeyFile::new(HashKey::new([3; 32]));
    let mut seeds = 0..;
    let mut key = |name: &str, file: &mut KeyFile| {
        let seed: u8 = seeds.next().unwrap();
        let mut bytes = [0; RANDOM_BYTES];
        (0..).zip(&mut bytes).for_each(|(at, byte): (u8, _)| *byte = at.wrapping_mul(31).wrapping_add(seed));
        let made = NewKey::from_random(&bytes, &file.hash_key).unwrap();
        file.entries.push(Entry {
            id: made.id.clone(),
            name: name.into(),
            hash: made.hash,
            roles: ["reader".into()].into(),
            scopes: Box::default(),
            created: 1,
            expires: Some(NOW + 10),
            revoked: None,
            foreign: false,
        });
        made.text.reveal().clone()
    };
    let (mine, other) = (key("mine", &mut file), key("other", &mut file));
    let mut files = LiveFiles::default();
    let content = |file: &KeyFile| (API_KEYS.read)(file.to_text().as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let live = Arc::new(LiveFile::new(content(&file)));
    files.insert("a".into(), Arc::clone(&live));
    files.insert("b".into(), Arc::new(LiveFile::new(content(&KeyFile::new(HashKey::new([4; 32]))))));
    let store = |name: &str, header: &str| {
        Arc::new(KeyStorePlan { name: name.into(), header: header.into(), file: name.into(), idle_after: None })
    };
    let (stores, pool) = ([store("b", "x-api-key"), store("a", "x-api-key")], StatePool::default());
    let (route, words) = access(&["b", "a"], &["a/reader"], &[]);
    let context = AccessContext {
        access: &route,
        providers: &[],
        client_certificates: &[],
        logins: &[],
        api_keys: &stores,
        signatures: &[],
        words: &words,
        files: &files,
        pool: &pool,
    };
    let policy = compile(&context).unwrap();
    let with = |key: &str, now| ask_with(&policy, &format!("X-Api-Key: {key}\r\nX_Api_Key: {key}\r\n"), now);
    let (reason, exchange) = with(&mine, NOW);
    let principal = exchange.principal().unwrap();
    assert_eq!((reason, &*principal.provider, &*principal.subject), (None, "a", "mine"));
    assert_eq!((principal.client.as_deref(), principal.ends_unix_seconds), (Some(&*file.entries[0].id), NOW + 10));
    assert!(
        principal.grants == words.grants("a", ["reader"], [])
            && !exchange.request.fields().iter().any(|(_, value)| value == mine.as_bytes())
    );
    assert_eq!(with(&mine, NOW + 10).0, Some(Reason::CredentialsInvalid));
    file.entries[0].revoked = Some(NOW);
    live.replace(content(&file));
    assert_eq!((with(&mine, NOW).0, with(&other, NOW).0), (Some(Reason::CredentialsInvalid), None));
    assert_eq!(ask_with(&policy, "", NOW).0, Some(Reason::CredentialsMissing));
    live.replace(FileContent::new(()));
    assert_eq!(with(&other, NOW).0, Some(Reason::KeysUnavailable));
}
