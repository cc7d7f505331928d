//! Certificates of clients, by curl and openssl: who is let in, what is recorded, and what a change of trust does.

use portcullis_testing_kit::{Authority, Gateway, Leaf, Plain, RawClient, Witness, holds, output_of};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A gateway whose clients must show a certificate, and its authorities.
struct Site {
    gateway: Gateway,
    witness: Witness,
    clients: Authority,
    servers: Authority,
}

const REQUIRED: &str = "{ mode: required, trust: clients.pem, revocation: { crl: [clients.crl] } }";

fn yaml(witness: &Witness, clients: &str) -> String {
    let tls = format!(
        "listeners:
  secure:
    address: 127.0.0.1:@tls@
    tls:
      certificates:
        - {{ hosts: [a.test], files: {{ certificate: a.crt, key: a.key }} }}
        - {{ hosts: ['*.b.test'], files: {{ certificate: b.crt, key: b.key }} }}
      client_certificates: {clients}
"
    );
    Plain::to(witness.address()).yaml().replacen("listeners:\n", &tls, 1)
}

fn site_with(settings: &str) -> Site {
    let (servers, clients, witness) = (Authority::new(), Authority::new(), Witness::ok());
    let (a, b, known, stranger) = (
        servers.leaf(&["a.test"]),
        servers.leaf(&["*.b.test"]),
        clients.client("partner", 5),
        Authority::new().client("partner", 5),
    );
    let list = clients.revoked(&[4], true);
    let files = [
        ("a.crt", &a.certificate),
        ("a.key", &a.key),
        ("b.crt", &b.certificate),
        ("b.key", &b.key),
        ("ca.crt", &servers.certificate),
        ("clients.pem", &clients.certificate),
        ("clients.crl", &list),
        ("partner.crt", &known.certificate),
        ("partner.key", &known.key),
        ("stranger.crt", &stranger.certificate),
        ("stranger.key", &stranger.key),
    ];
    let files = files.map(|(name, text)| (name, text.as_str()));
    let gateway = Gateway::start_with(&files, &yaml(&witness, settings));
    Site { gateway, witness, clients, servers }
}

fn site() -> Site {
    site_with(REQUIRED)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Site {
    /// Asks for a page of a host by curl; `shown` is the name of the certificate to show, if any.
    fn curl(&self, host: &str, shown: Option<&str>, more: &[&str]) -> String {
        let port = self.gateway.address("tls").port();
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--http1.1", "--connect-to", &format!("::127.0.0.1:{port}"), "--cacert"]);
        command.arg(self.gateway.folder().join("ca.crt")).args(more);
        if let Some(shown) = shown {
            let file = |end: &str| self.gateway.folder().join(format!("{shown}.{end}"));
            command.arg("--cert").arg(file("crt")).arg("--key").arg(file("key"));
        }
        text(&output_of(command.arg(format!("https://{host}:{port}/x"))))
    }

    fn is_served(&self, shown: Option<&str>) -> bool {
        self.curl("a.test", shown, &[]).starts_with("HTTP/1.1 200")
    }

    fn failed(&self, reason: &str) -> u64 {
        self.gateway.metric(&format!("portcullis_handshakes_failed_total{{listener=\"secure\",reason=\"{reason}\"}}")) as u64
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let file = |name: &str| self.gateway.folder().join(name);
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.gateway.address("tls").to_string(), "-servername", "a.test", "-CAfile"]);
        command.arg(file("ca.crt")).arg("-cert").arg(file("partner.crt")).arg("-key").arg(file("partner.key"));
        text(&output_of(command.args(arguments)))
    }

    /// Puts other files in their places, and waits until they are in force.
    fn replace(&self, files: &[(&str, &str)]) {
        let generation = self.gateway.generation();
        files.iter().for_each(|(name, content)| self.gateway.write(name, content));
        holds("the new files to be in force", || self.gateway.generation() > generation);
    }
}

#[test]
fn a_client_shows_its_certificate_and_is_in_the_record() {
    let site = site();
    for version in ["--tlsv1.3", "--tlsv1.2"] {
        let maximum = ["--tls-max", version.trim_start_matches("--tlsv")];
        assert!(
            site.curl("a.test", Some("partner"), &[&[version], &maximum[..]].concat()).starts_with("HTTP/1.1 200"),
            "{version}"
        );
    }
    let record = &site.gateway.records_when(2)[0];
    let client = &record["tls"]["client_certificate"];
    assert_eq!(client["subject"].as_str().map(|subject| subject.contains("CN=partner")), Some(true), "{record}");
    assert_eq!(client["issuer"].as_str().map(|issuer| issuer.contains("CN=Portcullis tests")), Some(true), "{record}");
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(site.gateway.folder().join("partner.crt"));
    let told = text(&output_of(&mut command));
    let fingerprint = told.trim().rsplit('=').next().unwrap_or_default().replace(':', "").to_lowercase();
    assert_eq!(client["fingerprint"], fingerprint.as_str(), "{told}");
    // Nothing of it goes upstream, and nothing that a client says of itself.
    let claims =
        ["X-Client-Cert", "X-Forwarded-Client-Cert", "X-SSL-Client-Verify", "X-SSL-Cert", "Client-Cert", "ssl-client-cert"];
    let claims: Vec<String> = claims.iter().flat_map(|name| ["-H".to_owned(), format!("{name}: admin")]).collect();
    let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
    assert!(site.curl("a.test", Some("partner"), &claims).starts_with("HTTP/1.1 200"));
    let seen = site.witness.texts().concat().to_lowercase();
    assert!(!seen.contains("admin") && !seen.contains("partner") && !seen.contains("cert"), "{seen}");
}

#[test]
fn e115_e117_no_form_of_the_server_name_gets_round_the_certificate() {
    let mut site = site();
    for host in ["a.test", "a.test.", "A.TEST", "x.b.test", "X.B.Test.", "127.0.0.1", "localhost", "evil.test"] {
        for version in ["--tlsv1.3", "--tlsv1.2"] {
            let maximum = ["--tls-max", version.trim_start_matches("--tlsv")];
            for shown in [None, Some("stranger")] {
                let answer = site.curl(host, shown, &[&["-k", version], &maximum[..]].concat());
                assert!(!answer.contains("HTTP/1.1"), "{host} {version} {shown:?}: {answer}");
            }
        }
    }
    assert_eq!(site.witness.bytes(), 0);
    assert!(site.failed("client_certificate_missing") >= 10, "{}", site.failed("client_certificate_missing"));
    assert!(site.failed("client_certificate_untrusted") >= 10, "{}", site.failed("client_certificate_untrusted"));
    assert!(site.is_served(Some("partner")));
    site.gateway.is_well();
}

#[test]
fn e116_a_hello_in_pieces_is_asked_for_a_certificate_too() {
    let mut site = site();
    // Recorded by openssl: a whole hello, sent in pieces of eight bytes, each in a record of its own.
    let hello = hello_of_openssl();
    let body = &hello[5..];
    let mut client = RawClient::connect(site.gateway.address("tls"));
    for piece in body.chunks(8) {
        let record = [&[0x16, 3, 1, 0, piece.len() as u8][..], piece].concat();
        client.send(&record);
    }
    // A TLS 1.2 hello: the answer is readable and asks for a certificate (type 13).
    let answer = client.until(&[14, 0, 0, 0]);
    let asks = answer.windows(4).any(|window| window[0] == 13 && window[1] == 0);
    assert!(asks, "no certificate request in {} bytes", answer.len());
    assert_eq!(site.witness.bytes(), 0);
    site.gateway.is_well();
}

/// A ClientHello of TLS 1.2 for `a.test`, as openssl sends it.
fn hello_of_openssl() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-servername", "a.test", "-connect", &address]);
    let mut process =
        portcullis_testing_kit::Guarded::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let (mut stream, _) = listener.accept().expect("openssl connects");
    let mut head = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut head).expect("a record");
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    std::io::Read::read_exact(&mut stream, &mut body).expect("a hello");
    process.kill();
    [&head[..], &body].concat()
}

#[test]
fn e140_a_revocation_is_in_force_as_soon_as_its_list_is_there() {
    let site = site();
    assert!(site.is_served(Some("partner")));
    site.replace(&[("clients.crl", &site.clients.revoked(&[4, 5], true))]);
    assert!(!site.is_served(Some("partner")));
    assert_eq!(site.failed("client_certificate_revoked"), 1);
    site.replace(&[("clients.crl", &site.clients.revoked(&[4], true))]);
    assert!(site.is_served(Some("partner")));
    // A list whose successor is overdue refuses everybody, and says so in the metrics.
    site.replace(&[("clients.crl", &site.clients.revoked(&[4], false))]);
    assert!(!site.is_served(Some("partner")));
    assert_eq!(site.failed("client_revocation_unknown"), 1);
    site.gateway.configure(&yaml(&site.witness, &REQUIRED.replace("[clients.crl]", "[clients.crl], stale: accept")));
    holds("a stale list to count on", || site.is_served(Some("partner")));
}

#[test]
fn e113_d97_broken_trust_and_lists_replace_nothing() {
    let mut site = site();
    let (trust, list) = (site.clients.certificate.clone(), site.clients.revoked(&[4], true));
    let forged = Authority::new().revoked(&[], true);
    let garbage = "-----BEGIN X509 CRL-----\nMIIBAAAA\n-----END X509 CRL-----\n";
    for (file, what, content) in [
        ("clients.pem", "empty", ""),
        ("clients.pem", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("clients.pem", "cut", trust.get(..200).unwrap_or_default()),
        ("clients.crl", "empty", ""),
        ("clients.crl", "garbage", garbage),
        ("clients.crl", "cut", list.get(..200).unwrap_or_default()),
        ("clients.crl", "forged", &forged),
    ] {
        let refused = site.gateway.refused_reloads();
        site.gateway.write(file, content);
        holds(&format!("{file} that is {what} to be refused"), || site.gateway.refused_reloads() > refused);
        assert!(site.is_served(Some("partner")), "{file} {what}");
        assert!(!site.is_served(None) && !site.is_served(Some("stranger")), "{file} {what}: fails open");
        site.gateway.write(file, if file == "clients.pem" { &trust } else { &list });
    }
    assert!(site.gateway.stderr().contains("clients.crl"), "the file is named");
    site.gateway.is_well();
    // At the start there is nothing to fall back to: it does not serve.
    site.gateway.write("clients.pem", "");
    site.gateway.process().kill();
    let mut command = Command::new(portcullis_testing_kit::binary());
    command.args(["run", "--config", "portcullis.yaml"]).current_dir(site.gateway.folder());
    let output = output_of(&mut command);
    assert!(!output.status.success() && text(&output).contains("`"), "{}", text(&output));
    assert!(text(&output).contains("clients.pem` has no certificate"), "{}", text(&output));
}

#[test]
fn e139_tickets_of_another_trust_lead_nowhere() {
    let site = site();
    let session = site.gateway.folder().join("session");
    let session = session.to_str().expect("a path").to_owned();
    let begin = || {
        let shown = site.openssl(&["-tls1_2", "-sess_out", &session]);
        assert!(shown.contains("New, TLSv1.2"), "{shown}");
    };
    let resume = || site.openssl(&["-tls1_2", "-sess_in", &session]);
    begin();
    assert!(resume().contains("Reused, TLSv1.2"));
    // The list names somebody else: a whole handshake. It names the client: none at all.
    site.replace(&[("clients.crl", &site.clients.revoked(&[3, 4], true))]);
    let shown = resume();
    assert!(shown.contains("New, TLSv1.2"), "{shown}");
    begin();
    site.replace(&[("clients.crl", &site.clients.revoked(&[4, 5], true))]);
    let shown = resume();
    assert!(!shown.contains("Reused") && shown.contains("alert"), "{shown}");
    // Another authority: the session of the old one is worth nothing.
    site.replace(&[("clients.crl", &site.clients.revoked(&[4], true))]);
    begin();
    let next = Authority::new();
    site.replace(&[("clients.pem", &next.certificate), ("clients.crl", &next.revoked(&[], true))]);
    let shown = resume();
    assert!(!shown.contains("Reused") && shown.contains("alert"), "{shown}");
}

/// Asks, waits for a file to appear, and asks again on the same connection.
const KEEPS: &str = r#"
import os, socket, ssl, sys, time
port, folder = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=folder + "/ca.crt")
context.load_cert_chain(folder + "/partner.crt", folder + "/partner.key")
with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="a.test") as tls:
    def ask():
        tls.sendall(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = tls.recv(65536)
            if not more:
                break
            answer += more
        return answer.split(b"\r\n")[0].decode()
    print(ask(), flush=True)
    open(folder + "/asked", "w").close()
    while not os.path.exists(folder + "/go"):
        time.sleep(0.01)
    print(ask(), flush=True)
"#;

#[test]
fn e139_a_connection_does_not_outlive_the_trust_it_was_opened_with() {
    let site = site();
    let script = site.gateway.folder().join("keeps.py");
    std::fs::write(&script, KEEPS).expect("written");
    let mut command = Command::new("python3");
    command.args(["-I", "-B"]).arg(&script).arg(site.gateway.address("tls").port().to_string()).arg(site.gateway.folder());
    let client = std::thread::spawn(move || text(&output_of(&mut command)));
    holds("the first answer", || site.gateway.folder().join("asked").exists());
    site.replace(&[("clients.crl", &site.clients.revoked(&[4, 5], true))]);
    site.gateway.write("go", "");
    let shown = client.join().expect("the client ends");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(matches!(lines.as_slice(), ["HTTP/1.1 200 OK", second] if second.starts_with("HTTP/1.1 421 ")), "{shown}");
    assert_eq!(site.gateway.record_of("client_trust_changed")["status"], 421);
    assert_eq!(site.witness.requests().len(), 1);
}

#[test]
fn where_certificates_are_optional_both_are_served_and_told_apart() {
    let site = site_with("{ mode: optional, trust: clients.pem }");
    assert!(site.is_served(None) && site.is_served(Some("partner")));
    assert!(!site.is_served(Some("stranger")), "a bad certificate is worse than none");
    let records = site.gateway.records_when(2);
    assert_eq!(records.iter().filter(|record| record["tls"]["client_certificate"].is_null()).count(), 1, "{records:?}");
    // And switched off at run time, nobody is asked.
    site.gateway.configure(&yaml(&site.witness, "{ mode: off }"));
    holds("nobody to be asked", || site.is_served(Some("stranger")));
    assert!(site.servers.certificate != site.clients.certificate);
}

#[test]
fn d96_clients_that_show_much_are_bounded() {
    let mut site = site();
    // A chain that no authority vouches for, as long as a handshake lets it be.
    let leaf: Leaf = Authority::new().client("x", 1);
    let more: String = (0..100).map(|number| site.clients.below("between", 100 + number).certificate).collect();
    site.gateway.write("long.crt", format!("{}{more}", leaf.certificate));
    site.gateway.write("long.key", &leaf.key);
    for _ in 0..5 {
        assert!(!site.curl("a.test", Some("long"), &["-m", "10"]).contains("HTTP/1.1"));
    }
    let mut silent = RawClient::connect(site.gateway.address("tls"));
    silent.send(hello_of_openssl());
    assert!(silent.ends_within(Duration::from_secs(30)), "who never shows its certificate keeps its place");
    assert!(site.is_served(Some("partner")));
    site.gateway.is_well();
}
