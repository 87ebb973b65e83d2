//! The second way to learn of events: the provider's own list of them is read every now and then,
//! so that a webhook that never came, or came while the API was away, is not missed.
//!
//! How far the list has been read is kept, and moves on only once everything up to there is on
//! record. Events may be listed late, so each reading begins a while before the end of the last one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::{fault, store};
use crate::ActivityFault;
use crate::payment::port::{EventSource, PROVIDER};

/// How late an event may be listed.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);

/// How long a worker has the list that it has taken. Another one that takes it afterwards, although
/// the first still reads, does no harm: each event is on record once.
const TAKEN_FOR: Duration = Duration::from_mins(10);

/// More pages than a provider has that works.
const PAGES_MAX: usize = 1_000;

/// Reads what the provider lists since the last time, if the list is due; how many events were new.
/// None: it is not due, or another worker reads it.
///
/// **Errors.** The provider or the database does not answer, or makes no sense. The list is read
/// again after the same time, from where it was.
/// **Repeats.** An event that is on record is not taken in again.
pub async fn poll(
    db: &PgPool,
    provider: &dyn EventSource,
    every: Duration,
) -> Result<Option<u64>, ActivityFault> {
    let name = provider.name().name();
    let Some(read_until) = store::take_feed(db, name, TAKEN_FOR).await? else { return Ok(None) };
    match read(db, provider, read_until).await {
        Ok(Read { newest, new }) => {
            store::leave_feed(db, name, newest, every).await?;
            Ok(Some(new))
        }
        Err(fault) => {
            store::leave_feed(db, name, None, every).await?;
            Err(fault)
        }
    }
}

/// What was read.
#[derive(Default)]
struct Read {
    /// The moment of the newest event.
    newest: Option<DateTime<Utc>>,
    /// How many events were not on record.
    new: u64,
}

async fn read(
    db: &PgPool,
    provider: &dyn EventSource,
    read_until: DateTime<Utc>,
) -> Result<Read, ActivityFault> {
    const DOING: &str = "listing the provider's events";
    let since = read_until.checked_sub_signed(OVERLAP).unwrap_or(read_until);
    let (mut all, mut page) = (Read::default(), None::<String>);
    for _ in 0..PAGES_MAX {
        let listed = provider.events(since, page.as_deref()).await;
        let listed = listed.map_err(|error| fault(error, DOING))?;
        let new = store::insert(db, &listed.events).await?;
        all.new = all.new.saturating_add(new);
        all.newest = listed.events.iter().map(|event| event.happened_at).chain(all.newest).max();
        match listed.next {
            None => return Ok(all),
            next if next == page => break,
            next => page = next,
        }
    }
    let source = "its list of events has no end".into();
    Err(ActivityFault::InvalidAnswer { party: PROVIDER, doing: DOING, source })
}
