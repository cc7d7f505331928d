//! Reading the header of the PROXY protocol off a connection, and not one byte more.

use portcullis_model::Reason;
use portcullis_wire::{PROXY_HEADER_BYTES_MAX, ProxyHeader, parse_proxy_header};
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bytes looked at first: more than an ordinary header has.
const FIRST_LOOK: usize = 256;

/// Reads the header that a balancer must send in front of everything else. `None`: it ended the connection without a byte, as
/// balancers do that only look whether somebody listens.
///
/// # Errors
/// [`Reason::ProxyHeaderInvalid`] or [`Reason::ProxyHeaderTimeout`]; the connection must be closed then.
pub async fn read_proxy_header(tcp: &mut TcpStream, deadline: Instant) -> Result<Option<ProxyHeader>, Reason> {
    match tokio::time::timeout_at(deadline, read(tcp)).await {
        Err(_) => Err(Reason::ProxyHeaderTimeout),
        Ok(outcome) => outcome,
    }
}

async fn read(tcp: &mut TcpStream) -> Result<Option<ProxyHeader>, Reason> {
    let ended = |_: io::Error| Reason::ProxyHeaderInvalid;
    // `bytes[..kept]` has been taken off the connection; what is peeked at lies behind it.
    let (mut bytes, mut kept) = (vec![0; FIRST_LOOK], 0);
    loop {
        if kept == bytes.len() {
            // INVARIANT: whoever has so many bytes and no header has been refused below.
            bytes.resize(PROXY_HEADER_BYTES_MAX, 0);
        }
        let room = bytes.get_mut(kept..).unwrap_or_default();
        let seen = tcp.peek(room).await.map_err(ended)?;
        if seen == 0 {
            return if kept == 0 { Ok(None) } else { Err(Reason::ProxyHeaderInvalid) };
        }
        let header = parse_proxy_header(bytes.get(..kept + seen).unwrap_or_default()).map_err(|error| error.reason)?;
        // SECURITY: what lies behind the header is the client's and stays in the socket; what is no whole header yet is all of it.
        let taken = header.map_or(seen, |header| header.length.saturating_sub(kept));
        let taking = bytes.get_mut(kept..kept + taken).unwrap_or_default();
        tcp.read_exact(taking).await.map_err(ended)?;
        if header.is_some() {
            return Ok(header);
        }
        kept += taken;
    }
}
