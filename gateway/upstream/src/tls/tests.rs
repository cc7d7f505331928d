//! TLS against rustls' own server, over real sockets.

use super::{ClientCertificateFiles, ClientStream, EndpointTls, UpstreamTls};
use crate::upstream::UpstreamProtocol;
use portcullis_model::{Clock, Reason, Rejection};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, NamedGroup, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

const NOW: u64 = 1_795_440_000;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut roots = RootCertStore::empty();
    roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
    Authority { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
}

/// A certificate for `host`, valid between these days from now, and its key.
fn leaf(authority: Option<&Authority>, host: &str, days: (i64, i64)) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let day = |days: i64| UNIX_EPOCH + Duration::from_secs(NOW.checked_add_signed(days * 86_400).unwrap());
    (params.not_before, params.not_after) = (day(days.0).into(), day(days.1).into());
    let made = match authority {
        Some(authority) => params.signed_by(&key, &authority.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (made, key)
}

fn server_config(leaf: (rcgen::Certificate, KeyPair), clients: Option<&Authority>) -> Arc<ServerConfig> {
    server_of_version(leaf, clients, rustls::DEFAULT_VERSIONS)
}

fn server_of_version(
    (certificate, key): (rcgen::Certificate, KeyPair),
    clients: Option<&Authority>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&clients.roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// What the server saw.
#[derive(Debug, Default)]
struct Seen {
    group: Option<NamedGroup>,
    resumed: bool,
    protocol: Option<Vec<u8>>,
    has_certificate: bool,
    text: String,
}

/// Serves one connection: reads "ping", answers "pong", and says goodbye if `goodbye`.
fn serve(config: Arc<ServerConfig>, goodbye: bool) -> (SocketAddr, JoinHandle<std::io::Result<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (tcp, _) = listener.accept()?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
        let mut text = [0; 4];
        stream.read_exact(&mut text)?;
        let seen = Seen {
            group: stream.conn.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
            resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            protocol: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
            has_certificate: stream.conn.peer_certificates().is_some(),
            text: String::from_utf8_lossy(&text).into_owned(),
        };
        stream.write_all(b"pong")?;
        if goodbye {
            stream.conn.send_close_notify();
        }
        stream.flush()?;
        Ok(seen)
    });
    (address, served)
}

fn clock() -> Clock {
    Clock::fixed(NOW * 1_000_000)
}

fn trusting(authority: &Authority) -> Arc<UpstreamTls> {
    UpstreamTls::build(&authority.roots, None, UpstreamProtocol::Http1, &clock()).unwrap()
}

async fn connect(address: SocketAddr, context: &Arc<UpstreamTls>, name: &str) -> Result<ClientStream, Rejection> {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = EndpointTls::new(context, name).unwrap().handshake(tcp, true).await?;
    Ok(stream.expect("a session whose certificate counts"))
}

/// Says "ping" and reads to the end; the text, and whether the end was a clean one.
async fn talk(stream: &mut ClientStream) -> std::io::Result<(String, bool)> {
    poll_fn(|cx| stream.poll_write(cx, b"pi", b"ng")).await?;
    poll_fn(|cx| stream.poll_flush(cx)).await?;
    let mut text = Vec::new();
    let mut buf = [0; 3];
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut buf)).await? {
            0 => return Ok((String::from_utf8_lossy(&text).into_owned(), stream.clean_close())),
            count => text.extend_from_slice(&buf[..count]),
        }
    }
}

#[tokio::test]
async fn f137_f138_only_a_valid_certificate_for_the_name_from_who_is_trusted_is_accepted() {
    let (ours, theirs) = (authority(), authority());
    let context = trusting(&ours);
    for (certificate, name, problem) in [
        (leaf(Some(&ours), "a.test", (-1, 30)), "a.test", None),
        (leaf(Some(&ours), "127.0.0.1", (-1, 30)), "127.0.0.1", None),
        (leaf(Some(&ours), "*.a.test", (-1, 30)), "x.a.test", None),
        (leaf(Some(&ours), "a.test", (-30, -1)), "a.test", Some("has expired")),
        (leaf(Some(&ours), "a.test", (1, 30)), "a.test", Some("not valid yet")),
        (leaf(Some(&ours), "b.test", (-1, 30)), "a.test", Some("for another name")),
        (leaf(Some(&ours), "a.test", (-1, 30)), "127.0.0.1", Some("for another name")),
        (leaf(Some(&theirs), "a.test", (-1, 30)), "a.test", Some("not trusted")),
        (leaf(None, "a.test", (-1, 30)), "a.test", Some("not trusted")),
    ] {
        let (address, served) = serve(server_config(certificate, None), true);
        match (connect(address, &context, name).await, problem) {
            (Ok(mut stream), None) => {
                assert_eq!(talk(&mut stream).await.unwrap(), ("pong".to_owned(), true));
                assert_eq!(served.join().unwrap().unwrap().text, "ping");
            }
            (Err(rejection), Some(problem)) => {
                assert_eq!(rejection.reason, Reason::UpstreamTlsFailed);
                assert!(rejection.detail.contains(problem), "{name}: {}", rejection.detail);
                assert!(served.join().unwrap().is_err(), "not a byte reaches it");
            }
            (outcome, problem) => panic!("{name}: {:?} instead of {problem:?}", outcome.map(|_| "a connection")),
        }
    }
}

#[tokio::test]
async fn an_authoritys_own_certificate_is_not_one_for_a_server() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let made = params.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.der().clone()).unwrap();
    let context = UpstreamTls::build(&Arc::new(roots), None, UpstreamProtocol::Http1, &clock()).unwrap();
    let (address, served) = serve(server_config((made, key), None), true);
    let rejection = connect(address, &context, "a.test").await.map(|_| ()).unwrap_err();
    assert!(rejection.detail.contains("an authority's own"), "{}", rejection.detail);
    assert!(served.join().unwrap().is_err());
}

#[tokio::test]
async fn a34_plain_bytes_in_place_of_a_handshake_are_never_an_answer() {
    let context = trusting(&authority());
    for answer in
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"[..], b"", &[21, 3, 3, 0, 2, 2, 40], &[22, 3, 3, 0, 4, 2, 0, 0, 0]]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            tcp.write_all(answer).unwrap();
            let mut hello = [0; 16];
            tcp.read_exact(&mut hello).unwrap();
            hello[0]
        });
        let rejection = connect(address, &context, "a.test").await.map(|_| ()).unwrap_err();
        assert_eq!(rejection.reason, Reason::UpstreamTlsFailed, "{answer:?}");
        assert_eq!(served.join().unwrap(), 22, "what went out is a handshake record");
    }
}

#[tokio::test]
async fn an_end_without_goodbye_is_told_from_a_clean_one() {
    let ours = authority();
    let config = server_config(leaf(Some(&ours), "a.test", (-1, 30)), None);
    for goodbye in [true, false] {
        let (address, _served) = serve(Arc::clone(&config), goodbye);
        let mut stream = connect(address, &trusting(&ours), "a.test").await.unwrap();
        assert_eq!(talk(&mut stream).await.unwrap(), ("pong".to_owned(), goodbye));
    }
}

#[tokio::test]
async fn f139_sessions_are_resumed_under_the_same_trust_only_and_key_exchange_is_post_quantum() {
    let ours = authority();
    let config = server_config(leaf(Some(&ours), "a.test", (-1, 30)), None);
    let context = trusting(&ours);
    for (context, resumed) in [(&context, false), (&context, true), (&trusting(&ours), false)] {
        let (address, served) = serve(Arc::clone(&config), true);
        let mut stream = connect(address, context, "a.test").await.unwrap();
        assert_eq!(stream.side().protocol(), Some(&b"http/1.1"[..]));
        talk(&mut stream).await.unwrap();
        let seen = served.join().unwrap().unwrap();
        assert_eq!((seen.resumed, seen.protocol.as_deref()), (resumed, Some(&b"http/1.1"[..])));
        if !resumed {
            assert_eq!(seen.group, Some(NamedGroup::X25519MLKEM768));
        }
    }
}

#[tokio::test]
async fn f138_a_session_is_not_resumed_past_the_end_of_the_certificate_that_it_began_with() {
    let ours = authority();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let before = server_of_version(leaf(Some(&ours), "a.test", (-1, 0)), None, &[version]);
        // The same server with another certificate: it takes the sessions of before.
        let mut renewed = (*before).clone();
        renewed.cert_resolver = Arc::clone(&server_config(leaf(Some(&ours), "a.test", (-1, 30)), None).cert_resolver);
        let clock = clock();
        let context = UpstreamTls::build(&ours.roots, None, UpstreamProtocol::Http1, &clock).unwrap();
        let tls = EndpointTls::new(&context, "a.test").unwrap();
        let ask = async |config: &Arc<ServerConfig>| {
            let (address, served) = serve(Arc::clone(config), true);
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            let stream = tls.handshake(tcp, true).await;
            if let Ok(Some(mut stream)) = stream {
                talk(&mut stream).await.unwrap();
                return Ok(Some(served.join().unwrap().unwrap().resumed));
            }
            stream.map(|_| None)
        };
        assert_eq!(ask(&before).await, Ok(Some(false)), "{version:?}");
        assert_eq!(ask(&before).await, Ok(Some(true)), "{version:?}");
        clock.set_unix_micros((NOW + 60) * 1_000_000);
        // A session that cannot go on is found out once; then the server has to show what it has.
        let renewed = Arc::new(renewed);
        assert_eq!(ask(&renewed).await, Ok(None), "{version:?}");
        assert_eq!(ask(&before).await.unwrap_err().detail, "the certificate has expired", "{version:?}");
        assert_eq!(ask(&renewed).await, Ok(Some(false)), "{version:?}");
        assert_eq!(ask(&renewed).await, Ok(Some(true)), "{version:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_our_own_is_shown_to_those_who_ask() {
    let (ours, clients) = (authority(), authority());
    let (certificate, key) = leaf(Some(&clients), "gateway.test", (-1, 30));
    let folder = std::env::temp_dir().join(format!("portcullis-upstream-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = ClientCertificateFiles { certificate: folder.join("c.pem"), key: folder.join("k.pem") };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    let config = server_config(leaf(Some(&ours), "a.test", (-1, 30)), Some(&clients));
    for (own, works) in [(Some(&files), true), (None, false)] {
        let context = UpstreamTls::build(&ours.roots, own, UpstreamProtocol::Http1, &clock()).unwrap();
        let (address, served) = serve(Arc::clone(&config), true);
        let talked = match connect(address, &context, "a.test").await {
            Ok(mut stream) => talk(&mut stream).await.is_ok(),
            Err(_) => false,
        };
        let seen = served.join().unwrap();
        assert_eq!((talked, seen.is_ok_and(|seen| seen.has_certificate)), (works, works));
    }
    std::fs::write(&files.key, "").unwrap();
    assert!(UpstreamTls::build(&ours.roots, Some(&files), UpstreamProtocol::Http1, &clock()).unwrap_err().contains("k.pem"));
}

#[tokio::test]
async fn an_idle_connection_keeps_no_buffers() {
    let ours = authority();
    let (address, _served) = serve(server_config(leaf(Some(&ours), "a.test", (-1, 30)), None), true);
    let stream = connect(address, &trusting(&ours), "a.test").await.unwrap();
    assert_eq!(stream.kept(), [0; 3]);
    assert!(size_of::<ClientStream>() <= 1536, "{}", size_of::<ClientStream>());
}

#[test]
fn what_no_certificate_can_be_for_is_no_name() {
    let context = trusting(&authority());
    for (name, fits) in [("a.test", true), ("10.0.0.1", true), ("::1", true), ("a b", false), ("", false), ("-a.test", false)] {
        assert_eq!(EndpointTls::new(&context, name).is_ok(), fits, "{name}");
    }
}
