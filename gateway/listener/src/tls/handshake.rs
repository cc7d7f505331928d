//! The handshake, by its deadline.

use super::client_certificate::describe;
use super::clients::reason_of;
use super::context::ServerSide;
use super::{TlsContext, TlsStream};
use portcullis_model::{Reason, TlsFacts};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Takes a connection through its handshake within `deadline`, and tells what was agreed on.
///
/// # Errors
/// [`Reason::HandshakeTimeout`], [`Reason::HandshakeFailed`], or what is wrong with the client's certificate.
pub async fn handshake(tcp: TcpStream, context: Arc<TlsContext>, deadline: Duration) -> Result<(TlsStream, TlsFacts), Reason> {
    let mut stream = TlsStream::new(tcp, ServerSide::new(&context).map_err(|_| Reason::HandshakeFailed)?);
    let finished = tokio::time::timeout(deadline, poll_fn(|cx| stream.poll_handshake(cx))).await;
    match finished {
        Err(_) => Err(Reason::HandshakeTimeout),
        Ok(Err(error)) => {
            // The alert says why; a client that is gone does not hear it.
            let _told = tokio::time::timeout(Duration::from_secs(1), poll_fn(|cx| stream.poll_flush(cx))).await;
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            Err(cause.map_or(Reason::HandshakeFailed, reason_of))
        }
        Ok(Ok(())) => {
            let connection = stream.side().connection();
            if let Some(clients) = &context.clients
                && connection.handshake_kind() == Some(HandshakeKind::Resumed)
            {
                clients.verify_again(connection.peer_certificates())?;
            }
            let authority =
                context.clients.as_ref().zip(connection.peer_certificates()).map(|(clients, chain)| clients.authority_of(chain));
            let mut facts = TlsFacts { client_trust: context.client_trust(), ..facts(&mut stream) };
            if let (Some(client), Some(authority)) = (&mut facts.client, authority) {
                client.authority = authority;
            }
            Ok((stream, facts))
        }
    }
}

/// The name in IANA's registry; the library names the suites of TLS 1.3 otherwise.
fn registered_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        older => older.as_str().unwrap_or("unknown"),
    }
}

fn facts(stream: &mut TlsStream) -> TlsFacts {
    let sni = stream.side_mut().take_name();
    let connection = stream.side().connection();
    TlsFacts {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "unknown",
        },
        suite: connection.negotiated_cipher_suite().map_or("unknown", |suite| registered_name(suite.suite())),
        group: match connection.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name) {
            Some(NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
            Some(NamedGroup::X25519) => "X25519",
            Some(NamedGroup::secp256r1) => "secp256r1",
            Some(NamedGroup::secp384r1) => "secp384r1",
            Some(_) => "other",
            None => "none",
        },
        sni,
        alpn: connection.alpn_protocol().map(|protocol| match protocol {
            b"h2" => "h2",
            b"http/1.1" => "http/1.1",
            _ => "other",
        }),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        client: connection.peer_certificates().and_then(<[_]>::first).map(describe),
        client_trust: [0; 32],
    }
}
