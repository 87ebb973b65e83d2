//! The place that a request takes among those that are worked on at once.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A request's place. Whoever only waits gives it up before, so that others are worked on
/// meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Turn(Arc<Mutex<Option<Box<dyn Any + Send>>>>);

impl Turn {
    /// A turn that has taken this place, which is free again when it is dropped.
    pub(crate) fn taking(place: impl Any + Send) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(place)))))
    }

    /// Gives the place up.
    pub(crate) fn give_up(&self) {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(place);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}
