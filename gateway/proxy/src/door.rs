//! Part of step 1: who may come in, and what becomes of those who do what nobody needs to do.

use crate::snapshot::{Listener, Published};
use crate::worker::Worker;
use portcullis_gateway_policy::is_offence;
use portcullis_model::{ConnectionEvent, DecisionRecord, Reason, RecordSink};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Whether a client may have another connection of a listener.
///
/// # Errors
/// Why not: [`Reason::ClientBanned`] or [`Reason::ConnectionsTooFast`], which is an offence.
pub(crate) fn knock(worker: &Worker, listener: &Listener, address: IpAddr) -> Result<(), Reason> {
    if worker.is_banned(address) {
        return Err(Reason::ClientBanned);
    }
    let published = worker.published();
    let Some(rate) = listener.limits.connection_rate else { return Ok(()) };
    // Proxies and balancers open connections for many.
    if published.defence.may_connect(&listener.name, address, rate, published.nanos()) || worker.view().spared.trusts(address) {
        return Ok(());
    }
    published.offend(address, Reason::ConnectionsTooFast);
    Err(Reason::ConnectionsTooFast)
}

impl Published {
    /// Nanoseconds of the clock that does not go back.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(Instant::now().saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts what a client did, where clients are banned for such things.
    pub(crate) fn offend(&self, address: IpAddr, reason: Reason) {
        let snapshot = self.snapshot();
        let Some(rules) = &snapshot.bans else { return };
        // SECURITY: whoever speaks for others is not answerable for them (threats C 61): banning a proxy bans all who come by it.
        if is_offence(reason) && !snapshot.spared.trusts(address) {
            self.defence.offend(address, reason, rules, self.nanos(), self.clock.unix_seconds());
        }
    }
}

/// Looks at what became of exchanges and connections on its way to the record: whatever leaves a record with an offence as its reason has
/// been counted, wherever it happened.
pub(crate) struct Outcomes {
    sink: Rc<dyn RecordSink>,
    published: Arc<Published>,
}

impl Outcomes {
    pub(crate) fn before(sink: Rc<dyn RecordSink>, published: &Arc<Published>) -> Rc<dyn RecordSink> {
        Rc::new(Self { sink, published: Arc::clone(published) })
    }
}

impl RecordSink for Outcomes {
    fn fresh(&self) -> Box<DecisionRecord> {
        self.sink.fresh()
    }

    fn emit(&self, record: Box<DecisionRecord>) {
        if let (Some(reason), Some(client)) = (record.reason, record.client)
            && is_offence(reason)
        {
            self.published.offend(client, reason);
        }
        self.published.note_outcome(&record);
        self.sink.emit(record);
    }

    fn connection(&self, listener: &Arc<str>, event: ConnectionEvent) {
        self.sink.connection(listener, event);
    }
}
