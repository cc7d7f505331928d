use super::{Granting, Judged, Login, compile};
use crate::testing::{access, exchange};
use portcullis_engines_jose::{Algorithm, ClaimPath, Holding, Json, KeySet, Rules, TokenType, base64url};
use portcullis_gateway_policy::{
    Answered, DiscoveryPlan, Exchange, KeySource, LocalAnswer, LoginDesk, LoginPlan, Policy, ProviderEndpoints, ProviderPlan,
    Scheme, SecretSource, StatePool, Step, TokenFailure, Verdict,
};
use portcullis_model::{Principal, Reason};
use portcullis_testing_kit::{SigningKey, key_set};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const NOW: u64 = 1_800_000_000;
const PAGE: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

struct World {
    plan: Arc<LoginPlan>,
    pool: StatePool,
    key: SigningKey,
}

/// How long the provider takes to answer, in seconds: longer than the leeway, so that what it has just said is of the future for who asked.
const TAKES: u64 = 40;

/// What is asked of the provider, and what it answers.
type Answers<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, TokenFailure>;

impl World {
    fn new() -> Self {
        let provider = ProviderPlan {
            name: "corp".into(),
            keys: KeySource::Discover(DiscoveryPlan { upstream: "id".into(), refresh: Duration::MAX, stale_max: Duration::MAX }),
            rules: Rules {
                issuer: "https://id.test".into(),
                algorithms: [Algorithm::Es256].into_iter().collect(),
                types: [TokenType::AccessToken].into(),
                holdings: [Holding::Bearer].into_iter().collect(),
                leeway: 30,
                lifetime_max: 86_400,
            },
            proofs: None,
            introspection: None,
            roles: ClaimPath::parse("groups"),
            scopes: ClaimPath::member("scope"),
        };
        let plan = Arc::new(LoginPlan {
            name: "staff".into(),
            provider: Arc::new(provider),
            client_id: "app".into(),
            client_secret: SecretSource::Env("SECRET".to_owned()),
            origin: "https://app.test".into(),
            host: "app.test".into(),
            scopes: "openid orders:read".into(),
            prompt: None,
            after_logout: None,
            idle: Duration::from_secs(600),
            lifetime: Duration::from_secs(3600),
        });
        let world = Self { plan, pool: StatePool::default(), key: SigningKey::p256("k") };
        let keys = KeySet::parse(key_set(&[&world.key]).as_bytes()).unwrap().0;
        world.plan.provider.live_keys(&world.pool).unwrap().replace(keys, NOW);
        let document = json!({
            "authorization_endpoint": "https://id.test/auth?tenant=1", "token_endpoint": "https://id.test/token",
            "end_session_endpoint": "https://id.test/out", "authorization_response_iss_parameter_supported": true,
        });
        let document = Json::parse(document.to_string().as_bytes()).unwrap();
        world.plan.provider.live_endpoints(&world.pool).unwrap().replace(ProviderEndpoints::read(&document, "https://id.test"));
        world
    }

    fn policy(&self, name: &str) -> Arc<dyn Policy> {
        let endpoints = compile(&self.plan, &self.pool, &Arc::default()).unwrap_or_else(|error| panic!("{error:?}"));
        endpoints.into_iter().find(|endpoint| endpoint.name == name).unwrap().policy
    }

    fn judge_at(&self, fields: &str, arrived: u64, unix: u64) -> Result<Arc<Principal>, Verdict> {
        let (_, words) = access(&["staff"], &["staff/members"], &["orders:read"]);
        let login = Login::of(&self.plan, &self.pool).unwrap_or_else(|error| panic!("{error:?}"));
        let (exchange, granting) = (asking("/a?b=c", fields, arrived, unix), Granting { words: &words, digest: [1; 32] });
        match login.judge(&exchange, &granting) {
            Judged::Caller(principal) => Ok(principal),
            Judged::Answer(verdict) => Err(verdict),
            Judged::Stale(stale) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(login.judge_again(stale, &exchange, &granting))
            }
        }
    }

    fn judge(&self, fields: &str) -> Result<Arc<Principal>, Verdict> {
        self.judge_at(fields, 0, NOW)
    }

    /// Begins a login: the cookie of the browser, and where it is sent.
    fn begin(&self) -> (String, String) {
        let Err(Verdict::Respond(answer)) = self.judge(PAGE) else { panic!("nobody is sent to log in") };
        let cookie = field(&answer, "set-cookie").split(';').next().unwrap().to_owned();
        (cookie, field(&answer, "location"))
    }

    fn call_back(&self, query: &str, cookie: &str, answers: Answers<'_>) -> Result<LocalAnswer, Reason> {
        let policy = self.policy("callback");
        let desk = self.pool.state("login-desk", [0; 32], LoginDesk::default);
        let mut waiting = desk.attend();
        let path = format!("/.portcullis/login/staff/callback?{query}");
        let mut exchange = asking(&path, &format!("Cookie: {cookie}\r\n"), 0, NOW);
        let verdict = match policy.on_request(&mut exchange) {
            Step::Ready(verdict) => verdict,
            Step::Body(_) => panic!("asks for the body"),
            Step::Later(later) => {
                let waiting = waiting.as_mut().expect("asked for the first time");
                let answering = async {
                    let question = waiting.recv().await.unwrap();
                    let form = String::from_utf8(question.form.reveal().clone()).unwrap();
                    question.answer.send(answers(&form).map(|body| Answered { body, at_unix_seconds: NOW + TAKES })).unwrap();
                };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async { tokio::join!(later, answering).0 })
            }
        };
        match verdict {
            Verdict::Respond(answer) => Ok(answer),
            Verdict::Reject(rejection) => Err(rejection.reason),
            Verdict::Continue => panic!("an endpoint never lets a request go on"),
        }
    }

    /// A whole login with an answer of the provider that is changed.
    fn log_in_with(&self, change: impl Fn(&mut Value, &mut Value)) -> Result<LocalAnswer, Reason> {
        let (cookie, location) = self.begin();
        let nonce = parameter(&location, "nonce");
        let answers = |_: &str| {
            let mut claims = json!({
                "iss": "https://id.test", "sub": "alice", "aud": "app", "iat": NOW + TAKES, "exp": NOW + 300, "nonce": nonce,
                "groups": ["members"], "sid": "s1",
            });
            let mut answer = json!({ "access_token": "opaque", "token_type": "Bearer" });
            change(&mut claims, &mut answer);
            if answer.get("id_token").is_none() {
                let mut header = self.key.header();
                header.as_object_mut().unwrap().remove("typ");
                answer["id_token"] = json!(self.key.sign(&header, &claims));
            }
            Ok(answer.to_string().into_bytes())
        };
        let query = format!("code=c&state={}&iss=https%3A%2F%2Fid.test", parameter(&location, "state"));
        self.call_back(&query, &cookie, &answers)
    }
}

fn asking(target: &str, fields: &str, arrived: u64, unix: u64) -> Exchange {
    let mut exchange = exchange(&format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"), Scheme::Https);
    exchange.arrived = Duration::from_secs(arrived);
    exchange.record.started_unix_micros = unix * 1_000_000;
    exchange
}

fn field(answer: &LocalAnswer, name: &str) -> String {
    let value = answer.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    String::from_utf8(value.unwrap()).unwrap()
}

fn parameter(url: &str, name: &str) -> String {
    let found = url.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).to_owned()
}

fn reason(verdict: Result<Arc<Principal>, Verdict>) -> Option<Reason> {
    match verdict {
        Err(Verdict::Reject(rejection)) => Some(rejection.reason),
        _ => None,
    }
}

#[test]
fn a_login_ends_in_a_session_that_says_who_it_is() {
    let world = World::new();
    let (cookie, location) = world.begin();
    assert!(location.starts_with("https://id.test/auth?tenant=1&response_type=code&client_id=app&"), "{location}");
    assert_eq!(parameter(&location, "redirect_uri"), "https%3A%2F%2Fapp.test%2F.portcullis%2Flogin%2Fstaff%2Fcallback");
    assert_eq!(parameter(&location, "scope"), "openid%20orders%3Aread");
    let (nonce, challenge) = (parameter(&location, "nonce"), parameter(&location, "code_challenge"));
    let answers = |form: &str| {
        assert!(form.starts_with("grant_type=authorization_code&code=c%2B1&redirect_uri=https%3A%2F%2Fapp.test%2F"), "{form}");
        let verifier = parameter(form, "code_verifier");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        assert_eq!(base64url(hash.as_ref()), challenge);
        let claims = json!({
            "iss": "https://id.test", "sub": "alice", "aud": ["app"], "iat": NOW + TAKES, "exp": NOW + 300, "nonce": nonce, "groups": ["members"],
        });
        let mut header = world.key.header();
        header["typ"] = json!("JWT");
        let id_token = world.key.sign(&header, &claims);
        Ok(json!({ "access_token": "opaque", "token_type": "bearer", "id_token": id_token }).to_string().into_bytes())
    };
    let query = format!("code=c%2B1&state={}&iss=https%3A%2F%2Fid.test", parameter(&location, "state"));
    let done = world.call_back(&query, &cookie, &answers).unwrap();
    assert_eq!((done.status, field(&done, "location").as_str()), (303, "https://app.test/a?b=c"));
    let session = format!("Cookie: {}\r\n", field(&done, "set-cookie").split(';').next().unwrap());
    let (_, words) = access(&["staff"], &["staff/members"], &["orders:read"]);
    let principal = world.judge(&session).unwrap();
    assert_eq!((&*principal.provider, &*principal.subject, principal.ends_unix_seconds), ("staff", "alice", NOW + 330));
    assert_eq!(principal.grants, words.grants("staff", ["members"], ["openid", "orders:read"]));
    // It ends unused, and with what the provider has said.
    assert!(world.judge_at(&session, 599, NOW).is_ok());
    assert_eq!(reason(world.judge_at(&session, 600, NOW + 330)), Some(Reason::CredentialsMissing));
    assert_eq!(reason(world.judge_at(&session, 600, NOW)), Some(Reason::CredentialsMissing), "over is over");
}

#[test]
fn e120_what_a_provider_says_is_believed_when_it_fits_and_only_then() {
    for (what, expected, change) in [
        ("all is well", None, (|_, _| ()) as fn(&mut Value, &mut Value)),
        ("another nonce", Some(Reason::LoginRefused), |claims, _| claims["nonce"] = json!("x")),
        ("another audience", Some(Reason::LoginRefused), |claims, _| claims["aud"] = json!("other")),
        ("another issuer", Some(Reason::LoginRefused), |claims, _| claims["iss"] = json!("https://evil.test")),
        ("expired", Some(Reason::LoginRefused), |claims, _| claims["exp"] = json!(NOW + TAKES - 30)),
        ("of another access token", Some(Reason::LoginRefused), |claims, _| claims["at_hash"] = json!("AAAA")),
        ("a logout token", Some(Reason::LoginRefused), |claims, _| claims["events"] = json!({})),
        ("signed by somebody else", Some(Reason::LoginRefused), |claims, answer| {
            let key = SigningKey::p256("k");
            let mut header = key.header();
            header["typ"] = json!("JWT");
            answer["id_token"] = json!(key.sign(&header, claims));
        }),
        ("not signed", Some(Reason::LoginRefused), |claims, answer| {
            let part = |json: &Value| base64url(json.to_string().as_bytes());
            answer["id_token"] = json!(format!("{}.{}.", part(&json!({ "alg": "none" })), part(claims)));
        }),
        ("no ID token", Some(Reason::LoginUnavailable), |_, answer| answer["id_token"] = json!(7)),
        ("no access token", Some(Reason::LoginUnavailable), |_, answer| answer["access_token"] = json!(null)),
        ("another kind of token", Some(Reason::LoginUnavailable), |_, answer| answer["token_type"] = json!("mac")),
    ] {
        let world = World::new();
        assert_eq!(world.log_in_with(change).err(), expected, "{what}");
    }
}

#[test]
fn e121_a_callback_that_does_not_fit_asks_nobody() {
    let world = World::new();
    let nobody = |_: &str| panic!("the provider is asked");
    let (cookie, location) = world.begin();
    let state = parameter(&location, "state");
    let ours = "iss=https%3A%2F%2Fid.test";
    for query in [
        String::new(),
        format!("code=c&{ours}"),
        format!("code=c&state=x&{ours}"),
        format!("code=c&state={state}&state={state}&{ours}"),
        format!("code=c&code=d&state={state}&{ours}"),
        format!("code=%0A&state={state}&{ours}"),
    ] {
        assert_eq!(world.call_back(&query, &cookie, &nobody).err(), Some(Reason::LoginInvalid), "{query}");
    }
    for cookie in ["", "a=b", &format!("{cookie}; {cookie}"), &cookie.replace("=", "=x")] {
        let query = format!("code=c&state={state}&{ours}");
        assert_eq!(world.call_back(&query, cookie, &nobody).err(), Some(Reason::LoginInvalid), "{cookie}");
    }
    // Each of these has used its login up.
    for (end, expected) in [
        ("code=c&iss=https%3A%2F%2Fevil.test", Reason::LoginInvalid),
        ("code=c", Reason::LoginInvalid),
        (ours, Reason::LoginInvalid),
        (&format!("{ours}&error=access_denied"), Reason::LoginRefused),
    ] {
        let (cookie, location) = world.begin();
        let query = format!("state={}&{end}", parameter(&location, "state"));
        assert_eq!(world.call_back(&query, &cookie, &nobody).err(), Some(expected), "{end}");
    }
}

#[test]
fn e114_a_provider_that_is_away_is_neither_a_session_nor_a_refusal() {
    for (failure, expected) in [
        (TokenFailure::Unavailable, Reason::LoginUnavailable),
        (TokenFailure::Busy, Reason::LoginUnavailable),
        (TokenFailure::Refused, Reason::LoginRefused),
    ] {
        let world = World::new();
        let (cookie, location) = world.begin();
        let query = format!("code=c&state={}&iss=https%3A%2F%2Fid.test", parameter(&location, "state"));
        assert_eq!(world.call_back(&query, &cookie, &|_| Err(failure)).err(), Some(expected));
    }
    // Of a provider that has said nothing of itself nobody knows where to log in.
    let world = World { pool: StatePool::default(), ..World::new() };
    assert_eq!(reason(world.judge(PAGE)), Some(Reason::LoginUnavailable));
    assert_eq!(reason(world.judge("")), Some(Reason::CredentialsMissing));
}

#[test]
fn a_browser_that_comes_back_again_and_again_is_told_to_stop() {
    let world = World::new();
    let mut cookie = String::new();
    let sent = (0..).take_while(|_| match world.judge(&format!("{PAGE}Cookie: {cookie}\r\n")) {
        Err(Verdict::Respond(answer)) => {
            field(&answer, "set-cookie").split(';').next().unwrap().clone_into(&mut cookie);
            true
        }
        _ => false,
    });
    assert_eq!(sent.count(), 10);
    assert_eq!(reason(world.judge(&format!("{PAGE}Cookie: {cookie}\r\n"))), Some(Reason::LoginInvalid));
}

#[test]
fn a_cookie_that_is_there_twice_is_nobodys() {
    let world = World::new();
    let twice = "Cookie: __Host-portcullis-session-staff=a; __Host-portcullis-session-staff=b\r\n";
    assert_eq!(reason(world.judge(twice)), Some(Reason::CookieAmbiguous));
}

/// What becomes of a session whose word has ended, by what the provider answers.
fn asked_again(answer: impl Fn(&World, &str) -> Result<Value, TokenFailure>) -> Result<(u64, String), Option<Reason>> {
    let world = World::new();
    let done = world.log_in_with(|_, answer| answer["refresh_token"] = json!("r1")).unwrap();
    let session = format!("Cookie: {}\r\n", field(&done, "set-cookie").split(';').next().unwrap());
    let (_, words) = access(&["staff"], &["staff/members"], &[]);
    let login = Login::of(&world.plan, &world.pool).unwrap_or_else(|error| panic!("{error:?}"));
    let desk = Arc::new(LoginDesk::default());
    let login = Login { desk: Arc::clone(&desk), ..login };
    let (exchange, granting) = (asking("/a", &session, 0, NOW + 330), Granting { words: &words, digest: [1; 32] });
    let Judged::Stale(stale) = login.judge(&exchange, &granting) else { panic!("the word has not ended") };
    let mut waiting = desk.attend().unwrap();
    let answering = async {
        let question = waiting.recv().await.unwrap();
        let form = String::from_utf8(question.form.reveal().clone()).unwrap();
        let body = |answer: Value| answer.to_string().into_bytes();
        let answered = answer(&world, &form).map(|answer| Answered { body: body(answer), at_unix_seconds: NOW + 330 + TAKES });
        question.answer.send(answered).unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (judged, ()) = runtime.block_on(async { tokio::join!(login.judge_again(stale, &exchange, &granting), answering) });
    match judged {
        Ok(principal) => Ok((principal.ends_unix_seconds, principal.subject.to_string())),
        Err(Verdict::Reject(rejection)) => Err(Some(rejection.reason)),
        Err(_) => Err(None),
    }
}

#[test]
fn e120_a_session_goes_on_for_the_same_person_alone() {
    let tokens = |world: &World, changes: Value| {
        let mut claims =
            json!({ "iss": "https://id.test", "sub": "alice", "aud": "app", "iat": NOW + 330 + TAKES, "exp": NOW + 600 });
        changes.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        let mut header = world.key.header();
        header["typ"] = json!("JWT");
        json!({ "access_token": "opaque", "token_type": "Bearer", "id_token": world.key.sign(&header, &claims) })
    };
    let good = asked_again(|world, form| {
        assert_eq!(form, "grant_type=refresh_token&refresh_token=r1");
        Ok(tokens(world, json!({})))
    });
    assert_eq!(good, Ok((NOW + 630, "alice".to_owned())));
    let over = Err(Some(Reason::CredentialsMissing));
    assert_eq!(asked_again(|world, _| Ok(tokens(world, json!({ "sub": "mallory" })))), over);
    assert_eq!(asked_again(|world, _| Ok(tokens(world, json!({ "aud": "other" })))), over);
    assert_eq!(asked_again(|_, _| Ok(json!({ "access_token": "opaque", "token_type": "Bearer" }))), over);
    assert_eq!(asked_again(|_, _| Err(TokenFailure::Refused)), over);
    assert_eq!(asked_again(|_, _| Err(TokenFailure::Unavailable)), Err(Some(Reason::LoginUnavailable)));
}
