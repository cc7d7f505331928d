//! The exchanges of a worker that have been let through, with what they are ended by: who is calling, and the certificate of their
//! connection.
//!
//! Nobody else looks at it, so nothing is locked. It holds one entry for each exchange under way, so the caps on connections and streams
//! bound it; entries are used again, so an exchange allocates none.

use portcullis_gateway_policy::{ConnectionFacts, Exchange, Revocations};
use portcullis_model::{Principal, Reason};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

/// The exchanges under way.
#[derive(Default)]
pub(crate) struct OpenExchanges {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Default)]
struct Slot {
    principal: Option<Arc<Principal>>,
    connection: Option<Rc<ConnectionFacts>>,
    waker: Option<Waker>,
    ended: Option<Reason>,
}

/// Why an exchange must not go on, if that is so.
pub(crate) fn revoked(
    revocations: &Revocations,
    principal: Option<&Principal>,
    connection: &ConnectionFacts,
    now_unix_seconds: u64,
) -> Option<Reason> {
    if principal.is_some_and(|principal| revocations.has(principal, now_unix_seconds)) {
        return Some(Reason::CredentialsRevoked);
    }
    let certificate = connection.certificate.filter(|mark| revocations.has_certificate(*mark, now_unix_seconds));
    certificate.map(|_| Reason::ClientCertificateRevoked)
}

impl OpenExchanges {
    /// Gives an exchange its place; nothing where nobody knows who is calling.
    pub(crate) fn enter(self: &Rc<Self>, exchange: &Exchange) -> Option<Place> {
        let principal = exchange.principal().map(Arc::clone);
        let connection = exchange.connection.certificate.map(|_| Rc::clone(&exchange.connection));
        if principal.is_none() && connection.is_none() {
            return None;
        }
        let slot = Slot { principal, connection, waker: None, ended: None };
        let mut slots = self.slots.borrow_mut();
        let at = self.free.borrow_mut().pop();
        match at.and_then(|at| slots.get_mut(at)) {
            Some(place) => *place = slot,
            None => slots.push(slot),
        }
        Some(Place { open: Rc::clone(self), at: at.unwrap_or(slots.len() - 1) })
    }

    /// Ends those that have been revoked: each hears why.
    pub(crate) fn end_revoked(&self, revocations: &Revocations, now_unix_seconds: u64) {
        for slot in self.slots.borrow_mut().iter_mut() {
            let principal = slot.principal.as_deref().is_some_and(|one| revocations.has(one, now_unix_seconds));
            let certificate = slot.connection.as_ref().and_then(|connection| connection.certificate);
            if principal {
                slot.end(Reason::CredentialsRevoked);
            } else if certificate.is_some_and(|mark| revocations.has_certificate(mark, now_unix_seconds)) {
                slot.end(Reason::ClientCertificateRevoked);
            }
        }
    }

    /// Ends those of a connection.
    pub(crate) fn end_connection(&self, connection: &Rc<ConnectionFacts>, reason: Reason) {
        let is_of_it = |slot: &Slot| slot.connection.as_ref().is_some_and(|one| Rc::ptr_eq(one, connection));
        self.slots.borrow_mut().iter_mut().filter(|slot| is_of_it(slot)).for_each(|slot| slot.end(reason));
    }
}

impl Slot {
    fn end(&mut self, reason: Reason) {
        self.ended = self.ended.or(Some(reason));
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// An exchange's place, as long as it goes on.
pub(crate) struct Place {
    open: Rc<OpenExchanges>,
    at: usize,
}

impl Place {
    /// Why the exchange has been ended, if it has. Else its task is woken when it is.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Option<Reason> {
        let mut slots = self.open.slots.borrow_mut();
        let slot = slots.get_mut(self.at)?;
        if slot.ended.is_none() && !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        slot.ended
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What was in it is dropped when nothing is borrowed any more.
        let _left = self.open.slots.borrow_mut().get_mut(self.at).map(std::mem::take);
        self.open.free.borrow_mut().push(self.at);
    }
}
