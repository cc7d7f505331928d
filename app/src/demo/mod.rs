//! `portcullis demo`: a sample API behind a gateway, on this machine alone, with lines to try it by.

mod orders;

use crate::dev_ca;
use crate::gateway::{Gateway, Start};
use crate::output::{Colour, Output};
use portcullis_control_admin::{Bound, Management, bind, serve_unix};
use portcullis_control_config::Loader;
use portcullis_control_reload::Guard;
use portcullis_model::Clock;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The management socket, in the folder of the demo.
const SOCKET: &str = "run/portcullis.sock";
/// How long exchanges may take to finish when the demo ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the demo until it is interrupted.
pub fn demo(port: u16, state: &Path, output: Output) -> Result<(), String> {
    let clock = Clock::System;
    let state = std::path::absolute(state).map_err(|error| format!("`{}`: {error}", state.display()))?;
    // Before anything is written: a demo that runs already keeps its files.
    let another_port = |problem: String| format!("{problem}\nhelp: `portcullis demo --port 9443` uses another port");
    portcullis_gateway_listener::bind((Ipv4Addr::LOCALHOST, port).into(), 1).map_err(|error| another_port(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let management = bind_management(&runtime, &state)?;
    let (listener, orders) = orders::bind().map_err(|error| format!("the sample API gets no port: {error}"))?;
    let authority = prepare(&state, port, orders, &clock)?;
    start_orders(listener)?;
    let config = state.join("portcullis.yaml");
    let mut loader = Loader::new(&config, &portcullis_policies::settings(), clock.clone());
    let plan = loader.load().map_err(|report| report.render(output.has_colour()))?;
    let guard = Guard::new(clock.clone(), None, None);
    let start = Start { loader, plan, guard, workers: Some(1), clock, listeners: Default::default(), tickets: None };
    let gateway = Gateway::start(start).map_err(another_port)?;
    runtime.spawn(serve_unix(management, Arc::clone(&gateway.state) as Arc<dyn Management>, std::future::pending::<()>()));
    let lines = gateway.state.recorder.watch();
    invite(port, &authority, &config, output);
    let (ended, end) = std::sync::mpsc::sync_channel::<()>(1);
    let shower = std::thread::spawn(move || show(&lines, &end, output));
    let waited = runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(|error| error.to_string());
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok::<(), String>(())
    });
    gateway.stop(DRAIN);
    drop(ended);
    let _shown = shower.join();
    waited
}

/// The socket that commands such as `status` speak to.
fn bind_management(runtime: &tokio::runtime::Runtime, state: &Path) -> Result<Bound, String> {
    let _entered = runtime.enter();
    bind(&state.join(SOCKET)).map_err(|error| format!("{error}\nhelp: `portcullis demo --state FOLDER` keeps its files elsewhere"))
}

/// Shows a line for each exchange until the end is told.
fn show(lines: &Receiver<String>, end: &Receiver<()>, output: Output) {
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                let colour = if line.starts_with('2') { Colour::Green } else { Colour::Red };
                output.line(&output.paint(colour, &line));
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if end.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    return;
                }
            }
        }
    }
}

fn start_orders(listener: std::net::TcpListener) -> Result<(), String> {
    let serve = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let built = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
        if let Ok(runtime) = built {
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    orders::serve(listener).await;
                }
            });
        }
    };
    std::thread::Builder::new().name("sample-api".to_owned()).spawn(serve).map_err(|error| error.to_string())?;
    Ok(())
}

/// Writes the demo's certificates, once, and its configuration. Gives the authority's certificate.
fn prepare(state: &Path, port: u16, orders: std::net::SocketAddr, clock: &Clock) -> Result<PathBuf, String> {
    let tls = state.join("tls");
    let authority = tls.join("dev-ca.crt");
    let fresh = std::fs::metadata(&authority)
        .and_then(|found| found.modified())
        .is_ok_and(|made| made.elapsed().is_ok_and(|age| age < Duration::from_secs(30 * 86_400)));
    if !fresh {
        if tls.exists() {
            std::fs::remove_dir_all(&tls).map_err(|error| format!("`{}`: {error}", tls.display()))?;
        }
        dev_ca::make(&tls, &["localhost", "127.0.0.1"], clock.unix_seconds()).map_err(|error| error.to_string())?;
    }
    let config = state.join("portcullis.yaml");
    std::fs::write(&config, configuration(port, orders)).map_err(|error| format!("`{}`: {error}", config.display()))?;
    Ok(authority)
}

fn configuration(port: u16, orders: std::net::SocketAddr) -> String {
    format!(
        r#"# The demo's configuration. Change it while the demo runs: it is read again at once, and refused if it is not sound.
version: 1
listeners:
  public:
    address: 127.0.0.1:{port}
    protocols: [h1]
    tls: {{ certificates: [ {{ hosts: [localhost, 127.0.0.1], files: {{ certificate: tls/server.crt, key: tls/server.key }} }} ] }}
management: {{ socket: {SOCKET} }}
upstreams:
  orders: {{ endpoints: [ {{ url: "http://{orders}" }} ] }}
apis:
  orders:
    hosts: [localhost, 127.0.0.1]
    base_path: /orders
    upstream: orders
    routes:
      - {{ name: list-orders, methods: [GET], path: "", access: {{ public: true }} }}
      - {{ name: read-order, methods: [GET], path: "/{{id}}", access: {{ public: true }} }}
      - name: create-order
        methods: [POST]
        path: ""
        access: {{ public: true }}
        request_limits: {{ methods: [POST], body_bytes_max: 4KiB }}
record: {{ access_log: off }}
"#
    )
}

fn invite(port: u16, authority: &Path, config: &Path, output: Output) {
    let curl = format!("curl --cacert {}", authority.display());
    let url = format!("https://localhost:{port}/orders");
    output.line(&format!("\nThe sample orders API stands behind the gateway on {url}. In another terminal, try:\n"));
    let good = output.paint(Colour::Green, "allowed");
    let bad = output.paint(Colour::Red, "refused");
    output.line(&format!("# {good}: list, read, create"));
    output.line(&format!("{curl} {url}"));
    output.line(&format!("{curl} {url}/1"));
    output.line(&format!("{curl} --json '{{\"item\":\"winch\",\"quantity\":1}}' {url}"));
    output.line(&format!("\n# {bad}: no route names it (404), nor this method (405), nor a body this large (413)"));
    output.line(&format!("{curl} https://localhost:{port}/admin"));
    output.line(&format!("{curl} -X DELETE {url}/1"));
    output.line(&format!("head -c 9000 /dev/zero | {curl} --data-binary @- {url}"));
    output.line("\n# malformed: a path, a body length and a host that could be read in two ways (400, 400, 400)");
    output.line(&format!("{curl} --path-as-is {url}/../admin"));
    output.line(&format!("{curl} -H 'Content-Length: 5' -H 'Transfer-Encoding: chunked' -d hello {url}"));
    output.line(&format!("{curl} -H 'Host: localhost@evil.example' {url}"));
    let program = std::env::current_exe().unwrap_or_else(|_| "portcullis".into());
    let socket = config.with_file_name(SOCKET);
    output.line("\n# what runs, and what it serves");
    for command in ["status", "routes"] {
        output.line(&format!("{} {command} --format text --socket {}", program.display(), socket.display()));
    }
    output.line(&format!("\nThe configuration is {}; Ctrl-C ends the demo. Exchanges:\n", config.display()));
}
