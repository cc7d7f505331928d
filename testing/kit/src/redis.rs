//! A real Redis.

use crate::{Guarded, Leaf, TempDir, free_port, holds, output_of};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

/// A running Redis, which keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    process: Guarded,
    folder: TempDir,
    port: u16,
    is_secure: bool,
}

/// The user of a secure one, and their password.
const USER: &str = "portcullis";
const PASSWORD: &str = "only-for-tests";

impl Redis {
    /// Starts one without a password, in plain text.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one over TLS alone, with a user `portcullis` whose password is `only-for-tests` and who may touch keys of the gateway alone.
    ///
    /// # Panics
    /// When it does not start.
    pub fn secure(leaf: &Leaf) -> Self {
        Self::start_with(Some(leaf))
    }

    fn start_with(leaf: Option<&Leaf>) -> Self {
        let (folder, port) = (TempDir::new(), free_port());
        let mut lines = "bind 127.0.0.1\nsave \"\"\nappendonly no\ndaemonize no\n".to_owned();
        match leaf {
            None => lines.push_str(&format!("port {port}\n")),
            Some(leaf) => {
                folder.write("tls.crt", &leaf.certificate);
                folder.write("tls.key", &leaf.key);
                lines.push_str(&format!(
                    "port 0\ntls-port {port}\ntls-cert-file tls.crt\ntls-key-file tls.key\ntls-auth-clients no\nuser default off\n\
                     user {USER} on >{PASSWORD} ~{{portcullis}}:* +hset +hdel +hlen +hscan +xadd +xread +xrevrange +multi +exec +ping +set +get\n"
                ));
            }
        }
        folder.write("redis.conf", lines);
        let redis = Self { process: spawn(&folder), folder, port, is_secure: leaf.is_some() };
        redis.answers();
        redis
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Asks it by its own client; gives what it says, a line for each value.
    ///
    /// # Panics
    /// When there is no client.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.is_secure {
            command.args(["--tls", "--insecure", "--no-auth-warning", "--user", USER, "--pass", PASSWORD]);
        }
        String::from_utf8_lossy(&output_of(command.args(arguments)).stdout).trim_end().to_owned()
    }

    fn answers(&self) {
        holds("Redis to answer", || self.ask(&["PING"]) == "PONG");
    }

    /// Stops it where it is: its connections stand, and nobody answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.signal("CONT");
    }

    /// Kills it. What was in it is lost.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was, empty.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.folder);
        self.answers();
    }
}

fn spawn(folder: &TempDir) -> Guarded {
    let mut command = Command::new("redis-server");
    Guarded::start(command.arg("redis.conf").current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()))
}
