//! Real programs as upstreams.

use crate::process::find;
use crate::{Guarded, TempDir, eventually, free_port, holds};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    _process: Guarded,
    folder: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one that serves these files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new();
        for (name, content) in files {
            folder.write(&format!("www/{name}"), content);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let conf = folder.write("nginx.conf", configuration(folder.path(), address));
        let mut command = Command::new(find("nginx"));
        command.arg("-p").arg(folder.path()).arg("-c").arg(conf).arg("-e").arg(folder.path().join("error.log"));
        let mut process = Guarded::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        holds("nginx to listen", || {
            let log = || std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
            assert!(process.is_running(), "nginx ended: {}", log());
            TcpStream::connect(address).is_ok()
        });
        Self { _process: process, folder, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its access log so far.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/tmp-{name};"))
        .join("\n");
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n{temporary}\naccess_log {folder}/access.log;\nkeepalive_requests 1000000;\n\
         server {{ listen {address}; root {folder}/www; }}\n}}\n"
    )
}

/// The Python server of testing/kit/py: echo, server-sent events, WebSocket, chunks, trailers.
#[derive(Debug)]
pub struct PyServer {
    process: Guarded,
    address: SocketAddr,
    _folder: TempDir,
}

impl PyServer {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let folder = TempDir::new();
        let (port_file, log) = (folder.path().join("port"), folder.path().join("log"));
        // Carried in the binary: clones that share a target folder share binaries, and a path could lead to another clone.
        let script = folder.write("server.py", include_str!("../py/server.py"));
        let mut command = Command::new(find("python3"));
        command.arg("-I").arg("-B").arg(script).arg(&port_file);
        let errors = std::fs::File::create(&log).expect("a log can be written");
        // The server ends when its standard input does, so it cannot outlive the tests.
        let mut process = Guarded::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors));
        let port: u16 = eventually("the Python server to listen", || {
            assert!(process.is_running(), "it ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
            std::fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
