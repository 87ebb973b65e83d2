//! How many things of a kind each of several callers has, so that none takes those of all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The shares that callers have, by what tells callers apart.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    most: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One thing of a caller's share, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Hash + Eq> {
    of: Arc<Shares<K>>,
    caller: K,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Each caller may have so many.
    pub(crate) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// One more for this caller; `None` if it has all that it may have.
    pub(crate) fn take(self: &Arc<Self>, caller: K) -> Option<Share<K>> {
        let mut taken = self.taken();
        let number = taken.entry(caller.clone()).or_default();
        if *number >= self.most {
            // One that has none and may have none leaves no trace.
            if *number == 0 {
                taken.remove(&caller);
            }
            return None;
        }
        *number = number.saturating_add(1);
        drop(taken);
        Some(Share { of: Arc::clone(self), caller })
    }
}

impl<K> Shares<K> {
    fn taken(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        let Some(number) = taken.get_mut(&self.caller) else { return };
        *number = number.saturating_sub(1);
        if *number == 0 {
            taken.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_share_and_no_more_and_leaves_no_trace() {
        let shares = Shares::of(2);
        let (first, second) = (shares.take("ada").unwrap(), shares.take("ada").unwrap());
        assert!(shares.take("ada").is_none());
        let other = shares.take("bob").unwrap();
        drop(first);
        let again = shares.take("ada").unwrap();
        drop((second, again, other));
        assert!(shares.taken().is_empty());
    }
}
