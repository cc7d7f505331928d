//! The real gateway, started for one test.

use crate::raw::try_get;
use crate::{Guarded, Response, TempDir, eventually, free_port, get, holds, output_of};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running gateway with a configuration of its own.
#[derive(Debug)]
pub struct Gateway {
    process: Guarded,
    /// Those that an upgrade has replaced, oldest first.
    former: Vec<Guarded>,
    folder: TempDir,
    ports: Vec<(&'static str, u16)>,
    environment: Vec<(String, String)>,
}

/// The marks that a configuration may have for ports: `@http@` becomes a free one, the same wherever it stands.
const PORTS: &[&str] = &["http", "other", "tls", "redirect", "probes"];

impl Gateway {
    /// Starts one with a configuration, in which `@http@`, `@tls@`, `@other@`, `@redirect@` and `@probes@` stand for free ports.
    ///
    /// # Panics
    /// When it does not get ready.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::start_with(&[], config)
    }

    /// As [`Gateway::start`], with files beside the configuration.
    ///
    /// # Panics
    /// When it does not get ready.
    #[track_caller]
    pub fn start_with(files: &[(&str, &str)], config: &str) -> Self {
        Self::start_in(&[], files, config)
    }

    /// As [`Gateway::start_with`], with variables in its environment.
    ///
    /// # Panics
    /// When it does not get ready.
    #[track_caller]
    pub fn start_in(environment: &[(&str, &str)], files: &[(&str, &str)], config: &str) -> Self {
        let environment: Vec<_> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = TempDir::new();
        for (name, content) in files {
            folder.write(name, content);
        }
        let ports: Vec<_> = PORTS.iter().map(|name| (*name, free_port())).collect();
        folder.write("portcullis.yaml", with_ports(config, &ports));
        let process = spawn(&folder, &environment);
        let mut gateway = Self { process, former: Vec::new(), folder, ports, environment };
        gateway.becomes_ready();
        gateway
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it does not, with what it said.
    #[track_caller]
    pub fn becomes_ready(&mut self) {
        eventually("the gateway to be ready", || {
            assert!(self.process.is_running(), "the gateway ended:\n{}\n{}", self.stderr(), self.config());
            try_get(self.address("probes"), "localhost", "/readyz").filter(|answer| answer.status == 200)
        });
    }

    /// Kills it at once, as a machine without memory would, and starts it again.
    ///
    /// # Panics
    /// When it does not get ready.
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.folder, &self.environment);
        self.becomes_ready();
    }

    /// Upgrades it with `portcullis upgrade`, and follows the process that serves then. `Err`: what the command said, and nothing has
    /// changed.
    ///
    /// # Errors
    /// When the upgrade was refused.
    ///
    /// # Panics
    /// When the answer is not understood.
    pub fn upgrade(&mut self, arguments: &[&str]) -> Result<(), String> {
        let socket = self.folder.path().join("run/portcullis.sock");
        let output = output_of(Command::new(binary()).arg("upgrade").args(arguments).arg("--socket").arg(socket));
        if output.status.code() == Some(1) {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer in JSON");
        let id = |key: &str| answer.get(key).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()).expect("a process id");
        assert_eq!(id("draining_pid"), self.process.id());
        let before = std::mem::replace(&mut self.process, Guarded::started_by_ours(id("pid")));
        self.former.push(before);
        Ok(())
    }

    /// The process that the last upgrade has replaced.
    ///
    /// # Panics
    /// When there was none.
    pub fn former(&mut self) -> &mut Guarded {
        self.former.last_mut().expect("an upgrade")
    }

    /// All processes that upgrades have replaced, oldest first.
    pub fn all_former(&mut self) -> &mut [Guarded] {
        &mut self.former
    }

    /// The address of the port that a mark stands for.
    ///
    /// # Panics
    /// When there is no such mark.
    #[track_caller]
    pub fn address(&self, mark: &str) -> SocketAddr {
        let port = self.ports.iter().find(|(name, _)| *name == mark).map(|(_, port)| *port);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or_else(|| panic!("no port `{mark}`"))))
    }

    /// The plain listener's address.
    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// The folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the configuration, whole: beside it first, then renamed, as careful editors do.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let written = self.folder.write(&format!("{name}.new"), content);
        std::fs::rename(written, self.folder.path().join(name)).expect("a file can be renamed");
    }

    /// Writes the configuration anew; marks stand for the same ports as before.
    pub fn configure(&self, config: &str) {
        self.write("portcullis.yaml", with_ports(config, &self.ports));
    }

    /// The configuration as it is on disk.
    pub fn config(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("portcullis.yaml")).unwrap_or_default()
    }

    /// Gets a path of `a.test` on the plain listener.
    ///
    /// # Panics
    /// When no response comes.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        get(self.http(), "a.test", path)
    }

    /// The value of a metric by its name with its labels; 0 if there is none.
    ///
    /// # Panics
    /// When the probes do not answer.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(self.address("probes"), "localhost", "/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// The sum of a metric over all its labels.
    ///
    /// # Panics
    /// When the probes do not answer.
    #[track_caller]
    pub fn metric_sum(&self, name: &str) -> f64 {
        let text = get(self.address("probes"), "localhost", "/metrics").text();
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    /// The number of the configuration in force.
    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.metric("portcullis_configuration_generation") as u64
    }

    /// How many configurations it has refused.
    #[track_caller]
    pub fn refused_reloads(&self) -> u64 {
        self.metric("portcullis_reloads_refused_total") as u64
    }

    /// What it says of itself when it is asked by its management socket.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn status(&self) -> Value {
        let socket = self.folder().join("run/portcullis.sock");
        let output = output_of(Command::new(binary()).args(["--format", "json", "status", "--socket"]).arg(&socket));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("the status is JSON")
    }

    /// What it said on standard error.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// What it said on standard output.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// The access log as text.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }

    /// The records in the access log.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        let text = self.access_log();
        // The last line may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        whole.lines().map(read).collect()
    }

    /// Waits until there are so many records, and gives them.
    ///
    /// # Panics
    /// When they do not come, or more of them.
    #[track_caller]
    pub fn records_when(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} records"), || Some(self.records()).filter(|records| records.len() >= count))
    }

    /// Waits for the record of the exchange that had this `reason`, and gives it.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn record_of(&self, reason: &str) -> Value {
        eventually(&format!("a record with the reason {reason}"), || {
            self.records().into_iter().find(|record| record.get("reason").and_then(Value::as_str) == Some(reason))
        })
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.process
    }

    /// Whether it is alive and serves a new client: nothing that came before has hurt it.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn is_well(&mut self) {
        assert!(self.process.is_running(), "the gateway ended:\n{}", self.stderr());
        assert_eq!(get(self.address("probes"), "localhost", "/livez").status, 200);
        assert!(!self.stderr().contains("panicked"), "{}", self.stderr());
    }

    /// Asks it to end and waits for that.
    ///
    /// # Panics
    /// When it does not end in order.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        let status = self.process.wait();
        assert!(status.success(), "the gateway ended with {status}:\n{}", self.stderr());
    }

    /// Waits until the metric of reloads that were refused has risen to `count`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn refuses_reload(&self, count: u64) {
        holds("a reload to be refused", || self.refused_reloads() >= count);
    }

    /// Waits until a generation is in force.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn reaches_generation(&self, generation: u64) {
        eventually(&format!("generation {generation}"), || {
            assert_eq!(self.refused_reloads(), 0, "a reload was refused: {}", self.stderr());
            (self.generation() >= generation).then_some(())
        });
    }
}

fn spawn(folder: &TempDir, environment: &[(String, String)]) -> Guarded {
    let open = |name: &str| {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join(name));
        Stdio::from(file.expect("a log can be written"))
    };
    let mut command = Command::new(binary());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let config = folder.path().join("portcullis.yaml");
    // What the command line says holds also after an upgrade, so it says nothing where the configuration does.
    let says_workers = std::fs::read_to_string(&config).is_ok_and(|text| text.lines().any(|line| line.starts_with("workers:")));
    command.args(["run", "--config"]).arg(config);
    if !says_workers {
        command.args(["--workers", "2"]);
    }
    Guarded::start(command.current_dir(folder.path()).stdin(Stdio::null()).stdout(open("stdout")).stderr(open("stderr")))
}

fn with_ports(config: &str, ports: &[(&str, u16)]) -> String {
    ports.iter().fold(config.to_owned(), |text, (name, port)| text.replace(&format!("@{name}@"), &port.to_string()))
}

/// The gateway's program: named in `PORTCULLIS_BIN`, or built beside the tests.
///
/// # Panics
/// When it is not there, with what to run.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("PORTCULLIS_BIN") {
        return named.into();
    }
    let test = std::env::current_exe().expect("the system tells where the test is");
    let beside = test.parent().and_then(Path::parent).map(|folder| folder.join("portcullis"));
    let found = beside.filter(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("the gateway is not built; run `cargo build -p portcullis` with the same profile, or `cargo xtask test`")
    })
}

/// A configuration with one plain listener and one upstream, of which tests change parts.
#[derive(Clone, Debug)]
pub struct Plain {
    /// The upstream.
    pub upstream: SocketAddr,
    /// More for the listener, for example `limits: { … }`.
    pub listener: &'static str,
    /// More for the upstream, for example `timeouts: { … }`.
    pub upstream_settings: &'static str,
    /// The routes.
    pub routes: &'static str,
    /// Policies of the API.
    pub api: &'static str,
    /// More sections.
    pub sections: &'static str,
    /// The access log.
    pub record: &'static str,
}

impl Plain {
    /// Everything is forwarded to the upstream, by the ordinary methods.
    pub fn to(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            listener: "",
            upstream_settings: "",
            routes: "- { name: all, methods: [GET, HEAD, POST, PUT, DELETE, OPTIONS], path: \"/{*rest}\", access: { public: true } }",
            api: "",
            sections: "",
            record: "{ access_log: { to: file, path: access.log, format: json } }",
        }
    }

    /// The text.
    pub fn yaml(&self) -> String {
        let Self { upstream, listener, upstream_settings, routes, api, sections, record } = self;
        let routes = routes.replace('\n', "\n      ");
        // All tests come from one address, and many make a connection for each request.
        let limits = if listener.contains("limits:") { "" } else { "limits: { connection_rate_per_client: 1000000/s }" };
        format!(
            r#"version: 1
listeners:
  plain:
    address: 127.0.0.1:@http@
    protocols: [h1]
    danger_plaintext: {{ reason: test, owner: test, expires: 2099-01-01 }}
    {limits}
    {listener}
management: {{ socket: run/portcullis.sock, probes: 127.0.0.1:@probes@ }}
upstreams:
  u:
    endpoints: [ {{ url: "http://{upstream}" }} ]
    {upstream_settings}
apis:
  a:
    hosts: ["*"]
    base_path: /
    upstream: u
    {api}
    routes:
      {routes}
record: {record}
{sections}
"#
        )
    }

    /// Starts a gateway with it.
    ///
    /// # Panics
    /// When it does not get ready.
    #[track_caller]
    pub fn start(&self) -> Gateway {
        Gateway::start(&self.yaml())
    }
}
