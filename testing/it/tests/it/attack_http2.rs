//! Threats D 73 to 83 by raw frames: every flood is cut, others are served, memory stays.

use crate::http2_site::{SecureSite, secure_site, secure_site_with};
use portcullis_testing_kit::http2::{
    END_HEADERS, END_STREAM, Http2Client, Outcome, PADDED, PREFACE, block, frame, get_fields, kind, push_string,
};
use portcullis_testing_kit::{Plain, Witness, eventually};
use std::time::Duration;

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;
/// CANCEL
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Sends the same bytes again and again until the connection takes no more. Says whether it came to that.
fn repeat(client: &mut Http2Client, bytes: &[u8], count: usize) -> bool {
    let many = bytes.repeat(64);
    (0..count.div_ceil(64)).any(|_| !client.try_send(&many))
}

/// The stream numbers that a client may use.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// The connection ends, and not because all was well.
#[track_caller]
fn is_cut(client: &mut Http2Client, what: &str) {
    let end = client.end();
    assert!(!matches!(end, Outcome::GoAway(NO_ERROR)), "{what}: {end:?}");
}

/// A flood leaves a record with its reason, and is counted.
#[track_caller]
fn is_recorded(site: &SecureSite) {
    let record = site.gateway.record_of("http2_flood");
    assert_eq!((record["protocol"].as_str(), record["client"].as_str()), (Some("HTTP/2"), Some("127.0.0.1")), "{record}");
    eventually("the metric of the flood", || {
        let text = portcullis_testing_kit::get(site.gateway.address("probes"), "localhost", "/metrics").text();
        text.lines().any(|line| line.contains("reason=\"http2_flood\"")).then_some(())
    });
}

#[test]
fn d73_rapid_reset_is_cut_and_costs_the_upstream_little() {
    let mut site = secure_site();
    site.withstands("rapid reset", |site| {
        let mut client = site.client();
        let request = block(&get_fields("/reset"));
        for stream in streams(5000) {
            let both =
                [frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request), frame(kind::RST_STREAM, 0, stream, &CANCEL)];
            if !client.try_send(&both.concat()) {
                break;
            }
        }
        assert_eq!(client.end(), Outcome::GoAway(ENHANCE_YOUR_CALM));
    });
    assert!(site.reached("/reset") <= 1000, "{} requests reached the upstream", site.reached("/reset"));
    is_recorded(&site);
}

/// The frames that make the gateway reset a stream.
type Provocation<'a> = Box<dyn Fn(u32) -> Vec<u8> + Sync + 'a>;

#[test]
fn d74_resets_that_the_gateway_is_made_to_send_are_cut_too() {
    let mut site = secure_site();
    let request = block(&get_fields("/provoked"));
    let post = block(&[get_fields("/provoked"), vec![("content-length", "3")]].concat());
    let upper = block(&[get_fields("/provoked"), vec![("X-Upper", "v")]].concat());
    let hop = block(&[get_fields("/provoked"), vec![("connection", "close")]].concat());
    let open = |stream| frame(kind::HEADERS, END_HEADERS, stream, &request);
    let ended = |stream| frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request);
    let ways: [(&str, Provocation<'_>); 8] = [
        ("a window update of 0", Box::new(|s| [open(s), frame(kind::WINDOW_UPDATE, 0, s, &[0; 4])].concat())),
        ("a window beyond 2^31", Box::new(|s| [open(s), frame(kind::WINDOW_UPDATE, 0, s, &[0x7f, 255, 255, 255])].concat())),
        ("data behind the end", Box::new(|s| [ended(s), frame(kind::DATA, 0, s, b"x")].concat())),
        ("headers behind the end", Box::new(|s| [ended(s), ended(s)].concat())),
        (
            "a priority on itself",
            Box::new(|s| [open(s), frame(kind::PRIORITY, 0, s, &[&s.to_be_bytes()[..], &[9]].concat())].concat()),
        ),
        (
            "less data than declared",
            Box::new(|s| [frame(kind::HEADERS, END_HEADERS, s, &post), frame(kind::DATA, END_STREAM, s, b"x")].concat()),
        ),
        ("an upper-case name", Box::new(|s| frame(kind::HEADERS, END_HEADERS | END_STREAM, s, &upper))),
        ("a field of the connection", Box::new(|s| frame(kind::HEADERS, END_HEADERS | END_STREAM, s, &hop))),
    ];
    for (what, provoke) in ways {
        site.withstands(what, |site| {
            let mut client = site.client();
            for stream in streams(3000) {
                if !client.try_send(&provoke(stream)) {
                    break;
                }
            }
            is_cut(&mut client, what);
        });
    }
    assert!(site.reached("/provoked") <= 8000, "{} requests reached the upstream", site.reached("/provoked"));
}

#[test]
fn d75_malformed_and_reset_streams_pile_up_nowhere() {
    let mut site = secure_site();
    site.withstands("3000 malformed and reset streams", |site| {
        let malformed = block(&[(":method", "GET"), (":path", "/"), (":path", "/")]);
        let request = block(&get_fields("/x"));
        let mut client = site.client();
        for stream in streams(3000) {
            let bad = frame(kind::HEADERS, END_HEADERS, stream, if stream % 4 == 1 { &malformed } else { &request });
            if !client.try_send(&[bad, frame(kind::RST_STREAM, 0, stream, &CANCEL)].concat()) {
                break;
            }
        }
        is_cut(&mut client, "3000 malformed and reset streams");
    });
}

#[test]
fn d76_a_header_block_without_end_is_cut() {
    let mut site = secure_site();
    for (what, payload, count) in
        [("32 MiB of CONTINUATION", vec![0x40; 16_384], 2048), ("200 000 empty CONTINUATION", Vec::new(), 200_000)]
    {
        site.withstands(what, |site| {
            let mut client = site.client();
            client.frame(kind::HEADERS, END_STREAM, 1, &block(&get_fields("/x")));
            repeat(&mut client, &frame(kind::CONTINUATION, 0, 1, &payload), count);
            is_cut(&mut client, what);
        });
    }
    is_recorded(&site);
}

/// A header block that puts one entry into the table, and refers to it so many times with a byte each.
fn references(entry: usize, count: usize, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = block(fields);
    bytes.push(0x40);
    push_string(&mut bytes, b"x-a");
    push_string(&mut bytes, &vec![b'a'; entry]);
    bytes.extend(vec![0xbe; count]);
    bytes
}

/// Sends a header block in as many frames as it needs.
fn send_block(client: &mut Http2Client, stream: u32, block: &[u8]) {
    let parts: Vec<&[u8]> = block.chunks(16_384).collect();
    for (number, part) in parts.iter().enumerate() {
        let (kind, first) = if number == 0 { (kind::HEADERS, END_STREAM) } else { (kind::CONTINUATION, 0) };
        let last = if number + 1 == parts.len() { END_HEADERS } else { 0 };
        client.frame(kind, first | last, stream, part);
    }
}

#[test]
fn d77_references_of_a_byte_each_and_a_window_held_at_0_take_no_memory() {
    let mut site = secure_site();
    for entry in [0, 3900] {
        site.withstands("64 000 references on 12 streams, no window", |site| {
            // A window of 0 for every stream (SETTINGS_INITIAL_WINDOW_SIZE).
            let mut client = site.client_with(&[(4, 0)]);
            for stream in streams(12) {
                send_block(&mut client, stream, &references(entry, 64_000, &get_fields("/bomb")));
            }
            is_cut(&mut client, "references");
        });
    }
    assert_eq!(site.reached("/bomb"), 0);
}

#[test]
fn d77_every_crumb_of_a_cookie_counts() {
    let site = secure_site();
    let crumbs = |count| [get_fields("/crumbs"), vec![("cookie", "a=1"); count]].concat();
    assert_eq!(site.client().headers(1, &crumbs(101), true).outcome(1), Outcome::Answered(431));
    assert_eq!(site.reached("/crumbs"), 0);
    assert_eq!(site.client().headers(1, &crumbs(3), true).outcome(1), Outcome::Answered(200));
    let text = site.witness.sole_text();
    assert!(text.contains("\r\ncookie: a=1; a=1; a=1\r\n"), "{text}");
}

#[test]
fn d77_streams_whose_window_is_held_at_0_are_ended() {
    let body = vec![b'x'; 200_000];
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".as_slice(), &body].concat();
    let mut site = secure_site_with(Witness::answering(answer), "limits: { body_stall: 5s }", |_| {});
    site.withstands("windows held at 0", |site| {
        let mut client = site.client_with(&[(4, 0)]);
        for stream in streams(100) {
            client.get(stream, "/held");
        }
        let mut reset = 0;
        while reset < 100 {
            reset += usize::from(client.next_of(kind::RST_STREAM).stream < 200);
        }
    });
    eventually("the records of slow clients", || {
        let slow = site.gateway.records().iter().filter(|record| record["reason"] == "client_too_slow").count();
        (slow >= 100).then_some(())
    });
    // All the connections to the upstream that the streams held are free again.
    site.serves();
}

/// Streams at the same time on one connection.
const STREAMS: u64 = 100;
/// What each stream of a client that reads nothing may cost: the exchange itself, and what came with the head of its answer.
const HELD_KIB_MAX: u64 = 32;
/// Buffers that workers have come to keep for whoever needs one next.
const KEPT_KIB_MAX: u64 = 12 * 1024;

#[test]
fn d77_clients_that_read_nothing_take_little_memory_for_each_stream() {
    let body = vec![b'x'; 1_000_000];
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".as_slice(), &body].concat();
    let mut site = secure_site_with(Witness::answering(answer), "limits: { body_stall: 5s }", |_| {});
    // Windows as large as can be: it is the socket that is not read.
    let open = [(4, 0x7fff_ffff)];
    let grow = frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    site.serves();
    let before = site.gateway.resident_kib();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = site.client_with(&open);
        client.send(&grow);
        for stream in streams(100) {
            client.get(stream, "/unread");
        }
        clients.push(client);
    }
    let mut most = 0;
    eventually("the records of clients that do not read", || {
        most = most.max(site.gateway.resident_kib());
        let slow = site.gateway.records().iter().filter(|record| record["reason"] == "client_too_slow").count();
        (slow >= 300).then_some(())
    });
    let grown = most.saturating_sub(before);
    assert!(grown < 4 * STREAMS * HELD_KIB_MAX + KEPT_KIB_MAX, "{grown} KiB more than before");
    drop(clients);
    site.serves();
    site.gateway.is_well();
}

#[test]
fn d77_answers_that_have_come_whole_hold_no_connection_to_the_upstream() {
    let few = |plain: &mut Plain| plain.upstream_settings = "limits: { connections: 4, pending: 4 }";
    let site = secure_site_with(Witness::ok(), "limits: { body_stall: 2m }", few);
    let mut client = site.client_with(&[(4, 0)]);
    for stream in streams(90) {
        // The head of each answer comes; its body waits for a window that the client never opens.
        assert_eq!(client.get(stream, "/unread").outcome(stream), Outcome::Answered(200), "stream {stream}");
    }
    assert_eq!(site.client().get(1, "/other").outcome(1), Outcome::Answered(200));
}

#[test]
fn d77_who_goes_in_the_middle_of_an_answer_holds_no_place() {
    // More than the buffers between upstream and client hold, so that a write is what fails.
    let body = vec![b'x'; 200_000];
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".as_slice(), &body].concat();
    let site = secure_site_with(Witness::answering(answer), "limits: { connections_per_client: 60 }", |_| {});
    for number in 0..400 {
        assert_eq!(site.client().get(1, "/left").outcome(1), Outcome::Answered(200), "client {number}");
    }
}

#[test]
fn d78_a_bomb_of_references_to_a_large_entry_is_cut() {
    let mut site = secure_site();
    site.withstands("20 000 references to 3.5 KB", |site| {
        let mut client = site.client();
        send_block(&mut client, 1, &references(3500, 20_000, &get_fields("/bomb")));
        is_cut(&mut client, "a bomb");
    });
    assert_eq!(site.reached("/bomb"), 0);
}

#[test]
fn d80_every_flood_of_frames_is_cut() {
    let mut site = secure_site();
    let request = block(&get_fields("/flood"));
    let open = frame(kind::HEADERS, END_HEADERS, 1, &request);
    let empty_name = [request.as_slice(), &[0, 0, 0]].concat();
    let floods: [(&str, Vec<u8>, Vec<u8>); 14] = [
        ("PING", Vec::new(), frame(kind::PING, 0, 0, &[0; 8])),
        ("PING that nobody waits for", Vec::new(), frame(kind::PING, 1, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("empty SETTINGS", Vec::new(), frame(kind::SETTINGS, 0, 0, &[])),
        ("WINDOW_UPDATE of the connection", Vec::new(), frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE of a stream", open.clone(), frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("PRIORITY", Vec::new(), frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 0, 9])),
        (
            "PRIORITY on one another",
            Vec::new(),
            [frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 5, 9]), frame(kind::PRIORITY, 0, 5, &[0, 0, 0, 3, 9])].concat(),
        ),
        ("empty DATA", open.clone(), frame(kind::DATA, 0, 1, &[])),
        ("padding without DATA", open.clone(), frame(kind::DATA, PADDED, 1, &[1, 0])),
        ("a byte of DATA at a time", open.clone(), frame(kind::DATA, 0, 1, b"x")),
        ("frames of an unknown type", Vec::new(), frame(0xfb, 0, 0, &[0; 8])),
        ("RST_STREAM of one stream", open, frame(kind::RST_STREAM, 0, 1, &CANCEL)),
        ("names without length", Vec::new(), frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &empty_name)),
    ];
    for (what, first, again) in floods {
        site.withstands(what, |site| {
            let mut client = site.client();
            client.send(first);
            repeat(&mut client, &again, 100_000);
            is_cut(&mut client, what);
        });
    }
    is_recorded(&site);
}

#[test]
fn d80_empty_headers_on_many_streams_are_cut() {
    let mut site = secure_site();
    site.withstands("empty HEADERS", |site| {
        let mut client = site.client();
        for stream in streams(20_000) {
            if !client.try_send(&frame(kind::HEADERS, END_HEADERS, stream, &[])) {
                break;
            }
        }
        is_cut(&mut client, "empty HEADERS");
    });
}

#[test]
fn d81_empty_data_on_a_stream_that_nobody_reads_is_cut() {
    // The upstream never reads the body, so the stream is not drained.
    let witness = Witness::scripted(|side| {
        side.head();
        side.drain();
    });
    let mut site = secure_site_with(witness, "", |_| {});
    let before = site.gateway.resident_kib();
    let mut client = site.client();
    client.headers(1, &[get_fields("/x"), vec![("content-length", "9")]].concat(), false);
    repeat(&mut client, &frame(kind::DATA, 0, 1, &[]), 200_000);
    is_cut(&mut client, "200 000 empty DATA");
    assert!(site.gateway.resident_kib() < before + 32 * 1024);
    site.gateway.is_well();
}

#[test]
fn d82_no_order_of_frames_harms_the_process() {
    let mut site = secure_site();
    let request = block(&get_fields("/x"));
    let get = |stream| frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &request);
    let goaway = frame(kind::GOAWAY, 0, 0, &[0; 8]);
    let bytes: Vec<Vec<u8>> = vec![
        [goaway.clone(), frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0])].concat(),
        [get(1), goaway.clone(), frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]), get(3)].concat(),
        [goaway.clone(), goaway].concat(),
        frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0]),
        frame(kind::SETTINGS, 0, 0, &[0, 5, 255, 255, 255, 255]),
        frame(kind::SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255]),
        frame(kind::SETTINGS, 0, 1, &[]),
        frame(kind::SETTINGS, 1, 0, &[0; 6]),
        frame(kind::SETTINGS, 0, 0, &[0; 5]),
        frame(kind::PING, 0, 0, &[0; 7]),
        frame(kind::PING, 0, 1, &[0; 8]),
        frame(kind::PING, 1, 0, &[11, 123, 162, 240, 139, 155, 254, 84]),
        frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
        [get(1), frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &request].concat())].concat(),
        frame(kind::DATA, 0, 0, b"x"),
        frame(kind::DATA, PADDED, 1, &[9, 0]),
        frame(kind::HEADERS, END_HEADERS, 0, &request),
        frame(kind::HEADERS, END_HEADERS, 2, &request),
        frame(kind::HEADERS, END_HEADERS | PADDED, 1, &[255]),
        frame(kind::HEADERS, END_HEADERS, 1, &[0xff; 64]),
        frame(kind::HEADERS, END_HEADERS, 1, &[0x80]),
        frame(kind::HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        frame(kind::CONTINUATION, END_HEADERS, 1, &request),
        [frame(kind::HEADERS, 0, 1, &request), get(3)].concat(),
        frame(kind::RST_STREAM, 0, 0, &CANCEL),
        frame(kind::RST_STREAM, 0, 7, &CANCEL),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
        [get(5), get(3)].concat(),
        vec![255; 9],
    ];
    for (number, bytes) in bytes.iter().enumerate() {
        let mut client = site.client();
        client.send(bytes);
        // Whether or not it was an error, the connection takes an orderly end; and the next client finds the gateway as it was.
        client.frame(kind::GOAWAY, 0, 0, &[0; 8]);
        drop(client);
        site.serves();
        assert!(site.gateway.process().is_running(), "{number}: {bytes:?}");
    }
    site.gateway.is_well();
}

#[test]
fn d83_new_names_on_every_request_leave_nothing_behind() {
    let mut site = secure_site();
    site.withstands("20 000 names", |site| {
        let mut client = site.client();
        for (number, stream) in streams(400).enumerate() {
            let mut bytes = block(&get_fields("/names"));
            for field in 0..50 {
                // Literals that go into the table (RFC 7541 section 6.2.1).
                bytes.push(0x40);
                push_string(&mut bytes, format!("x-{number}-{field}").as_bytes());
                push_string(&mut bytes, &[b'v'; 40]);
            }
            client.frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &bytes);
            assert_eq!(client.outcome(stream), Outcome::Answered(200));
        }
    });
    assert_eq!(site.reached("/names"), 400);
}

#[test]
fn d87_half_a_preface_or_header_block_over_tls_has_the_deadline_of_a_head() {
    let site = secure_site_with(Witness::ok(), "limits: { header_deadline: 1s, idle_timeout: 1s }", |_| {});
    for half in [&b""[..], b"PRI * HT", PREFACE] {
        let mut client = site.silent();
        client.wait_at_most(Duration::from_secs(20));
        client.send(half);
        client.end();
    }
    let mut client = site.client();
    client.wait_at_most(Duration::from_secs(20));
    client.frame(kind::HEADERS, END_STREAM, 1, &block(&get_fields("/half")));
    client.end();
    assert_eq!(site.gateway.record_of("header_timeout")["protocol"], "HTTP/2");
    assert_eq!(site.witness.bytes(), 0);
}
