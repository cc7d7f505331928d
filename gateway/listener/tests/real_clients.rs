//! TLS as curl and `openssl s_client` see it, against a worker that gives every request's body back.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use portcullis_gateway_listener::{
    CertificateFiles, Comer, ConnectionCaps, ConnectionLimits, Io, OldestVersion, TicketKeys, TlsContext, accept_loop, bind,
    handshake,
};
use portcullis_model::Clock;
use std::future::poll_fn;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Server {
    port: u16,
    folder: PathBuf,
}

impl Server {
    /// A worker with one certificate, for `a.test` and `*.b.test`; it serves until the test's process ends.
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portcullis-clients-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let hosts = vec!["a.test".to_owned(), "*.b.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(hosts.clone()).unwrap();
        let (certificate, key) = (folder.join("c.pem"), folder.join("k.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let files = CertificateFiles { hosts, certificate, key };
        let context =
            TlsContext::build(&[files], None, OldestVersion::Tls12, &TicketKeys::new(Clock::System), &Clock::System).unwrap();
        let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let builder = &mut tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
            runtime.block_on(work(socket, context));
        });
        Self { port, folder }
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--connect-to", &format!("::127.0.0.1:{}", self.port), "--cacert"]);
        command.arg(self.folder.join("c.pem")).args(arguments).arg("https://a.test/");
        command.output().expect("the apt package `curl` is needed")
    }

    /// What `openssl s_client` says when it is told `input`, and whether it was content.
    fn s_client(&self, arguments: &[&str], input: &[u8]) -> (String, bool) {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{}", self.port), "-CAfile"]);
        command.arg(self.folder.join("c.pem")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the apt package `openssl` is needed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (text, output.status.success())
    }
}

async fn work(socket: std::net::TcpListener, context: Arc<TlsContext>) {
    let caps = ConnectionCaps::new(ConnectionLimits { connections: 100, per_client: 100, handshakes_per_client: u32::MAX });
    let accepted = |tcp, _, permit| {
        let context = Arc::clone(&context);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            if let Ok((stream, _)) = handshake(tcp, context, Duration::from_secs(10)).await {
                serve(Io::Tls(Box::new(stream))).await;
            }
        });
    };
    accept_loop(
        socket,
        &caps,
        |_| Ok(Comer::Client),
        accepted,
        |reason| panic!("{reason:?}"),
        || Duration::ZERO,
        std::future::pending::<()>(),
    )
    .await
    .unwrap();
}

/// Answers requests until the client has no more of them.
async fn serve(mut io: Io) {
    let mut bytes = Vec::new();
    let mut buf = vec![0; 64 * 1024];
    loop {
        if let Some((head, body)) = lengths(&bytes)
            && bytes.len() >= head + body
        {
            let rest = bytes.split_off(head + body);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n");
            if !write_all(&mut io, answer.as_bytes(), &bytes[head..]).await {
                return;
            }
            bytes = rest;
            continue;
        }
        match poll_fn(|cx| io.poll_read(cx, &mut buf)).await {
            Ok(count @ 1..) => bytes.extend_from_slice(&buf[..count]),
            _ => break,
        }
    }
    let _gone = poll_fn(|cx| io.poll_shutdown(cx)).await;
}

/// How long a request's head and body are, once its head is there.
fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |value| value.parse().unwrap());
    Some((head, length))
}

async fn write_all(io: &mut Io, mut head: &[u8], mut body: &[u8]) -> bool {
    while !head.is_empty() || !body.is_empty() {
        let Ok(count) = poll_fn(|cx| io.poll_write(cx, head, body)).await else { return false };
        let of_head = count.min(head.len());
        (head, body) = (&head[of_head..], &body[count - of_head..]);
    }
    poll_fn(|cx| io.poll_flush(cx)).await.is_ok()
}

#[test]
fn curl_gets_ten_megabytes_back_as_it_sent_them() {
    let server = Server::start("curl");
    let sent: Vec<u8> = (0..10_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let (from, to) = (server.folder.join("sent"), server.folder.join("back"));
    std::fs::write(&from, &sent).unwrap();
    let data = format!("@{}", from.display());
    for (oldest, newest) in [("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")] {
        let more = [oldest, "--tls-max", newest, "-H", "Expect:", "--data-binary", &data, "-o", to.to_str().unwrap()];
        let output = server.curl(&more);
        assert!(output.status.success(), "{newest}: {output:?}");
        assert!(std::fs::read(&to).unwrap() == sent, "{newest}");
    }
}

#[test]
fn curl_uses_a_connection_again() {
    let server = Server::start("again");
    let output = server.curl(&["-d", "one", "-w", "[%{num_connects}]", "https://a.test/1"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one[1]one[0]");
}

#[test]
fn names_are_taken_in_every_spelling_and_unknown_ones_are_told() {
    let server = Server::start("names");
    for name in ["a.test", "A.TEST", "a.test.", "x.b.test", "X.b.Test."] {
        let (text, done) = server.s_client(&["-servername", name, "-verify_return_error"], b"");
        assert!(done && text.contains("Verify return code: 0 (ok)"), "{name}: {text}");
    }
    for name in ["c.test", "b.test", "x.y.b.test", "a.test.c.test"] {
        let (text, done) = server.s_client(&["-servername", name], b"");
        assert!(!done && text.contains("unrecognized name"), "{name}: {text}");
    }
}

#[test]
fn only_http_1_1_is_agreed_on() {
    let server = Server::start("alpn");
    let (text, done) = server.s_client(&["-servername", "a.test", "-alpn", "h2,http/1.1"], b"");
    assert!(done && text.contains("ALPN protocol: http/1.1"), "{text}");
    let (text, done) = server.s_client(&["-servername", "a.test", "-alpn", "h2"], b"");
    assert!(!done && text.contains("no application protocol"), "{text}");
}

#[test]
fn d95_renegotiation_is_refused_and_hurts_nobody() {
    let server = Server::start("renegotiation");
    // s_client takes a line with only this letter for the wish to renegotiate.
    let (text, done) = server.s_client(&["-servername", "a.test", "-tls1_2"], b"R\n");
    assert!(!done && text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    let output = server.curl(&["-d", "still here"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "still here");
}
