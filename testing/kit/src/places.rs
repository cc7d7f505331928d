//! Ports and folders for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// Below the range that systems take ports for outgoing connections from, so that nobody gets one by accident.
const FIRST_PORT: u16 = 20_000;
/// A test process takes one block of ports for itself, so that several may run on one machine.
const BLOCKS: u16 = 8;
const BLOCK_PORTS: u16 = 1_500;

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
static NEXT_FOLDER: AtomicU32 = AtomicU32::new(0);
static BLOCK: OnceLock<Block> = OnceLock::new();

/// A block of ports, ours as long as this process listens on its first one.
#[derive(Debug)]
struct Block {
    first: u16,
    _claim: TcpListener,
}

impl Block {
    fn claim() -> Self {
        let blocks = (0..BLOCKS).map(|number| FIRST_PORT + number * BLOCK_PORTS);
        let mut claimed =
            blocks.filter_map(|first| Some(Self { first, _claim: TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()? }));
        claimed.next().expect("fewer test processes run on this machine than there are blocks of ports")
    }
}

/// A port on 127.0.0.1 that nobody listens on and no other test gets.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let block = BLOCK.get_or_init(Block::claim);
    for _ in 1..BLOCK_PORTS {
        let port = block.first + 1 + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % (BLOCK_PORTS - 1);
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
