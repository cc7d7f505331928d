//! Listening sockets: one for each worker, on the same address.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections the kernel may hold for a socket before they are accepted.
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to `address`, each with a queue of its own. With port 0 all get the same free port.
///
/// # Errors
/// When the address cannot be had; the message names it and says what to do.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let explained = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {}", explain(&error)));
    // Without REUSEPORT first: sharing a port with another process of the same user must not happen unnoticed.
    socket(address, false).and_then(|socket| socket.bind(&address.into())).map_err(explained)?;
    let mut sockets = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count.max(1) {
        let listener = listen(address).map_err(explained)?;
        address = listener.local_addr()?;
        sockets.push(listener);
    }
    Ok(sockets)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; stop it (`ss -ltnp` names it), or choose another port".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port, or grant it".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::bind;

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        assert!(port > 0 && sockets.iter().all(|socket| socket.local_addr().unwrap().port() == port));
    }

    #[test]
    fn a_busy_port_is_named_and_explained() {
        let taken = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = taken[0].local_addr().unwrap();
        let error = bind(address, 2).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("another process listens there"), "{error}");
    }
}
