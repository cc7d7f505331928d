//! TLS against rustls' own client, over real sockets.

use super::{CertificateFiles, OldestVersion, TicketKeys, TlsContext, TlsStream, handshake};
use portcullis_model::{Clock, Reason, TlsFacts};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

mod clients;
mod traffic;

const NOW: u64 = 1_795_440_000;

struct Site {
    files: CertificateFiles,
    certificate: CertificateDer<'static>,
}

fn site(name: &str, hosts: &[&str], days_from_now: (i64, i64)) -> Site {
    let folder = std::env::temp_dir().join(format!("portcullis-tls-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut params = rcgen::CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
    let day = |days: i64| std::time::UNIX_EPOCH + Duration::from_secs(NOW.checked_add_signed(days * 86_400).unwrap());
    (params.not_before, params.not_after) = (day(days_from_now.0).into(), day(days_from_now.1).into());
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let (certificate, key_file) = (folder.join("c.pem"), folder.join("k.pem"));
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Site { files: CertificateFiles { hosts, certificate, key: key_file }, certificate: made.der().clone() }
}

fn clock() -> Clock {
    Clock::fixed(NOW * 1_000_000)
}

fn context(sites: &[&Site]) -> Arc<TlsContext> {
    let files: Vec<_> = sites.iter().map(|site| site.files.clone()).collect();
    TlsContext::build(&files, None, OldestVersion::Tls12, &TicketKeys::new(clock()), &clock()).unwrap()
}

fn client_config(sites: &[&Site]) -> Arc<ClientConfig> {
    client_config_of(sites, rustls::ALL_VERSIONS)
}

fn client_config_of(sites: &[&Site], versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for site in sites {
        roots.add(site.certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(config: &Arc<ClientConfig>, name: &str, port: u16) -> Client {
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_nodelay(true).unwrap();
    StreamOwned::new(connection, stream)
}

async fn read_some(stream: &mut TlsStream, buf: &mut [u8]) -> usize {
    poll_fn(|cx| stream.poll_read(cx, buf)).await.unwrap()
}

async fn write_all(stream: &mut TlsStream, head: &[u8], body: &[u8]) {
    let all = [head, body].concat();
    let mut at = 0;
    while at < all.len() {
        let in_head = head.get(at..).unwrap_or_default();
        let in_body = if at < head.len() { body } else { &all[at..] };
        at += poll_fn(|cx| stream.poll_write(cx, in_head, in_body)).await.unwrap();
    }
    poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
}

/// Runs a server for one connection, and a client on a thread of its own.
fn exchange<R: Send + 'static>(
    context: &Arc<TlsContext>,
    client: impl FnOnce(u16) -> R + Send + 'static,
    serve: impl AsyncFnOnce(TlsStream),
) -> (Result<TlsFacts, Reason>, R) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = tokio::task::spawn_blocking(move || client(port));
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let outcome = handshake(tcp, Arc::clone(context), Duration::from_secs(10)).await;
        let facts = match outcome {
            Ok((stream, facts)) => {
                serve(stream).await;
                Ok(facts)
            }
            Err(reason) => Err(reason),
        };
        (facts, client.await.unwrap())
    })
}

/// Answers "pong" to whatever comes first, and says goodbye.
async fn pong(mut stream: TlsStream) {
    let mut buf = [0; 1024];
    if read_some(&mut stream, &mut buf).await > 0 {
        write_all(&mut stream, b"po", b"ng").await;
        poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
    }
}

fn ping(mut client: Client) -> std::io::Result<String> {
    client.write_all(b"ping")?;
    let mut text = String::new();
    client.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn what_was_agreed_on_is_told_post_quantum_first() {
    let site = site("facts", &["a.test"], (-1, 30));
    let config = client_config(&[&site]);
    let (facts, text) = exchange(&context(&[&site]), move |port| ping(connect(&config, "a.test", port)), pong);
    let facts = facts.unwrap();
    assert_eq!(text.unwrap(), "pong");
    assert_eq!(
        (facts.version, facts.group, facts.sni.as_deref(), facts.resumed),
        ("TLSv1.3", "X25519MLKEM768", Some("a.test"), false)
    );
}

#[test]
fn b45_each_name_gets_its_own_certificate_and_unknown_names_none() {
    let (a, b) = (site("name-a", &["a.test"], (-1, 30)), site("name-b", &["*.b.test"], (-1, 30)));
    let context = context(&[&a, &b]);
    for (name, trusted, works) in [
        ("a.test", &a, true),
        ("x.b.test", &b, true),
        ("A.test", &a, true),
        ("a.test", &b, false),
        ("b.test", &a, false),
        ("c.test", &a, false),
    ] {
        let config = client_config(&[trusted]);
        let (_, text) = exchange(&context, move |port| ping(connect(&config, name, port)), pong);
        assert_eq!(text.is_ok(), works, "{name}");
    }
    assert!(context.covers_same("x.b.test", "y.b.test") && !context.covers_same("a.test", "x.b.test"));
    assert!(!context.covers_same("a.test", "c.test") && !context.covers_same("c.test", "c.test"));
}

#[test]
fn b45_a_name_that_is_not_served_is_answered_with_unrecognised_name() {
    let (a, b) = (site("alert-a", &["a.test"], (-1, 30)), site("alert-b", &["*.b.test"], (-1, 30)));
    let context = context(&[&a, &b]);
    for name in ["c.test", "b.test", "x.y.b.test"] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = client_config_of(&[&a, &b], &[version]);
            let (facts, text) = exchange(&context, move |port| ping(connect(&config, name, port)), pong);
            let error = text.unwrap_err().into_inner().unwrap().downcast::<rustls::Error>().unwrap();
            assert_eq!(*error, rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName), "{name}");
            assert_eq!(facts.unwrap_err(), Reason::HandshakeFailed, "{name}");
        }
    }
}

#[test]
fn without_a_name_the_first_certificate_is_shown() {
    let (a, b) = (site("none-a", &["a.test"], (-1, 30)), site("none-b", &["b.test"], (-1, 30)));
    for (first, second, works) in [(&a, &b, true), (&b, &a, false)] {
        let mut config = Arc::unwrap_or_clone(client_config(&[&a]));
        config.enable_sni = false;
        let config = Arc::new(config);
        let client = move |port| ping(connect(&config, "a.test", port));
        let (facts, text) = exchange(&context(&[first, second]), client, pong);
        assert_eq!((text.is_ok(), facts.is_ok_and(|facts| facts.sni.is_none())), (works, works));
    }
}

#[test]
fn a_ticket_does_not_lead_past_a_name_that_is_no_longer_served() {
    let (a, b) = (site("gone-a", &["a.test"], (-1, 30)), site("gone-b", &["b.test"], (-1, 30)));
    let tickets = TicketKeys::new(clock());
    let context = |sites: &[&Site]| {
        let files: Vec<_> = sites.iter().map(|site| site.files.clone()).collect();
        TlsContext::build(&files, None, OldestVersion::Tls12, &tickets, &clock()).unwrap()
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client_config_of(&[&a], &[version]);
        let visit = |context: &Arc<TlsContext>| {
            let config = Arc::clone(&config);
            exchange(context, move |port| ping(connect(&config, "a.test", port)), pong)
        };
        assert!(!visit(&context(&[&a, &b])).0.unwrap().resumed);
        assert!(visit(&context(&[&a])).0.unwrap().resumed, "keys outlive a change of certificates");
        assert_eq!(visit(&context(&[&b])).0.unwrap_err(), Reason::HandshakeFailed);
    }
}

#[test]
fn a_session_is_resumed_by_its_ticket_and_not_in_another_context() {
    let site = site("resume", &["a.test"], (-1, 30));
    let first = context(&[&site]);
    let config = client_config(&[&site]);
    let visit = |context: &Arc<TlsContext>| {
        let config = Arc::clone(&config);
        let (facts, text) = exchange(context, move |port| ping(connect(&config, "a.test", port)), pong);
        assert_eq!(text.unwrap(), "pong");
        facts.unwrap().resumed
    };
    assert_eq!((visit(&first), visit(&first)), (false, true));
    // A context with ticket keys of its own cannot open the ticket; the handshake is a full one.
    assert!(!visit(&context(&[&site])));
}

#[test]
fn megabytes_arrive_unchanged_in_both_directions() {
    let site = site("bulk", &["a.test"], (-1, 30));
    let config = client_config(&[&site]);
    let sent: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let expected = sent.clone();
    let client = move |port| {
        let mut client = connect(&config, "a.test", port);
        let mut back = Vec::new();
        for part in sent.chunks(100_000) {
            client.write_all(part).unwrap();
            let mut answer = vec![0; part.len() + 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer.split_off(part.len()), b"tail");
            back.extend(answer);
        }
        back
    };
    let serve = async |mut stream: TlsStream| {
        let mut buf = vec![0; 64 * 1024];
        let mut left = 10_000_000;
        while left > 0 {
            let mut part = Vec::new();
            while part.len() < 100_000.min(left) {
                let count = read_some(&mut stream, &mut buf).await;
                part.extend_from_slice(&buf[..count]);
            }
            left -= part.len();
            write_all(&mut stream, &part, b"tail").await;
        }
    };
    let (facts, back) = exchange(&context(&[&site]), client, serve);
    assert!(facts.is_ok() && back == expected);
}

/// A client that sends what another one would, a few bytes at a time.
struct Dribble(TcpStream);

impl Read for Dribble {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Dribble {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(&buf[..buf.len().min(8)])
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn e116_a_hello_in_small_pieces_is_the_same_hello() {
    let site = site("dribble", &["a.test"], (-1, 30));
    let config = client_config(&[&site]);
    let client = move |port| {
        let mut connection = ClientConnection::new(config, ServerName::try_from("a.test").unwrap()).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut socket = Dribble(tcp);
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        stream.write_all(b"ping").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let (facts, text) = exchange(&context(&[&site]), client, pong);
    assert_eq!((facts.unwrap().sni.as_deref(), text.as_str()), (Some("a.test"), "pong"));
}

#[test]
fn d95_what_is_no_handshake_ends_it() {
    let site = site("garbage", &["a.test"], (-1, 30));
    let context = context(&[&site]);
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0x15, 3, 3, 0, 2, 1, 0],
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
        b"",
    ] {
        let client = move |port| {
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
            tcp.write_all(garbage).unwrap();
            tcp.shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            let _reset_or_alert = tcp.read_to_end(&mut rest);
        };
        let (facts, ()) = exchange(&context, client, pong);
        assert_eq!(facts.unwrap_err(), Reason::HandshakeFailed, "{garbage:?}");
    }
}

/// The library remembers where further messages of the record begin, and must not be asked for its alert without them.
#[test]
fn d95_a_bad_hello_with_more_messages_in_its_record_is_answered_with_an_alert() {
    let site = site("two-messages", &["a.test"], (-1, 30));
    let mut hello = [&[1, 0, 0, 41, 3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    hello.extend_from_slice(&[0; 12]);
    let record = [&[0x16, 3, 1, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let client = move |port| {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.write_all(&record).unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).unwrap();
        answer
    };
    let (facts, answer) = exchange(&context(&[&site]), client, pong);
    assert_eq!((facts.unwrap_err(), answer.first(), answer.len()), (Reason::HandshakeFailed, Some(&0x15), 7), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn d86_a_handshake_that_stalls_is_cut_at_its_deadline() {
    let site = site("stall", &["a.test"], (-1, 30));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let begin = tokio::time::Instant::now();
    let outcome = handshake(tcp, context(&[&site]), Duration::from_secs(10)).await;
    assert_eq!((outcome.map(|_| ()).unwrap_err(), begin.elapsed().as_secs()), (Reason::HandshakeTimeout, 10));
}

#[test]
fn e113_certificates_that_cannot_serve_are_refused_with_their_file() {
    let (good, other) = (site("good", &["a.test"], (-1, 30)), site("other", &["b.test"], (-1, 30)));
    let (expired, early) = (site("expired", &["a.test"], (-30, -1)), site("early", &["a.test"], (1, 30)));
    let build = |files: &[CertificateFiles]| {
        TlsContext::build(files, None, OldestVersion::Tls13, &TicketKeys::new(clock()), &clock()).map(|_| ()).unwrap_err()
    };
    let (weak, weak_key) = (good.files.key.with_file_name("weak.pem"), good.files.key.with_file_name("weak-key.pem"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=a.test", "-days", "36500", "-keyout"]);
    let made = openssl.arg(&weak_key).arg("-out").arg(&weak).output().expect("the apt package `openssl` is needed");
    assert!(made.status.success(), "{made:?}");
    let weak = CertificateFiles { certificate: weak, key: weak_key, ..good.files.clone() };
    let mismatched = CertificateFiles { key: other.files.key.clone(), ..good.files.clone() };
    let missing = CertificateFiles { certificate: PathBuf::from("/nowhere/c.pem"), ..good.files.clone() };
    let garbage = CertificateFiles { certificate: good.files.key.clone(), ..good.files.clone() };
    for (files, words) in [
        (expired.files.clone(), "expired on"),
        (early.files.clone(), "not valid before"),
        (mismatched, "does not go with"),
        (missing, "`/nowhere/c.pem` cannot be read"),
        (garbage, "has no certificate"),
    ] {
        let file = files.certificate.to_str().unwrap().to_owned();
        let problem = build(&[files]);
        assert!(problem.contains(words) && problem.contains(&file), "{problem}");
    }
    // Made just now by the machine's clock.
    let problem = TlsContext::build(&[weak], None, OldestVersion::Tls13, &TicketKeys::new(clock()), &Clock::System).unwrap_err();
    assert!(problem.contains("weak.pem`: the certificate's RSA key has 1024 bits; at least 2048 are needed"), "{problem}");
    assert!(build(&[]).contains("needs at least one"));
    let uncovered =
        CertificateFiles { hosts: vec!["a.test".to_owned(), "c.test".to_owned(), "*.a.test".to_owned()], ..good.files.clone() };
    let problem = build(&[uncovered]);
    assert!(problem.contains("does not cover `c.test`, `*.a.test`, which it is configured for; it covers `a.test`"), "{problem}");
    let twice = site("twice", &["B.test", "a.test"], (-1, 30));
    assert_eq!(build(&[other.files, twice.files]), "the host `B.test` has two certificates; keep one of them");
}
