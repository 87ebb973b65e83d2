//! A request's slot among those processed concurrently, and the caller it is counted for.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::Caller;
use crate::shares::{Callers, Who};

/// A request's slot. A request that only waits releases it early, so that others are processed
/// meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Turn {
    place: Arc<Mutex<Option<Box<dyn Any + Send>>>>,
    /// The client's address.
    address: Option<IpAddr>,
}

impl Turn {
    /// A turn that occupies this slot, for a request from this address. Dropping it frees the slot.
    pub(crate) fn taking(place: impl Any + Send, address: Option<IpAddr>) -> Self {
        Self { place: Arc::new(Mutex::new(Some(Box::new(place)))), address }
    }

    /// Releases the slot early.
    pub(crate) fn give_up(&self) {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(place);
    }

    /// The keys by which a request of this caller is counted against other per-caller limits.
    pub(crate) fn callers(&self, caller: &Caller) -> Callers {
        [self.address.map(Who::Address), Some(caller.who())]
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}
