//! Redelivers parked messages: one that alone was not accepted, after its pause; one that was
//! refused, once an operator has decided so; and those that wait behind either, in order.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::backoff::backoff;
use crate::feed::{Row, Shard};
use crate::judge::Fate;
use crate::progress::{Counts, Recorded, milliseconds};
use crate::{Message, SinkName};

/// After this many answers without acceptance, while the receiver accepts other messages, a message
/// counts as refused.
pub const STRIKES_MAX: i16 = 10;

/// Parked messages that are due, in order.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// The messages to deliver.
    pub messages: Vec<Message>,
    /// For each message, its shard, lease and number of attempts.
    pub marks: Vec<Mark>,
    /// Messages that an operator has given up.
    pub given_up: Vec<(Shard, Message)>,
}

/// The state of a parked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its shard, and the lease under which it was read.
    pub shard: Shard,
    /// The number of attempts.
    pub tries: i16,
}

impl Due {
    /// Whether nothing is due.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.given_up.is_empty()
    }
}

/// Reads due parked messages from the shards that this process has leased. An order is due when its
/// first parked message is, together with all messages that wait behind it.
pub async fn due(pool: &PgPool, sink: &SinkName, reader: Uuid, batch: u16) -> sqlx::Result<Due> {
    let rows = sqlx::query!(
        r#"
        with held as (
            select shard, lease from outbox.progress join outbox.sinks using (sink)
            where sink = $1 and leased_by = $2 and leased_until > now() and paused_at is null
                and not outbox.is_restored()
        ), heads as (
            select distinct on (aggregateid) aggregateid, refused, decision, retry_at
            from outbox.parked where sink = $1
            order by aggregateid, sequence
        )
        select
            held.shard as "shard!", held.lease as "lease!", parked.tries as "tries!",
            coalesce(parked.decision = 'skip', false) as "is_given_up!",
            message.position as "position?", message.id as "id?",
            message.aggregatetype as "aggregate_type?", message.aggregateid as "aggregate_id?",
            message.sequence as "sequence?", message.type as "event_type?",
            message.payload::text as "payload?", message.created_at as "created_at?"
        from heads
        join outbox.parked on parked.sink = $1 and parked.aggregateid = heads.aggregateid
        join outbox.messages as message on message.position = parked.position
        join held on held.shard = message.shard
        where (heads.refused is null or heads.decision is not null)
            and coalesce(heads.retry_at, '-infinity') <= now()
        order by message.position
        limit $3
        "#,
        sink.as_str(),
        reader,
        i64::from(batch),
    )
    .fetch_all(pool)
    .await?;
    let mut due = Due::default();
    for row in rows {
        let shard = Shard { shard: row.shard, lease: row.lease, is_paging: false };
        let message = Row {
            position: row.position,
            id: row.id,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            event_type: row.event_type,
            payload: row.payload,
            created_at: row.created_at,
        };
        let Some(message) = message.message()? else { continue };
        if row.is_given_up {
            due.given_up.push((shard, message));
        } else {
            due.messages.push(message);
            due.marks.push(Mark { shard, tries: row.tries });
        }
    }
    Ok(due)
}

/// The changes of one shard by a batch of parked messages.
#[derive(Serialize)]
struct Move {
    shard: i16,
    lease: i64,
    delivered: u64,
    not_wanted: u64,
}

/// A message that is no longer parked.
#[derive(Serialize)]
struct Gone<'a> {
    shard: i16,
    aggregateid: &'a str,
    sequence: i32,
}

/// A message that was not accepted again.
#[derive(Serialize)]
struct Tried<'a> {
    shard: i16,
    aggregateid: &'a str,
    sequence: i32,
    refused: Option<&'a str>,
    /// The attempt counts against the message, if the receiver accepts others.
    is_strike: bool,
    retry_ms: Option<i64>,
    failure: Option<&'a str>,
}

/// Records the results for parked messages. A message that is delivered, not wanted or given up is
/// no longer parked. A message that is refused waits for an operator, and so does one that the
/// receiver has answered ten times without accepting it, while it accepted others. A failure not
/// caused by the message is retried without limit. Shards whose lease another process has taken
/// meanwhile are left unchanged.
pub async fn record(
    pool: &PgPool,
    sink: &SinkName,
    reader: Uuid,
    due: &Due,
    fates: &[Fate],
) -> sqlx::Result<Recorded> {
    let (mut gone, mut tried) = (Vec::new(), Vec::new());
    let mut counts = BTreeMap::<Shard, Counts>::new();
    for (shard, message) in &due.given_up {
        counts.entry(*shard).or_default();
        gone.push(gone_of(*shard, message));
    }
    for ((message, mark), fate) in due.messages.iter().zip(&due.marks).zip(fates) {
        let of_shard = counts.entry(mark.shard).or_default();
        match fate {
            Fate::Delivered | Fate::NotWanted => {
                of_shard.add(fate);
                gone.push(gone_of(mark.shard, message));
            }
            Fate::Refused { why } => {
                tried.push(Tried { refused: Some(why), ..tried_of(mark.shard, message) });
            }
            Fate::NotTaken { why, retry_after, is_strike, .. } => {
                let so_far = u32::try_from(mark.tries).unwrap_or_default();
                let pause = milliseconds(backoff(so_far.saturating_add(1), *retry_after));
                tried.push(Tried {
                    is_strike: *is_strike,
                    retry_ms: Some(pause),
                    failure: Some(why),
                    ..tried_of(mark.shard, message)
                });
            }
            Fate::Behind | Fate::Open => {}
        }
    }
    let moves = counts.iter().map(|(shard, counts)| {
        let (delivered, not_wanted) = (counts.delivered, counts.not_wanted);
        Move { shard: shard.shard, lease: shard.lease, delivered, not_wanted }
    });
    let moves: Vec<_> = moves.collect();
    let others_were_taken = fates.contains(&Fate::Delivered);
    let still_read =
        settle(pool, (sink, reader), (&moves, &gone, &tried), others_were_taken).await?;
    let recorded = counts.into_iter().map(|(shard, counts)| (shard.shard, counts));
    Ok(recorded.filter(|(shard, _)| still_read.contains(shard)).collect())
}

fn gone_of(shard: Shard, message: &Message) -> Gone<'_> {
    let (aggregateid, sequence) = (message.aggregate_id.as_str(), message.sequence);
    Gone { shard: shard.shard, aggregateid, sequence }
}

fn tried_of(shard: Shard, message: &Message) -> Tried<'_> {
    Tried {
        shard: shard.shard,
        aggregateid: &message.aggregate_id,
        sequence: message.sequence,
        refused: None,
        is_strike: false,
        retry_ms: None,
        failure: None,
    }
}

/// The statement. A strike is an answer that did not accept the message while the receiver accepted
/// others: in the same batch, or since the last attempt.
async fn settle(
    pool: &PgPool,
    (sink, reader): (&SinkName, Uuid),
    (moves, gone, tried): (&[Move], &[Gone<'_>], &[Tried<'_>]),
    others_were_taken: bool,
) -> sqlx::Result<Vec<i16>> {
    sqlx::query_scalar!(
        r#"
        with moved as (
            update outbox.progress as progress set
                delivered = progress.delivered + had.delivered,
                not_wanted = progress.not_wanted + had.not_wanted,
                progressed_at = case
                    when had.delivered > 0 then now() else progress.progressed_at
                end
            from jsonb_to_recordset($3)
                as had (shard smallint, lease bigint, delivered bigint, not_wanted bigint)
            where progress.sink = $1 and progress.leased_by = $2
                and progress.shard = had.shard and progress.lease = had.lease
            returning progress.shard
        ), gone as (
            delete from outbox.parked
            using jsonb_to_recordset($4)
                as done (shard smallint, aggregateid text, sequence integer)
            where parked.sink = $1 and parked.aggregateid = done.aggregateid
                and parked.sequence = done.sequence and done.shard in (select shard from moved)
        ), tried as (
            select
                parked.aggregateid, parked.sequence, given.refused, given.retry_ms, given.failure,
                parked.strikes + (given.is_strike and ($6 or exists (
                    select from outbox.progress as any_shard
                    where any_shard.sink = $1 and any_shard.progressed_at > parked.tried_at
                )))::integer as strikes
            from jsonb_to_recordset($5) as given (
                shard smallint, aggregateid text, sequence integer, refused text,
                is_strike boolean, retry_ms bigint, failure text
            )
            join outbox.parked on parked.sink = $1 and parked.aggregateid = given.aggregateid
                and parked.sequence = given.sequence
            where given.shard in (select shard from moved)
        ), kept as (
            -- What an operator has decided is carried out by now, or tried again like any other.
            update outbox.parked set
                refused = coalesce(tried.refused, case when tried.strikes >= $7 then format(
                    'it was not taken %s times while others were: %s', tried.strikes, tried.failure
                ) end),
                tries = least(parked.tries + 1, 32767), strikes = tried.strikes, tried_at = now(),
                retry_at = now() + tried.retry_ms * interval '1 millisecond',
                failure = tried.failure, decision = null, decided_by = null, decided_at = null
            from tried
            where parked.sink = $1 and parked.aggregateid = tried.aggregateid
                and parked.sequence = tried.sequence
        )
        select shard as "shard!" from moved
        "#,
        sink.as_str(),
        reader,
        Json(moves) as _,
        Json(gone) as _,
        Json(tried) as _,
        others_were_taken,
        i32::from(STRIKES_MAX),
    )
    .fetch_all(pool)
    .await
}
