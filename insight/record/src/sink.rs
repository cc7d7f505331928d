//! The worker's end: counts, and passes records on without waiting.

use crate::series::{Counter, WorkerSeries};
use portcullis_model::{ConnectionEvent, DecisionRecord, RecordSink};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

/// Records a worker keeps for another use.
const KEPT_MAX: usize = 256;

/// A worker's sink before it is on its worker's thread.
pub struct SinkSeed {
    pub(crate) series: Arc<WorkerSeries>,
    pub(crate) wanted: Arc<AtomicBool>,
    pub(crate) ring: SyncSender<Box<DecisionRecord>>,
    pub(crate) returned: Receiver<Box<DecisionRecord>>,
}

impl SinkSeed {
    /// The sink, for the thread this is called on.
    #[must_use]
    pub fn into_sink(self) -> Rc<dyn RecordSink> {
        let Self { series, wanted, ring, returned } = self;
        Rc::new(Sink { counter: Counter::new(series), wanted, ring, returned, unused: RefCell::default() })
    }
}

struct Sink {
    counter: Counter,
    /// Whether anybody reads records, or only counts matter.
    wanted: Arc<AtomicBool>,
    ring: SyncSender<Box<DecisionRecord>>,
    returned: Receiver<Box<DecisionRecord>>,
    #[expect(clippy::vec_box, reason = "boxes are what goes over the ring; kept, they need no allocation")]
    unused: RefCell<Vec<Box<DecisionRecord>>>,
}

impl RecordSink for Sink {
    fn fresh(&self) -> Box<DecisionRecord> {
        if let Some(mut record) = self.unused.borrow_mut().pop().or_else(|| self.returned.try_recv().ok()) {
            record.clear();
            return record;
        }
        Box::default()
    }

    fn emit(&self, record: Box<DecisionRecord>) {
        self.counter.exchange(&record);
        if !self.wanted.load(Ordering::Relaxed) {
            let mut unused = self.unused.borrow_mut();
            if unused.len() < KEPT_MAX {
                unused.push(record);
            }
        } else if self.ring.try_send(record).is_err() {
            self.counter.series.records_dropped.add(1);
        }
    }

    fn connection(&self, listener: &Arc<str>, event: ConnectionEvent) {
        self.counter.connection(listener, event);
    }
}
