//! HTTP/2 to upstreams that go away, refuse, or mean ill: spoken by hand, frame by frame.

use crate::upstream_h2_site::{H2Site, h2_site};
use portcullis_testing_kit::http2::{END_HEADERS, END_STREAM, Outcome, block, frame, kind};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PREFACE: usize = 24;

/// A connection of the gateway's.
struct Spoken {
    socket: TcpStream,
    /// Its number, from 1.
    number: usize,
    /// Of the frame that was heard last.
    payload: Vec<u8>,
    requests: Arc<AtomicUsize>,
}

impl Spoken {
    fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        // A gateway that has had enough closes.
        let _taken = self.socket.write_all(bytes.as_ref());
        self
    }

    /// Says settings, and reads what the gateway says first.
    fn greet(&mut self, settings: &[u8]) -> &mut Self {
        let _came = self.socket.read_exact(&mut [0; PREFACE]);
        self.say(frame(kind::SETTINGS, 0, 0, settings))
    }

    /// The next frame: its type, flags and stream.
    fn hear(&mut self) -> Option<(u8, u8, u32)> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        self.payload.resize(length as usize, 0);
        self.socket.read_exact(&mut self.payload).ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }

    /// Hears the next request to its end: its stream, its body, and how many HEADERS it had. None when the gateway has closed.
    fn whole_request(&mut self) -> Option<(u32, Vec<u8>, usize)> {
        let (mut body, mut heads) = (Vec::new(), 0);
        loop {
            let (heard, flags, stream) = self.hear()?;
            match heard {
                kind::HEADERS => heads += 1,
                kind::DATA => body.extend_from_slice(&self.payload),
                _ => continue,
            }
            if flags & END_STREAM != 0 {
                self.requests.fetch_add(1, Ordering::AcqRel);
                return Some((stream, body, heads));
            }
        }
    }

    /// Answers requests with what they had for a body.
    fn echo(&mut self) {
        while let Some((stream, body, heads)) = self.whole_request() {
            let told = format!("{} in {heads}", sum(&body));
            self.say(frame(kind::HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])));
            self.say(frame(kind::DATA, END_STREAM, stream, told.as_bytes()));
        }
    }

    /// The stream of the next request; 0 when the gateway has closed.
    fn request(&mut self) -> u32 {
        let found = std::iter::from_fn(|| self.hear()).find(|(kind, _, _)| *kind == kind::HEADERS);
        self.requests.fetch_add(usize::from(found.is_some()), Ordering::AcqRel);
        found.map_or(0, |(_, _, stream)| stream)
    }

    fn ok(&mut self, stream: u32) -> &mut Self {
        self.say(frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":status", "200")])))
    }

    /// Answers whatever comes.
    fn serve(&mut self) {
        loop {
            match self.request() {
                0 => return,
                stream => self.ok(stream),
            };
        }
    }

    /// Waits until the gateway closes.
    fn closes(&mut self) {
        while self.hear().is_some() {}
    }
}

/// Tells bodies apart by what is in them and in which order.
fn sum(body: &[u8]) -> u64 {
    body.iter().fold(0, |sum, byte| sum * 7 % 1_000_003 + u64::from(*byte))
}

/// An upstream that speaks as `speak` says on each connection. Gives its address, and how many requests it has had.
fn upstream(speak: impl Fn(&mut Spoken) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket can be bound");
    let (address, requests, speak) = (listener.local_addr().expect("it has an address"), Arc::default(), Arc::new(speak));
    let counted: Arc<AtomicUsize> = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (at, socket) in listener.incoming().flatten().enumerate() {
            let (speak, requests) = (Arc::clone(&speak), Arc::clone(&counted));
            socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket can be set up");
            std::thread::spawn(move || speak(&mut Spoken { socket, number: at + 1, payload: Vec::new(), requests }));
        }
    });
    (address, requests)
}

/// Asks by POST, without a body: a method that may not be sent twice.
#[track_caller]
fn post(site: &H2Site) -> (u16, String) {
    let request = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let response = site.http1().send(request).response();
    (response.status, response.field("content-type").map_or_else(String::new, |_| response.code()))
}

const GOAWAY_AT_0: [u8; 8] = [0; 8];
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];

#[test]
fn what_an_upstream_never_looked_at_is_sent_again_whatever_the_method() {
    let (address, requests) = upstream(|spoken| {
        spoken.greet(&[]);
        match spoken.number {
            1 => {
                let stream = spoken.request();
                spoken.say(frame(kind::RST_STREAM, 0, stream, &REFUSED_STREAM)).serve();
            }
            2 => {
                spoken.request();
                spoken.say(frame(kind::GOAWAY, 0, 0, &GOAWAY_AT_0));
            }
            _ => spoken.serve(),
        }
    });
    let site = h2_site(address, "");
    for _ in 0..6 {
        assert_eq!(post(&site), (200, String::new()));
    }
    assert!((7..=8).contains(&requests.load(Ordering::Acquire)), "{requests:?} for 6 that were answered");
}

/// A call as gRPC has them: a body without a length in several frames, with trailers behind it if `trailers`. Gives status and body.
#[track_caller]
fn call(site: &H2Site, parts: &[Vec<u8>], trailers: bool) -> (Outcome, String) {
    let mut client = site.http2();
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/p.S/M"),
        ("content-type", "application/octet-stream"),
        ("te", "trailers"),
    ];
    client.headers(1, &head, false);
    for (at, part) in parts.iter().enumerate() {
        let ends = !trailers && at + 1 == parts.len();
        client.frame(kind::DATA, if ends { END_STREAM } else { 0 }, 1, part);
    }
    if trailers {
        client.headers(1, &[("x-late", "yes")], true);
    }
    let outcome = client.outcome(1);
    let body = if outcome == Outcome::Answered(200) { client.body(1) } else { Vec::new() };
    (outcome, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn a_short_body_is_kept_until_an_answer_begins_and_sent_again_to_one_that_refused_it() {
    for goes_away in [false, true] {
        let (address, requests) = upstream(move |spoken| {
            spoken.greet(&[]);
            if spoken.number == 1 {
                // It has heard all of it, and says that it has not looked at it.
                let stream = spoken.whole_request().map_or(0, |(stream, _, _)| stream);
                match goes_away {
                    true => spoken.say(frame(kind::GOAWAY, 0, 0, &GOAWAY_AT_0)),
                    false => spoken.say(frame(kind::RST_STREAM, 0, stream, &REFUSED_STREAM)),
                };
            }
            spoken.echo();
        });
        let site = h2_site(address, "");
        let parts = [vec![1; 5], vec![2; 4000], vec![3; 4000]];
        for trailers in [true, false, true] {
            let heads = if trailers { 2 } else { 1 };
            assert_eq!(call(&site, &parts, trailers), (Outcome::Answered(200), format!("{} in {heads}", sum(&parts.concat()))));
        }
        let asked = requests.load(Ordering::Acquire);
        assert_eq!(asked, 4, "for 3 that were answered");
        site.gateway.records_when(3).iter().for_each(|record| assert_eq!(record["status"], 200, "{record}"));
    }
}

#[test]
fn a_refused_request_of_http1_is_sent_again_with_its_body_and_the_next_one_is_not_lost() {
    let (address, _) = upstream(|spoken| {
        spoken.greet(&[]);
        if spoken.number == 1 {
            let stream = spoken.whole_request().map_or(0, |(stream, _, _)| stream);
            spoken.say(frame(kind::RST_STREAM, 0, stream, &REFUSED_STREAM));
        }
        spoken.echo();
    });
    let site = h2_site(address, "");
    let request = |body: &str| format!("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut client = site.http1();
    client.send([request("first"), request("the second")].concat());
    assert_eq!(
        (client.response().text(), client.response().text()),
        (format!("{} in 1", sum(b"first")), format!("{} in 1", sum(b"the second")))
    );
}

#[test]
fn a_long_body_is_not_kept_and_one_that_may_have_been_looked_at_not_sent_again() {
    let (address, requests) = upstream(|spoken| {
        spoken.greet(&[]);
        while let Some((stream, body, _)) = spoken.whole_request() {
            let code = if body.len() > 16 * 1024 { REFUSED_STREAM } else { [0, 0, 0, 2] };
            spoken.say(frame(kind::RST_STREAM, 0, stream, &code));
        }
    });
    let site = h2_site(address, "");
    for parts in [vec![vec![1; 10_000], vec![2; 10_000]], vec![vec![1; 100]]] {
        assert_eq!(call(&site, &parts, false).0, Outcome::Answered(502));
    }
    assert_eq!(requests.load(Ordering::Acquire), 2);
}

#[test]
fn what_an_upstream_may_have_looked_at_is_not_sent_again() {
    let (address, requests) = upstream(|spoken| {
        spoken.greet(&[]);
        let stream = spoken.request();
        // It goes away, and says that it has looked at this one; then it says no more.
        spoken.say(frame(kind::GOAWAY, 0, 0, &[0, 0, 0, u8::try_from(stream).unwrap_or(255), 0, 0, 0, 0]));
    });
    let site = h2_site(address, "");
    assert_eq!(post(&site), (502, "upstream_reset".to_owned()));
    assert_eq!(requests.load(Ordering::Acquire), 1);
}

#[test]
fn refusals_without_end_stay_within_the_attempts() {
    let (address, requests) = upstream(|spoken| {
        spoken.greet(&[]);
        loop {
            match spoken.request() {
                0 => return,
                stream => spoken.say(frame(kind::RST_STREAM, 0, stream, &REFUSED_STREAM)),
            };
        }
    });
    let site = h2_site(address, "retry: { attempts: 3 }");
    assert_eq!(post(&site), (502, "upstream_reset".to_owned()));
    assert_eq!(requests.load(Ordering::Acquire), 3);
}

#[test]
fn after_goaway_new_requests_take_another_connection_and_old_ones_end_in_order() {
    let (address, _) = upstream(|spoken| {
        spoken.greet(&[]);
        let first = spoken.request();
        if spoken.number > 2 {
            return spoken.ok(first).serve();
        }
        // Still to be answered, but nothing after it is.
        spoken.say(frame(kind::GOAWAY, 0, 0, &[0, 0, 0, u8::try_from(first).unwrap_or(255), 0, 0, 0, 0]));
        std::thread::sleep(Duration::from_millis(200));
        spoken.ok(first).closes();
    });
    let site = h2_site(address, "");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(post(&site).0, 200));
        }
    });
    assert_eq!(post(&site).0, 200);
}

#[test]
fn an_upstream_that_takes_one_stream_gets_one_at_a_time_on_each_connection() {
    let (address, requests) = upstream(|spoken| {
        // MAX_CONCURRENT_STREAMS.
        spoken.greet(&[0, 3, 0, 0, 0, 1]).serve();
    });
    let site = h2_site(address, "limits: { connections: 8 }");
    let mut client = site.http2();
    let streams: Vec<u32> = (0..40).map(|at| 1 + 2 * at).collect();
    for stream in streams {
        client.get(stream, "/x");
    }
    (0..40).for_each(|_| drop(client.next_of(kind::HEADERS)));
    assert_eq!(requests.load(Ordering::Acquire), 40);
    site.gateway.records_when(40).iter().for_each(|record| assert_eq!(record["status"], 200, "{record}"));
}

#[test]
fn d80_an_upstream_that_floods_is_cut_off() {
    let interim = block(&[(":status", "103"), ("link", "</a>")]);
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("PING", frame(kind::PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[])),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown", frame(0xfe, 0, 0, &[])),
        ("RST_STREAM", frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("interim answers", frame(kind::HEADERS, END_HEADERS, 1, &interim)),
        ("CONTINUATION", frame(kind::CONTINUATION, 0, 1, &[])),
        ("a head without end", frame(kind::CONTINUATION, 0, 1, &[0; 16_000])),
        ("a push", frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("empty DATA", frame(kind::DATA, 0, 1, &[])),
    ];
    for (what, flood) in floods {
        let (address, _) = upstream(move |spoken| {
            spoken.greet(&[]);
            let stream = spoken.request();
            match what {
                "CONTINUATION" | "a head without end" => drop(spoken.say(frame(kind::HEADERS, 0, stream, &[]))),
                "empty DATA" => drop(spoken.say(frame(kind::HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])))),
                _ => {}
            }
            let flood = flood.repeat(1000);
            // Bounded: some hundred thousand frames.
            for _ in 0..200 {
                if spoken.socket.write_all(&flood).is_err() {
                    return;
                }
            }
            spoken.closes();
        });
        let site = h2_site(address, "retry: { attempts: 1 }\n    timeouts: { first_byte: 20s }");
        let before = site.gateway.resident_kib();
        let mut client = site.http1();
        client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        let cut = answer.contains(" 502 ") || (what == "empty DATA" && !answer.ends_with("0\r\n\r\n"));
        assert!(cut, "{what}: {answer}");
        let grown = site.gateway.resident_kib().saturating_sub(before);
        assert!(grown < 48 * 1024, "{what}: {grown} KiB more than before");
    }
}

#[test]
fn a31_answers_that_contradict_themselves_reach_nobody() {
    let heads: [(&str, Vec<u8>, &[u8]); 6] = [
        ("more than told", block(&[(":status", "200"), ("content-length", "3")]), b"more"),
        ("less than told", block(&[(":status", "200"), ("content-length", "9")]), b"less"),
        ("two lengths", block(&[(":status", "200"), ("content-length", "4"), ("content-length", "5")]), b"four"),
        ("a field of a connection", block(&[(":status", "200"), ("transfer-encoding", "chunked")]), b"four"),
        ("no status", block(&[("x-a", "b")]), b"four"),
        ("a switch of protocols", block(&[(":status", "101")]), b"four"),
    ];
    for (what, head, data) in heads {
        let (address, _) = upstream(move |spoken| {
            spoken.greet(&[]);
            let stream = spoken.request();
            spoken.say(frame(kind::HEADERS, END_HEADERS, stream, &head));
            spoken.say(frame(kind::DATA, END_STREAM, stream, data)).closes();
        });
        let site = h2_site(address, "retry: { attempts: 1 }");
        let mut client = site.http1();
        client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        // Where the head had gone down before, the body it promised stays incomplete.
        let (down, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let promised = down.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let incomplete = promised.is_some_and(|promised| body.len() < promised);
        assert!(answer.contains(" 502 ") || incomplete, "{what}: {answer}");
    }
}
