//! The demo, as somebody new to it uses it.

use portcullis_testing_kit::{Guarded, TempDir, binary, eventually, free_port, holds, output_of};
use std::process::{Command, Stdio};

#[test]
fn the_lines_that_the_demo_prints_work_as_printed() {
    let folder = TempDir::new();
    let (port, shown) = (free_port().to_string(), folder.path().join("shown"));
    let out = || std::fs::File::options().create(true).append(true).open(&shown).expect("a file");
    let mut command = Command::new(binary());
    command.args(["demo", "--port", &port, "--state", "state"]).current_dir(folder.path()).stdin(Stdio::null());
    let mut demo = Guarded::start(command.stdout(out()).stderr(out()));
    let read = || std::fs::read_to_string(&shown).unwrap_or_default();
    let invitation = eventually("the demo to print its lines", || {
        assert!(demo.is_running(), "{}", read());
        Some(read()).filter(|text| text.contains("Exchanges:"))
    });
    let lines: Vec<&str> = invitation.lines().filter(|line| line.contains("curl --cacert")).collect();
    let statuses: Vec<String> = lines
        .iter()
        .map(|line| {
            let line = line.replace("curl --cacert", "curl -sS -w '\\n%{http_code}' --cacert");
            let output = output_of(Command::new("sh").args(["-c", &line]).current_dir(folder.path()));
            let answer = String::from_utf8_lossy(&output.stdout);
            answer.rsplit('\n').next().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(statuses, ["200", "200", "201", "404", "405", "413", "400", "400", "400"], "{lines:#?}");
    for status in ["200 GET", "201 POST", "404 GET", "405 DELETE", "413 POST", "400"] {
        holds("a live line for each exchange", || read().lines().any(|line| line.starts_with(status)));
    }
    for (line, part) in invitation.lines().filter(|line| line.contains(" --socket ")).zip(["generation 1", "create-order"]) {
        let output = output_of(Command::new("sh").args(["-c", line]).current_dir(folder.path()));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(part),
            "{line}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    demo.signal("INT");
    assert!(demo.wait().success(), "{}", read());
}

#[test]
fn a_second_demo_leaves_the_files_of_the_first_alone() {
    let folder = TempDir::new();
    let port = free_port().to_string();
    let mut command = Command::new(binary());
    command.args(["demo", "--port", &port]).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut first = Guarded::start(command.stderr(Stdio::null()));
    let config = folder.path().join("target/demo/portcullis.yaml");
    eventually("the first demo", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok().then_some(()));
    let before = std::fs::read_to_string(&config).expect("its configuration is under target/demo");
    let other = free_port().to_string();
    for (port, named) in [(&port, port.as_str()), (&other, "target/demo/run/portcullis.sock")] {
        let second = output_of(Command::new(binary()).args(["demo", "--port", port]).current_dir(folder.path()));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(!second.status.success() && said.contains(named) && said.contains("help: "), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&config).expect("still there"), before);
    first.signal("INT");
    assert!(first.wait().success());
}
