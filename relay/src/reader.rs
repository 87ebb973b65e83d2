//! The loop of one sink: read undelivered messages, deliver them, record the outcome.
//!
//! A receiver that does not answer gets a pause, and is then probed with one message of each of two
//! orders. Two, so that a single message that is never accepted is not mistaken for an unavailable
//! receiver.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use runtime::chain;
use runtime::database::{DatabaseFault, alarm};
use sqlx::PgPool;
use sqlx::error::DatabaseError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::backoff::backoff;
use crate::feed::{self, Page};
use crate::judge::{Fate, Judged, Part, judge};
use crate::leases::{self, RENEW_EVERY};
use crate::parking::{self, Due};
use crate::progress::{self, Recorded};
use crate::{Message, Sink, SinkName, telemetry};

/// How often a reader polls for messages and decisions without being notified.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause after a database error.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// The result of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Something was delivered or recorded: there may be more.
    Went,
    /// Nothing to deliver, and nothing was written.
    Idle,
    /// The receiver does not answer, and gets this pause.
    Away(Duration),
}

/// Reads for one sink.
pub struct Reader {
    pool: PgPool,
    /// The id of this process in the database.
    process: Uuid,
    name: SinkName,
    sink: Arc<dyn Sink>,
    batch: u16,
    /// Consecutive failed attempts.
    vain: u32,
    /// The recorded reason why the sink makes no progress.
    failure: Option<String>,
}

impl Reader {
    /// Creates a reader for a registered sink.
    #[must_use]
    pub fn new(
        pool: PgPool,
        process: Uuid,
        name: SinkName,
        batch: u16,
        sink: Arc<dyn Sink>,
    ) -> Self {
        Self { pool, process, name, sink, batch, vain: 0, failure: None }
    }

    /// Delivers until `stop`, then finishes the current batch and releases its shards. `news`
    /// changes when there may be new messages.
    pub async fn run(mut self, mut news: watch::Receiver<u64>, stop: CancellationToken) {
        let mut share_at = Instant::now();
        let mut due_at = share_at;
        let mut is_idle = false;
        loop {
            if Instant::now() >= share_at {
                self.take_share().await.unwrap_or_else(|error| self.tell(&error));
                share_at = after(RENEW_EVERY);
            }
            if Instant::now() >= due_at {
                // A notification from here on is handled in the next round.
                news.borrow_and_update();
                let round = self.round().await;
                is_idle = matches!(round, Ok(Round::Idle));
                due_at = match round {
                    Ok(Round::Went) => Instant::now(),
                    Ok(Round::Idle) => after(LOOK_EVERY),
                    Ok(Round::Away(pause)) => after(pause),
                    Err(error) => {
                        self.tell(&error);
                        after(DATABASE_PAUSE)
                    }
                };
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = news.changed(), if is_idle => due_at = Instant::now(),
                () = sleep_until(due_at.min(share_at)) => {}
            }
        }
        if let Err(error) = leases::leave(&self.pool, Some(&self.name), self.process).await {
            self.tell(&error);
        }
        telemetry::shards(&self.name, 0);
    }

    /// Takes this process's share of the shards.
    pub async fn take_share(&self) -> sqlx::Result<()> {
        let shards = leases::take_share(&self.pool, &self.name, self.process).await?;
        telemetry::shards(&self.name, shards.len());
        Ok(())
    }

    /// Redelivers due parked messages, and then delivers the next new ones.
    pub async fn round(&mut self) -> sqlx::Result<Round> {
        // An unavailable receiver is probed with new messages, and gets a pause from all others.
        let has_gone = self.vain == 0 && self.deliver_parked().await?;
        match self.deliver_new().await? {
            Round::Idle if has_gone => Ok(Round::Went),
            round @ (Round::Went | Round::Idle | Round::Away(_)) => Ok(round),
        }
    }

    async fn deliver_parked(&mut self) -> sqlx::Result<bool> {
        let due = parking::due(&self.pool, &self.name, self.process, self.batch).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let parts = vec![Part::Given; due.messages.len()];
        let judged = self.deliver(&due.messages, &parts).await;
        self.record_parked(&due, &judged).await?;
        // Messages that a sink's bug has left open are due at once, and wait for the next poll.
        Ok(!due.given_up.is_empty() || judged.fates.iter().any(|fate| *fate != Fate::Open))
    }

    async fn record_parked(&self, due: &Due, judged: &Judged) -> sqlx::Result<()> {
        let (pool, name) = (&self.pool, &self.name);
        let recorded = parking::record(pool, name, self.process, due, &judged.fates).await?;
        telemetry::count(name, &recorded);
        for (_, message) in &due.given_up {
            warn!(sink = %name, id = message.id, "a message is given up, as an operator decided");
        }
        Ok(())
    }

    async fn deliver_new(&mut self) -> sqlx::Result<Round> {
        let page = feed::read(&self.pool, &self.name, self.process, self.batch).await?;
        if page.is_idle() {
            // Nothing left to probe with, so the receiver is no longer considered unavailable.
            self.vain = 0;
            return Ok(Round::Idle);
        }
        let parts = self.parts(&page);
        let judged = self.deliver(&page.messages, &parts).await;
        let failure = judged.outage.as_ref().map(|outage| outage.why.clone());
        let is_told = failure == self.failure;
        let goes_on = judged.fates.first().is_none_or(Fate::is_had);
        if goes_on || !is_told {
            let recorded = self.record(&page, &judged, failure.as_deref()).await?;
            telemetry::count(&self.name, &recorded);
            self.failure = failure;
        }
        let Some(outage) = judged.outage else {
            if self.vain > 0 {
                info!(sink = %self.name, "the receiver is there again");
            }
            self.vain = 0;
            return Ok(Round::Went);
        };
        if self.vain == 0 {
            warn!(sink = %self.name, why = outage.why, "the receiver does not answer");
        }
        self.vain = self.vain.saturating_add(1);
        Ok(Round::Away(backoff(self.vain, outage.retry_after)))
    }

    async fn record(
        &self,
        page: &Page,
        judged: &Judged,
        failure: Option<&str>,
    ) -> sqlx::Result<Recorded> {
        let (pool, name, reader) = (&self.pool, &self.name, self.process);
        let recorded = progress::record(pool, name, reader, page, &judged.fates, failure).await?;
        if recorded.len() < page.shards.len() {
            info!(sink = %name, "other processes have taken over shards and redeliver them");
        }
        Ok(recorded)
    }

    /// The messages to give to the sink: all that are not behind a parked one of their order, or
    /// only those that probe the receiver.
    fn parts(&self, page: &Page) -> Vec<Part> {
        let asked = (self.vain > 0).then(|| probe(page, self.vain));
        let parts = page.marks.iter().enumerate().map(|(index, mark)| {
            if mark.is_behind {
                Part::Behind
            } else if asked.as_ref().is_some_and(|asked| !asked.contains(&index)) {
                Part::Later
            } else {
                Part::Given
            }
        });
        parts.collect()
    }

    async fn deliver(&self, messages: &[Message], parts: &[Part]) -> Judged {
        let batch: Cow<'_, [Message]> = if parts.iter().copied().all(is_given) {
            Cow::Borrowed(messages)
        } else {
            let given = messages.iter().zip(parts).filter(|(_, part)| is_given(**part));
            Cow::Owned(given.map(|(message, _)| message.clone()).collect())
        };
        let verdicts = if batch.is_empty() {
            Vec::new()
        } else {
            let began = Instant::now();
            let verdicts = self.sink.deliver(&batch).await;
            telemetry::delivery_took(&self.name, began.elapsed());
            verdicts
        };
        let judged = judge(messages, parts, verdicts);
        if let Some(breach) = judged.breach {
            telemetry::breach();
            error!(sink = %self.name, breach, "a sink breaks its contract, which is a bug");
        }
        judged
    }

    /// Logs a database error, as an alarm if it needs an operator.
    fn tell(&self, error: &sqlx::Error) {
        const DOING: &str = "reading the outbox for a sink";
        if error.as_database_error().is_some_and(DatabaseError::is_foreign_key_violation) {
            info!(sink = %self.name, "the sink was removed");
            return;
        }
        match DatabaseFault::of(error) {
            DatabaseFault::Misdeployed => alarm(DOING, error),
            DatabaseFault::Transient => {
                warn!(sink = %self.name, error = chain(error), "the database does not answer");
            }
            DatabaseFault::Broken => {
                telemetry::breach();
                error!(sink = %self.name, error = chain(error), "the sink's progress is unreadable");
            }
        }
    }
}

fn is_given(part: Part) -> bool {
    part == Part::Given
}

fn after(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}

/// The messages that probe a receiver: the first one, and the first one of another order, a
/// different order each time.
fn probe(page: &Page, tries: u32) -> BTreeSet<usize> {
    let mut orders = BTreeSet::new();
    let firsts =
        page.messages.iter().zip(&page.marks).enumerate().filter(|(_, (_, mark))| !mark.is_behind);
    let firsts: Vec<usize> = firsts
        .filter(|(_, (message, _))| orders.insert(message.aggregate_id.as_str()))
        .map(|(index, _)| index)
        .collect();
    let turn = usize::try_from(tries).unwrap_or_default();
    let others = firsts.get(1..).unwrap_or_default();
    let other = turn.checked_rem(others.len()).and_then(|place| others.get(place));
    firsts.first().into_iter().chain(other).copied().collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::value::RawValue;

    use super::*;
    use crate::feed::Mark;

    /// Messages of these orders; order `x` has a parked message.
    fn page(orders: &str) -> Page {
        let messages = orders.chars().zip(1..).map(|(order, sequence)| Message {
            position: i64::from(sequence),
            id: format!("{order}:{sequence}"),
            aggregate_type: "order".to_owned(),
            aggregate_id: order.to_string(),
            sequence,
            event_type: "ordersaga.order.placed.v1".to_owned(),
            payload: RawValue::from_string("{}".to_owned()).unwrap(),
            created_at: DateTime::UNIX_EPOCH,
        });
        let marks = orders.chars().map(|order| Mark { shard: 0, is_behind: order == 'x' });
        let (messages, marks) = (messages.collect(), marks.collect());
        Page { snapshot: String::new(), shards: vec![], messages, marks, is_full: false }
    }

    #[test]
    fn a_receiver_is_asked_by_the_first_messages_of_two_orders_a_different_second_each_time() {
        let asked = |orders: &str, tries| Vec::from_iter(probe(&page(orders), tries));
        assert_eq!(asked("aabac", 1), [0, 4]);
        assert_eq!(asked("aabac", 2), [0, 2]);
        assert_eq!(asked("aabac", 3), [0, 4]);
        assert_eq!(asked("xaxb", 1), [1, 3], "what is parked is not asked by");
        assert_eq!(asked("aaa", 7), [0]);
        assert_eq!(asked("xx", 1), [0; 0]);
        assert_eq!(asked("", 1), [0; 0]);
    }
}
