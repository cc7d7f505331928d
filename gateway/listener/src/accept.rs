//! Accepting connections without ever giving up.

use crate::{ConnectionCaps, ConnectionPermit};
use portcullis_model::Reason;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long to wait when the process has no descriptors left; clients wait in the kernel's queue meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// What is still accepted at the end; more than a socket's queue can hold.
const REST_MAX: usize = 8192;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comer {
    /// A client.
    Client,
    /// A balancer, which is no client itself: its connections are counted for whom it tells of.
    Balancer,
}

/// Accepts until `until` is ready, and then what is queued on the socket. Each connection that has a place goes to `accepted`; of
/// others `refused` hears the reason, and they are closed. `judge` says who connects from an address, or why nobody may. Before each connection it waits for as long as `pause` says; clients wait in the kernel's queue
/// meanwhile.
///
/// # Errors
/// When the socket cannot be registered with the runtime.
pub async fn accept_loop(
    socket: std::net::TcpListener,
    caps: &Arc<ConnectionCaps>,
    judge: impl Fn(IpAddr) -> Result<Comer, Reason>,
    mut accepted: impl FnMut(TcpStream, SocketAddr, ConnectionPermit),
    refused: impl Fn(Reason),
    pause: impl Fn() -> Duration,
    until: impl Future,
) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let mut take = |stream: TcpStream, peer: SocketAddr| {
        let admitted = judge(peer.ip()).and_then(|comer| match comer {
            Comer::Balancer => caps.admit_unknown(),
            Comer::Client => caps.admit(peer.ip()),
        });
        match admitted {
            // A socket that cannot be set up has been reset by its client.
            Ok(permit) if stream.set_nodelay(true).is_ok() => accepted(stream, peer, permit),
            Ok(_) => {}
            Err(reason) => refused(reason),
        }
    };
    let mut until = pin!(until);
    loop {
        let arrival = async {
            let pause = pause();
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            listener.accept().await
        };
        let arrival = tokio::select! {
            biased;
            _ = &mut until => break,
            arrival = arrival => arrival,
        };
        match arrival {
            Ok((stream, peer)) => take(stream, peer),
            // The client went away between its SYN and us; nobody is harmed.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            // No descriptors or no memory: both come back.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    // Closing a socket resets what is queued on it. The kernel is asked itself: the runtime may not have heard of the last ones.
    let socket = listener.into_std()?;
    for _ in 0..REST_MAX {
        let Ok((stream, peer)) = socket.accept() else { break };
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            take(stream, peer);
        }
    }
    Ok(())
}
