//! What the tests of policies share: an exchange from the bytes of a request.

use portcullis_gateway_policy::{ConnectionFacts, Exchange, Scheme};
use portcullis_model::{DecisionRecord, RecordGuard, RecordSink};
use portcullis_wire::{HeadLimits, RequestHead};
use std::rc::Rc;

struct Forget;

impl RecordSink for Forget {
    fn fresh(&self) -> Box<DecisionRecord> {
        Box::default()
    }
    fn emit(&self, record: Box<DecisionRecord>) {
        drop(record);
    }
}

/// An exchange that has just been read.
pub(crate) fn exchange(head: &str, scheme: Scheme) -> Exchange {
    let mut request = Box::new(RequestHead::default());
    request.parse(head.as_bytes(), &HeadLimits::default()).unwrap();
    let sink: Rc<dyn RecordSink> = Rc::new(Forget);
    let mut facts = ConnectionFacts::new("l".into(), "192.0.2.1:5".parse().unwrap(), None);
    facts.scheme = scheme;
    Exchange::new(request, RecordGuard::begin(&sink), Rc::new(facts), "192.0.2.1".parse().unwrap(), u64::MAX)
}
