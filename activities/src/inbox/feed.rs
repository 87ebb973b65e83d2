//! Polls the provider's list of events, as a second source next to webhooks, so that a webhook that
//! never came, or came while the API was down, is not missed.
//!
//! The cursor is stored, and advances only after everything before it is on record. Events may be
//! listed late, so each read overlaps with the previous one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::{fault, store};
use crate::ActivityFault;
use crate::payment::port::{EventSource, PROVIDER};

/// How late an event may be listed.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);

/// The lease on reading the list. If it expires while the first worker still reads, no harm is
/// done: each event is recorded once.
const TAKEN_FOR: Duration = Duration::from_mins(10);

/// More pages than a working provider returns.
const PAGES_MAX: usize = 1_000;

/// Reads the events listed since the last time, if the list is due; returns how many were new.
/// `None`: it is not due, or another worker reads it.
///
/// **Errors.** The provider or the database does not answer, or its answer is invalid. The list is
/// read again after the same interval, from the stored cursor.
/// **Repeats.** An event already on record is not recorded again.
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

/// The result of reading the list.
#[derive(Default)]
struct Read {
    /// The time of the newest event.
    newest: Option<DateTime<Utc>>,
    /// The number of events that were not on record.
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
