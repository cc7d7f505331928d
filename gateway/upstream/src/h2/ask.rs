//! One question of the gateway's own, on a connection of its own.

use super::connection::{Made, begin};
use crate::connection::Stream;
use crate::errand::{ErrandFailure, LIMITS};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use portcullis_gateway_h2::fields;
use portcullis_model::Reason;
use portcullis_wire::ResponseHead;

/// What is asked.
pub(crate) struct Question<'q> {
    pub(crate) path: &'q str,
    pub(crate) authority: &'q str,
    pub(crate) is_secure: bool,
    /// The message of a call of gRPC; a GET when there is none.
    pub(crate) message: Option<Vec<u8>>,
    /// The longest body that is wanted; 0 where only the status counts.
    pub(crate) body_bytes_max: usize,
}

/// What was answered.
pub(crate) struct Told {
    pub(crate) status: u16,
    /// `grpc-status`, as it was written, from the trailers or else from the head.
    pub(crate) grpc_status: Option<Vec<u8>>,
    pub(crate) body: Vec<u8>,
}

/// Asks, and waits for the answer, in whatever time it takes.
pub(crate) async fn ask(stream: Stream, question: Question<'_>) -> Result<Told, ErrandFailure> {
    let Made { send, moving, .. } = begin(stream).await.map_err(|rejection| match rejection.reason {
        Reason::UpstreamNotHttp2 => ErrandFailure::Malformed,
        _ => ErrandFailure::Unreachable,
    })?;
    tokio::select! {
        told = exchange(send, question) => told,
        _ = moving => Err(ErrandFailure::Ended),
    }
}

async fn exchange(mut send: SendRequest<Bytes>, question: Question<'_>) -> Result<Told, ErrandFailure> {
    let scheme = if question.is_secure { "https" } else { "http" };
    let builder = Request::builder().uri(format!("{scheme}://{}{}", question.authority, question.path));
    let builder = builder.header("user-agent", "portcullis-health");
    let builder = match question.message {
        None => builder.method(Method::GET),
        Some(_) => builder.method(Method::POST).header("content-type", "application/grpc").header("te", "trailers"),
    };
    let request = builder.body(()).map_err(|_| ErrandFailure::Malformed)?;
    let (response, mut sending) = send.send_request(request, question.message.is_none()).map_err(|_| ErrandFailure::Ended)?;
    if let Some(message) = question.message {
        sending.send_data(Bytes::from(message), true).map_err(|_| ErrandFailure::Ended)?;
    }
    let (parts, mut body) = response.await.map_err(|_| ErrandFailure::Ended)?.into_parts();
    let mut head = ResponseHead::default();
    let method = portcullis_wire::Method::Get;
    head.read_fields(parts.status.as_u16(), fields(&parts.headers), body.is_end_stream(), &LIMITS, method)
        .map_err(|_| ErrandFailure::Malformed)?;
    let mut told = Told { status: head.status(), grpc_status: grpc_status(&parts.headers), body: Vec::new() };
    if question.body_bytes_max > 0 {
        receive(&mut body, &mut told, question.body_bytes_max).await?;
    }
    Ok(told)
}

async fn receive(body: &mut RecvStream, told: &mut Told, bytes_max: usize) -> Result<(), ErrandFailure> {
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| ErrandFailure::Ended)?;
        // Whatever has been received is within the window of the stream, and more is not asked for.
        if told.body.len() + data.len() > bytes_max {
            return Err(ErrandFailure::Malformed);
        }
        told.body.extend_from_slice(&data);
    }
    if let Some(trailers) = body.trailers().await.map_err(|_| ErrandFailure::Ended)? {
        told.grpc_status = grpc_status(&trailers).or(told.grpc_status.take());
    }
    Ok(())
}

fn grpc_status(map: &HeaderMap) -> Option<Vec<u8>> {
    map.get("grpc-status").map(|value| value.as_bytes().to_vec())
}
