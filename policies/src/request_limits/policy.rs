//! Refuses what is too long, and methods that are not listed.

use super::config::RequestLimits;
use portcullis_gateway_policy::{CompileError, Exchange, LiveFiles, Policy, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_model_settings::Methods;
use portcullis_wire::BodyFraming;
use std::any::Any;
use std::sync::Arc;

/// What holds where nobody says.
const URI_BYTES_MAX: u64 = 8 * 1024;
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Makes the running policy: the tightest of what every level says.
///
/// # Errors
/// None; the signature is that of every policy.
pub fn compile(settings: &[Arc<dyn Any + Send + Sync>], _: &LiveFiles) -> Result<Arc<dyn Policy>, CompileError> {
    let levels: Vec<&RequestLimits> = settings.iter().filter_map(|level| level.downcast_ref()).collect();
    let methods = levels.iter().filter_map(|level| level.methods).fold(Methods::all(), Methods::and);
    let uri = levels.iter().filter_map(|level| level.uri_bytes_max).min().map_or(URI_BYTES_MAX, |size| size.0);
    let body_bytes_max = levels.iter().filter_map(|level| level.body_bytes_max).min().map_or(BODY_BYTES_MAX, |size| size.0);
    let methods: Vec<&'static str> = methods.iter().map(|method| method.as_str()).collect();
    let uri_bytes_max = usize::try_from(uri).unwrap_or(usize::MAX);
    Ok(Arc::new(RequestLimitsPolicy { methods, uri_bytes_max, body_bytes_max }))
}

/// The running policy.
#[derive(Debug)]
struct RequestLimitsPolicy {
    methods: Vec<&'static str>,
    uri_bytes_max: usize,
    body_bytes_max: u64,
}

impl RequestLimitsPolicy {
    fn judge(&self, exchange: &mut Exchange) -> Result<(), Rejection> {
        let request = &exchange.request;
        if !self.methods.iter().any(|method| method.as_bytes() == request.method_bytes()) {
            let mut rejection = Rejection::new(Reason::MethodRefused, "the method is not among request_limits.methods");
            rejection.allow = Some(self.methods.join(", ").into());
            return Err(rejection);
        }
        let uri_bytes = request.path().len() + request.query().map_or(0, |query| query.len() + 1);
        if uri_bytes > self.uri_bytes_max {
            return Err(Rejection::new(Reason::UriTooLong, "longer than request_limits.uri_bytes_max"));
        }
        if let BodyFraming::Length(length) = request.framing()
            && length > self.body_bytes_max
        {
            return Err(Rejection::new(Reason::BodyTooLarge, "longer than request_limits.body_bytes_max"));
        }
        exchange.limit_body(self.body_bytes_max);
        Ok(())
    }
}

impl Policy for RequestLimitsPolicy {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.judge(exchange) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}
