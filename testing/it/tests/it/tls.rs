//! TLS, by curl and `openssl s_client`: what is spoken, which certificate is shown, and who may ask for what over it.

use portcullis_testing_kit::{Authority, Gateway, Leaf, Nginx, Plain, RawClient, Witness, output_of};
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

/// A gateway with two certificates: `a.test` with `www.a.test`, and `*.b.test`.
struct Secured {
    gateway: Gateway,
    authority: Authority,
}

fn files(first: &Leaf, second: &Leaf, authority: &Authority) -> Vec<(&'static str, String)> {
    vec![
        ("tls/a.crt", first.certificate.clone()),
        ("tls/a.key", first.key.clone()),
        ("tls/b.crt", second.certificate.clone()),
        ("tls/b.key", second.key.clone()),
        ("ca.crt", authority.certificate.clone()),
    ]
}

fn yaml(upstream: SocketAddr, more: &str) -> String {
    let tls = format!(
        r"listeners:
  secure:
    address: 127.0.0.1:@tls@
    protocols: [h1]
    tls:
      certificates:
        - {{ hosts: [a.test, www.a.test], files: {{ certificate: tls/a.crt, key: tls/a.key }} }}
        - {{ hosts: ['*.b.test'], files: {{ certificate: tls/b.crt, key: tls/b.key }} }}
    {more}
  redirect: {{ address: '127.0.0.1:@redirect@', redirect_to_https: true }}
"
    );
    Plain::to(upstream).yaml().replacen("listeners:\n", &tls, 1)
}

fn secured_with(upstream: SocketAddr, more: &str) -> Secured {
    let authority = Authority::new();
    let files = files(&authority.leaf(&["a.test", "www.a.test"]), &authority.leaf(&["*.b.test"]), &authority);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Secured { gateway: Gateway::start_with(&files, &yaml(upstream, more)), authority }
}

fn secured() -> (Secured, Witness) {
    let witness = Witness::ok();
    (secured_with(witness.address(), ""), witness)
}

impl Secured {
    /// Asks by curl, which resolves every name to the gateway and trusts only the test's authority.
    fn curl(&self, url_host: &str, arguments: &[&str]) -> Output {
        let port = self.gateway.address("tls").port();
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--http1.1", "--connect-to", &format!("::127.0.0.1:{port}"), "--cacert"]);
        command.arg(self.gateway.folder().join("ca.crt")).args(arguments);
        output_of(command.arg(format!("https://{url_host}:{port}/x")))
    }

    /// What `openssl s_client` tells of a handshake, and whether it succeeded.
    fn handshake(&self, arguments: &[&str]) -> (String, bool) {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.gateway.address("tls").to_string(), "-CAfile"]);
        let output = output_of(command.arg(self.gateway.folder().join("ca.crt")).args(arguments));
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (text, output.status.success())
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn curl_gets_a_page_of_nginx_over_tls_and_there_is_a_record_of_it() {
    let nginx = Nginx::start(&[("x", b"from nginx")]);
    let site = secured_with(nginx.address(), "");
    let output = site.curl("a.test", &[]);
    let shown = text(&output);
    assert!(output.status.success() && shown.starts_with("HTTP/1.1 200") && shown.ends_with("from nginx"), "{shown}");
    assert!(shown.to_lowercase().contains("strict-transport-security: max-age="), "{shown}");
    let record = &site.gateway.records_when(1)[0];
    let tls = &record["tls"];
    assert_eq!((&tls["version"], &tls["sni"]), (&"TLSv1.3".into(), &"a.test".into()), "{record}");
    assert_eq!((&record["listener"], &record["host"]), (&"secure".into(), &"a.test".into()));
}

#[test]
fn only_tls_1_2_and_1_3_are_spoken() {
    let (site, _witness) = secured();
    for (argument, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let (shown, done) = site.handshake(&[argument, "-servername", "a.test", "-verify_return_error"]);
        assert!(done && shown.contains(version) && shown.contains("Verify return code: 0 (ok)"), "{argument}: {shown}");
    }
    for argument in ["-tls1", "-tls1_1"] {
        let (shown, done) = site.handshake(&[argument, "-servername", "a.test", "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!done, "{argument}: {shown}");
    }
}

#[test]
fn weak_suites_are_refused() {
    let (site, _witness) = secured();
    for suite in ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "DES-CBC3-SHA", "NULL"] {
        let (shown, done) = site.handshake(&["-tls1_2", "-servername", "a.test", "-cipher", &format!("{suite}:@SECLEVEL=0")]);
        assert!(!done, "{suite}: {shown}");
    }
}

#[test]
fn the_certificate_follows_the_server_name() {
    let (site, _witness) = secured();
    for (name, shown_name) in
        [("a.test", "DNS:a.test"), ("www.a.test", "DNS:a.test"), ("x.b.test", "DNS:*.b.test"), ("X.B.Test", "DNS:*.b.test")]
    {
        let (shown, done) = site.handshake(&["-servername", name, "-showcerts"]);
        assert!(done, "{name}: {shown}");
        let parsed = certificate_names(&site, &shown);
        assert!(parsed.contains(shown_name), "{name}: {parsed}");
    }
    // A name that no certificate is for gets none at all, rather than a wrong one.
    for name in ["evil.test", "b.test", "x.y.b.test"] {
        let (shown, done) = site.handshake(&["-servername", name, "-verify_return_error"]);
        assert!(!done, "{name}: {shown}");
    }
}

fn certificate_names(site: &Secured, shown: &str) -> String {
    let begin = shown.find("-----BEGIN CERTIFICATE-----").expect("a certificate is shown");
    let file = site.gateway.folder().join("shown.crt");
    std::fs::write(&file, &shown[begin..]).expect("written");
    let mut command = Command::new("openssl");
    text(&output_of(command.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]).arg(file)))
}

#[test]
fn a_host_that_the_connection_was_not_opened_for_is_misdirected() {
    let (site, witness) = secured();
    for (name, host) in [("a.test", "x.b.test"), ("a.test", "evil.test"), ("x.b.test", "a.test")] {
        let shown = text(&site.curl(name, &["-H", &format!("Host: {host}")]));
        assert!(shown.starts_with("HTTP/1.1 421") && shown.contains("\"misdirected\""), "{name} {host}: {shown}");
    }
    assert_eq!(witness.bytes(), 0);
    for (name, host) in [("a.test", "www.a.test"), ("a.test", "A.TEST."), ("x.b.test", "y.b.test")] {
        let shown = text(&site.curl(name, &["-H", &format!("Host: {host}")]));
        assert!(shown.starts_with("HTTP/1.1 200"), "{name} {host}: {shown}");
    }
}

#[test]
fn e117_without_a_server_name_there_is_no_other_policy() {
    let (site, witness) = secured();
    let (shown, done) = site.handshake(&["-noservername", "-verify_return_error"]);
    // Either there is no connection, or it is one with the same rules; never one that leads to other hosts' routes unchecked.
    if done {
        assert!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
    }
    assert_eq!(witness.bytes(), 0);
}

#[test]
fn a_redirect_listener_only_redirects() {
    let (site, witness) = secured();
    let response = portcullis_testing_kit::get(site.gateway.address("redirect"), "a.test", "/x?y=1");
    let location = response.field("location").unwrap_or_default().to_owned();
    assert_eq!(response.status, 308);
    let port = site.gateway.address("tls").port();
    assert_eq!(location, format!("https://a.test:{port}/x?y=1"));
    // The host is taken from the request only in canonical form, so nothing can be smuggled into the answer.
    for host in ["a.test\\@evil.test", "a.test/evil", "evil@a.test", "a.test:443:1"] {
        let response = portcullis_testing_kit::get(site.gateway.address("redirect"), host, "/x");
        assert_eq!((response.status, response.field("location")), (400, None), "{host}");
    }
    let post = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nsecret";
    assert_eq!(RawClient::connect(site.gateway.address("redirect")).send(post).response().status, 308);
    assert_eq!(witness.bytes(), 0);
}

#[test]
fn plain_text_on_a_tls_port_is_not_served() {
    let (mut site, witness) = secured();
    let mut client = RawClient::connect(site.gateway.address("tls"));
    let answer = client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").rest();
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    assert_eq!(witness.bytes(), 0);
    site.gateway.is_well();
}

#[test]
fn d86_a_handshake_that_stalls_is_cut() {
    let witness = Witness::ok();
    let site = secured_with(witness.address(), "limits: { handshake_deadline: 1s, header_deadline: 1s }");
    let hello: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
    for bytes in [&b""[..], &hello[..1], hello] {
        let mut client = RawClient::connect(site.gateway.address("tls"));
        client.send(bytes);
        assert!(client.ends_within(Duration::from_secs(20)), "{} bytes of a handshake hold a place for ever", bytes.len());
    }
}

#[test]
fn d95_garbage_in_a_handshake_hurts_nobody() {
    let (mut site, witness) = secured();
    let mut noise: Vec<u8> = (0_u32..4096).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for round in 0..100_u8 {
        noise[0] = [0x16, 0x15, 0x17, 0x14, 0x80][usize::from(round) % 5];
        noise[1] = 3;
        noise[usize::from(round) + 2] ^= round;
        let mut client = RawClient::connect(site.gateway.address("tls"));
        client.send(&noise).finish();
        client.rest();
    }
    // close_notify as the first record (RUSTSEC-2024-0336).
    let mut client = RawClient::connect(site.gateway.address("tls"));
    client.send([0x15, 3, 3, 0, 2, 1, 0]).finish();
    client.rest();
    assert!(text(&site.curl("a.test", &[])).starts_with("HTTP/1.1 200"));
    assert_eq!(witness.requests().len(), 1);
    site.gateway.is_well();
}

#[test]
fn a_session_is_resumed_by_its_ticket() {
    let (site, _witness) = secured();
    let session = site.gateway.folder().join("session");
    let session = session.to_str().expect("a path");
    let (shown, done) = site.handshake(&["-tls1_2", "-servername", "a.test", "-sess_out", session]);
    assert!(done && shown.contains("New, TLSv1.2"), "{shown}");
    let (shown, done) = site.handshake(&["-tls1_2", "-servername", "a.test", "-sess_in", session]);
    assert!(done && shown.contains("Reused, TLSv1.2"), "{shown}");
}

#[test]
fn a_certificate_is_swapped_while_it_serves() {
    let (site, _witness) = secured();
    assert!(text(&site.curl("a.test", &[])).starts_with("HTTP/1.1 200"));
    let generation = site.gateway.generation();
    let next = Authority::new();
    let leaf = next.leaf(&["a.test", "www.a.test"]);
    site.gateway.write("tls/a.key", &leaf.key);
    site.gateway.write("tls/a.crt", &leaf.certificate);
    site.gateway.write("ca.crt", &next.certificate);
    portcullis_testing_kit::holds("the new certificate to be shown", || {
        text(&site.curl("a.test", &[])).starts_with("HTTP/1.1 200")
    });
    assert!(site.gateway.generation() >= generation);
    assert!(site.authority.certificate != next.certificate);
}

#[test]
fn a_certificate_that_is_broken_expired_or_without_its_key_replaces_nothing() {
    let (site, _witness) = secured();
    let expired = site.authority.expired_leaf(&["a.test", "www.a.test"]);
    let other = site.authority.leaf(&["a.test", "www.a.test"]);
    let stranger = site.authority.leaf(&["evil.test"]);
    let good = std::fs::read_to_string(site.gateway.folder().join("tls/a.crt")).expect("there");
    let mut refused = 0;
    for (what, bad) in [
        ("expired", expired.certificate.as_str()),
        ("of another key", other.certificate.as_str()),
        ("empty", ""),
        ("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("truncated", good.get(..200).unwrap_or_default()),
    ] {
        site.gateway.write("tls/a.crt", bad);
        refused += 1;
        portcullis_testing_kit::holds(&format!("a certificate that is {what} to be refused"), || {
            site.gateway.refused_reloads() >= refused
        });
        refused = site.gateway.refused_reloads();
        assert!(text(&site.curl("a.test", &[])).starts_with("HTTP/1.1 200"), "{what}");
    }
    // A certificate that goes with its key, but is for another host.
    let key = std::fs::read_to_string(site.gateway.folder().join("tls/a.key")).expect("there");
    site.gateway.write("tls/a.key", &stranger.key);
    site.gateway.write("tls/a.crt", &stranger.certificate);
    let told = "does not cover `a.test`, `www.a.test`, which it is configured for; it covers `evil.test`";
    portcullis_testing_kit::holds("a certificate for another host to be refused", || site.gateway.stderr().contains(told));
    assert!(text(&site.curl("a.test", &[])).starts_with("HTTP/1.1 200"));
    site.gateway.write("tls/a.key", &key);
    site.gateway.write("tls/a.crt", &good);
    assert!(text(&site.curl("a.test", &[])).starts_with("HTTP/1.1 200"));
}
