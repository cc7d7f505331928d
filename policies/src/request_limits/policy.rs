//! Refuses what is too long, and methods that are not listed.

use super::config::RequestLimits;
use portcullis_gateway_policy::{Exchange, Policy, Step, Verdict};
use portcullis_model::{Reason, Rejection};
use portcullis_wire::BodyFraming;

/// The running policy: the tightest of what every level said.
#[derive(Debug)]
pub(super) struct Running {
    methods: Vec<Box<str>>,
    uri_bytes_max: usize,
    body_bytes_max: u64,
}

impl Running {
    pub(super) fn new(levels: &[&RequestLimits]) -> Self {
        let mut methods: Option<Vec<Box<str>>> = None;
        let (mut uri_bytes_max, mut body_bytes_max) = (u64::MAX, u64::MAX);
        for level in levels {
            let listed = level.methods.iter().map(|method| Box::from(method.as_str()));
            methods = Some(match methods.take() {
                None => listed.collect(),
                Some(outer) => listed.filter(|method| outer.contains(method)).collect(),
            });
            uri_bytes_max = uri_bytes_max.min(level.uri_bytes_max.bytes());
            body_bytes_max = body_bytes_max.min(level.body_bytes_max.bytes());
        }
        let uri_bytes_max = usize::try_from(uri_bytes_max).unwrap_or(usize::MAX);
        Self { methods: methods.unwrap_or_default(), uri_bytes_max, body_bytes_max }
    }

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

impl Policy for Running {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        Step::Ready(match self.judge(exchange) {
            Ok(()) => Verdict::Continue,
            Err(rejection) => Verdict::Reject(rejection),
        })
    }
}
