//! Prints what an idle TLS connection costs in memory: `cargo run --release -p portcullis-gateway-listener --example idle_memory [COUNT]`.
//!
//! The process serves; a copy of it, started by it, is the client, so that only the server's memory is measured. Each connection has had
//! its handshake and one exchange when it is measured.

#![expect(clippy::print_stdout, reason = "the figure is what the program is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own: it has arguments, and tells its client where to connect by them"
)]

use portcullis_gateway_listener::{
    CertificateFiles, Comer, ConnectionCaps, ConnectionLimits, Io, OldestVersion, TicketKeys, TlsContext, accept_loop, bind,
    handshake,
};
use portcullis_model::Clock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const NAME: &str = "idle.test";
/// Connections made before the measurement, so that what a worker has once is not counted.
const WARM_UP: usize = 50;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => measure(2000),
        [count] => measure(count.parse()?),
        [port, count, folder] => stay_connected(port.parse()?, count.parse()?, Path::new(folder)),
        _ => Err("usage: idle_memory [COUNT]".into()),
    }
}

fn measure(count: usize) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("portcullis-idle-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let context = context(&folder)?;
    let socket = bind("127.0.0.1:0".parse()?, 1)?.remove(0);
    let port = socket.local_addr()?.port();
    let _server = std::thread::spawn(move || serve(socket, context).map_err(|error| error.to_string()));
    let warm = Client::start(port, WARM_UP, &folder)?;
    let before = private_kilobytes()?;
    let clients = Client::start(port, count, &folder)?;
    let after = private_kilobytes()?;
    println!("{:.2} KB for each of {count} idle TLS connections", (after - before) / count as f64);
    warm.stop()?;
    clients.stop()?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn context(folder: &Path) -> Outcome<Arc<TlsContext>> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let (certificate, key) = (certificate(folder), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let files = CertificateFiles { hosts: vec![NAME.to_owned()], certificate, key };
    Ok(TlsContext::build(&[files], None, OldestVersion::Tls13, &TicketKeys::new(Clock::System), &Clock::System)?)
}

fn certificate(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}

/// What a worker does: accept, greet, answer one byte with one, wait.
fn serve(socket: std::net::TcpListener, context: Arc<TlsContext>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let caps =
            ConnectionCaps::new(ConnectionLimits { connections: 1 << 20, per_client: 1 << 20, handshakes_per_client: u32::MAX });
        let accepted = |tcp, _, permit| {
            let context = Arc::clone(&context);
            tokio::task::spawn_local(async move {
                let _permit = permit;
                let secured = Box::pin(handshake(tcp, context, Duration::from_secs(60))).await;
                if let Ok((stream, facts)) = secured {
                    idle(Io::Tls(Box::new(stream))).await;
                    drop(facts);
                }
            });
        };
        accept_loop(socket, &caps, |_| Ok(Comer::Client), accepted, |_| {}, || Duration::ZERO, std::future::pending::<()>()).await
    })?;
    Ok(())
}

async fn idle(mut io: Io) {
    loop {
        if poll_fn(|cx| io.poll_read_ready(cx)).await.is_err() || !Box::pin(answer(&mut io)).await {
            return;
        }
    }
}

async fn answer(io: &mut Io) -> bool {
    let mut buf = [0; 1024];
    match poll_fn(|cx| io.poll_read(cx, &mut buf)).await {
        Ok(0) | Err(_) => false,
        Ok(_) => poll_fn(|cx| io.poll_write(cx, b"x", b"")).await.is_ok() && poll_fn(|cx| io.poll_flush(cx)).await.is_ok(),
    }
}

/// Memory of this process that it shares with no other.
fn private_kilobytes() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let mut sum = 0.0;
    for line in text.lines().filter(|line| line.starts_with("Private_")) {
        sum += line.split_whitespace().nth(1).ok_or("a line without a figure")?.parse::<f64>()?;
    }
    Ok(sum)
}

/// The process that holds the other ends.
struct Client(std::process::Child);

impl Client {
    /// Starts one, and waits until all its connections are idle.
    fn start(port: u16, count: usize, folder: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(port.to_string()).arg(count.to_string()).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        if line.trim() == "idle" { Ok(Self(child)) } else { Err("the client has failed".into()) }
    }

    /// Ends it.
    fn stop(mut self) -> Outcome<()> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

fn stay_connected(port: u16, count: usize, folder: &Path) -> Outcome<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate(folder))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let connection = ClientConnection::new(Arc::clone(&config), ServerName::try_from(NAME)?)?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port))?);
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        connections.push(stream);
    }
    println!("idle");
    // The other side closes it when it has measured.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
