//! `compare` and `callers` against brute force: every request and every caller of a small universe, by the engine that decides at run time,
//! on random configurations. `PORTCULLIS_PLAN_CASES=10000 cargo test -p portcullis-control-reload access` runs as many of them.

use super::{Caller, Comparison, callers, compare};
use crate::rehearsal::{Decided, Known, Rehearsal, rehearsed};
use portcullis_control_config::{Access, Plan, load_text};
use portcullis_gateway_policy::{ConsumerFits, PolicyDefinition};
use portcullis_model::Clock;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

const HOSTS: [&str; 4] = ["h.test", "*.test", "*", "*.h.test"];
const TEMPLATES: [&str; 12] =
    ["/a", "/b", "/{p}", "/a/b", "/a/{p}", "/{p}/b", "/{*r}", "/a/{*r}", "/a/", "/{p}/{q}", "/a/{p}/{*r}", "/{p}/b/{q}"];
const ROLES: [&str; 3] = ["corp/x", "corp/y", "partner/x"];
const SCOPES: [&str; 2] = ["s", "t"];
/// Who is a consumer: of each provider one, by a claim. `changed` gives the second to somebody else.
const CONSUMERS: [(&str, &str); 2] = [("mobile", "corp"), ("till", "partner")];
const AUDIENCES: [&str; 2] = ["https://m.test", "https://n.test"];
const PROVIDERS: [&str; 2] = ["corp", "partner"];
const CASES: &str = match option_env!("PORTCULLIS_PLAN_CASES") {
    Some(cases) => cases,
    None => "600",
};

static POLICIES: LazyLock<Vec<PolicyDefinition>> = LazyLock::new(|| rehearsed(portcullis_policies::POLICIES));

/// SplitMix64: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn some<T: Copy>(&mut self, of: &[T], at_least: usize) -> Vec<T> {
        let mut taken: Vec<T> = of.iter().copied().filter(|_| self.next() & 1 == 0).collect();
        while taken.len() < at_least {
            taken.push(of[self.below(of.len())]);
        }
        taken
    }
}

#[derive(Clone)]
struct Line {
    roles: Vec<&'static str>,
    scopes: Vec<&'static str>,
    consumers: Vec<(&'static str, &'static str)>,
}

#[derive(Clone)]
struct Route {
    methods: Vec<&'static str>,
    path: &'static str,
    header: bool,
    /// Nothing: everybody.
    lines: Option<Vec<Line>>,
}

#[derive(Clone)]
struct Api {
    hosts: BTreeSet<&'static str>,
    providers: Vec<&'static str>,
    audiences: Vec<&'static str>,
    routes: Vec<Route>,
}

#[derive(Clone)]
struct Config {
    apis: Vec<Api>,
    /// Whose token is `till`.
    till: &'static str,
}

fn line(random: &mut Random) -> Line {
    loop {
        let consumers = if random.below(3) == 0 { random.some(&CONSUMERS, 1) } else { Vec::new() };
        let line = Line { roles: random.some(&ROLES, 0), scopes: random.some(&SCOPES, 0), consumers };
        if !line.roles.is_empty() || !line.scopes.is_empty() || !line.consumers.is_empty() {
            return line;
        }
    }
}

fn route(random: &mut Random) -> Route {
    let lines = (random.below(5) > 0).then(|| (0..=random.below(3)).map(|_| line(random)).collect());
    let (methods, header) = (random.some(&["GET", "POST"], 1), random.below(4) == 0);
    Route { methods, path: TEMPLATES[random.below(TEMPLATES.len())], header, lines }
}

fn api(random: &mut Random) -> Api {
    Api {
        hosts: [HOSTS[random.below(4)], HOSTS[random.below(4)]].into_iter().collect(),
        providers: random.some(&PROVIDERS, 1),
        audiences: random.some(&AUDIENCES, 1),
        routes: (0..=random.below(3)).map(|_| route(random)).collect(),
    }
}

fn config(random: &mut Random) -> Config {
    Config { apis: (0..=random.below(2)).map(|_| api(random)).collect(), till: "front" }
}

/// The same with a change somewhere.
fn changed(config: &Config, random: &mut Random) -> Config {
    let mut config = config.clone();
    let at = random.below(config.apis.len());
    let api = &mut config.apis[at];
    let at = random.below(api.routes.len());
    match random.below(10) {
        9 => config.till = "back",
        0 => api.routes.push(route(random)),
        1 if api.routes.len() > 1 => drop(api.routes.remove(at)),
        2 => api.providers = random.some(&PROVIDERS, 1),
        3 => api.audiences = random.some(&AUDIENCES, 1),
        4 => api.hosts = [HOSTS[random.below(4)]].into_iter().collect(),
        5 => api.routes[at].path = TEMPLATES[random.below(TEMPLATES.len())],
        6 => api.routes[at].methods = random.some(&["GET", "POST"], 1),
        7 => api.routes[at] = route(random),
        _ => match &mut api.routes[at].lines {
            Some(lines) => lines.push(line(random)),
            lines => *lines = Some(vec![line(random)]),
        },
    }
    config
}

/// The same without one line, if there is one that can go.
fn without_a_line(config: &Config, random: &mut Random) -> Option<Config> {
    let mut config = config.clone();
    let routes = config.apis.iter_mut().flat_map(|api| &mut api.routes).filter_map(|route| route.lines.as_mut());
    let mut many: Vec<&mut Vec<Line>> = routes.filter(|lines| lines.len() > 1).collect();
    if many.is_empty() {
        return None;
    }
    let at = random.below(many.len());
    let at_line = random.below(many[at].len());
    many[at].remove(at_line);
    Some(config)
}

fn yaml(config: &Config) -> String {
    let quoted = |texts: &[&str]| {
        texts.iter().map(|text| format!("\"{text}\"")).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut text = "version: 1\n\
        listeners: { p: { address: \"127.0.0.1:0\", danger_plaintext: { reason: test, owner: test, expires: 2099-01-01 } } }\n\
        upstreams: { u: { endpoints: [ { url: \"http://127.0.0.1:9\" } ] } }\n\
        identity:\n  providers:\n    corp: { issuer: \"https://c.test\", keys: { discover: { upstream: u } }, roles: { claim: r } }\n    \
        partner: { issuer: \"https://p.test\", keys: { discover: { upstream: u } }, roles: { claim: r } }\n"
        .to_owned();
    let till = config.till;
    writeln!(
        text,
        "consumers:\n  mobile: {{ match: {{ provider: corp, claim: {{ azp: app }} }} }}\n  \
         till: {{ match: {{ provider: partner, claim: {{ azp: {till} }} }} }}\napis:"
    )
    .unwrap();
    for (number, api) in config.apis.iter().enumerate() {
        let hosts: Vec<&str> = api.hosts.iter().copied().collect();
        writeln!(text, "  api{number}:\n    hosts: [{}]\n    upstream: u", quoted(&hosts)).unwrap();
        writeln!(
            text,
            "    authenticate: {{ any_of: [{}], audiences: [{}] }}\n    routes:",
            quoted(&api.providers),
            quoted(&api.audiences)
        )
        .unwrap();
        for (at, route) in api.routes.iter().enumerate() {
            let header = if route.header { "headers: { X-V: \"1\" }, " } else { "" };
            let access = match &route.lines {
                None => "{ public: true }".to_owned(),
                Some(lines) => {
                    // Only roles of the API's own providers load.
                    let own = |role: &&&str| api.providers.iter().any(|name| role.starts_with(name));
                    let lines = lines.iter().map(|line| {
                        let roles: Vec<&str> = line.roles.iter().filter(own).copied().collect();
                        let consumers = line.consumers.iter().filter(|(_, of)| api.providers.contains(of));
                        let consumers: Vec<&str> = consumers.map(|(name, _)| *name).collect();
                        let is_empty = roles.is_empty() && line.scopes.is_empty() && consumers.is_empty();
                        let scopes = if is_empty { &SCOPES[..1] } else { &line.scopes };
                        format!(
                            "{{ roles: [{}], scopes: [{}], consumers: [{}] }}",
                            quoted(&roles),
                            quoted(scopes),
                            quoted(&consumers)
                        )
                    });
                    format!("{{ allow: [{}] }}", lines.collect::<Vec<_>>().join(", "))
                }
            };
            writeln!(
                text,
                "      - {{ name: r{at}, methods: [{}], path: \"{}\", {header}access: {access} }}",
                quoted(&route.methods),
                route.path
            )
            .unwrap();
        }
    }
    text
}

/// The plan; nothing when the routes contradict each other, which does not load.
fn plan(config: &Config) -> Option<Plan> {
    let text = yaml(config);
    match load_text("random.yaml", text.as_bytes(), &portcullis_policies::settings(), &Clock::System) {
        Ok(plan) => Some(plan),
        Err(report) => {
            let expected = ["twice", "same", "already", "also"];
            assert!(report.findings.iter().all(|one| expected.iter().any(|word| one.what.contains(word))), "{report}\n{text}");
            None
        }
    }
}

fn requests() -> Vec<String> {
    let paths = [
        "/", "/a", "/b", "/c", "/a/", "/c/", "/b/", "/a/b", "/a/c", "/b/b", "/c/b", "/c/d", "/a/b/", "/a/c/", "/c/d/", "/c/b/",
        "/b/b/", "/b/d", "/a/b/c", "/a/c/b", "/a/c/d", "/c/b/d", "/c/d/e", "/a/b/c/d", "/a/c/b/d", "/c/d/e/f", "/b/d/e", "/a/b/c/",
        "/c/b/d/", "/c/d/e/",
    ];
    let mut all = Vec::new();
    for host in ["h.test", "x.test", "z.h.test", "z.other"] {
        for path in paths {
            for method in ["GET", "POST"] {
                for header in ["", "X-V: 1\r\n"] {
                    all.push(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n"));
                }
            }
        }
    }
    all
}

/// Nobody, or whoever may be a consumer of a provider.
fn consumers(provider: &str) -> Vec<Option<(ConsumerFits, Arc<str>)>> {
    let values: &[&str] = if provider == "corp" { &["app"] } else { &["front", "back"] };
    let name = CONSUMERS.iter().find(|(_, of)| *of == provider).map(|(name, _)| *name).unwrap();
    let fits = |value: &&str| ConsumerFits::Claim { provider: provider.into(), claim: "azp".into(), value: (*value).into() };
    std::iter::once(None).chain(values.iter().map(|value| Some((fits(value), name.into())))).collect()
}

fn principals() -> Vec<Caller> {
    let subsets = |of: &[&'static str]| -> Vec<Vec<&'static str>> {
        (0..1 << of.len())
            .map(|bits: usize| of.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, one)| *one).collect())
            .collect()
    };
    let mut all = vec![Caller::Anonymous];
    for provider in PROVIDERS {
        for audience in AUDIENCES {
            // One role at most: of more than one the engine looks at each alone.
            for role in [None, Some("x"), Some("y")] {
                for scopes in subsets(&SCOPES) {
                    for consumer in consumers(provider) {
                        all.push(Caller::Known {
                            credential: super::Credential::Token,
                            provider: provider.into(),
                            audience: Some(audience.into()),
                            role: role.map(Into::into),
                            scopes: scopes.iter().copied().map(Arc::from).collect(),
                            consumer,
                        });
                    }
                }
            }
        }
    }
    all
}

type Named = Option<(Arc<str>, Arc<str>)>;

/// What becomes of every request and of every caller on every route, by brute force.
struct Brute {
    /// The route of each request.
    routes: Vec<Named>,
    /// The numbers of the callers whom each route lets in.
    allowed: BTreeMap<(Arc<str>, Arc<str>), BTreeSet<usize>>,
}

fn brute(plan: &Plan, requests: &[String], principals: &[Caller]) -> Brute {
    let mut rehearsal = Rehearsal::new(plan, &POLICIES, &Clock::System).unwrap();
    let client = "192.0.2.1".parse().unwrap();
    let (mut routes, mut allowed) = (Vec::new(), BTreeMap::new());
    for request in requests {
        let route = rehearsal.decide(request.as_bytes(), client, None).route;
        if let Some(named) = route.clone().filter(|named| !allowed.contains_key(named)) {
            let api = plan.apis.iter().find(|api| api.name == named.0).unwrap();
            let audiences = &api.authenticate.as_ref().unwrap().audiences;
            let mut let_in = BTreeSet::new();
            for (number, principal) in principals.iter().enumerate() {
                let (known, is_meant) = match principal {
                    Caller::Anonymous => (None, true),
                    Caller::Known { provider, audience, role, scopes, consumer, .. } => {
                        // By the claim of the token, the caller is whoever this configuration says.
                        let mut known = plan.identity.consumers.iter();
                        let consumer = consumer.as_ref().and_then(|(fits, _)| known.find(|one| one.fits == *fits));
                        let roles: Vec<String> = role.iter().map(ToString::to_string).collect();
                        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
                        (
                            Some((provider, roles, scopes, consumer.map(|one| &*one.name))),
                            audiences.contains(audience.as_ref().unwrap()),
                        )
                    }
                };
                let known = known.as_ref().map(|(provider, roles, scopes, consumer)| Known {
                    provider,
                    subject: "somebody",
                    roles,
                    scopes,
                    consumer: *consumer,
                });
                let decided = rehearsal.decide(request.as_bytes(), client, known).decided;
                let is_public = api.routes.iter().any(|route| route.name == named.1 && route.access == Access::Public);
                if decided == Decided::Allow && (is_meant || is_public) {
                    let_in.insert(number);
                }
            }
            allowed.insert(named, let_in);
        }
        routes.push(route);
    }
    Brute { routes, allowed }
}

impl Brute {
    fn lets_in(&self, route: &Named, principal: usize) -> bool {
        route.as_ref().is_some_and(|named| self.allowed.get(named).is_some_and(|some| some.contains(&principal)))
    }
}

/// What `compare` says is what brute force finds, for every request and caller; whether any of that differs.
fn agree(old: &Brute, new: &Brute, compared: &Comparison, principals: &[Caller], told: &str) -> bool {
    let pairs: BTreeSet<(Named, Named)> = old.routes.iter().cloned().zip(new.routes.iter().cloned()).collect();
    let mut differs = false;
    for (was, is) in &pairs {
        let found: Vec<_> = compared.operations.iter().filter(|one| one.old == *was && one.new == *is).collect();
        for (number, principal) in principals.iter().enumerate() {
            let (before, after) = (old.lets_in(was, number), new.lets_in(is, number));
            differs |= before != after;
            let opens = found.iter().any(|one| one.opens.iter().any(|who| who.covers(principal)));
            let closes = found.iter().any(|one| one.closes.iter().any(|who| who.covers(principal)));
            if after {
                assert_eq!(opens && !before, !before, "{was:?} {is:?} opens {principal}\n{told}");
            }
            if before {
                assert_eq!(closes && !after, !after, "{was:?} {is:?} closes {principal}\n{told}");
            }
        }
        // And everybody who is named is let in on the one side and not on the other.
        for one in &found {
            for (callers, there, gone) in [(&one.opens, (new, is), (old, was)), (&one.closes, (old, was), (new, is))] {
                for who in callers {
                    let number = principals.iter().position(|principal| principal == who).unwrap();
                    assert!(there.0.lets_in(there.1, number) && !gone.0.lets_in(gone.1, number), "{who}: {one}\n{told}");
                }
            }
        }
    }
    for one in &compared.operations {
        assert!(pairs.contains(&(one.old.clone(), one.new.clone())), "no request of the universe takes {one}\n{told}");
        assert!(one.weighed.is_empty() && !(one.opens.is_empty() && one.closes.is_empty()), "{one}\n{told}");
    }
    assert!(compared.around.is_empty());
    differs
}

fn exposed_as_found(plan: &Plan, brute: &Brute, principals: &[Caller]) {
    for api in &plan.apis {
        for route in &api.routes {
            let Some(allowed) = brute.allowed.get(&(Arc::clone(&api.name), Arc::clone(&route.name))) else { continue };
            let listed = callers(&plan.identity, Some(&route.access));
            let expected = |one: &Caller| listed.iter().any(|who| who.covers(one));
            let found: BTreeSet<usize> = principals.iter().enumerate().filter(|(_, one)| expected(one)).map(|(at, _)| at).collect();
            assert_eq!(found, *allowed, "{listed:?}");
        }
    }
}

#[test]
fn plan_and_exposure_are_what_brute_force_finds() {
    let (requests, principals) = (requests(), principals());
    let (mut done, mut differing, mut lines, mut lines_differing) = (0, 0, 0, 0);
    let mut random = Random(0x0070_6f72_7463_756c);
    while done < CASES.parse::<usize>().unwrap() {
        let first = config(&mut random);
        let second = if random.below(3) == 0 { config(&mut random) } else { changed(&first, &mut random) };
        let (Some(old), Some(new)) = (plan(&first), plan(&second)) else { continue };
        let (before, after) = (brute(&old, &requests, &principals), brute(&new, &requests, &principals));
        exposed_as_found(&new, &after, &principals);
        let told = format!("{}\n-- becomes --\n{}", yaml(&first), yaml(&second));
        differing += usize::from(agree(&before, &after, &compare(&old, &new).unwrap(), &principals, &told));
        assert!(compare(&old, &old).unwrap().operations.is_empty(), "{told}");
        if let Some(third) = without_a_line(&first, &mut random) {
            let new = plan(&third).unwrap();
            let compared = compare(&old, &new).unwrap();
            assert!(!compared.widens(), "{told}");
            let differs = agree(&before, &brute(&new, &requests, &principals), &compared, &principals, &told);
            assert_eq!(differs, !compared.operations.is_empty(), "{told}");
            lines += 1;
            lines_differing += usize::from(differs);
        }
        done += 1;
    }
    assert!(
        differing * 2 > done && lines_differing * 4 > lines && lines_differing < lines,
        "{differing} of {done}, {lines_differing} of {lines}"
    );
}

/// A configuration in which this is known of those who sign.
fn signing(senders: &str) -> Plan {
    let text = format!(
        "version: 1\n\
        listeners: {{ p: {{ address: \"127.0.0.1:0\", danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }} }} }}\n\
        upstreams: {{ u: {{ endpoints: [ {{ url: \"http://127.0.0.1:9\" }} ] }} }}\n\
        identity: {{ signatures: {{ agents: {{ {senders} }} }} }}\n\
        apis:\n  a:\n    hosts: [a.test]\n    upstream: u\n    authenticate: {{ any_of: [agents] }}\n    \
        routes: [ {{ name: r, methods: [GET], path: \"/\", access: {{ allow: {{ roles: [agents/reader] }} }} }} ]\n"
    );
    load_text("signing.yaml", text.as_bytes(), &portcullis_policies::settings(), &Clock::System)
        .unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn e113_whoever_signs_with_a_key_more_a_role_more_or_a_field_less_is_told() {
    let key = |more: &str| format!("form: rfc9421, keys: [ {{ id: k, file: k.pub, algorithm: ed25519, roles: [reader] {more} }} ]");
    let base = key("");
    let with = |more: &str| format!("{base}, {more}");
    let widens = |old: &str, new: &str| {
        let compared = compare(&signing(old), &signing(new)).unwrap();
        (compared.widens(), compared.around.tightens.len())
    };
    assert_eq!(widens(&base, &base), (false, 0));
    let second = base.replace("keys: [", "keys: [ { id: l, file: l.pub, algorithm: ed25519, roles: [reader] },");
    for (tight, loose) in [
        (base.clone(), second),
        (base.clone(), base.replace("[reader]", "[reader, admin]")),
        (base.clone(), key(", scopes: [s]")),
        (with("covers: [content-type, x-a]"), with("covers: [content-type]")),
        (with("tag: t"), base.clone()),
        (with("age_max: 1m"), base.clone()),
        (with("leeway: 1s"), base.clone()),
    ] {
        assert_eq!(widens(&tight, &loose), (true, 0), "{tight} -> {loose}");
        assert_eq!(widens(&loose, &tight), (false, 1), "{loose} -> {tight}");
    }
    for other in [
        base.replace("k.pub", "l.pub"),
        base.replace("ed25519", "hmac-sha256"),
        key(", caller: c"),
        base.replace("rfc9421", "standard_webhooks"),
    ] {
        assert!(widens(&base, &other).0 && widens(&other, &base).0, "{other}");
    }
    assert!(widens(&with("tag: t"), &with("tag: u")).0, "what is signed for something else");
}
