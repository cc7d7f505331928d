//! Real programs as upstreams.

use crate::process::find;
use crate::{Guarded, TempDir, free_port, holds};
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
