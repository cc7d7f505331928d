//! What the service manager is told (`sd_notify(3)`): words on a datagram socket.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager, if there is one that wants to know.
#[derive(Clone, Debug)]
pub struct Notify(Option<OsString>);

impl Notify {
    /// Whom the environment names.
    #[expect(clippy::disallowed_methods, reason = "app alone reads the environment")]
    pub fn from_environment() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// This process serves, and is the service's main one.
    pub fn ready(&self) {
        self.say(&format!("READY=1\nMAINPID={}\nSTATUS=serving", std::process::id()));
    }

    /// Another configuration is being read; [`Notify::ready`] follows.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration"));
    }

    /// Another process is the service's main one.
    pub fn main_process(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    /// This process is going away, and with it the service.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=finishing what goes on");
    }

    fn say(&self, words: &str) {
        // A manager that does not hear is no reason not to serve.
        let _unheard = self.0.as_deref().and_then(|name| send(name, words.as_bytes()).ok());
    }
}

fn send(name: &OsStr, words: &[u8]) -> std::io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(words, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::Notify;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn heard(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[test]
    fn words_arrive_at_paths_and_at_abstract_names() {
        let path = std::env::temp_dir().join(format!("portcullis-notify-{}.sock", std::process::id()));
        let _left_over = std::fs::remove_file(&path);
        let by_path = UnixDatagram::bind(&path).unwrap();
        Notify(Some(path.clone().into())).ready();
        assert!(heard(&by_path).starts_with(&format!("READY=1\nMAINPID={}\n", std::process::id())));
        std::fs::remove_file(path).unwrap();
        let name = format!("portcullis-notify-{}", std::process::id());
        let abstract_one = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify(Some(format!("@{name}").into()));
        notify.reloading();
        let words = heard(&abstract_one);
        assert!(words.starts_with("RELOADING=1\nMONOTONIC_USEC=") && !words.contains("USEC=0\n"), "{words}");
        notify.main_process(7);
        assert_eq!(heard(&abstract_one), "MAINPID=7");
        notify.stopping();
        assert!(heard(&abstract_one).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn nobody_who_wants_to_know_and_nobody_there_are_no_trouble() {
        Notify(None).ready();
        Notify(Some("/nonexistent/notify".into())).ready();
    }
}
