//! Callers that are known by the certificate of their connection.

use crate::bound_tokens::{curl, curl_says, files, secure, start};
use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{Authority, Gateway, Leaf, SigningKey, TempDir, Witness, binary, claims, free_port, key_set};
use serde_json::{Value, json};

const ROUTES: &str = "- { name: read, methods: [GET], path: \"/read\", access: { allow: { roles: [machines/reader] } } }\n\
                      - { name: pay, methods: [GET], path: \"/pay\", access: { allow: { scopes: [pay] } } }\n\
                      - { name: open, methods: [GET], path: \"/open\", access: { public: true } }";

/// Clients with certificates by two authorities, and what becomes of them.
struct World {
    gateway: Gateway,
    witness: Witness,
}

fn clients(issuer: &str, print: &str) -> String {
    format!(
        "  client_certificates:
    machines:
      issuer: \"CN={issuer}\"
      clients:
        - {{ name: billing, uri: \"spiffe://example.com/billing\", roles: [reader], scopes: [pay] }}
        - {{ name: pinned, fingerprint: \"{print}\", roles: [reader] }}
        - {{ dns: \"*.tills.example.com\", roles: [reader] }}
        - {{ uri: \"spiffe://example.com/shop/*\" }}
"
    )
}

fn print_of(leaf: &Leaf) -> String {
    let folder = TempDir::new();
    folder.write("c", &leaf.certificate);
    let told = run(folder.path(), "openssl x509 -noout -fingerprint -sha256 -in c");
    told.trim().rsplit('=').next().unwrap_or_default().to_owned()
}

impl World {
    fn new(any_of: &'static str, leaves: &[(&str, &Leaf)], authorities: &[&Authority], pinned: &Leaf) -> Self {
        let (servers, witness) = (Authority::named("Servers"), Witness::ok());
        let mut files = files(&servers, authorities[0], leaves);
        let bundle: String = authorities.iter().map(|authority| authority.certificate.as_str()).collect();
        files.iter_mut().filter(|(name, _)| name == "clients.pem").for_each(|(_, text)| text.clone_from(&bundle));
        let gateway = start(&files, &secure(&witness, &clients("Machines", &print_of(pinned)), any_of, ROUTES));
        Self { gateway, witness }
    }

    fn asks(&self, shown: Option<&str>, path: &str) -> (u64, String) {
        curl(&self.gateway, path, shown, &[], &[])
    }
}

#[test]
fn a_caller_is_known_by_what_its_certificate_says() {
    let machines = Authority::named("Machines");
    let leaf = |name: &str, alternatives: &[&str]| machines.client_known_as(name, alternatives);
    let billing = leaf("billing", &["DNS:other.test", "URI:spiffe://example.com/billing"]);
    let pinned = leaf("pinned", &[]);
    let till = leaf("till", &["DNS:Till-7.TILLS.example.com"]);
    let shop = leaf("shop", &["URI:spiffe://example.com/shop/a/b"]);
    let leaves = [("billing", &billing), ("pinned", &pinned), ("till", &till), ("shop", &shop)];
    let mut world = World::new("authenticate: { any_of: [machines] }", &leaves, &[&machines], &pinned);
    let (good, denied) = ((200, String::new()), (403, "access_denied".to_owned()));
    for (shown, read, pay) in
        [("billing", &good, &good), ("pinned", &good, &denied), ("till", &good, &denied), ("shop", &denied, &denied)]
    {
        for _ in 0..2 {
            assert_eq!((&world.asks(Some(shown), "/read"), &world.asks(Some(shown), "/pay")), (read, pay), "{shown}");
        }
    }
    assert_eq!(world.asks(None, "/open"), good);
    let records = world.gateway.records_when(17);
    for (name, count) in [("billing", 4), ("pinned", 4), ("till-7.tills.example.com", 4), ("spiffe://example.com/shop/a/b", 4)] {
        let of = |record: &&Value| record["provider"] == "machines" && record["principal"] == name;
        assert_eq!(records.iter().filter(of).count(), count, "{name}: {records:#?}");
    }
    // Nobody without a certificate; and what is asked for is no token.
    let missing = curl_says(&world.gateway, "/read", None, &["-i"], &[]);
    assert!(missing.contains("\r\nwww-authenticate: ClientCertificate realm=\"api\"\r\n"), "{missing}");
    let before = world.witness.texts().len();
    assert_eq!(world.asks(None, "/read"), (401, "credentials_missing".to_owned()));
    assert_eq!(world.witness.texts().len(), before);
    world.gateway.is_well();
}

#[test]
fn what_nobody_vouches_for_is_nobodys_certificate() {
    let (machines, others) = (Authority::named("Machines"), Authority::named("Others"));
    // The other authority makes one below it that has the name of the first.
    let impostor = others.below("Machines", 7);
    let billing = "URI:spiffe://example.com/billing";
    let by_other = others.client_known_as("by-other", &[billing]);
    let mut by_impostor = impostor.client_known_as("by-impostor", &[billing]);
    by_impostor.certificate.push_str(&impostor.certificate);
    let below = machines.below("Issuing", 8);
    let mut by_below = below.client_known_as("by-below", &[billing]);
    by_below.certificate.push_str(&below.certificate);
    let odd = |name: &str, alternatives: &[&str]| machines.client_known_as(name, alternatives);
    let pinned = odd("pinned", &[]);
    let strangers = [
        ("common-name", odd("spiffe://example.com/billing", &[])),
        ("longer", odd("x", &["URI:spiffe://example.com/billing2"])),
        ("case", odd("x", &["URI:spiffe://example.com/Billing"])),
        ("deeper", odd("x", &["DNS:a.b.tills.example.com"])),
        ("bare", odd("x", &["DNS:tills.example.com", "DNS:xtills.example.com", "URI:spiffe://example.com/shop/"])),
        ("star", odd("x", &["DNS:*.tills.example.com"])),
        ("mixed", odd("x", &["DNS:spiffe.example.com", "URI:dns:till.tills.example.com"])),
        ("by-other", by_other),
        ("by-impostor", by_impostor),
    ];
    let mut leaves: Vec<(&str, &Leaf)> = strangers.iter().map(|(name, leaf)| (*name, leaf)).collect();
    leaves.push(("by-below", &by_below));
    let mut world = World::new("authenticate: { any_of: [machines] }", &leaves, &[&machines, &others], &pinned);
    for (name, _) in &strangers {
        for _ in 0..2 {
            assert_eq!(world.asks(Some(name), "/read"), (401, "credentials_missing".to_owned()), "{name}");
        }
    }
    assert_eq!(world.asks(Some("by-below"), "/read").0, 200, "what lies between an authority and a client is the authority's");
    let record = world.gateway.record_of("credentials_missing");
    assert!(record["detail"].as_str().is_some_and(|detail| detail.contains("is none of a client")), "{record}");
    world.gateway.is_well();
}

#[test]
fn a_token_counts_before_a_certificate_and_a_bad_one_is_not_saved_by_it() {
    let (machines, servers, witness, key) =
        (Authority::named("Machines"), Authority::named("Servers"), Witness::ok(), SigningKey::p256("k1"));
    let billing = machines.client_known_as("billing", &["URI:spiffe://example.com/billing"]);
    let mut files = files(&servers, &machines, &[("billing", &billing)]);
    files.push(("id.jwks.json".to_owned(), key_set(&[&key])));
    let section = format!(
        "{}  providers: {{ corp: {{ issuer: \"https://id.test\", keys: {{ file: id.jwks.json }} }} }}\n",
        clients("Machines", &"0".repeat(64))
    );
    let api = "authenticate: { any_of: [corp, machines], audiences: [\"https://api.test\"] }";
    let mut gateway = start(&files, &secure(&witness, &section, api, ROUTES));
    let mut claims = claims("https://id.test", "https://api.test");
    claims["scope"] = json!("pay");
    let token = format!("Authorization: Bearer {}", key.token(&claims));
    let asks = |shown, path: &str, fields: &[&str]| curl(&gateway, path, shown, &[], fields).0;
    assert_eq!((asks(None, "/pay", &[&token]), asks(Some("billing"), "/pay", &[&token])), (200, 200));
    assert_eq!((asks(Some("billing"), "/read", &[]), asks(Some("billing"), "/read", &[&token])), (200, 403));
    assert_eq!(asks(Some("billing"), "/read", &["Authorization: Bearer a.b.c"]), 401);
    assert_eq!(asks(Some("billing"), "/read", &["Authorization: Basic YTpi"]), 401);
    assert_eq!(asks(None, "/read", &[]), 401);
    // A role that is taken away is gone with the reload, also for certificates that are known.
    gateway.configure(&secure(&witness, &section.replace("billing\", roles: [reader]", "billing\", roles: [writer]"), api, ROUTES));
    gateway.reaches_generation(2);
    assert_eq!(curl(&gateway, "/read", Some("billing"), &[], &[]).1, "access_denied");
    let rows = std::process::Command::new(binary())
        .args(["--format", "json", "exposure", "--config", "portcullis.yaml"])
        .current_dir(gateway.folder())
        .output()
        .expect("it runs");
    let rows: Value = serde_json::from_slice(&rows.stdout).expect("JSON");
    assert_eq!((&rows[1]["providers"], &rows[1]["credentials"]), (&json!(["corp", "machines"]), &json!(["token", "certificate"])));
    gateway.is_well();
}

#[test]
fn the_guide_works_as_written() {
    let page = std::fs::read_to_string(pages().join("../guides/client-certificates.md")).expect("the guide");
    let witness = Witness::ok();
    let ports = [(8443, free_port()), (9464, free_port()), (3000, witness.address().port())];
    let (folder, authority) = (TempDir::new(), Authority::new());
    let leaf = authority.leaf(&["api.example.com"]);
    folder.write("tls/ca.crt", &authority.certificate);
    folder.write("tls/api.crt", &leaf.certificate);
    folder.write("tls/api.key", &leaf.key);
    let [configuration] = blocks(&page, "yaml").try_into().expect("one configuration");
    folder.write("portcullis.yaml", with_ports(&configuration, &ports));
    let said = run(folder.path(), &with_ports(&blocks(&page, "sh").concat(), &ports));
    assert!(said.contains("credentials_missing") && said.contains("access_denied"), "{said}");
    assert_eq!(witness.requests().len(), 2, "{:#?}", witness.texts());
}
