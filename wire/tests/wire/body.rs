//! Chunked bodies: threats A 8, 15 to 18.

use portcullis_wire::{ChunkStep, ChunkedDecoder, Trailers, write_last_chunk};

/// What came of a body: its bytes, how many of the input's were taken when it ended, and its trailers as they are sent on.
pub(crate) type Decoded = (Vec<u8>, Option<usize>, Vec<u8>);

/// Decodes input that comes in pieces, which end at `cuts`; nothing when it is refused.
pub(crate) fn decode(input: &[u8], cuts: &[usize]) -> Option<Decoded> {
    let (mut decoder, mut body, mut at) = (ChunkedDecoder::for_request(), Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(input.len())).collect();
    ends.sort_unstable();
    ends.push(input.len());
    for end in ends {
        while at < end {
            let (consumed, step) = decoder.step(&input[at..end]).ok()?;
            match step {
                ChunkStep::Data { range } => body.extend_from_slice(&input[at..end][range]),
                ChunkStep::Done => return Some((body, Some(at + consumed), trailers(decoder.trailers()))),
                ChunkStep::NeedMore => {}
            }
            at += consumed;
        }
    }
    Some((body, None, Vec::new()))
}

fn trailers(trailers: &Trailers) -> Vec<u8> {
    let mut out = Vec::new();
    write_last_chunk(&mut out, trailers);
    out
}

fn each_is_refused(bodies: &[&str]) {
    for body in bodies {
        let every: Vec<usize> = (1..body.len()).collect();
        for cuts in [&[][..], &every] {
            assert_eq!(decode(body.as_bytes(), cuts), None, "{body:?}");
        }
    }
}

#[test]
fn a08_a_size_that_overflows_is_refused() {
    each_is_refused(&[
        "00000000000000003\r\n",
        "fffffffffffffffd\r\n",
        "ffffffffffffffff0\r\n",
        "8000000000000000\r\n",
        "10000000000000\r\n",
    ]);
    assert_eq!(decode(b"0000000000000003\r\nabc\r\n0\r\n\r\n", &[]).unwrap().0, b"abc");
}

#[test]
fn a15_a16_a17_a_bare_line_feed_ends_nothing() {
    each_is_refused(&[
        "3\nabc\r\n0\r\n\r\n",
        "5;\nxxxxx\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nxxxxx\r\n0\r\n\r\n",
        "0;\n\r\n",
        "0\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ]);
}

#[test]
fn a16_a_carriage_return_in_an_extension_ends_nothing() {
    each_is_refused(&["5;a\rb\r\nxxxxx\r\n", "5;\r\r\nxxxxx\r\n", "5 ;a\r\nxxxxx\r\n", "5\t\r\nxxxxx\r\n"]);
}

#[test]
fn a18_two_bytes_behind_a_chunk_are_cr_lf() {
    each_is_refused(&["3\r\nabcXX0\r\n\r\n", "3\r\nabc\n\r0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n"]);
}

#[test]
fn what_follows_a_body_is_not_taken() {
    let input = b"3\r\nabc\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n";
    assert_eq!(decode(input, &[]), Some((b"abc".to_vec(), Some(13), b"0\r\n\r\n".to_vec())));
}

#[test]
fn c57_a_trailer_of_a_long_name_claims_nothing() {
    for length in [1, 64, 200] {
        let input = format!("0\r\nX-Forwarded-{}: spoofed\r\nX-Sum: 1\r\n\r\n", "a".repeat(length));
        assert_eq!(decode(input.as_bytes(), &[]).unwrap().2, b"0\r\nx-sum: 1\r\n\r\n", "{length}");
    }
}
