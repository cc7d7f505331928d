//! Step 3: one look at the configuration in force; the whole exchange is decided by it.

use crate::connection::Connection;
use crate::worker::{Worker, WorkerView};
use std::rc::Rc;
use std::sync::Arc;

/// The configuration that decides this exchange. The connection's listener follows it; a connection whose listener is gone keeps the
/// last one it had.
pub(crate) fn look(connection: &mut Connection, worker: &Worker) -> Rc<WorkerView> {
    let view = worker.view();
    let current = view.successor(&connection.listener);
    if let Some(listener) = current
        && !Arc::ptr_eq(listener, &connection.listener)
    {
        connection.listener = Arc::clone(listener);
    }
    view
}
