//! Tests of the crate from outside: text in, plan or report out.

mod cases;
mod loading;
mod plans;
mod reading;

use crate::{Plan, Report, load};
use portcullis_model::Clock;
use portcullis_model_settings::{ByteSize, Diagnostics, Node, PolicySchema, Tighten, section};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

section! {
    /// Limits the body; a policy for tests.
    pub struct BodyLimit {
        /// The longest body.
        pub bytes_max: ByteSize = ByteSize::mib(1),
    }
}

impl Tighten for BodyLimit {
    fn tighten(outer: &Self, inner: &Self, at: &Node<'_>, diagnostics: &mut Diagnostics) {
        if inner.bytes_max > outer.bytes_max {
            let what = format!("`bytes_max` of {} is weaker than {} above", inner.bytes_max, outer.bytes_max);
            diagnostics.error_with_help(at, what, "an API or a route can only tighten");
        }
    }
}

const POLICIES: [PolicySchema; 1] = [PolicySchema::of::<BodyLimit>("body_limit")];

/// 2026-11-23, noon UTC.
fn clock() -> Clock {
    Clock::fixed((20_780 * 86_400 + 43_200) * 1_000_000)
}

fn load_here(path: &Path) -> Result<Plan, Report> {
    load(path, &POLICIES, &clock())
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("portcullis-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        #[allow(clippy::disallowed_methods, reason = "a place for files of tests")]
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the test's own folder");
    }
}

/// A folder of `testing/cases/config`, of the clone that cargo runs the tests in.
fn cases(kind: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "cargo tells tests by the environment where they belong")]
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.join("../../testing/cases/config").join(kind)
}
