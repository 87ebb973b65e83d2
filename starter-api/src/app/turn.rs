//! The place that a request takes among those that are worked on at once, and whose it is.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::identity::Caller;
use crate::shares::{Callers, Who};

/// A request's place. Whoever only waits gives it up before, so that others are worked on
/// meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Turn {
    place: Arc<Mutex<Option<Box<dyn Any + Send>>>>,
    /// Where the request came from.
    address: Option<IpAddr>,
}

impl Turn {
    /// A turn of a request from this address that has taken this place, which is free again when it
    /// is dropped.
    pub(crate) fn taking(place: impl Any + Send, address: Option<IpAddr>) -> Self {
        Self { place: Arc::new(Mutex::new(Some(Box::new(place)))), address }
    }

    /// Gives the place up.
    pub(crate) fn give_up(&self) {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(place);
    }

    /// What a request of this caller is counted by where places of another kind are scarce.
    pub(crate) fn callers(&self, caller: &Caller) -> Callers {
        [self.address.map(Who::Address), Some(caller.who())]
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}
