//! How many connections there may be: in all, and from one client.

use portcullis_model::Reason;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Clients are kept in this many parts, so that workers seldom wait for each other.
const SHARDS: usize = 64;

/// What a listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections in all.
    pub connections: u32,
    /// Connections from one client: an IPv4 address, or an IPv6 network of 64 bits.
    pub per_client: u32,
    /// TLS handshakes that one client may have under way.
    pub handshakes_per_client: u32,
}

/// What one client has.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    connections: u32,
    /// Of those: handshakes under way.
    handshakes: u32,
}

/// Counts the connections of a listener, for all workers together. Holds one entry for each client that is connected, so it is
/// bounded by the limit on connections.
#[derive(Debug)]
pub struct ConnectionCaps {
    open: AtomicU32,
    limit: AtomicU32,
    per_client: AtomicU32,
    handshakes_per_client: AtomicU32,
    clients: Box<[Mutex<HashMap<u64, Held>>]>,
}

/// The client that an address belongs to, as one number; mapped addresses count as what they map.
fn client_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // An IPv4 address lies where no global IPv6 network does.
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

impl ConnectionCaps {
    /// Begins to count.
    #[must_use]
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            limit: AtomicU32::new(limits.connections),
            per_client: AtomicU32::new(limits.per_client),
            handshakes_per_client: AtomicU32::new(limits.handshakes_per_client),
            clients: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// Sets other limits; connections that are there stay.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.limit.store(limits.connections, Ordering::Relaxed);
        self.per_client.store(limits.per_client, Ordering::Relaxed);
        self.handshakes_per_client.store(limits.handshakes_per_client, Ordering::Relaxed);
    }

    /// How many connections there are.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a connection from `address`, held until it is dropped.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, Reason> {
        let mut permit = self.admit_unknown()?;
        permit.count_client(address)?;
        Ok(permit)
    }

    /// A place for a connection whose client is not known yet, because a balancer is about to tell; [`ConnectionPermit::count_client`]
    /// counts the client when it has.
    ///
    /// # Errors
    /// [`Reason::ConnectionsExhausted`].
    pub fn admit_unknown(self: &Arc<Self>) -> Result<ConnectionPermit, Reason> {
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |open: u32| (open < limit).then_some(open + 1);
        if self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(Reason::ConnectionsExhausted);
        }
        // From here on dropping the permit gives the place back.
        Ok(ConnectionPermit { caps: Arc::clone(self), client: None, shakes: false })
    }

    fn shard(&self, client: u64) -> &Mutex<HashMap<u64, Held>> {
        static NEVER: std::sync::LazyLock<Mutex<HashMap<u64, Held>>> = std::sync::LazyLock::new(Mutex::default);
        let mixed = client.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        // INVARIANT: six bits of the product are below the number of shards.
        self.clients.get(mixed as usize).unwrap_or(&NEVER)
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct ConnectionPermit {
    caps: Arc<ConnectionCaps>,
    /// The client it is counted for, if it is.
    client: Option<u64>,
    /// Whether it is counted among the client's handshakes.
    shakes: bool,
}

impl ConnectionPermit {
    /// Counts the connection for a client as well. Counts once: a second call changes nothing.
    ///
    /// # Errors
    /// [`Reason::ClientConnectionsExhausted`].
    pub fn count_client(&mut self, address: IpAddr) -> Result<(), Reason> {
        if self.client.is_some() {
            return Ok(());
        }
        let client = client_of(address);
        let mut clients = self.caps.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let held = clients.get(&client).copied().unwrap_or_default();
        if held.connections >= self.caps.per_client.load(Ordering::Relaxed) {
            return Err(Reason::ClientConnectionsExhausted);
        }
        clients.insert(client, Held { connections: held.connections + 1, ..held });
        self.client = Some(client);
        Ok(())
    }

    /// Counts a handshake of the client, until [`ConnectionPermit::end_handshake`]. Where no client is counted there is no limit.
    ///
    /// # Errors
    /// [`Reason::HandshakesExhausted`].
    pub fn begin_handshake(&mut self) -> Result<(), Reason> {
        let Some(client) = self.client.filter(|_| !self.shakes) else { return Ok(()) };
        let mut clients = self.caps.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let held = clients.entry(client).or_default();
        if held.handshakes >= self.caps.handshakes_per_client.load(Ordering::Relaxed) {
            return Err(Reason::HandshakesExhausted);
        }
        held.handshakes += 1;
        self.shakes = true;
        Ok(())
    }

    /// The handshake is over.
    pub fn end_handshake(&mut self) {
        let Some(client) = self.client.filter(|_| std::mem::take(&mut self.shakes)) else { return };
        let mut clients = self.caps.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = clients.get_mut(&client) {
            held.handshakes = held.handshakes.saturating_sub(1);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.end_handshake();
        self.caps.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.caps.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = clients.get_mut(&client) {
            held.connections -= 1;
            if held.connections == 0 {
                clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionCaps, ConnectionLimits};
    use portcullis_model::Reason;

    fn limits(connections: u32, per_client: u32) -> ConnectionLimits {
        ConnectionLimits { connections, per_client, handshakes_per_client: 1 }
    }

    #[test]
    fn handshakes_of_a_client_are_counted_while_they_last() {
        let caps = ConnectionCaps::new(limits(9, 9));
        let client = "192.0.2.1".parse().unwrap();
        let (mut first, mut second) = (caps.admit(client).unwrap(), caps.admit(client).unwrap());
        let mut other = caps.admit("192.0.2.2".parse().unwrap()).unwrap();
        assert_eq!((first.begin_handshake(), first.begin_handshake()), (Ok(()), Ok(())));
        assert_eq!(second.begin_handshake(), Err(Reason::HandshakesExhausted));
        assert_eq!((other.begin_handshake(), caps.admit_unknown().unwrap().begin_handshake()), (Ok(()), Ok(())));
        first.end_handshake();
        assert_eq!(second.begin_handshake(), Ok(()));
        drop(second);
        assert_eq!(first.begin_handshake(), Ok(()));
    }

    #[test]
    fn limits_hold_in_all_and_per_client_and_places_come_back() {
        let caps = ConnectionCaps::new(limits(3, 2));
        let address = |text: &str| text.parse().unwrap();
        let first = caps.admit(address("192.0.2.1")).unwrap();
        let _second = caps.admit(address("::ffff:192.0.2.1")).unwrap();
        assert_eq!(caps.admit(address("192.0.2.1")).unwrap_err(), Reason::ClientConnectionsExhausted);
        let _other = caps.admit(address("192.0.2.2")).unwrap();
        assert_eq!(caps.admit(address("192.0.2.3")).unwrap_err(), Reason::ConnectionsExhausted);
        drop(first);
        assert_eq!(caps.open(), 2);
        assert!(caps.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn behind_a_balancer_the_client_is_counted_when_it_is_told() {
        let caps = ConnectionCaps::new(limits(4, 1));
        let address = |text: &str| text.parse().unwrap();
        let mut first = caps.admit_unknown().unwrap();
        let mut second = caps.admit_unknown().unwrap();
        first.count_client(address("192.0.2.1")).unwrap();
        first.count_client(address("192.0.2.1")).unwrap();
        assert_eq!(second.count_client(address("192.0.2.1")), Err(Reason::ClientConnectionsExhausted));
        second.count_client(address("192.0.2.2")).unwrap();
        drop((first, second));
        assert_eq!(caps.open(), 0);
        assert!(caps.admit(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let caps = ConnectionCaps::new(limits(9, 1));
        let _held = caps.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(caps.admit("2001:db8::ffff".parse().unwrap()).is_err());
        assert!(caps.admit("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
