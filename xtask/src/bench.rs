//! `cargo xtask bench`: the comparison with other gateways, where its program is at hand.

use crate::dist;
use crate::run;
use std::process::Command;
use std::time::Duration;

/// Builds what is measured, as it is shipped, and runs the comparison with our target file.
///
/// # Errors
/// When the program or the target file is missing, or a run fails.
pub fn bench(words: &[&str]) -> Result<(), String> {
    let root = run::root();
    let compare = std::env::var_os("PORTCULLIS_COMPARE").map_or_else(|| root.join("../shared/bench/compare"), Into::into);
    let targets = root.join("bench/targets");
    if !compare.is_file() {
        return Err(format!(
            "`{}` is not here; put the comparison program there, or name it in PORTCULLIS_COMPARE",
            compare.display()
        ));
    }
    if !targets.join("portcullis.toml").is_file() {
        return Err(format!(
            "`{}/portcullis.toml`, which tells the comparison how to run this gateway, is not here",
            targets.display()
        ));
    }
    let program = dist::dist()?;
    let folder = program.parent().unwrap_or(&root);
    let standard = ["--targets", "portcullis,nginx,haproxy", "--scenarios", "h1-1k,tls-1k", "--reps", "3", "--scale", "0.25"];
    let words = if words.is_empty() { &standard[..] } else { words };
    run::shown(
        Command::new(compare).env("TARGETS_DIR", targets).env("PEERS_BIN", folder).args(words).current_dir(root),
        Duration::from_secs(4 * 3600),
    )
}
