//! `management.probes`: `/livez`, `/readyz` and `/metrics` by GET on a loopback address, and nothing else.

use crate::backend::Management;
use crate::server::{Answer, CONNECTIONS_MAX, answer, converse, problem};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Serves the probes until the socket fails, or until the next version of this program serves them.
pub async fn serve_probes(listener: TcpListener, management: Arc<dyn Management>, until: impl Future) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut until = pin!(until);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let arrival = tokio::select! {
            biased;
            _ = &mut until => return,
            arrival = listener.accept() => arrival,
        };
        match arrival {
            Ok((stream, _)) => {
                let management = Arc::clone(&management);
                tokio::spawn(async move {
                    converse(stream, |request| std::future::ready(handle(&request, &*management))).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

fn handle(request: &Request<Incoming>, management: &dyn Management) -> Answer {
    if !is_local(request) {
        // SECURITY: a page in a browser on this machine must not read metrics by a name that it points here (DNS rebinding).
        return problem(StatusCode::FORBIDDEN, "host_invalid", "ask by a loopback address or localhost");
    }
    const TEXT: &str = "text/plain; charset=utf-8";
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/livez") => answer(StatusCode::OK, TEXT, "alive\n"),
        (&Method::GET, "/readyz") if management.ready() => answer(StatusCode::OK, TEXT, "ready\n"),
        (&Method::GET, "/readyz") => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
        (&Method::GET, "/metrics") => answer(StatusCode::OK, "text/plain; version=0.0.4", management.metrics()),
        (_, "/livez" | "/readyz" | "/metrics") => problem(StatusCode::METHOD_NOT_ALLOWED, "method_unknown", "only GET"),
        _ => problem(StatusCode::NOT_FOUND, "route_unknown", "only /livez, /readyz and /metrics are here"),
    }
}

fn is_local(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(hyper::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
