//! Floods at the door, and the bans that follow: the attacker is kept out, everybody else is served, memory stays.

use crate::http2_site::{SecureSite, secure_site_with};
use crate::operations::{blocks, pages, run};
use crate::revocation::command;
use crate::site::{Site, get_with, site_with};
use portcullis_testing_kit::http2::{END_HEADERS, END_STREAM, Http2Client, block, frame, get_fields, kind};
use portcullis_testing_kit::{Gateway, RawClient, Witness, eventually};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};

/// Where attacks come from; clients that behave come from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn refused(gateway: &Gateway, listener: &str, reason: &str) -> u64 {
    gateway.metric(&format!("portcullis_connections_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}}")) as u64
}

/// Connects and asks; nothing when the connection is closed without an answer.
fn asks_from(source: Ipv4Addr, address: SocketAddr) -> Option<u16> {
    let mut client = RawClient::connect_from(source, address);
    client.send(get_with("Connection: close\r\n"));
    client.response_to("GET").map(|response| response.status)
}

fn bans(gateway: &Gateway) -> Vec<Value> {
    command(gateway, &["ban", "list"]).expect("a list").as_array().cloned().expect("a list")
}

fn networks(gateway: &Gateway) -> Vec<String> {
    bans(gateway).iter().map(|ban| ban["network"].as_str().expect("a network").to_owned()).collect()
}

/// Opens a connection, floods it with resets until it is cut off.
fn reset_flood(source: Ipv4Addr, site: &SecureSite) {
    let mut client = Http2Client::connect_from(source, site.gateway.address("tls"), &site.authority.certificate);
    let request = block(&get_fields("/reset"));
    for stream in (0..3000).map(|number| 2 * number + 1) {
        let both = [frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request), frame(kind::RST_STREAM, 0, stream, &CANCEL)];
        if !client.try_send(&both.concat()) {
            break;
        }
    }
    client.end();
}

#[test]
fn a_connection_flood_from_one_address_is_cut_before_anything_is_read_and_others_are_served() {
    let mut site = site_with(|plain| {
        plain.listener = "limits: { connections_per_client: 20, connection_rate_per_client: 20/s }";
        plain.sections = "defend: { bans: { offences: 2, within: 1m, for: 1h, allow: [127.0.0.1] } }";
    });
    let before = site.gateway.resident_kib();
    // Twenty a second, and forty at once: the rest is closed, and two seconds of it are a ban.
    eventually("the flood to be a ban", || {
        for _ in 0..100 {
            drop(RawClient::connect_from(ATTACKER, site.http()));
        }
        assert_eq!(site.gateway.get("/good").status, 200, "others are served");
        (refused(&site.gateway, "plain", "client_banned") > 0).then_some(())
    });
    assert!(refused(&site.gateway, "plain", "connections_too_fast") > 0);
    assert_eq!(asks_from(ATTACKER, site.http()), None);
    let ban = bans(&site.gateway).pop().expect("a ban");
    assert_eq!((ban["network"].as_str(), ban["cause"].as_str()), (Some("127.0.0.9"), Some("connections_too_fast")), "{ban}");
    eventually("the ban to be told", || site.gateway.stderr().contains("\"event\":\"banned\"").then_some(()));
    assert_eq!((site.gateway.metric("portcullis_bans"), site.gateway.metric("portcullis_bans_made_total")), (1.0, 1.0));
    let grown = site.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
    command(&site.gateway, &["ban", "lift", "127.0.0.9"]).expect("lifted");
    eventually("whoever is let in again to be served", || asks_from(ATTACKER, site.http()).filter(|status| *status == 200));
    site.gateway.is_well();
}

#[test]
fn d73_reset_floods_become_a_ban_that_doubles_and_others_are_served_throughout() {
    let mut site = secure_site_with(Witness::ok(), "", |plain| {
        plain.sections = "defend: { bans: { offences: 3, within: 1m, for: 1h, for_max: 4h } }";
    });
    site.withstands("reset floods of one address", |site| {
        for _ in 0..3 {
            reset_flood(ATTACKER, site);
        }
        eventually("the flood to be a ban", || Some(networks(&site.gateway)).filter(|known| known == &["127.0.0.9"]));
    });
    assert_eq!(asks_from(ATTACKER, site.gateway.http()), None, "at every listener");
    assert_eq!(bans(&site.gateway)[0]["cause"], "http2_flood");
    // Bans by offences are written a fifth of a second later.
    let kept = || std::fs::read_to_string(site.gateway.folder().join("run/bans.jsonl")).unwrap_or_default();
    eventually("the ban to be on the disk", || kept().contains("127.0.0.9").then_some(()));
    // It outlives the process, whatever ends it, and both processes of an upgrade know of it.
    site.gateway.kill_and_restart();
    assert_eq!(asks_from(ATTACKER, site.gateway.http()), None);
    site.gateway.upgrade(&[]).expect("upgraded");
    assert_eq!(asks_from(ATTACKER, site.gateway.http()), None);
    site.serves();
}

#[test]
fn handshakes_that_stall_take_their_own_clients_places_alone() {
    let mut site = secure_site_with(Witness::ok(), "limits: { handshakes_per_client: 5, handshake_deadline: 1s }", |plain| {
        plain.sections = "defend: { bans: { offences: 4, within: 1m, for: 1h } }";
    });
    site.withstands("handshakes that stall", |site| {
        let mut held = Vec::new();
        eventually("handshakes to be refused, and then the client", || {
            let so_many = if held.len() < 200 { 10 } else { 1 };
            held.extend((0..so_many).map(|_| RawClient::connect_from(ATTACKER, site.gateway.address("tls"))));
            (refused(&site.gateway, "secure", "client_banned") > 0).then_some(())
        });
        assert!(refused(&site.gateway, "secure", "handshakes_exhausted") > 0);
    });
    assert_eq!(networks(&site.gateway), ["127.0.0.9"]);
}

#[test]
fn c61_who_is_behind_a_balancer_is_banned_and_never_the_balancer() {
    let site = site_with(|plain| {
        plain.listener = "limits: { header_deadline: 300ms }\n    proxy_protocol: { from: [127.0.0.2/32] }";
        plain.sections = "defend: { bans: { offences: 2, within: 1m, for: 1h } }";
    });
    let through = |client: &str, request: &str| {
        let mut balancer = RawClient::connect_from(BALANCER, site.http());
        balancer.send(format!("PROXY TCP4 {client} 10.0.0.1 7 443\r\n{request}"));
        balancer.response_to("GET").map(|response| response.status)
    };
    for client in ["203.0.113.9", "127.0.0.2"] {
        // Heads that never end; of the balancer's own connections too.
        assert_eq!([0; 3].map(|_| through(client, "GET / HTTP/1.1\r\n")).len(), 3);
    }
    eventually("whoever is behind the balancer to be banned", || {
        Some(networks(&site.gateway)).filter(|all| all == &["203.0.113.9"])
    });
    assert_eq!(through("203.0.113.9", &get_with("Connection: close\r\n")), None);
    for client in ["203.0.113.10", "127.0.0.2"] {
        assert_eq!(through(client, &get_with("Connection: close\r\n")), Some(200), "{client}");
    }
    // Nor by hand: everybody behind it would be out.
    for network in ["127.0.0.2", "127.0.0.0/8", "0.0.0.0/0"] {
        let told = command(&site.gateway, &["ban", "add", network]).expect_err("refused");
        assert!(told.contains("nobody there is ever banned"), "{told}");
    }
}

fn behind_proxy(allow: &'static str) -> Site {
    site_with(|plain| plain.sections = allow)
}

#[test]
fn c61_behind_a_trusted_proxy_the_requests_of_the_banned_client_are_refused_and_no_others() {
    let mut site = behind_proxy("defend: { client_ip: { trusted_proxies: [127.0.0.0/8] } }");
    let ask = |site: &Site, client: &str| {
        let response = site.answer(get_with(&format!("X-Forwarded-For: {client}\r\nConnection: close\r\n")));
        (response.status, response.code())
    };
    let told = command(&site.gateway, &["ban", "add", "2001:db8::7", "--for", "1h", "--reason", "scans"]).expect("banned");
    assert_eq!((told["network"].as_str(), told["reason"].as_str()), (Some("2001:db8::/64"), Some("scans")), "{told}");
    command(&site.gateway, &["ban", "add", "198.51.100.0/24"]).expect("banned");
    let banned = (403, "client_banned".to_owned());
    let clients = ["2001:db8::1", "198.51.100.200", "2001:db8:0:1::7", "198.51.101.1"];
    let outcomes = |site: &Site| clients.map(|client| ask(site, client) == banned);
    assert_eq!(outcomes(&site), [true, true, false, false]);
    // Each worker's records come in order, but not those of all.
    let clients_recorded = ["2001:db8::1", "198.51.100.200"].map(serde_json::Value::from);
    assert!(clients_recorded.contains(&site.gateway.record_of("client_banned")["client"]));
    site.gateway.kill_and_restart();
    assert_eq!(outcomes(&site), [true, true, false, false]);
    command(&site.gateway, &["ban", "lift", "2001:db8::/64"]).expect("lifted");
    assert_eq!(outcomes(&site), [false, true, false, false]);
    let audit = std::fs::read_to_string(site.gateway.folder().join("run/audit.log")).expect("an audit log");
    for action in ["ban `2001:db8::7`", "ban `198.51.100.0/24`", "unban `2001:db8::/64`"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    for (arguments, problem) in [
        (&["ban", "add", "nonsense"][..], "is no address"),
        (&["ban", "add", "192.0.2.1", "--for", "0s"], "over before it begins"),
        (&["ban", "add", "192.0.2.1", "--for", "soon"], "is not a duration"),
        (&["ban", "lift", "192.0.2.1"], "is not banned"),
    ] {
        let told = command(&site.gateway, arguments).expect_err("refused");
        assert!(told.contains(problem), "{told}");
    }
}

#[test]
fn a_ban_of_a_second_is_over_after_it_and_the_next_one_is_longer() {
    let site = site_with(|plain| {
        plain.listener = "limits: { header_deadline: 50ms }";
        plain.sections = "defend: { bans: { offences: 1, for: 1s, for_max: 1h } }";
    });
    let slow = || drop(RawClient::connect_from(ATTACKER, site.http()).send("GET / HTTP/1.1\r\n").rest());
    for times_before in 0..2 {
        slow();
        let ban = eventually("the ban", || bans(&site.gateway).pop());
        assert_eq!(ban["times_before"], times_before, "{ban}");
        assert!(asks_from(ATTACKER, site.http()).is_none());
        eventually("the end of the ban", || asks_from(ATTACKER, site.http()));
    }
}

#[test]
fn the_page_of_bans_works_as_written() {
    let site = site_with(|_| {});
    let page = std::fs::read_to_string(pages().join("bans.md")).expect("the page");
    run(site.gateway.folder(), &blocks(&page, "sh").concat());
    assert_eq!(networks(&site.gateway), ["198.51.100.0/24"]);
}
