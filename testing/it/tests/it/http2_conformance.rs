//! RFC 9113 and RFC 7541, rule by rule: what a client may not do, what is answered to it, and what must be passed over. The rules are
//! those that a server's peer can see; each line names its section.

use crate::http2_site::{SecureSite, secure_site_with};
use portcullis_testing_kit::Witness;
use portcullis_testing_kit::http2::{
    END_HEADERS, END_STREAM, Http2Client, Outcome, PADDED, PREFACE, block, frame, get_fields, kind, push_string,
};
use std::time::Duration;

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// What must follow.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// The connection ends, with one of these codes or without a word.
    Connection(&'static [u32]),
    /// The stream is reset with one of these codes, or the connection ends with one of them.
    Stream(&'static [u32]),
    /// Nothing: the connection goes on.
    Nothing,
}

fn site() -> SecureSite {
    secure_site_with(Witness::ok(), "limits: { header_deadline: 3s, idle_timeout: 3s, body_stall: 3s }", |_| {})
}

fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(&get_fields("/x")))
}

fn post(stream: u32) -> Vec<u8> {
    frame(
        kind::HEADERS,
        END_HEADERS,
        stream,
        &block(&[(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")]),
    )
}

fn settings(identifier: u16, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// A header block of a GET with bytes behind its fields.
fn block_with(more: &[u8]) -> Vec<u8> {
    [block(&get_fields("/x")).as_slice(), more].concat()
}

/// The first error that the gateway tells of, or the end of the connection; none if two pings in turn are answered first, of which the
/// first may overtake what is queued for a stream.
fn ending(client: &mut Http2Client) -> Option<Outcome> {
    let mut marks = [b"mark one", b"mark two"].into_iter();
    let mut mark = marks.next()?;
    client.frame(kind::PING, 0, 0, mark);
    while let Some(frame) = client.next_frame() {
        let code = |at: usize| {
            frame.payload.get(at..at + 4).map_or(0, |code| code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
        };
        match frame.kind {
            kind::RST_STREAM if code(0) != NO_ERROR => return Some(Outcome::Reset(code(0))),
            kind::GOAWAY if code(4) != NO_ERROR => return Some(Outcome::GoAway(code(4))),
            kind::PING if frame.payload == mark => {
                mark = marks.next()?;
                client.frame(kind::PING, 0, 0, mark);
            }
            _ => {}
        }
    }
    Some(Outcome::Closed)
}

/// Each of these, sent after the preface, has what it must have.
fn each_has(cases: &[(&str, Vec<u8>, Want)]) {
    let site = site();
    let mut wrong = Vec::new();
    for (what, bytes, want) in cases {
        let mut client = site.client();
        client.wait_at_most(Duration::from_secs(20));
        let end = ending(client.send(bytes));
        let right = match (want, end) {
            (Want::Connection(_) | Want::Stream(_), Some(Outcome::Closed)) | (Want::Nothing, None) => true,
            (Want::Connection(codes) | Want::Stream(codes), Some(Outcome::GoAway(code))) => codes.contains(&code),
            (Want::Stream(codes), Some(Outcome::Reset(code))) => codes.contains(&code),
            _ => false,
        };
        if !right {
            wrong.push(format!("{what}: {want:?}, but {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(site.client().get(1, "/x").outcome(1), Outcome::Answered(200));
}

#[test]
fn frames_and_their_sizes_are_as_sections_4_and_5_say() {
    let open_block = frame(kind::HEADERS, END_STREAM, 1, &block(&get_fields("/x")));
    each_has(&[
        ("4.1: an unknown type is passed over", frame(0x16, 0, 0, &[0; 8]), Want::Nothing),
        ("4.1: undefined flags are passed over", frame(kind::PING, 0x16, 0, &[0; 8]), Want::Nothing),
        ("4.1: the reserved bit is passed over", frame(kind::PING, 0, 1 << 31, &[0; 8]), Want::Nothing),
        ("4.2: DATA of 2^14 bytes", [post(1), frame(kind::DATA, END_STREAM, 1, &[0; 16_384])].concat(), Want::Nothing),
        (
            "4.2: DATA beyond the limit",
            [post(1), frame(kind::DATA, END_STREAM, 1, &[0; 16_385])].concat(),
            Want::Stream(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.2: HEADERS beyond the limit",
            frame(kind::HEADERS, END_HEADERS, 1, &[0; 16_385]),
            Want::Connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.3: a block that cannot be decoded",
            frame(kind::HEADERS, END_HEADERS, 1, &[0xff; 9]),
            Want::Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "4.3: PRIORITY inside a block",
            [open_block.clone(), frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1])].concat(),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        ("4.3: another stream inside a block", [open_block, get(3)].concat(), Want::Connection(&[PROTOCOL_ERROR])),
        ("5.1: DATA on an idle stream", frame(kind::DATA, END_STREAM, 1, b"x"), Want::Connection(&[PROTOCOL_ERROR])),
        ("5.1: RST_STREAM on an idle stream", frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), Want::Connection(&[PROTOCOL_ERROR])),
        (
            "5.1: WINDOW_UPDATE on an idle stream",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "5.1: CONTINUATION on an idle stream",
            frame(kind::CONTINUATION, END_HEADERS, 1, &[]),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        ("5.1: PRIORITY on an idle stream is passed over", frame(kind::PRIORITY, 0, 9, &[0, 0, 0, 0, 1]), Want::Nothing),
        (
            "5.1: DATA on a half-closed stream",
            [get(1), frame(kind::DATA, END_STREAM, 1, b"x")].concat(),
            Want::Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        ("5.1: HEADERS on a half-closed stream", [get(1), get(1)].concat(), Want::Stream(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        (
            "5.1: CONTINUATION on a half-closed stream",
            [get(1), frame(kind::CONTINUATION, END_HEADERS, 1, &[])].concat(),
            Want::Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        ("5.1.1: an even stream", get(2), Want::Connection(&[PROTOCOL_ERROR])),
        ("5.1.1: a smaller stream", [get(5), get(3)].concat(), Want::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        (
            "5.3.1: HEADERS that depend on themselves",
            frame(kind::HEADERS, END_HEADERS | END_STREAM | 0x20, 1, &[&[0, 0, 0, 1, 9][..], &block(&get_fields("/x"))].concat()),
            Want::Stream(&[PROTOCOL_ERROR]),
        ),
        ("5.3.1: PRIORITY on itself", frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 3, 9]), Want::Stream(&[PROTOCOL_ERROR])),
    ]);
}

#[test]
fn each_type_of_frame_is_as_section_6_says() {
    each_has(&[
        ("6.1: DATA on stream 0", frame(kind::DATA, END_STREAM, 0, b"x"), Want::Connection(&[PROTOCOL_ERROR])),
        (
            "6.1: padding beyond the frame",
            [post(1), frame(kind::DATA, END_STREAM | PADDED, 1, &[9, 0])].concat(),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        ("6.2: HEADERS on stream 0", get(0), Want::Connection(&[PROTOCOL_ERROR])),
        (
            "6.2: padding beyond the frame",
            frame(kind::HEADERS, END_HEADERS | PADDED, 1, &[9, 0x88]),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        ("6.3: PRIORITY on stream 0", frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 0, 1]), Want::Connection(&[PROTOCOL_ERROR])),
        ("6.3: PRIORITY of 4 bytes", frame(kind::PRIORITY, 0, 3, &[0; 4]), Want::Stream(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        ("6.4: RST_STREAM on stream 0", frame(kind::RST_STREAM, 0, 0, &[0, 0, 0, 8]), Want::Connection(&[PROTOCOL_ERROR])),
        (
            "6.4: RST_STREAM of 3 bytes",
            [post(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])].concat(),
            Want::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "6.5: SETTINGS ACK with a payload",
            frame(kind::SETTINGS, 1, 0, &[0; 6]),
            Want::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        ("6.5: SETTINGS on a stream", frame(kind::SETTINGS, 0, 1, &[]), Want::Connection(&[PROTOCOL_ERROR])),
        ("6.5: SETTINGS of 3 bytes", frame(kind::SETTINGS, 0, 0, &[0; 3]), Want::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        ("6.5.2: ENABLE_PUSH 2", settings(2, 2), Want::Connection(&[PROTOCOL_ERROR])),
        ("6.5.2: a window beyond 2^31 - 1", settings(4, 1 << 31), Want::Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR])),
        ("6.5.2: frames smaller than 2^14", settings(5, 16_383), Want::Connection(&[PROTOCOL_ERROR])),
        ("6.5.2: frames larger than 2^24 - 1", settings(5, 1 << 24), Want::Connection(&[PROTOCOL_ERROR])),
        ("6.5.2: an unknown setting is passed over", settings(0xff, 7), Want::Nothing),
        (
            "6.6: PUSH_PROMISE from a client",
            [post(1), frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&get_fields("/x"))].concat())].concat(),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
    ]);
}

#[test]
fn windows_pings_and_ends_are_as_section_6_says() {
    each_has(&[
        ("6.7: PING on a stream", frame(kind::PING, 0, 1, &[0; 8]), Want::Connection(&[PROTOCOL_ERROR])),
        ("6.7: PING of 6 bytes", frame(kind::PING, 0, 0, &[0; 6]), Want::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        ("6.7: PING ACK that nobody asked for is passed over", frame(kind::PING, 1, 0, b"whatever"), Want::Nothing),
        ("6.8: GOAWAY on a stream", frame(kind::GOAWAY, 0, 1, &[0; 8]), Want::Connection(&[PROTOCOL_ERROR])),
        (
            "6.9: WINDOW_UPDATE of 0 on the connection",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9: WINDOW_UPDATE of 0 on a stream",
            [post(1), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Want::Stream(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9: WINDOW_UPDATE of 3 bytes",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            Want::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "6.9.1: the connection's window beyond 2^31 - 1",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            Want::Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.1: a stream's window beyond 2^31 - 1",
            [post(1), frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])].concat(),
            Want::Stream(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.2: a setting that makes a window overflow",
            [post(1), frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]), settings(4, (1 << 31) - 1)].concat(),
            Want::Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.10: CONTINUATION behind a whole block",
            [post(1), frame(kind::CONTINUATION, END_HEADERS, 1, &[])].concat(),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        ("6.10: CONTINUATION on stream 0", frame(kind::CONTINUATION, END_HEADERS, 0, &[]), Want::Connection(&[PROTOCOL_ERROR])),
        (
            "6.10: CONTINUATION behind DATA",
            [post(1), frame(kind::DATA, 0, 1, b"x"), frame(kind::CONTINUATION, END_HEADERS, 1, &[])].concat(),
            Want::Connection(&[PROTOCOL_ERROR]),
        ),
        ("7: an unknown error code is no error", [post(1), frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 255])].concat(), Want::Nothing),
    ]);
}

#[test]
fn messages_are_as_section_8_says() {
    let headers = |more: &[(&str, &str)]| {
        frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&[get_fields("/x").as_slice(), more].concat()))
    };
    let without = |name: &str| {
        let left: Vec<_> = get_fields("/x").into_iter().filter(|field| field.0 != name).collect();
        frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&left))
    };
    let trailers =
        |fields: &[(&str, &str)], flags: u8| [post(1), frame(kind::HEADERS, END_HEADERS | flags, 1, &block(fields))].concat();
    let declared = |length: &str| {
        let fields =
            [(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x"), ("content-length", length)];
        [frame(kind::HEADERS, END_HEADERS, 1, &block(&fields)), frame(kind::DATA, END_STREAM, 1, b"abc")].concat()
    };
    each_has(&[
        ("8.1: a second HEADERS that does not end", trailers(&[("x-a", "b")], 0), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.2.1: an upper-case name", headers(&[("X-A", "b")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.2.2: connection", headers(&[("connection", "keep-alive")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.2.2: te other than trailers", headers(&[("te", "gzip")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.3: an unknown pseudo-field", headers(&[(":x", "b")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.3: a pseudo-field of answers", headers(&[(":status", "200")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.3: a pseudo-field behind a field", headers(&[("x-a", "b"), (":path", "/y")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.3.1: no :method", without(":method"), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.3.1: no :scheme", without(":scheme"), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.3.1: two :path", headers(&[(":path", "/y")]), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.1.1: less content than declared", declared("4"), Want::Stream(&[PROTOCOL_ERROR])),
        ("8.1.1: more content than declared", declared("1"), Want::Stream(&[PROTOCOL_ERROR])),
    ]);
}

#[test]
fn field_compression_is_as_rfc_7541_says() {
    let headers = |block: &[u8]| frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, block);
    let mut long_padding = block_with(&[0x00, 1, b'x', 0x82]);
    long_padding.extend([0x1f, 0xff]);
    let broken: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];
    let mut literal = block_with(&[0x40]);
    push_string(&mut literal, b"x-a");
    push_string(&mut literal, b"v");
    each_has(&[
        ("2.3.3: an index behind the tables", headers(&block_with(&[0xff, 0x80, 0x01])), Want::Connection(broken)),
        ("4.2: a change of the table's size behind fields", headers(&block_with(&[0x20])), Want::Connection(broken)),
        ("5.1: a number without end", headers(&block_with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), Want::Connection(broken)),
        ("5.2: Huffman padding of more than 7 bits", headers(&long_padding), Want::Connection(broken)),
        ("5.2: Huffman padding of zeros", headers(&block_with(&[0x00, 1, b'x', 0x81, 0x18])), Want::Connection(broken)),
        (
            "5.2: Huffman end of string",
            headers(&block_with(&[0x00, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff])),
            Want::Connection(broken),
        ),
        ("6.1: index 0", headers(&block_with(&[0x80])), Want::Connection(broken)),
        (
            "6.3: a table larger than allowed",
            headers(&[&[0x3f, 0xe2, 0x1f][..], &block(&get_fields("/x"))].concat()),
            Want::Connection(broken),
        ),
        ("6.2.1: a literal for the table", headers(&literal), Want::Nothing),
    ]);
}

#[test]
fn what_comes_before_the_preface_is_no_http_2() {
    let site = site();
    for begin in [b"INVALID CONNECTION PREFACE\r\n\r\n".as_slice(), b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &get(1)] {
        let mut client = site.silent();
        client.send(begin);
        assert!(matches!(client.end(), Outcome::Closed | Outcome::GoAway(PROTOCOL_ERROR)));
    }
    let mut client = site.silent();
    client.send([PREFACE, &get(1)].concat());
    // The first frame must be SETTINGS (section 3.4); whatever is made of one that is not, nobody is harmed.
    client.frame(kind::GOAWAY, 0, 0, &[0; 8]);
    assert_eq!(site.client().get(1, "/x").outcome(1), Outcome::Answered(200));
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_others_are_served() {
    let witness = Witness::scripted(|side| {
        side.head();
        side.drain();
    });
    let site = secure_site_with(witness, "", |_| {});
    let mut client = site.client();
    let all: Vec<u8> = (0..101_u32).flat_map(|number| post(2 * number + 1)).collect();
    let end = ending(client.send(all));
    assert!(matches!(end, Some(Outcome::Reset(REFUSED_STREAM | PROTOCOL_ERROR))), "{end:?}");
}

#[test]
fn answers_keep_to_the_windows_of_the_client() {
    let site = site();
    // A window of one byte (section 6.9.2), which is then opened by one byte more.
    let mut client = site.client_with(&[(4, 1)]);
    client.get(1, "/x");
    assert_eq!(client.next_of(kind::DATA).payload.len(), 1);
    client.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    assert_eq!(client.next_of(kind::DATA).payload, b"k");
    // A window of none, which a setting opens for a stream that is there already.
    let mut client = site.client_with(&[(4, 0)]);
    client.get(1, "/x");
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    client.send(settings(4, 1));
    assert_eq!(client.next_of(kind::DATA).payload, b"o");
    client.send(settings(4, 9));
    assert_eq!(client.next_of(kind::DATA).payload, b"k");
}

#[test]
fn settings_and_pings_are_acknowledged() {
    let site = site();
    let mut client = site.client();
    client.frame(kind::PING, 0, 0, b"12345678");
    let (mut settings, mut ping) = (false, false);
    while !(settings && ping) {
        let frame = client.next_frame().expect("an acknowledgement");
        settings |= frame.kind == kind::SETTINGS && frame.flags == 1 && frame.payload.is_empty();
        ping |= frame.kind == kind::PING && frame.flags == 1 && frame.payload == b"12345678";
    }
}
