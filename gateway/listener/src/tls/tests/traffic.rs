//! What happens on a connection after its handshake.

use super::{
    Client, client_config, client_config_of, clock, connect, context, exchange, handshake, ping, pong, read_some, site, write_all,
};
use crate::TlsStream;
use crate::tls::{OldestVersion, TicketKeys, TlsContext};
use portcullis_model::Reason;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::task::Poll;

/// Gives back what comes, until the client has no more to say.
async fn echo(mut stream: TlsStream) {
    let mut buf = [0; 1024];
    while let Ok(count @ 1..) = poll_fn(|cx| stream.poll_read(cx, &mut buf)).await {
        write_all(&mut stream, &buf[..count], b"").await;
    }
}

fn say(client: &mut Client, text: &[u8]) -> std::io::Result<()> {
    client.write_all(text)?;
    let mut back = vec![0; text.len()];
    client.read_exact(&mut back)?;
    assert_eq!(back, text);
    Ok(())
}

/// Ends the client's side of the socket, and waits for the server's end: what is left unread would reset the connection.
fn leave(mut client: Client) {
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    client.sock.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn the_last_handshake_message_a_request_and_goodbye_may_come_at_once() {
    let site = site("at-once", &["a.test"], (-1, 30));
    let config = client_config_of(&[&site], &[&rustls::version::TLS13]);
    let client = move |port| {
        let mut connection = ClientConnection::new(config, ServerName::try_from("a.test").unwrap()).unwrap();
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.write_tls(&mut tcp).unwrap();
        while connection.is_handshaking() {
            connection.read_tls(&mut tcp).unwrap();
            connection.process_new_packets().unwrap();
        }
        connection.writer().write_all(b"ping").unwrap();
        connection.send_close_notify();
        let mut flight = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut flight).unwrap();
        }
        tcp.write_all(&flight).unwrap();
        let mut text = String::new();
        StreamOwned::new(connection, tcp).read_to_string(&mut text).unwrap();
        text
    };
    let (facts, text) = exchange(&context(&[&site]), client, pong);
    assert_eq!((facts.is_ok(), text.as_str()), (true, "pong"));
}

#[test]
fn an_end_with_goodbye_is_told_from_one_without() {
    let site = site("goodbye", &["a.test"], (-1, 30));
    for clean in [true, false] {
        let config = client_config(&[&site]);
        let client = move |port| {
            let mut client = connect(&config, "a.test", port);
            client.write_all(b"half a mess").unwrap();
            if clean {
                client.conn.send_close_notify();
            }
            client.flush().unwrap();
            leave(client);
        };
        let serve = async |mut stream: TlsStream| {
            let mut buf = [0; 1024];
            let mut text = Vec::new();
            loop {
                match read_some(&mut stream, &mut buf).await {
                    0 => break,
                    count => text.extend_from_slice(&buf[..count]),
                }
            }
            assert_eq!((text.as_slice(), stream.clean_close()), (&b"half a mess"[..], clean));
            assert_eq!(read_some(&mut stream, &mut buf).await, 0, "an end stays an end");
        };
        assert!(exchange(&context(&[&site]), client, serve).0.is_ok());
    }
}

#[test]
fn keys_are_updated_whenever_the_client_asks() {
    let site = site("update", &["a.test"], (-1, 30));
    let config = client_config_of(&[&site], &[&rustls::version::TLS13]);
    let client = move |port| {
        let mut client = connect(&config, "a.test", port);
        say(&mut client, b"hello")?;
        for round in 0..100_u8 {
            client.conn.refresh_traffic_keys()?;
            say(&mut client, &[round; 100])?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let (facts, outcome) = exchange(&context(&[&site]), client, echo);
    assert!(facts.is_ok());
    outcome.unwrap();
}

#[test]
fn d95_key_updates_without_end_end_the_connection() {
    let site = site("flood", &["a.test"], (-1, 30));
    let config = client_config_of(&[&site], &[&rustls::version::TLS13]);
    let client = move |port| {
        let mut client = connect(&config, "a.test", port);
        say(&mut client, b"hello").unwrap();
        for _ in 0..1000 {
            client.conn.refresh_traffic_keys().unwrap();
        }
        say(&mut client, b"hello").is_err()
    };
    let (facts, refused) = exchange(&context(&[&site]), client, echo);
    assert!(facts.is_ok() && refused);
}

#[test]
fn tls_1_2_is_spoken_where_it_is_allowed() {
    let site = site("older", &["a.test"], (-1, 30));
    let config = client_config_of(&[&site], &[&rustls::version::TLS12]);
    let only_new =
        TlsContext::build(std::slice::from_ref(&site.files), None, OldestVersion::Tls13, &TicketKeys::new(clock()), &clock());
    let visit = |context: &Arc<TlsContext>| {
        let config = Arc::clone(&config);
        exchange(context, move |port| ping(connect(&config, "a.test", port)), pong)
    };
    let (facts, text) = visit(&context(&[&site]));
    let facts = facts.unwrap();
    assert_eq!((text.unwrap().as_str(), facts.version), ("pong", "TLSv1.2"));
    assert!(facts.suite.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{}", facts.suite);
    assert_eq!(visit(&only_new.unwrap()).0.unwrap_err(), Reason::HandshakeFailed);
}

/// Passes bytes on, and keeps those that the server sent.
struct Tap(TcpStream, Vec<u8>);

impl Read for Tap {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buf)?;
        self.1.extend_from_slice(&buf[..count]);
        Ok(count)
    }
}

impl Write for Tap {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// How much is in each record.
fn records(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(*high) << 8 | usize::from(*low);
        lengths.push(length);
        bytes = &rest[length..];
    }
    lengths
}

#[test]
fn head_and_body_share_records_and_long_bodies_fill_them() {
    // Of every record 17 bytes are the inner type and the tag (RFC 8446 section 5.2).
    const FULL: usize = 16 * 1024 + 17;
    let site = site("records", &["a.test"], (-1, 30));
    for (head, body, expected) in [
        (200, 1024, vec![1224 + 17]),
        (200, 0, vec![217]),
        (0, 200, vec![217]),
        (200, 40_000, vec![FULL, FULL, 40_200 - 2 * 16 * 1024 + 17]),
        (20_000, 100, vec![FULL, 20_100 - 16 * 1024 + 17]),
    ] {
        let config = client_config_of(&[&site], &[&rustls::version::TLS13]);
        let client = move |port| {
            let connection = ClientConnection::new(config, ServerName::try_from("a.test").unwrap()).unwrap();
            let mut client = StreamOwned::new(connection, Tap(TcpStream::connect(("127.0.0.1", port)).unwrap(), Vec::new()));
            let mut first = [0; 5];
            client.write_all(b"hello").unwrap();
            client.read_exact(&mut first).unwrap();
            // The handshake and its ticket have come; from here on there are only answers.
            client.sock.1.clear();
            client.write_all(b"more").unwrap();
            let mut answer = vec![0; head + body];
            client.read_exact(&mut answer).unwrap();
            assert!(answer[..head].iter().all(|byte| *byte == b'h') && answer[head..].iter().all(|byte| *byte == b'b'));
            records(&client.sock.1)
        };
        let serve = async |mut stream: TlsStream| {
            let mut buf = [0; 1024];
            let count = read_some(&mut stream, &mut buf).await;
            write_all(&mut stream, &buf[..count], b"").await;
            read_some(&mut stream, &mut buf).await;
            write_all(&mut stream, &vec![b'h'; head], &vec![b'b'; body]).await;
            // The client has read all of it when it leaves.
            assert_eq!(read_some(&mut stream, &mut buf).await, 0);
        };
        let (facts, lengths) = exchange(&context(&[&site]), client, serve);
        assert_eq!((facts.is_ok(), lengths), (true, expected), "{head} + {body}");
    }
}

#[test]
fn for_a_client_that_does_not_read_one_flight_is_kept_at_most() {
    let site = site("stuck", &["a.test"], (-1, 30));
    let config = client_config(&[&site]);
    let (stuck, is_stuck) = std::sync::mpsc::sync_channel(1);
    let client = move |port| {
        let mut client = connect(&config, "a.test", port);
        client.write_all(b"go").unwrap();
        // Reads only once the server can write no more.
        let taken: usize = is_stuck.recv().unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        (taken, got)
    };
    let serve = async |mut stream: TlsStream| {
        read_some(&mut stream, &mut [0; 16]).await;
        let body = vec![b'b'; 256 * 1024];
        let mut taken = 0;
        while let Poll::Ready(count) = poll_fn(|cx| Poll::Ready(stream.poll_write(cx, b"", &body))).await {
            taken += count.unwrap();
        }
        assert!(stream.kept()[2] <= 64 * 1024 + 1024, "{:?}", stream.kept());
        stuck.send(taken).unwrap();
        poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
        assert_eq!(stream.kept(), [0; 3], "what has been sent is freed");
        poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
    };
    let (facts, (taken, got)) = exchange(&context(&[&site]), client, serve);
    assert!(facts.is_ok() && taken > 64 * 1024);
    assert!(got.len() == taken && got.iter().all(|byte| *byte == b'b'), "{taken} {}", got.len());
}

#[test]
fn a_reader_with_a_small_buffer_gets_everything_in_order() {
    let site = site("small", &["a.test"], (-1, 30));
    let config = client_config(&[&site]);
    let sent: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let expected = sent.clone();
    let client = move |port| {
        let mut client = connect(&config, "a.test", port);
        client.write_all(&sent).unwrap();
        client.flush().unwrap();
        leave(client);
    };
    let serve = async |mut stream: TlsStream| {
        let mut got = Vec::new();
        let mut buf = [0; 7];
        loop {
            if !stream.has_buffered() {
                assert_eq!(stream.kept()[1], 0, "what has been read is freed");
            }
            match read_some(&mut stream, &mut buf).await {
                0 => break,
                count => got.extend_from_slice(&buf[..count]),
            }
        }
        assert!(got == expected);
    };
    assert!(exchange(&context(&[&site]), client, serve).0.is_ok());
}

#[tokio::test]
async fn an_idle_connection_keeps_no_buffers() {
    let site = site("idle", &["a.test"], (-1, 30));
    let config = client_config(&[&site]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = tokio::task::spawn_blocking(move || {
        let mut client = connect(&config, "a.test", port);
        say(&mut client, b"hello").unwrap();
        client
    });
    let (tcp, _) = listener.accept().await.unwrap();
    let (mut stream, _) = handshake(tcp, context(&[&site]), std::time::Duration::from_secs(10)).await.unwrap();
    let mut buf = [0; 64];
    let count = read_some(&mut stream, &mut buf).await;
    write_all(&mut stream, &buf[..count], b"").await;
    let _held = client.await.unwrap();
    assert_eq!(stream.kept(), [0; 3]);
    assert!(size_of::<TlsStream>() <= 1536, "{}", size_of::<TlsStream>());
}
