//! A network of a test's own: addresses that lead nowhere else, and that no other test has.

use crate::process::find;
use std::process::{Command, Stdio};

/// Set in the process that runs inside.
const INSIDE: &str = "PORTCULLIS_TEST_NETWORK";

/// Runs the test `name` (as the test program lists it) once more, in a process whose machine has these addresses on its loopback
/// interface and no other network. Gives `true` inside of it; outside it gives `false` when the test has passed there.
///
/// # Panics
/// When the test fails there, with what it said, or when the system does not allow networks of one's own.
#[track_caller]
pub fn in_own_network(name: &str, addresses: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let add: Vec<String> = addresses
        .iter()
        .map(|address| match address.contains(':') {
            true => format!("ip -6 addr add {address}/128 dev lo nodad"),
            false => format!("ip addr add {address}/32 dev lo"),
        })
        .collect();
    let script = format!("set -e; ip link set lo up; {}; exec \"$0\" \"$@\"", add.join("; "));
    let unshare = find("unshare");
    // Whoever may make a network makes it directly; others become root of a world of their own first.
    let may = |flags: &str| {
        let tried = Command::new(&unshare).arg(flags).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let flags = ["-n", "-rn"].into_iter().find(|flags| may(flags));
    let flags = flags.expect("the system lets a test have a network of its own (`unshare -n` or `unshare -rn`)");
    let own = std::env::current_exe().expect("the system tells where the test is");
    let mut command = Command::new(unshare);
    command.args([flags, "sh", "-c", &script]).arg(own).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    let output = command.env(INSIDE, "1").stdin(Stdio::null()).output().expect("the test can be run again");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "in a network of its own:\n{said}");
    false
}
