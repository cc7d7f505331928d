//! The policy `ip_rules`: who may come by address, with lists that are replaced while the gateway serves.

use portcullis_testing_kit::{Gateway, Plain, Witness, ask, holds};

const BEHIND_A_PROXY: &str = "defend: { client_ip: { trusted_proxies: [127.0.0.1/32], header: x-forwarded-for } }";

fn yaml(witness: &Witness, api: &'static str) -> String {
    let mut plain = Plain::to(witness.address());
    plain.api = api;
    plain.sections = BEHIND_A_PROXY;
    plain.yaml()
}

/// The status for a client of this address, as the trusted proxy before the gateway tells it.
#[track_caller]
fn status(gateway: &Gateway, client: &str) -> u16 {
    let request = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n");
    let responses = ask(gateway.http(), request);
    assert_eq!(responses.len(), 1);
    if responses[0].status != 200 {
        assert_eq!((responses[0].status, responses[0].code().as_str()), (403, "address_refused"));
    }
    responses[0].status
}

#[test]
fn c65_a_denied_network_is_denied_in_every_spelling_of_its_addresses() {
    let witness = Witness::ok();
    let gateway = Gateway::start(&yaml(&witness, "ip_rules: { deny: { networks: [10.0.0.0/8, 2001:db8::/32] } }"));
    for client in ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1", "2001:db8::1", "2001:0DB8:0::1"] {
        assert_eq!(status(&gateway, client), 403, "{client}");
    }
    assert_eq!(witness.texts(), Vec::<String>::new());
    for client in ["11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1"] {
        assert_eq!(status(&gateway, client), 200, "{client}");
    }
    let record = gateway.record_of("address_refused");
    assert!(record["detail"].as_str().is_some_and(|detail| detail.contains("ip_rules.deny")), "{record}");
}

#[test]
fn the_client_is_judged_and_not_the_proxy_it_comes_through() {
    let witness = Witness::ok();
    let gateway = Gateway::start(&yaml(&witness, "ip_rules: { allow: { networks: [10.0.0.0/8] } }"));
    assert_eq!((status(&gateway, "10.0.0.1"), status(&gateway, "192.0.2.1")), (200, 403));
    // Nobody else's word counts: without a trusted proxy the peer is the client.
    let mut plain = Plain::to(witness.address());
    plain.api = "ip_rules: { allow: { networks: [10.0.0.0/8] } }";
    let gateway = plain.start();
    assert_eq!(status(&gateway, "10.0.0.1"), 403);
}

#[test]
fn a_list_is_replaced_when_its_file_changes_and_nothing_else_is() {
    let witness = Witness::ok();
    let config = yaml(&witness, "ip_rules: { deny: { file: lists/deny.txt } }");
    let mut gateway = Gateway::start_with(&[("lists/deny.txt", "# attackers\n192.0.2.0/24\n")], &config);
    assert_eq!((status(&gateway, "192.0.2.1"), status(&gateway, "198.51.100.1")), (403, 200));
    gateway.write("lists/deny.txt", "198.51.100.0/24\n");
    holds("the new list to be in force", || status(&gateway, "198.51.100.1") == 403);
    assert_eq!(status(&gateway, "192.0.2.1"), 200);
    assert_eq!((gateway.generation(), gateway.refused_reloads()), (1, 0), "no other configuration for it");
    // Written in place as well.
    std::fs::write(gateway.folder().join("lists/deny.txt"), "192.0.2.0/24\n").expect("written");
    holds("the list before to be in force", || status(&gateway, "192.0.2.1") == 403);
    gateway.is_well();
}

#[test]
fn g145_a_list_that_is_not_right_leaves_the_one_before_in_force() {
    let witness = Witness::ok();
    let good = "192.0.2.0/24\n";
    let config = yaml(&witness, "ip_rules: { deny: { file: deny.txt } }");
    let mut gateway = Gateway::start_with(&[("deny.txt", good)], &config);
    let twice = "10.0.0.1\n".repeat(1_000_001);
    let mut refused = 0;
    for (what, bad, told) in [
        ("twice as large as it may be", twice.as_str(), "deny.txt:1000001: the list has more than 1000000 networks"),
        ("cut off in a line", "192.0.2.0/24\n198.51.1", "cut off"),
        ("empty", "", "write `none`"),
        ("only comments", "# nothing\n", "write `none`"),
        ("of the wrong type", "deny: [192.0.2.0/24]\n", "deny.txt:1: `deny: [192.0.2.0/24]` is neither an address nor a network"),
        ("not text", "\u{0}\u{1}\n", "deny.txt:1"),
        ("with one bad line", "192.0.2.0/24\n300.0.0.1\n", "deny.txt:2: `300.0.0.1`"),
    ] {
        gateway.write("deny.txt", bad);
        holds(&format!("a list that is {what} to be refused"), || gateway.refused_reloads() > refused);
        refused = gateway.refused_reloads();
        holds("it to be told", || gateway.stderr().contains(told));
        assert_eq!((status(&gateway, "192.0.2.1"), status(&gateway, "198.51.1.1")), (403, 200), "{what}");
    }
    std::fs::remove_file(gateway.folder().join("deny.txt")).expect("removed");
    gateway.process().signal("HUP");
    holds("its absence to be told", || gateway.stderr().contains("cannot be read"));
    assert_eq!(status(&gateway, "192.0.2.1"), 403);
    // The rest of the configuration can be changed all the same.
    gateway.configure(&config.replace("base_path: /", "base_path: /b"));
    holds("another configuration beside a broken list", || gateway.generation() == 2);
    gateway.configure(&config);
    holds("the configuration before", || gateway.generation() == 3);
    assert_eq!(status(&gateway, "192.0.2.1"), 403);
    gateway.write("deny.txt", "none\n");
    holds("a list that is meant to be empty", || status(&gateway, "192.0.2.1") == 200);
    gateway.is_well();
}

#[test]
fn a_gateway_does_not_start_without_its_lists() {
    let witness = Witness::ok();
    for (list, told) in
        [(None, "cannot be read"), (Some(""), "write `none`"), (Some("x\n"), "deny.txt:1"), (Some("10.0.0.1"), "cut off")]
    {
        let folder = portcullis_testing_kit::TempDir::new();
        folder.write(
            "portcullis.yaml",
            yaml(&witness, "ip_rules: { deny: { file: deny.txt } }")
                .replace("@http@", "0")
                .replace(", probes: 127.0.0.1:@probes@", ""),
        );
        if let Some(list) = list {
            folder.write("deny.txt", list);
        }
        let mut command = std::process::Command::new(portcullis_testing_kit::binary());
        let output = command.args(["run", "--config", "portcullis.yaml"]).current_dir(folder.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told), "{list:?}: {said}");
    }
}

#[test]
fn a_million_networks_are_read_while_it_serves() {
    let witness = Witness::ok();
    let config = yaml(&witness, "ip_rules: { deny: { file: deny.txt } }");
    let mut gateway = Gateway::start_with(&[("deny.txt", "none\n")], &config);
    let mut list = String::new();
    for number in 0..1_000_000_u32 {
        // Every other address from 10.0.0.0 on.
        list.push_str(&std::net::Ipv4Addr::from(0x0a00_0000 + number * 2).to_string());
        list.push('\n');
    }
    assert_eq!(status(&gateway, "10.0.0.0"), 200);
    gateway.write("deny.txt", &list);
    holds("a million networks to be in force", || status(&gateway, "10.0.0.0") == 403);
    assert_eq!(
        (status(&gateway, "10.0.0.1"), status(&gateway, "10.30.132.126"), status(&gateway, "10.30.132.128")),
        (200, 403, 200)
    );
    gateway.is_well();
}
