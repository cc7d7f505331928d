//! Ports and folders for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that systems take ports for outgoing connections from, so that nobody gets one by accident.
const FIRST_PORT: u32 = 20_000;
const PORTS: u32 = 12_000;

static NEXT_PORT: AtomicU32 = AtomicU32::new(0);
static NEXT_FOLDER: AtomicU32 = AtomicU32::new(0);

/// A port on 127.0.0.1 that nobody listens on, given out once per process.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(97) % PORTS;
    for _ in 0..PORTS {
        let offset = (start + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = u16::try_from(FIRST_PORT + offset).expect("the range fits");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1");
}

/// A folder that is removed with its content when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a folder, which no default should")]
    pub fn new() -> Self {
        let number = NEXT_FOLDER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portcullis-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for temporary files can be made");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it, with the folders on the way.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        let folder = path.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(folder).expect("a folder for temporary files can be made");
        std::fs::write(&path, content).expect("a temporary file can be written");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is left to the system, which empties the folder of temporary files.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
