//! Real programs as upstreams.

use crate::process::find;
use crate::{Guarded, Leaf, TempDir, free_port, holds};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Guarded,
    folder: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one that serves these files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())), "", files)
    }

    /// Starts one that serves these files over TLS only, with `leaf`, and tells in fields `x-tls-…` what was agreed on; `more` are
    /// further lines of its server.
    ///
    /// # Panics
    /// When it does not start.
    pub fn secure(leaf: &Leaf, more: &str, files: &[(&str, &[u8])]) -> Self {
        Self::secure_on(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())), leaf, more, files)
    }

    /// As [`Nginx::secure`], on an address of one's choice.
    ///
    /// # Panics
    /// When it does not start.
    pub fn secure_on(address: SocketAddr, leaf: &Leaf, more: &str, files: &[(&str, &[u8])]) -> Self {
        let own = [("../tls.crt", leaf.certificate.as_bytes()), ("../tls.key", leaf.key.as_bytes())];
        let versions = if more.contains("ssl_protocols") { "" } else { "ssl_protocols TLSv1.2 TLSv1.3;" };
        let more = format!(
            "{versions} ssl_certificate tls.crt; ssl_certificate_key tls.key;\n\
             add_header X-Tls-Version $ssl_protocol always; add_header X-Tls-Reused $ssl_session_reused always;\n\
             add_header X-Tls-Name $ssl_server_name always; add_header X-Tls-Client $ssl_client_verify always;\n{more}"
        );
        Self::start_on(address, &more, &[&own[..], files].concat())
    }

    /// Starts one on an address; `more` are further lines of its server, and files beside its configuration begin with `../`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_on(address: SocketAddr, more: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new();
        for (name, content) in files {
            match name.strip_prefix("../") {
                Some(beside) => folder.write(beside, content),
                None => folder.write(&format!("www/{name}"), content),
            };
        }
        let ssl = if more.contains("ssl_certificate ") { " ssl" } else { "" };
        let server = format!("server {{ listen {address}{ssl}; root {}/www;\n{more}\n}}", folder.path().display());
        Self::run(folder, &server, address)
    }

    /// Starts one with these servers (and what else stands in `http`), one of which listens on `port` of 127.0.0.1; with files beside the
    /// configuration.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_as(servers: &str, port: u16, files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new();
        for (name, content) in files {
            folder.write(name, content);
        }
        Self::run(folder, servers, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn run(folder: TempDir, servers: &str, address: SocketAddr) -> Self {
        folder.write("nginx.conf", configuration(folder.path(), servers));
        let process = Self::spawn(&folder, address);
        Self { process, folder, address }
    }

    fn spawn(folder: &TempDir, address: SocketAddr) -> Guarded {
        let mut command = Command::new(find("nginx"));
        command
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .arg("-e")
            .arg(folder.path().join("error.log"));
        let mut process = Guarded::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        holds("nginx to listen", || {
            let log = || std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
            assert!(process.is_running(), "nginx ended: {}", log());
            TcpStream::connect(address).is_ok()
        });
        process
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again where it was, with another certificate (`tls.crt`, `tls.key`).
    ///
    /// # Panics
    /// When it does not start.
    pub fn change_certificate(&mut self, leaf: &Leaf) {
        self.folder.write("tls.crt", &leaf.certificate);
        self.folder.write("tls.key", &leaf.key);
        self.process.kill();
        self.process = Self::spawn(&self.folder, self.address);
    }

    /// Its access log so far.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }
}

/// A running HAProxy that passes connections on as they are.
#[derive(Debug)]
pub struct Haproxy {
    _process: Guarded,
    _folder: TempDir,
    address: SocketAddr,
}

impl Haproxy {
    /// Starts one before `server`; `options` are those of its line `server`, for example `send-proxy-v2`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn before(server: SocketAddr, options: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let text = format!(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
             listen before\n  bind {address}\n  server gateway {server} {options}\n"
        );
        Self::start_as(&text, address.port())
    }

    /// Starts one with a configuration that listens on `port` of 127.0.0.1.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_as(configuration: &str, port: u16) -> Self {
        let (folder, address) = (TempDir::new(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let conf = folder.write("haproxy.cfg", configuration);
        let log = folder.path().join("log");
        let errors = std::fs::File::create(&log).expect("a log can be written");
        let mut command = Command::new(find("haproxy"));
        command.arg("-db").arg("-f").arg(conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let mut process = Guarded::start(&mut command);
        // Its listening is seen without a connection, which would be passed on.
        holds("HAProxy to listen", || {
            assert!(process.is_running(), "HAProxy ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            TcpListener::bind(address).is_err()
        });
        Self { _process: process, _folder: folder, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn configuration(folder: &Path, servers: &str) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/tmp-{name};"))
        .join("\n");
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n{temporary}\naccess_log {folder}/access.log;\nkeepalive_requests 1000000;\n\
         {servers}\n}}\n"
    )
}
