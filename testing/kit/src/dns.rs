//! A small server of names (RFC 1035) on loopback, which answers as a test wants it to: UDP, and TCP for what is too long.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The longest answer by UDP; a longer one says that it was cut, and is asked for again by TCP.
const UDP_BYTES_MAX: usize = 1200;

/// What is said of a name.
#[derive(Clone, Debug)]
enum Said {
    Addresses(Vec<IpAddr>, u32),
    /// A code instead of an answer.
    Code(u8),
    Nothing,
}

#[derive(Debug, Default)]
struct Known {
    names: Mutex<HashMap<String, Said>>,
    queries: AtomicUsize,
    stopped: AtomicBool,
}

/// The server. It knows no name at first.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    known: Arc<Known>,
}

impl Dns {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no port.
    #[expect(clippy::new_without_default, reason = "it starts threads, which no default should")]
    pub fn new() -> Self {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port can be had");
        let address = udp.local_addr().expect("a socket has an address");
        let tcp = TcpListener::bind(address).expect("the same port is free for TCP");
        udp.set_read_timeout(Some(Duration::from_millis(100))).expect("a time can be set");
        let known = Arc::new(Known::default());
        let (by_udp, by_tcp) = (Arc::clone(&known), Arc::clone(&known));
        thread::spawn(move || serve_udp(&udp, &by_udp));
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                if by_tcp.stopped.load(Ordering::Acquire) {
                    return;
                }
                // A client that goes away gets no answer.
                let _gone = serve_tcp(stream, &by_tcp);
            }
        });
        Self { address, known }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has these addresses, for a TTL of so many seconds.
    ///
    /// # Panics
    /// When one of them is none.
    pub fn answers(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.say(name, Said::Addresses(addresses, ttl));
    }

    /// From now on `name` does not exist.
    pub fn denies(&self, name: &str) {
        self.say(name, Said::Code(3));
    }

    /// From now on the server fails when it is asked for `name`.
    pub fn fails(&self, name: &str) {
        self.say(name, Said::Code(2));
    }

    /// From now on nothing is answered to questions for `name`.
    pub fn is_silent(&self, name: &str) {
        self.say(name, Said::Nothing);
    }

    /// How many questions there have been.
    pub fn queries(&self) -> usize {
        self.known.queries.load(Ordering::Acquire)
    }

    fn say(&self, name: &str, said: Said) {
        self.known.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), said);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.known.stopped.store(true, Ordering::Release);
        let _woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn serve_udp(udp: &UdpSocket, known: &Known) {
    let mut buf = [0; 1500];
    while !known.stopped.load(Ordering::Acquire) {
        let Ok((count, client)) = udp.recv_from(&mut buf) else { continue };
        let Some(mut answer) = buf.get(..count).and_then(|query| answer(query, known)) else { continue };
        if answer.len() > UDP_BYTES_MAX {
            // The head and the question, with the mark that the rest was cut.
            let end = question(&answer).map_or(12, |(_, _, end)| end);
            answer.truncate(end);
            if let Some(flags) = answer.get_mut(2) {
                *flags |= 2;
            }
            if let Some(count) = answer.get_mut(6..8) {
                count.fill(0);
            }
        }
        let _gone = udp.send_to(&answer, client);
    }
}

fn serve_tcp(mut stream: TcpStream, known: &Known) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let Some(answer) = answer(&query, known) else { return Ok(()) };
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat())?;
    }
    Ok(())
}

/// The name in lower case, the type that is asked for, and where the question ends.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*message.get(at + 1)?, *message.get(at + 2)?]);
    Some((labels.join("."), kind, at + 5))
}

fn answer(query: &[u8], known: &Known) -> Option<Vec<u8>> {
    known.queries.fetch_add(1, Ordering::AcqRel);
    let (name, kind, end) = question(query)?;
    let said = known.names.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned().unwrap_or(Said::Code(3));
    let (code, addresses, ttl) = match said {
        Said::Nothing => return None,
        Said::Code(code) => (code, Vec::new(), 0),
        Said::Addresses(addresses, ttl) => (0, addresses, ttl),
    };
    let records = addresses.iter().filter(|address| kind == if address.is_ipv4() { 1 } else { 28 });
    let records: Vec<Vec<u8>> = records.map(|address| record(*address, ttl)).collect();
    // An answer that recursion was available for, to the one question.
    let mut out = [query.get(..2)?, &[0x81, 0x80 | code, 0, 1]].concat();
    out.extend_from_slice(&u16::try_from(records.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(query.get(12..end)?);
    out.extend(records.concat());
    Some(out)
}

fn record(address: IpAddr, ttl: u32) -> Vec<u8> {
    let (kind, data) = match address {
        IpAddr::V4(address) => (1_u8, address.octets().to_vec()),
        IpAddr::V6(address) => (28, address.octets().to_vec()),
    };
    // Its name is that of the question.
    let mut out = vec![0xc0, 12, 0, kind, 0, 1];
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&[0, u8::try_from(data.len()).unwrap_or(0)]);
    out.extend(data);
    out
}
