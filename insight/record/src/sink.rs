//! The worker's end: counts, and passes records on without waiting.

use crate::counters::Count;
use crate::series::{Counter, WorkerSeries};
use portcullis_model::{ConnectionEvent, DecisionRecord, RecordSink};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// Records a worker may have under way to the writer.
const RECORDS_MAX: usize = 8192;
/// And how many bytes they may have: clients choose how long their paths are.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The writer is woken before its tick when so many bytes are under way.
const BYTES_MANY: u64 = BYTES_MAX / 2;
/// Records a worker keeps for another use.
const KEPT_MAX: usize = 256;
/// Records that may be on the way back to a worker.
const RETURNED_MAX: usize = 1024;
/// A record with more bytes is not used again, so that what is kept stays small.
const LIGHT_BYTES: u64 = 8 * 1024;

/// The bytes that a record holds.
fn weight(record: &DecisionRecord) -> u64 {
    let texts = [record.method(), record.host(), record.path(), record.query(), record.user_agent(), record.detail()];
    (size_of::<DecisionRecord>() + texts.iter().map(|text| text.len()).sum::<usize>()) as u64
}

/// What a worker's two ends of its ring share with the writer.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Whether anybody reads records, or only counts matter.
    pub(crate) is_wanted: AtomicBool,
    /// The writer's thread.
    pub(crate) writer: OnceLock<Thread>,
}

/// A worker's sink before it is on its worker's thread.
pub struct SinkSeed {
    series: Arc<WorkerSeries>,
    wire: Arc<Wire>,
    ring: SyncSender<Box<DecisionRecord>>,
    returned: Receiver<Box<DecisionRecord>>,
    taken: Arc<Count>,
}

/// The writer's end of a worker's ring.
pub(crate) struct Ring {
    records: Receiver<Box<DecisionRecord>>,
    back: SyncSender<Box<DecisionRecord>>,
    /// Bytes of all records taken so far.
    taken: Arc<Count>,
}

/// Both ends of a ring.
pub(crate) fn ring(series: &Arc<WorkerSeries>, wire: &Arc<Wire>) -> (SinkSeed, Ring) {
    let (ring, records) = sync_channel(RECORDS_MAX);
    let (back, returned) = sync_channel(RETURNED_MAX);
    let taken = Arc::new(Count::default());
    let seed = SinkSeed { series: Arc::clone(series), wire: Arc::clone(wire), ring, returned, taken: Arc::clone(&taken) };
    (seed, Ring { records, back, taken })
}

impl Ring {
    /// Hands over the records that are there, at most as many as fit into the ring.
    pub(crate) fn drain(&self, mut take: impl FnMut(&DecisionRecord)) {
        for record in self.records.try_iter().take(RECORDS_MAX) {
            take(&record);
            let bytes = weight(&record);
            self.taken.add(bytes);
            if bytes <= LIGHT_BYTES {
                // When there is no room on the way back, the record is dropped.
                let _no_room = self.back.try_send(record);
            }
        }
    }
}

impl SinkSeed {
    /// The sink, for the thread this is called on.
    #[must_use]
    pub fn into_sink(self) -> Rc<dyn RecordSink> {
        let Self { series, wire, ring, returned, taken } = self;
        let counter = Counter::new(series);
        Rc::new(Sink { counter, wire, ring, returned, sent: Cell::new(0), taken, unused: RefCell::default() })
    }
}

struct Sink {
    counter: Counter,
    wire: Arc<Wire>,
    ring: SyncSender<Box<DecisionRecord>>,
    returned: Receiver<Box<DecisionRecord>>,
    /// Bytes of all records sent so far.
    sent: Cell<u64>,
    taken: Arc<Count>,
    #[expect(clippy::vec_box, reason = "boxes are what goes over the ring; kept, they need no allocation")]
    unused: RefCell<Vec<Box<DecisionRecord>>>,
}

impl Sink {
    /// Passes a record on, or gives it back when there is no room.
    fn send(&self, record: Box<DecisionRecord>, bytes: u64) -> Result<(), Box<DecisionRecord>> {
        let before = self.sent.get().wrapping_sub(self.taken.value());
        let under_way = before.saturating_add(bytes);
        if under_way > BYTES_MAX {
            return Err(record);
        }
        self.ring.try_send(record).map_err(|(TrySendError::Full(record) | TrySendError::Disconnected(record))| record)?;
        self.sent.set(self.sent.get().wrapping_add(bytes));
        if before <= BYTES_MANY
            && under_way > BYTES_MANY
            && let Some(writer) = self.wire.writer.get()
        {
            writer.unpark();
        }
        Ok(())
    }
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
        let bytes = weight(&record);
        let unsent = if self.wire.is_wanted.load(Ordering::Relaxed) {
            self.send(record, bytes).inspect_err(|_| self.counter.series.records_dropped.add(1)).err()
        } else {
            Some(record)
        };
        let mut unused = self.unused.borrow_mut();
        if let Some(record) = unsent
            && bytes <= LIGHT_BYTES
            && unused.len() < KEPT_MAX
        {
            unused.push(record);
        }
    }

    fn connection(&self, listener: &Arc<str>, event: ConnectionEvent) {
        self.counter.connection(listener, event);
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, RECORDS_MAX, Ring, Wire, ring};
    use crate::series::{AllValues, WorkerSeries};
    use portcullis_model::RecordSink;
    use std::rc::Rc;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, OnceLock};

    /// A worker whose writer only works when told to.
    fn worker() -> (Rc<dyn RecordSink>, Ring, Arc<WorkerSeries>) {
        let series = Arc::new(WorkerSeries::new(&AllValues::default()));
        let wire = Arc::new(Wire { is_wanted: AtomicBool::new(true), writer: OnceLock::new() });
        let (seed, ring) = ring(&series, &wire);
        (seed.into_sink(), ring, series)
    }

    fn emit(sink: &Rc<dyn RecordSink>, path: &str) {
        let mut record = sink.fresh();
        record.note_request(b"GET", b"a.test", path.as_bytes(), None, None);
        sink.emit(record);
    }

    fn drained(ring: &Ring) -> usize {
        let mut count = 0;
        ring.drain(|_| count += 1);
        count
    }

    #[test]
    fn when_the_writer_stands_still_records_are_dropped_and_counted() {
        let (sink, ring, series) = worker();
        for _ in 0..3 * RECORDS_MAX {
            emit(&sink, "/");
        }
        let kept = drained(&ring);
        assert!(kept > 1000 && kept <= RECORDS_MAX, "{kept}");
        assert_eq!(kept as u64 + series.records_dropped.value(), 3 * RECORDS_MAX as u64);
        emit(&sink, "/");
        assert_eq!(drained(&ring), 1, "it goes on as soon as the writer does");
    }

    #[test]
    fn long_paths_do_not_make_the_ring_hold_more_memory() {
        let (sink, ring, series) = worker();
        let long = "x".repeat(30_000);
        for _ in 0..2000 {
            emit(&sink, &long);
        }
        let mut bytes = 0;
        ring.drain(|record| bytes += record.path().len() as u64);
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX / 2, "{bytes}");
        assert!(series.records_dropped.value() > 1000);
    }

    #[test]
    fn records_come_back_empty() {
        let (sink, ring, _) = worker();
        emit(&sink, "/secret");
        assert_eq!(drained(&ring), 1);
        assert!(sink.fresh().path().is_empty());
    }
}
