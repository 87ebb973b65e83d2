//! What is scarce, and how much of it each caller has, so that none of them takes it all.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::CustomerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What callers are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Where a request came from; a block of addresses counts as one.
    Address(IpAddr),
    /// A token that nobody has looked at yet, by its hash.
    Token(u64),
    /// The customer whom a token names.
    Customer(CustomerId),
    /// Whom of the shop's own people and programs a token names.
    Staff(String),
}

/// What one caller is counted by: its address, and its token or whom that names. It has its share
/// of each.
pub(crate) type Callers = [Option<Who>; 2];

/// Places of a kind: how many there are, and how many of them one caller may have.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    most: usize,
    all: Arc<Semaphore>,
    callers: Arc<Shares<Who>>,
}

/// One place or several, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _shares: (Option<Share<Who>>, Option<Share<Who>>),
    _permit: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// This caller has all that one caller may have.
    Caller,
    /// All are taken.
    All,
}

impl Places {
    /// So many, of which one caller may have so many.
    pub(crate) fn of(most: usize, per_caller: usize) -> Self {
        Self { most, all: Arc::new(Semaphore::new(most)), callers: Shares::of(per_caller) }
    }

    /// A place for this caller.
    pub(crate) fn take(&self, callers: Callers) -> Result<Place, Full> {
        self.take_many(1, callers)
    }

    /// So many places for this caller, or none.
    pub(crate) fn take_many(&self, number: u32, callers: Callers) -> Result<Place, Full> {
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        let share = |who: Who| self.callers.take_many(who, count).ok_or(Full::Caller);
        let [first, second] = callers.map(|who| who.map(share).transpose());
        let shares = (first?, second?);
        let permit = Arc::clone(&self.all).try_acquire_many_owned(number);
        let permit = permit.map_err(|_none_left| Full::All)?;
        Ok(Place { _shares: shares, _permit: permit })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.most.saturating_sub(self.all.available_permits())
    }
}

/// The shares that callers have, by what tells callers apart.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    most: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One thing of a caller's share or several, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Hash + Eq> {
    of: Arc<Shares<K>>,
    caller: K,
    count: usize,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// Each caller may have so many.
    pub(crate) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// One more for this caller; `None` if it has all that it may have.
    pub(crate) fn take(self: &Arc<Self>, caller: K) -> Option<Share<K>> {
        self.take_many(caller, 1)
    }

    /// So many more for this caller; `None` if it would have more than it may have.
    pub(crate) fn take_many(self: &Arc<Self>, caller: K, count: usize) -> Option<Share<K>> {
        let mut taken = self.taken();
        let number = taken.entry(caller.clone()).or_default();
        let wanted = number.saturating_add(count);
        if wanted > self.most {
            // One that has none and may have none leaves no trace.
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
        // What was refused has kept nothing either.
        assert_eq!((places.taken(), places.callers.taken().len()), (0, 0));
    }
}
