//! Configurations that open more than the one before: told, and with a key of the operator's refused unless they are approved.

use crate::operations::{blocks, pages, run, with_ports};
use portcullis_testing_kit::{
    Authority, Gateway, Guarded, Plain, TempDir, Witness, binary, eventually, free_port, holds, output_of,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

const NARROW: &str = "- { name: r, methods: [GET], path: /r, access: { public: true } }";
const WIDE: &str = "- { name: r, methods: [GET, POST], path: /r, access: { public: true } }";

fn yaml(witness: &Witness, routes: &'static str) -> String {
    let mut plain = Plain::to(witness.address());
    plain.routes = routes;
    plain.yaml()
}

/// The events of a kind that the gateway has told.
fn events(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let stderr = gateway.stderr();
    let all = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|event| event["event"] == json!(kind)).collect()
}

/// A key of the approver's: the files of its private and its public half.
struct Key(TempDir);

impl Key {
    fn new() -> Self {
        let folder = TempDir::new();
        for arguments in [
            &["genpkey", "-algorithm", "ed25519", "-out", "key.pem"][..],
            &["pkey", "-in", "key.pem", "-pubout", "-out", "key.pub"],
        ] {
            let output = output_of(Command::new("openssl").args(arguments).current_dir(folder.path()));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Self(folder)
    }

    /// Approves that the configuration in `folder` follows another one.
    fn approve(&self, folder: &Path, old: &str) {
        let mut command = Command::new(binary());
        command.args(["approve", old, "portcullis.yaml", "--key"]).arg(self.0.path().join("key.pem"));
        let output = output_of(command.current_dir(folder));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A gateway that takes the approvals of this key.
    fn guarded(&self, config: &str) -> Gateway {
        let (public, state) = (self.0.path().join("key.pub"), self.0.path().join("state"));
        let text = |path: &Path| path.to_str().expect("a path").to_owned();
        let baseline = self.0.write("baseline.yaml", config.replace("@http@", "1").replace("@probes@", "2"));
        let environment = [
            ("PORTCULLIS_APPROVAL_KEY", text(&public)),
            ("PORTCULLIS_APPROVAL_STATE", text(&state)),
            ("PORTCULLIS_BASELINE", text(&baseline)),
        ];
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Gateway::start_in(&environment, &[], config)
    }
}

#[test]
fn without_a_key_what_opens_is_told_and_serves() {
    let witness = Witness::ok();
    let gateway = Gateway::start(&yaml(&witness, NARROW));
    assert_eq!(events(&gateway, "access_initial").len(), 1, "{}", gateway.stderr());
    gateway.configure(&yaml(&witness, WIDE));
    gateway.reaches_generation(2);
    let told = eventually("what opens to be told", || events(&gateway, "access_widened").pop());
    assert_eq!((&told["approved"], told["widens"].as_array().map(Vec::len)), (&json!(false), Some(1)), "{told}");
    assert!(told["widens"][0].as_str().is_some_and(|line| line.starts_with("POST */r: opens to everybody")), "{told}");
    gateway.configure(&yaml(&witness, NARROW));
    gateway.reaches_generation(3);
    assert_eq!(events(&gateway, "access_widened").len(), 1, "what closes is not told");
}

#[test]
fn with_a_key_nothing_opens_until_that_step_is_approved_and_then_for_once() {
    let (witness, key) = (Witness::ok(), Key::new());
    let mut gateway = key.guarded(&yaml(&witness, NARROW));
    let narrow = gateway.config();
    gateway.write("before.yaml", &narrow);
    let post = |gateway: &Gateway| {
        let answers = portcullis_testing_kit::ask(
            gateway.http(),
            "POST /r HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        answers[0].status
    };
    gateway.configure(&yaml(&witness, WIDE));
    holds("the refusal", || gateway.refused_reloads() >= 1);
    assert_eq!((post(&gateway), gateway.generation()), (405, 1), "the one before serves on");
    let told = gateway.stderr();
    for part in ["POST */r: opens to everybody", "there is no approval", "portcullis approve OLD NEW"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // Somebody else's word is none.
    Key::new().approve(gateway.folder(), "before.yaml");
    holds("the refusal", || gateway.stderr().contains("not signed by the key"));
    assert_eq!(post(&gateway), 405);
    key.approve(gateway.folder(), "before.yaml");
    holds("the approved one", || gateway.generation() == 2);
    assert_eq!(post(&gateway), 200);
    assert_eq!(eventually("it to be told", || events(&gateway, "access_widened").pop())["approved"], json!(true));
    // A start and an upgrade go on with what was accepted.
    gateway.kill_and_restart();
    assert_eq!(post(&gateway), 200);
    gateway.upgrade(&[]).expect("an upgrade");
    assert_eq!(post(&gateway), 200);
    // Back is free, and forth again is not.
    gateway.write("portcullis.yaml", &narrow);
    holds("the narrow one", || post(&gateway) == 405);
    gateway.configure(&yaml(&witness, WIDE));
    holds("the refusal", || gateway.stderr().contains("has been used before"));
    assert_eq!(post(&gateway), 405);
}

#[test]
fn a_start_with_a_key_needs_an_approval_or_a_baseline_and_a_moved_socket_is_no_way_around_it() {
    let (witness, key) = (Witness::ok(), Key::new());
    let folder = TempDir::new();
    let text = |routes: &'static str, socket: &str| {
        let text = yaml(&witness, routes).replace("@http@", &free_port().to_string()).replace("@probes@", &free_port().to_string());
        assert!(text.contains("run/portcullis.sock"), "{text}");
        text.replace("run/portcullis.sock", socket)
    };
    let command = || {
        let mut command = Command::new(binary());
        command.args(["run", "--config", "portcullis.yaml", "--workers", "1", "--approval-state"]);
        command.arg(key.0.path().join("other")).arg("--approval-key").arg(key.0.path().join("key.pub"));
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    // What one says that does not start.
    let refused = || {
        let output = output_of(&mut command());
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    folder.write("portcullis.yaml", text(NARROW, "one/p.sock"));
    let told = refused();
    assert!(told.contains("nothing has been accepted before") && told.contains("portcullis approve none NEW"), "{told}");
    key.approve(folder.path(), "none");
    let log = folder.write("log", "");
    let running = Guarded::start(command().stderr(Stdio::from(std::fs::File::create(&log).expect("a log"))));
    holds("the approved one to serve", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"started\"")));
    drop(running);
    folder.write("portcullis.yaml", text(WIDE, "two/p.sock"));
    let told = refused();
    assert!(told.contains("POST */r: opens to everybody"), "{told}");
}

#[test]
fn the_page_works_as_written() {
    let page = std::fs::read_to_string(pages().join("approvals.md")).expect("the page");
    let (folder, authority, witness) = (TempDir::new(), Authority::new(), Witness::ok());
    let leaf = authority.leaf(&["api.example.com"]);
    let ports = [(8443, free_port()), (9464, free_port())];
    folder.write("api.crt", &leaf.certificate);
    folder.write("api.key", &leaf.key);
    let configuration = format!(
        "version: 1\nlisteners: {{ p: {{ address: 127.0.0.1:8443, tls: {{ certificates: [ {{ hosts: [api.example.com], files: {{ certificate: api.crt, key: api.key }} }} ] }} }} }}\n\
         management: {{ socket: run/portcullis.sock, probes: 127.0.0.1:9464 }}\nupstreams: {{ u: {{ endpoints: [ {{ url: \"http://{}\" }} ] }} }}\n\
         apis: {{ a: {{ hosts: [api.example.com], upstream: u, routes: [ {{ name: r, methods: [GET], path: /r, access: {{ public: true }} }} ] }} }}\n",
        witness.address()
    );
    folder.write("portcullis.yaml", with_ports(&configuration, &ports));
    let said = run(folder.path(), &with_ports(&blocks(&page, "sh").concat(), &ports));
    for told in ["everything: nothing has been accepted before", "DELETE api.example.com/r: opens to everybody", "refused"] {
        assert!(said.contains(told), "{told}: {said}");
    }
}
