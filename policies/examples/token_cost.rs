//! What it costs to know a caller and to decide: `cargo run --profile dist -p portcullis-policies --example token_cost`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a measurement, of what it makes itself")]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints, and takes real time")]

use portcullis_engines_authz::{Line, Vocabulary};
use portcullis_engines_jose::{Algorithm, ClaimPath, Holding, Rules, TokenType};
use portcullis_gateway_policy::{
    AccessContext, AuthenticatePlan, ConnectionFacts, Credentials, Exchange, KeySource, LiveFile, LiveFiles, Making, Policy,
    PolicyDefinition, ProviderPlan, RouteAccess, StatePool, Step, Verdict,
};
use portcullis_model::{DecisionRecord, RecordGuard, RecordSink};
use portcullis_policies::POLICIES;
use portcullis_testing_kit::{SigningKey, claims_at, key_set};
use portcullis_wire::{HeadLimits, RequestHead};
use serde_json::json;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

const NOW: u64 = 1_800_000_000;
const TOKENS: usize = 64;
const ROUNDS: usize = 200_000;

struct Forget;

impl RecordSink for Forget {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, record: Box<DecisionRecord>) {
        drop(record);
    }
}

fn exchange(token: &str) -> Exchange {
    let mut request = Box::new(RequestHead::default());
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    request.parse(head.as_bytes(), &HeadLimits::default()).unwrap();
    let sink: Rc<dyn RecordSink> = Rc::new(Forget);
    let facts = ConnectionFacts::new("l".into(), "192.0.2.1:5".parse().unwrap(), None);
    let mut exchange = Exchange::new(request, RecordGuard::begin(&sink), Rc::new(facts), "192.0.2.1".parse().unwrap(), u64::MAX);
    exchange.record.started_unix_micros = NOW * 1_000_000;
    exchange
}

fn row(name: &str) -> &'static PolicyDefinition {
    POLICIES.iter().find(|row| row.settings.name == name).unwrap()
}

fn make(name: &str, context: &AccessContext<'_>) -> Arc<dyn Policy> {
    let Making::Access(compile, _) = row(name).compile else { panic!("made otherwise") };
    compile(context).unwrap()
}

fn ask(policy: &Arc<dyn Policy>, exchange: &mut Exchange) {
    match policy.on_request(exchange) {
        Step::Ready(Verdict::Continue) => {}
        _ => panic!("refused"),
    }
}

fn nanos(rounds: usize, mut what: impl FnMut(usize)) -> u128 {
    let begin = Instant::now();
    (0..rounds).for_each(&mut what);
    begin.elapsed().as_nanos() / rounds as u128
}

fn main() {
    for key in [SigningKey::rsa("k"), SigningKey::p256("k"), SigningKey::ed25519("k")] {
        measure(&key);
    }
}

fn measure(key: &SigningKey) {
    // Two hundred lines beside the one that counts, so that the words are many.
    let word = |number: usize| Arc::from(format!("role-{number}").as_str());
    let line = |number: usize| Line { roles: vec![(Arc::from("corp"), word(number))], ..Line::default() };
    let lines: Vec<Line> = (0..200).map(line).collect();
    let words = Arc::new(Vocabulary::of(&lines, []).unwrap());
    let authenticate = AuthenticatePlan {
        any_of: vec!["corp".into()],
        audiences: vec!["https://api.test".into()],
        credentials: Credentials::Pass,
        stream_age_max: std::time::Duration::MAX,
    };
    let access = RouteAccess {
        authenticate: Arc::new(authenticate),
        lines: lines.into_iter().skip(196).collect(),
        is_fresh: false,
        policy: None,
    };
    let rules = Rules {
        issuer: "https://id.test".into(),
        algorithms: Algorithm::ALL.into_iter().collect(),
        types: [TokenType::AccessToken].into(),
        holdings: [Holding::Bearer].into_iter().collect(),
        leeway: 30,
        lifetime_max: 86_400,
    };
    let plan = ProviderPlan {
        name: "corp".into(),
        keys: KeySource::File("k".into()),
        rules,
        proofs: None,
        introspection: None,
        roles: ClaimPath::parse("roles"),
        scopes: ClaimPath::member("scope"),
    };
    let read = row("authenticate").files[0].read;
    let content = read(key_set(&[key]).as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut files = LiveFiles::default();
    files.insert("k".into(), Arc::new(LiveFile::new(content)));
    let (providers, pool) = ([Arc::new(plan)], StatePool::default());
    let context = AccessContext {
        access: &access,
        providers: &providers,
        client_certificates: &[],
        logins: &[],
        api_keys: &[],
        signatures: &[],
        words: &words,
        files: &files,
        pool: &pool,
    };
    let (authenticate, allow) = (make("authenticate", &context), make("access", &context));
    let token = |number: usize| {
        let mut claims = claims_at(NOW, "https://id.test", "https://api.test");
        claims["jti"] = json!(number.to_string());
        claims["roles"] = json!(["role-3", "role-199", "another"]);
        key.token(&claims)
    };
    let mut first: Vec<Exchange> = (0..1000).map(|number| exchange(&token(number))).collect();
    let new = nanos(first.len(), |number| ask(&authenticate, first.get_mut(number).unwrap()));
    let mut known: Vec<Exchange> = (0..TOKENS).map(|number| exchange(&token(number))).collect();
    let bytes = token(0).len();
    known.iter_mut().for_each(|exchange| ask(&authenticate, exchange));
    let hit = nanos(ROUNDS, |number| ask(&authenticate, known.get_mut(number % TOKENS).unwrap()));
    let decision = nanos(ROUNDS, |number| ask(&allow, known.get_mut(number % TOKENS).unwrap()));
    println!(
        "{:6} token of {bytes} bytes: new {new} ns, known {hit} ns; four allow lines among 200 words {decision} ns",
        key.algorithm()
    );
}
