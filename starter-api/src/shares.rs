//! Limits of scarce resources, in total and per caller, so that no caller takes them all.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::CustomerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The identity by which callers are distinguished.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The address that the request came from; a block of IPv6 addresses counts as one.
    Address(IpAddr),
    /// A token that has not been verified yet, by its hash.
    Token(u64),
    /// The customer named by a token.
    Customer(CustomerId),
    /// The staff member or program named by a token.
    Staff(String),
}

/// The identities that a caller is counted by: its address, and its token or whoever that names.
/// The limit applies to each.
pub(crate) type Callers = [Option<Who>; 2];

/// Slots of a kind, with a total limit and a limit per caller.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    most: usize,
    all: Arc<Semaphore>,
    callers: Arc<Shares<Who>>,
}

/// One or several slots, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _shares: (Option<Share<Who>>, Option<Share<Who>>),
    _permit: OwnedSemaphorePermit,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// This caller has reached its limit.
    Caller,
    /// The total limit is reached.
    All,
}

impl Places {
    /// `most` slots, of which one caller may have `per_caller`.
    pub(crate) fn of(most: usize, per_caller: usize) -> Self {
        Self { most, all: Arc::new(Semaphore::new(most)), callers: Shares::of(per_caller) }
    }

    /// Takes a slot for this caller.
    pub(crate) fn take(&self, callers: Callers) -> Result<Place, Full> {
        self.take_many(1, callers)
    }

    /// Takes so many slots for this caller, or none.
    pub(crate) fn take_many(&self, number: u32, callers: Callers) -> Result<Place, Full> {
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        let share = |who: Who| self.callers.take_many(who, count).ok_or(Full::Caller);
        let [first, second] = callers.map(|who| who.map(share).transpose());
        let shares = (first?, second?);
        let permit = Arc::clone(&self.all).try_acquire_many_owned(number);
        let permit = permit.map_err(|_none_left| Full::All)?;
        Ok(Place { _shares: shares, _permit: permit })
    }

    /// The number of slots taken.
    pub(crate) fn taken(&self) -> usize {
        self.most.saturating_sub(self.all.available_permits())
    }
}

/// Counters per caller.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    most: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One or several units of a caller's share, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Hash + Eq> {
    of: Arc<Shares<K>>,
    caller: K,
    count: usize,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Counters with this limit per caller.
    pub(crate) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Takes one unit for this caller; `None` if it has reached its limit.
    pub(crate) fn take(self: &Arc<Self>, caller: K) -> Option<Share<K>> {
        self.take_many(caller, 1)
    }

    /// Takes so many units for this caller; `None` if that would exceed its limit.
    pub(crate) fn take_many(self: &Arc<Self>, caller: K, count: usize) -> Option<Share<K>> {
        let mut taken = self.taken();
        let number = taken.entry(caller.clone()).or_default();
        let wanted = number.saturating_add(count);
        if wanted > self.most {
            // A caller that has none and may have none must not leave an entry.
            if *number == 0 {
                taken.remove(&caller);
            }
            return None;
        }
        *number = wanted;
        drop(taken);
        Some(Share { of: Arc::clone(self), caller, count })
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
        *number = number.saturating_sub(self.count);
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
        assert!(shares.take_many("ada", 3).is_none());
        let both = shares.take_many("ada", 2).unwrap();
        assert!(shares.take("ada").is_none());
        drop(both);
        assert!(shares.taken().is_empty());
    }

    #[test]
    fn one_caller_cannot_take_the_places_of_all() {
        let places = Places::of(3, 2);
        let address = |text: &str| Some(Who::Address(text.parse().unwrap()));
        let (here, there) = (|| address("192.0.2.1"), || address("192.0.2.2"));
        let token = |hash| Some(Who::Token(hash));
        let first = places.take([here(), token(1)]).unwrap();
        let second = places.take([here(), token(2)]).unwrap();
        assert_eq!(places.take([here(), token(3)]).unwrap_err(), Full::Caller, "the address");
        let third = places.take([there(), None]).unwrap();
        assert_eq!(places.take([None, None]).unwrap_err(), Full::All);
        assert_eq!(places.taken(), 3);
        drop(first);
        let again = places.take([here(), token(1)]).unwrap();
        drop((second, third, again));
        let of_token = (places.take([here(), token(1)]), places.take([there(), token(1)]));
        assert_eq!(places.take([None, token(1)]).unwrap_err(), Full::Caller, "the token");
        assert_eq!(places.take_many(2, [None, token(2)]).unwrap_err(), Full::All);
        drop(of_token);
        // A refused request has kept nothing either.
        assert_eq!((places.taken(), places.callers.taken().len()), (0, 0));
    }
}
