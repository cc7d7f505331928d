//! The one place that makes answers of the gateway's own: refusals as problem+json (RFC 9457), and what policies answer.

use crate::connection::{After, Connection};
use crate::grpc::{is_grpc, status_of};
use crate::snapshot::ListenerMode;
use crate::worker::Worker;
use portcullis_gateway_policy::{Exchange, Pipeline, Stop};
use portcullis_model::{Phase, Reason, Rejection};
use portcullis_wire::{BodyFraming, KnownName, Method, ResponseFraming, ResponseHead, Trailers, WireError};
use std::time::Duration;
use tokio::time::Instant;

/// How long writing an answer of the gateway's may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// In how many seconds a client that was refused for overload may come again (RFC 9110 section 10.2.3).
const RETRY_AFTER: &[u8] = b"5";

/// Answers an exchange that is not forwarded, and finishes its record.
pub(crate) async fn respond(
    connection: &mut Connection,
    worker: &Worker,
    pipeline: &Pipeline,
    mut exchange: Exchange,
    stop: impl Into<Stop>,
    begin: Instant,
) -> After {
    let stop = stop.into();
    let status = note(&mut exchange, &stop);
    let unread = skip_body(connection, &exchange);
    let closes = closes(&stop) || unread || !exchange.request.keep_alive() || !connection.may_go_on() || worker.is_draining();
    exchange.record.timings.note_until(Phase::Decide, begin.elapsed().as_micros() as u64);
    let mut after = if unread || closes { After::Linger } else { After::KeepAlive };
    if status == 0 {
        after = After::Close;
    } else {
        let (mut response, body) = make(&mut exchange, &stop, status, connection, worker);
        pipeline.answer(&exchange, &mut response);
        let mut out = worker.out();
        let framing = if body.is_empty() { ResponseFraming::None } else { ResponseFraming::Length(body.len() as u64) };
        exchange.record.traffic.response_head =
            connection.io.put_head(&response, framing, closes.then_some("close"), false, &mut out);
        worker.keep_response_head(response);
        connection.alarm.set(Instant::now() + WRITE_DEADLINE);
        let shown: &[u8] = if exchange.request.method() == Method::Head { &[] } else { body.as_bytes() };
        let written = connection.write_all(&out, shown).await;
        connection.io.finish(None);
        exchange.record.status = status;
        exchange.record.traffic.response_body = shown.len() as u64;
        worker.keep_out(out);
        if !written {
            exchange.record.note_reason(Reason::ClientGone, "the answer could not be written");
            after = After::Close;
        }
    }
    connection.finished = Instant::now();
    exchange.record.total_micros = (connection.finished - begin).as_micros() as u64;
    worker.keep_request_head(std::mem::take(&mut exchange.request));
    after
}

fn note(exchange: &mut Exchange, stop: &Stop) -> u16 {
    match stop {
        Stop::Respond(answer) => answer.status,
        Stop::Reject(rejection) => {
            exchange.record.note_reason(rejection.reason, &rejection.detail);
            rejection.status()
        }
    }
}

fn closes(stop: &Stop) -> bool {
    matches!(stop, Stop::Reject(rejection) if rejection.reason.closes())
}

/// Passes over a body that has come whole with the head. Says whether there is one that has not.
fn skip_body(connection: &mut Connection, exchange: &Exchange) -> bool {
    if exchange.body.is_some() {
        return false;
    }
    match exchange.request.framing() {
        BodyFraming::None => false,
        BodyFraming::Chunked => true,
        BodyFraming::Length(length) => {
            let here = connection.carry.as_ref().map_or(0, |carry| carry.unread().len());
            let Some(length) = usize::try_from(length).ok().filter(|length| *length <= here) else { return true };
            if let Some(carry) = &mut connection.carry {
                carry.consume(length);
                if carry.is_empty() {
                    connection.carry = None;
                }
            }
            false
        }
    }
}

fn make(
    exchange: &mut Exchange,
    stop: &Stop,
    status: u16,
    connection: &Connection,
    worker: &Worker,
) -> (Box<ResponseHead>, String) {
    let mut response = worker.response_head();
    response.reset_local(status);
    let mut body = String::new();
    let made = match stop {
        Stop::Reject(rejection) if is_grpc(&exchange.request) => {
            // It looks at the trailers, which are here its head as well; the record keeps the status of HTTP.
            response.reset_local(200);
            describe_to_grpc(&mut response, rejection)
        }
        // Appended: an answer may set several cookies.
        Stop::Respond(answer) => {
            body.clone_from(&answer.body);
            answer.fields.iter().try_for_each(|(name, value)| response.fields_mut().append_named(name, value))
        }
        Stop::Reject(rejection) => {
            body = problem(rejection, exchange);
            describe(&mut response, rejection, exchange, connection)
        }
    };
    let date = worker.date.at(worker.unix_micros() / 1_000_000);
    let stamped = response
        .fields_mut()
        .set(KnownName::Date, &date)
        .and_then(|()| response.fields_mut().set(KnownName::XRequestId, &exchange.record.id.hex()));
    debug_assert!(made.and(stamped).is_ok(), "the gateway's own fields are valid");
    (response, body)
}

/// A refusal for a client of gRPC: trailers and nothing else.
fn describe_to_grpc(response: &mut ResponseHead, rejection: &Rejection) -> Result<(), WireError> {
    let fields = response.fields_mut();
    fields.set(KnownName::ContentType, b"application/grpc")?;
    if let Some(nonce) = &rejection.nonce {
        fields.set_named("dpop-nonce", nonce.as_bytes())?;
    }
    tell_grpc(fields, rejection.reason)
}

fn tell_grpc(fields: &mut Trailers, reason: Reason) -> Result<(), WireError> {
    fields.set_named("grpc-status", status_of(reason.status()))?;
    fields.set_named("grpc-message", reason.public().as_bytes())
}

/// Ends an answer that has begun and will not be finished. A client of gRPC is told why when it is the credential's end; for everybody else
/// the answer is cut off, so that nobody takes it for a whole one.
pub(crate) fn part(connection: &mut Connection, exchange: &Exchange, reason: Reason) -> After {
    let is_credentials = matches!(reason, Reason::CredentialsExpired | Reason::CredentialsRevoked | Reason::StreamAged);
    if !is_credentials || !is_grpc(&exchange.request) {
        return After::Close;
    }
    let mut trailers = Trailers::default();
    let told = tell_grpc(&mut trailers, reason);
    debug_assert!(told.is_ok(), "the gateway's own fields are valid");
    connection.io.finish(Some(&trailers));
    After::Linger
}

/// Whether it is worth coming again in a moment.
fn passes(reason: Reason) -> bool {
    use Reason::{
        BodiesExhausted, IntrospectionUnavailable, KeysUnavailable, Overloaded, ProofsExhausted, TokenExchangeUnavailable,
        UpstreamBusy, UpstreamTokenUnavailable,
    };
    let of_checks =
        matches!(reason, KeysUnavailable | IntrospectionUnavailable | UpstreamTokenUnavailable | TokenExchangeUnavailable);
    of_checks || matches!(reason, Overloaded | BodiesExhausted | ProofsExhausted | UpstreamBusy)
}

fn describe(
    response: &mut ResponseHead,
    rejection: &Rejection,
    exchange: &Exchange,
    connection: &Connection,
) -> Result<(), WireError> {
    let fields = response.fields_mut();
    fields.set(KnownName::ContentType, b"application/problem+json")?;
    fields.set(KnownName::CacheControl, b"no-store")?;
    if let Some(nonce) = &rejection.nonce {
        fields.set_named("dpop-nonce", nonce.as_bytes())?;
    }
    if let Some(seconds) = rejection.retry_after {
        fields.set_named("retry-after", seconds.to_string().as_bytes())?;
    } else if passes(rejection.reason) {
        fields.set_named("retry-after", RETRY_AFTER)?;
    }
    if let Some(challenge) = rejection.challenge() {
        fields.set_named("www-authenticate", challenge.as_bytes())?;
    }
    if let Some(allow) = &rejection.allow {
        fields.set(KnownName::Allow, allow.as_bytes())?;
    }
    if let ListenerMode::RedirectToHttps { port } = connection.listener.mode
        && rejection.reason == Reason::RedirectToHttps
    {
        fields.set(KnownName::Location, location(exchange, port).as_bytes())?;
    }
    Ok(())
}

/// Where a plain-text request is sent: the same canonical host, path and query, by https.
fn location(exchange: &Exchange, port: u16) -> String {
    let request = &exchange.request;
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let query = request.query().map_or(String::new(), |query| format!("?{query}"));
    format!("https://{}{port}{}{query}", request.host(), request.path())
}

/// The body of a refusal. Only constants and the request id, so nothing needs escaping.
fn problem(rejection: &Rejection, exchange: &Exchange) -> String {
    let reason = rejection.reason;
    let mut body = String::with_capacity(192);
    for part in ["{\"type\":\"about:blank\",\"title\":\"", reason.public(), "\",\"status\":"] {
        body.push_str(part);
    }
    body.push_str(&rejection.status().to_string());
    for part in [",\"code\":\"", reason.code(), "\",\"request_id\":\""] {
        body.push_str(part);
    }
    body.push_str(std::str::from_utf8(&exchange.record.id.hex()).unwrap_or_default());
    body.push_str("\"}\n");
    body
}
