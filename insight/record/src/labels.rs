//! Values of labels, and the cap on how many are told apart.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many values of a label (route, upstream, listener) are told apart; what comes later is `other`. Together with the fixed
/// values of the other labels this bounds the number of series whatever clients send (threats D 98).
pub(crate) const VALUES_MAX: usize = 1000;
/// What stands for values beyond that.
pub(crate) const OTHER: &str = "other";
/// What stands for requests that found no route.
pub(crate) const NONE: &str = "none";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a label that are told apart: the same ones for every worker, else a value would be counted by its name here and
/// as `other` there.
#[derive(Debug)]
pub(crate) struct Values {
    admitted: Mutex<Vec<Arc<str>>>,
    count: AtomicUsize,
}

impl Default for Values {
    /// Requests without a route come first: no number of routes may crowd them out.
    fn default() -> Self {
        Self { admitted: Mutex::new(vec![NONE.into()]), count: AtomicUsize::new(1) }
    }
}

impl Values {
    /// Admits a value if there is room, and gives the values admitted since there were `known`.
    fn admit(&self, value: &str, known: usize) -> Vec<Arc<str>> {
        let mut admitted = lock(&self.admitted);
        if admitted.len() < VALUES_MAX && !admitted.iter().any(|one| **one == *value) {
            admitted.push(value.into());
            self.count.store(admitted.len(), Ordering::Release);
        }
        admitted.get(known..).unwrap_or_default().to_vec()
    }
}

/// What one worker counts by the values of a label. Read by the scraper, grown by the worker, up to the cap.
#[derive(Debug)]
pub(crate) struct Labelled<T> {
    values: Arc<Values>,
    listed: Mutex<Vec<(Arc<str>, Arc<T>)>>,
}

impl<T> Labelled<T> {
    pub(crate) fn new(values: &Arc<Values>) -> Self {
        Self { values: Arc::clone(values), listed: Mutex::default() }
    }

    /// What has been counted so far, by value.
    pub(crate) fn list(&self) -> Vec<(Arc<str>, Arc<T>)> {
        lock(&self.listed).clone()
    }
}

/// The worker's own way to a [`Labelled`], without its lock.
pub(crate) struct Own<T> {
    state: RefCell<OwnState<T>>,
}

struct OwnState<T> {
    /// Every admitted value that the worker has heard of, with what it counts, once it does.
    known: HashMap<Arc<str>, Option<Arc<T>>>,
    other: Option<Arc<T>>,
}

impl<T: Default> Own<T> {
    pub(crate) fn new() -> Self {
        Self { state: RefCell::new(OwnState { known: HashMap::new(), other: None }) }
    }

    /// Lets `count` count for a value.
    pub(crate) fn with(&self, shared: &Labelled<T>, value: &str, count: impl FnOnce(&T)) {
        let OwnState { known, other } = &mut *self.state.borrow_mut();
        if let Some(Some(series)) = known.get(value) {
            return count(series);
        }
        let admitted = shared.values.count.load(Ordering::Acquire);
        // Without a lock once the cap is reached and known: requests for values beyond it would all queue up there.
        if !known.contains_key(value) && (admitted < VALUES_MAX || known.len() < admitted) {
            let fresh = shared.values.admit(value, known.len());
            known.extend(fresh.into_iter().map(|value| (value, None)));
        }
        let (name, slot) = if let Some(slot) = known.get_mut(value) { (value, slot) } else { (OTHER, other) };
        count(slot.get_or_insert_with(|| {
            let fresh = Arc::new(T::default());
            lock(&shared.listed).push((name.into(), Arc::clone(&fresh)));
            fresh
        }));
    }
}
