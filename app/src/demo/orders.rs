//! The sample API behind the demo: orders, kept in memory, on a loopback port of its own.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest request the sample understands; the gateway in front lets no longer ones through.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How many orders it remembers.
const ORDERS_MAX: usize = 100;

type Orders = Rc<RefCell<Vec<String>>>;

/// Serves the sample API until the listener fails. Must run inside a local runtime.
pub async fn serve(listener: TcpListener) {
    let orders: Orders = Rc::new(RefCell::new(vec![
        r#"{"id":1,"item":"portcullis, oak, 3 m","quantity":1}"#.to_owned(),
        r#"{"id":2,"item":"chain, iron, 12 m","quantity":2}"#.to_owned(),
    ]));
    while let Ok((stream, _peer)) = listener.accept().await {
        let orders = Rc::clone(&orders);
        tokio::task::spawn_local(async move { converse(stream, &orders).await });
    }
}

/// Where the sample listens: any free loopback port.
///
/// # Errors
/// When no socket can be had.
pub fn bind() -> std::io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn converse(mut stream: TcpStream, orders: &Orders) {
    let mut bytes = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut bytes).await {
        let (status, answer) = handle(&head, &body, orders);
        let reply =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request's head and body; `None` at the end of the connection or when it is too long.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse::<usize>().ok())
                .unwrap_or(0);
            let whole = end + 4 + length.min(REQUEST_BYTES_MAX);
            if bytes.len() >= whole {
                let body = String::from_utf8_lossy(bytes.get(end + 4..whole)?).into_owned();
                bytes.drain(..whole);
                return Some((head, body));
            }
        }
        if bytes.len() > REQUEST_BYTES_MAX || stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn handle(head: &str, body: &str, orders: &Orders) -> (&'static str, String) {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match (method, path.trim_start_matches("/orders")) {
        ("GET", "") => ("200 OK", format!("[{}]\n", orders.borrow().join(","))),
        ("GET", id) => {
            let position = id.trim_start_matches('/').parse::<usize>().ok().and_then(|id| id.checked_sub(1));
            match position.and_then(|position| orders.borrow().get(position).cloned()) {
                Some(order) => ("200 OK", format!("{order}\n")),
                None => ("404 Not Found", "{\"error\":\"no such order\"}\n".to_owned()),
            }
        }
        ("POST", "") => create(body, orders),
        _ => ("404 Not Found", "{\"error\":\"no such operation\"}\n".to_owned()),
    }
}

fn create(body: &str, orders: &Orders) -> (&'static str, String) {
    let Ok(serde_json::Value::Object(mut order)) = serde_json::from_str(body) else {
        return ("400 Bad Request", "{\"error\":\"an order is a JSON object\"}\n".to_owned());
    };
    let mut orders = orders.borrow_mut();
    if orders.len() >= ORDERS_MAX {
        return ("409 Conflict", "{\"error\":\"the sample remembers no more orders\"}\n".to_owned());
    }
    order.insert("id".to_owned(), (orders.len() + 1).into());
    let order = serde_json::Value::Object(order).to_string();
    orders.push(order.clone());
    ("201 Created", format!("{order}\n"))
}
