//! An HTTP/2 client that sends exactly the frames it is given, over TLS. It never checks what it sends: that is what it is for.

use crate::PATIENCE;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 section 6).
#[expect(missing_docs, reason = "each is the frame of that name")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// `END_STREAM`, and `ACK` of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// `END_HEADERS`.
pub const END_HEADERS: u8 = 4;
/// `PADDED`.
pub const PADDED: u8 = 8;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What became of a request, or of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with this status.
    Answered(u16),
    /// Its stream was reset, for this reason.
    Reset(u32),
    /// The connection was ended with GOAWAY, for this reason.
    GoAway(u32),
    /// The connection was closed without a word.
    Closed,
}

/// A client.
#[derive(Debug)]
pub struct Http2Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

/// One frame as bytes.
///
/// # Panics
/// When the payload is longer than a length can say.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a test is short").to_be_bytes();
    let mut bytes = length.get(1..).unwrap_or_default().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block, every field as a literal that is not indexed (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        push_string(&mut bytes, name.as_bytes());
        push_string(&mut bytes, value.as_bytes());
    }
    bytes
}

/// A string literal without Huffman coding (RFC 7541 section 5.2).
pub fn push_string(bytes: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..127 => bytes.push(length as u8),
        length => {
            bytes.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend(text);
}

/// The fields of a GET of `a.test`.
pub fn get_fields(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", path)]
}

impl Http2Client {
    /// Connects to `a.test` at an address, which must show a certificate of this authority (PEM), and agrees on `h2`. Says nothing.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn silent(address: SocketAddr, authority: &str) -> Self {
        let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::over(socket, authority)
    }

    /// As [`Http2Client::connect`], from another address of this machine, such as 127.0.0.2.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr, authority: &str) -> Self {
        let mut client = Self::over(crate::raw::socket_from(source, address), authority);
        client.send([PREFACE, &frame(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])].concat());
        client
    }

    #[track_caller]
    fn over(socket: TcpStream, authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).expect("an authority is PEM");
        roots.add(certificate).expect("an authority can be trusted");
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("a.test").expect("a name is one");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client can be made");
        socket.set_nodelay(true).expect("a socket can be set up");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket can be set up");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("a handshake succeeds");
        }
        assert_eq!(stream.conn.alpn_protocol(), Some(b"h2".as_slice()), "h2 was not agreed on");
        Self { stream, unread: Vec::new() }
    }

    /// As [`Http2Client::silent`], and says what a client says first: the preface, and that it keeps no table of fields.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn connect(address: SocketAddr, authority: &str) -> Self {
        Self::with_settings(address, authority, &[])
    }

    /// As [`Http2Client::connect`], with more settings: identifier and value.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn with_settings(address: SocketAddr, authority: &str, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address, authority);
        let mut payload = Vec::new();
        for (identifier, value) in [(1, 0)].iter().chain(settings) {
            payload.extend(identifier.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        client.send([PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat());
        client
    }

    /// Sends bytes. A connection that the gateway has closed takes none; what it said before is read all the same.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _closed = self.try_send(bytes.as_ref());
        self
    }

    /// Sends bytes, and says whether the connection took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.send(frame(kind, flags, stream, payload))
    }

    /// Sends a whole header block in one frame.
    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> &mut Self {
        self.frame(kind::HEADERS, END_HEADERS | u8::from(ends), stream, &block(fields))
    }

    /// Asks for a path.
    pub fn get(&mut self, stream: u32, path: &str) -> &mut Self {
        self.headers(stream, &get_fields(path), true)
    }

    /// The next frame; `None` when the connection has ended.
    ///
    /// # Panics
    /// When nothing comes.
    #[track_caller]
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, s0, s1, s2, s3, rest @ ..] = self.unread.as_slice() {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
                    let frame = Frame { kind: *kind, flags: *flags, stream, payload: payload.to_vec() };
                    self.unread.drain(..9 + length);
                    return Some(frame);
                }
            }
            let mut bytes = [0; 16_384];
            match self.read(&mut bytes) {
                Ok(count @ 1..) => self.unread.extend(bytes.iter().take(count)),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    panic!("nothing came for {} s", PATIENCE.as_secs());
                }
                _ => return None,
            }
        }
    }

    /// Reads without writing first: what came before a connection was reset is still there to be read.
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let StreamOwned { conn, sock } = &mut self.stream;
        loop {
            match conn.reader().read(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if conn.read_tls(sock)? == 0 {
                return Ok(0);
            }
            conn.process_new_packets().map_err(std::io::Error::other)?;
        }
    }

    /// The next frame of this type.
    ///
    /// # Panics
    /// When the connection ends before, or nothing comes.
    #[track_caller]
    pub fn next_of(&mut self, kind: u8) -> Frame {
        std::iter::from_fn(|| self.next_frame())
            .find(|frame| frame.kind == kind)
            .unwrap_or_else(|| panic!("no frame of type {kind}"))
    }

    /// Reads until it is known what became of the request on a stream. Of the answer only the head is read.
    ///
    /// # Panics
    /// When nothing comes.
    #[track_caller]
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.next_frame() {
            let code = |at: usize| {
                frame.payload.get(at..at + 4).map_or(0, |code| code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            };
            match frame.kind {
                kind::HEADERS if frame.stream == stream => return Outcome::Answered(status(&frame.payload)),
                kind::RST_STREAM if frame.stream == stream => return Outcome::Reset(code(0)),
                // One without an error only says that no more streams are taken.
                kind::GOAWAY if code(4) != 0 => return Outcome::GoAway(code(4)),
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// Reads until the connection ends, and says how.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn end(&mut self) -> Outcome {
        let mut said = Outcome::Closed;
        while let Some(frame) = self.next_frame() {
            if frame.kind == kind::GOAWAY {
                let code = frame.payload.get(4..8).map_or(0, |code| code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
                said = Outcome::GoAway(code);
            }
        }
        said
    }

    /// The body of the answer on a stream, to its end.
    ///
    /// # Panics
    /// When it does not end in order.
    #[track_caller]
    pub fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.next_frame().expect("the connection ended before the body");
            assert!(frame.kind != kind::GOAWAY && (frame.kind != kind::RST_STREAM || frame.stream != stream), "{frame:?}");
            if frame.stream == stream && frame.kind == kind::DATA {
                body.extend(&frame.payload);
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 {
                return body;
            }
        }
    }

    /// How long it waits for a frame.
    ///
    /// # Panics
    /// When the socket cannot be set up so.
    pub fn wait_at_most(&mut self, time: Duration) {
        self.stream.sock.set_read_timeout(Some(time)).expect("a socket can be set up");
    }
}

/// The status at the begin of a header block of a gateway that was told to keep no table: an index of the static table, or a literal
/// with an indexed name (RFC 7541 sections 5.2, 6.1 and 6.2).
fn status(block: &[u8]) -> u16 {
    // A change of the size of the table comes first, if it comes.
    let block = match block {
        [first, rest @ ..] if first >> 5 == 1 => rest,
        whole => whole,
    };
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [_, length, digits @ ..] if length & 128 == 0 => {
            let text = digits.iter().take(usize::from(*length));
            text.fold(0, |number, digit| number * 10 + u16::from(digit.wrapping_sub(b'0')))
        }
        [_, _, rest @ ..] => huffman_digits(rest),
        _ => 0,
    }
}

/// Three digits in the code of RFC 7541 appendix B, in which 0, 1 and 2 have five bits and the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> = bytes.iter().take(3).flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1))).collect();
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let read = |count: usize| bits.iter().skip(at).take(count).fold(0, |sum, bit| sum << 1 | bit);
        let (digit, used) = match read(5) {
            short @ 0..=2 => (short, 5),
            _ => (read(6).wrapping_sub(0x19) + 3, 6),
        };
        number = number * 10 + digit;
        at += used;
    }
    number
}
