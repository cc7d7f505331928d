//! Tokens that are bound to a client certificate (RFC 8705), by a real provider, curl and openssl.

use crate::openid::{private_keys, token_for, written};
use portcullis_testing_kit::{
    Authority, Gateway, Leaf, NodeServer, Plain, SigningKey, Witness, base64url, claims, key_set, output_of, unix_seconds,
};
use serde_json::{Value, json};
use std::process::Command;

const AUDIENCE: &str = "https://api.test";

/// The sections of a gateway that speaks TLS, asks for certificates of clients, and has these providers.
pub(crate) fn secure(witness: &Witness, providers: &str, api: &'static str, routes: &'static str) -> String {
    let tls = "listeners:
  secure:
    address: 127.0.0.1:@tls@
    tls:
      certificates: [ { hosts: [a.test], files: { certificate: a.crt, key: a.key } } ]
      client_certificates: { mode: optional, trust: clients.pem }
";
    let plain = Plain { api, routes, ..Plain::to(witness.address()) };
    format!("{}identity:\n{providers}", plain.yaml().replacen("listeners:\n", tls, 1))
}

/// The base64 of a certificate's DER, from its PEM.
pub(crate) fn inner(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("---")).collect()
}

/// The thumbprint of a certificate, as openssl computes it.
fn thumbprint(gateway: &Gateway, name: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(gateway.folder().join(format!("{name}.crt")));
    let told = String::from_utf8(output_of(&mut command).stdout).expect("text");
    let digits: String = told.trim().rsplit('=').next().unwrap_or_default().replace(':', "");
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("a byte")).collect();
    base64url(&bytes)
}

/// Asks by curl, with the certificate of a name and these header lines: the status and the code of a refusal.
pub(crate) fn curl(gateway: &Gateway, path: &str, shown: Option<&str>, arguments: &[&str], fields: &[&str]) -> (u64, String) {
    let arguments = [&["-w", "\n%{http_code}"], arguments].concat();
    let told = curl_says(gateway, path, shown, &arguments, fields);
    let (body, status) = told.rsplit_once('\n').unwrap_or_default();
    let problem: Value = serde_json::from_str(body.trim()).unwrap_or_default();
    let status = status.parse().unwrap_or_else(|_| panic!("{told}"));
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// The same, and everything that curl says.
pub(crate) fn curl_says(gateway: &Gateway, path: &str, shown: Option<&str>, arguments: &[&str], fields: &[&str]) -> String {
    let port = gateway.address("tls").port();
    let mut command = Command::new("curl");
    command.args(["-sS", "--connect-to", &format!("::127.0.0.1:{port}"), "--cacert"]);
    command.arg(gateway.folder().join("ca.crt")).args(arguments);
    if let Some(shown) = shown {
        let file = |end: &str| gateway.folder().join(format!("{shown}.{end}"));
        command.arg("--cert").arg(file("crt")).arg("--key").arg(file("key"));
    }
    for field in fields {
        command.args(["-H", field]);
    }
    let output = output_of(command.arg(format!("https://a.test:{port}{path}")));
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{wrong}{told}")
}

/// The files of a gateway with two clients, and more.
pub(crate) fn files(servers: &Authority, clients: &Authority, leaves: &[(&str, &Leaf)]) -> Vec<(String, String)> {
    let own = servers.leaf(&["a.test"]);
    let mut files = vec![
        ("a.crt".to_owned(), own.certificate),
        ("a.key".to_owned(), own.key),
        ("ca.crt".to_owned(), servers.certificate.clone()),
        ("clients.pem".to_owned(), clients.certificate.clone()),
    ];
    for (name, leaf) in leaves {
        files.extend([(format!("{name}.crt"), leaf.certificate.clone()), (format!("{name}.key"), leaf.key.clone())]);
    }
    files
}

/// A gateway with these files.
pub(crate) fn start(files: &[(String, String)], yaml: &str) -> Gateway {
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Gateway::start_with(&files, yaml)
}

const ORDERS: &str = "- { name: read, methods: [GET], path: \"/orders\", access: { allow: { scopes: [\"orders:read\"] } } }";
const BY_ID: &str = "authenticate: { any_of: [id], audiences: [\"https://api.test\"] }";

#[test]
fn a_real_providers_bound_token_is_worth_something_with_its_certificate_alone() {
    let program = include_str!("../../js/openid_provider.mjs");
    let keys = written("ES256", &[&private_keys("ES256", "k1")]);
    let provider = NodeServer::running(program, &["keys.json"], &[("keys.json", &keys)]);
    let (servers, clients, witness) = (Authority::new(), Authority::new(), Witness::ok());
    let (own, other) = (clients.client("own", 5), clients.client("other", 6));
    let files = files(&servers, &clients, &[("own", &own), ("other", &other)]);
    let yaml = |accept: &str| {
        let provider = provider.address();
        let section = format!(
            "  providers:\n    id: {{ issuer: \"http://{provider}\", accept: [{accept}], keys: {{ discover: {{ upstream: id }} }} }}\n"
        );
        let id = format!("upstreams:\n  id: {{ endpoints: [ {{ url: \"http://{provider}\" }} ] }}\n");
        secure(&witness, &section, BY_ID, ORDERS).replacen("upstreams:\n", &id, 1)
    };
    let mut gateway = start(&files, &yaml("bearer, mtls_bound"));
    let told = format!("x-client-certificate: {}\r\n", inner(&own.certificate));
    let bound = token_for(provider.address(), "bound", "orders%3Aread", &told);
    let plain = token_for(provider.address(), "shop", "orders%3Aread", "");
    let with = |token: &str, shown: Option<&str>, arguments: &[&str]| {
        curl(&gateway, "/orders", shown, arguments, &[&format!("Authorization: Bearer {token}")])
    };
    let (good, bad) = ((200, String::new()), (401, "credentials_invalid".to_owned()));
    for version in ["--http1.1", "--http2"] {
        for _ in 0..2 {
            assert_eq!(with(&bound, Some("own"), &[version]), good, "{version} {}", gateway.stderr());
            assert_eq!(with(&bound, Some("other"), &[version]), bad, "{version}: by another client");
            assert_eq!(with(&bound, None, &[version]), bad, "{version}: by nobody");
        }
    }
    assert_eq!(with(&plain, None, &[]), good);
    // What somebody says of a certificate is no certificate.
    let claimed = ["Client-Cert", "X-Client-Cert", "X-Forwarded-Client-Cert", "X-SSL-Cert"];
    let claimed: Vec<String> = claimed.iter().map(|name| format!("{name}: :{}:", inner(&own.certificate))).collect();
    let mut fields: Vec<&str> = claimed.iter().map(String::as_str).collect();
    let authorization = format!("Authorization: Bearer {bound}");
    fields.push(&authorization);
    assert_eq!(curl(&gateway, "/orders", None, &[], &fields), bad);
    // The provider's tokens must be bound.
    gateway.configure(&yaml("mtls_bound"));
    gateway.reaches_generation(2);
    let with = |token: &str, shown| curl(&gateway, "/orders", shown, &[], &[&format!("Authorization: Bearer {token}")]);
    assert_eq!(
        (with(&plain, Some("own")), with(&bound, Some("own")), with(&bound, None)),
        (bad.clone(), good.clone(), bad.clone())
    );
    // And must not be.
    gateway.configure(&yaml("bearer"));
    gateway.reaches_generation(3);
    let with = |token: &str, shown| curl(&gateway, "/orders", shown, &[], &[&format!("Authorization: Bearer {token}")]);
    assert_eq!((with(&plain, Some("own")), with(&bound, Some("own"))), (good, bad));
    gateway.is_well();
}

#[test]
fn what_a_token_is_bound_to_is_read_strictly() {
    let (servers, clients, witness, key) = (Authority::new(), Authority::new(), Witness::ok(), SigningKey::p256("k1"));
    let own = clients.client("own", 5);
    let mut files = files(&servers, &clients, &[("own", &own)]);
    files.push(("id.jwks.json".to_owned(), key_set(&[&key])));
    let section =
        "  providers:\n    id: { issuer: \"https://id.test\", accept: [bearer, mtls_bound], keys: { file: id.jwks.json } }\n";
    let mut gateway = start(&files, &secure(&witness, section, BY_ID, ORDERS));
    let print = thumbprint(&gateway, "own");
    let judged = |confirmation: Value| {
        let mut claims = claims("https://id.test", AUDIENCE);
        claims["scope"] = json!("orders:read");
        claims["jti"] = json!(format!("{confirmation} {}", unix_seconds()));
        claims["cnf"] = confirmation;
        let authorization = format!("Authorization: Bearer {}", key.token(&claims));
        curl(&gateway, "/orders", Some("own"), &[], &[&authorization]).0
    };
    assert_eq!(judged(json!({ "x5t#S256": print })), 200);
    let seen = witness.texts().len();
    for wrong in [
        json!({ "x5t#s256": print }),
        json!({ "x5t": print }),
        json!({ "x5t#S256": print.to_uppercase() }),
        json!({ "x5t#S256": format!("{print}=") }),
        json!({ "x5t#S256": [print] }),
        json!({ "x5t#S256": print, "jkt": print }),
        json!({ "x5t#S256": print, "kid": "k1" }),
        json!({ "jwk": {} }),
        json!({}),
        json!([]),
        json!(null),
    ] {
        assert_eq!(judged(wrong.clone()), 401, "{wrong}");
    }
    assert_eq!(witness.texts().len(), seen, "nobody upstream has heard of it");
    gateway.is_well();
}
