//! Records a sink's position and parked messages: one statement records a whole batch, for the
//! shards whose lease has not changed since they were read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::SinkName;
use crate::backoff::backoff;
use crate::feed::Page;
use crate::judge::Fate;

/// The number of messages in one shard, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Accepted by the receiver.
    pub delivered: u64,
    /// Not wanted by the receiver.
    pub not_wanted: u64,
    /// Parked.
    pub parked: u64,
}

impl Counts {
    /// Counts one more message, unless its result is still open.
    pub fn add(&mut self, fate: &Fate) {
        let counted = match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::NotWanted => &mut self.not_wanted,
            Fate::Refused { .. } | Fate::Behind => &mut self.parked,
            Fate::NotTaken { is_alone, .. } if *is_alone => &mut self.parked,
            Fate::NotTaken { .. } | Fate::Open => return,
        };
        *counted = counted.saturating_add(1);
    }
}

/// What was recorded: for each shard that this process still holds, the results.
pub type Recorded = BTreeMap<i16, Counts>;

/// The change of one shard by a batch.
#[derive(Serialize)]
struct Move {
    shard: i16,
    lease: i64,
    #[serde(flatten)]
    counts: Counts,
}

/// A message to park.
#[derive(Serialize)]
struct Parked<'a> {
    shard: i16,
    position: i64,
    aggregateid: &'a str,
    sequence: i32,
    refused: Option<&'a str>,
    tries: i16,
    strikes: i16,
    retry_ms: Option<i64>,
    failure: Option<&'a str>,
}

/// Converts to milliseconds, the database's unit.
pub(crate) fn milliseconds(pause: Duration) -> i64 {
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

/// Records the results for a page, up to the first message that is still to be delivered, and why
/// the sink makes no progress, if it does not. Shards whose lease another process has taken
/// meanwhile are left unchanged, and their messages are delivered again.
pub async fn record(
    pool: &PgPool,
    sink: &SinkName,
    reader: Uuid,
    page: &Page,
    fates: &[Fate],
    failure: Option<&str>,
) -> sqlx::Result<Recorded> {
    let first_open = fates.iter().position(|fate| !fate.is_had()).unwrap_or(fates.len());
    let is_complete = first_open == page.messages.len() && !page.is_full;
    let had = page.messages.iter().zip(&page.marks).zip(fates).take(first_open);
    let up_to = had.clone().next_back().map(|((message, _), _)| message.position);
    let mut counts: Recorded =
        page.shards.iter().map(|shard| (shard.shard, Counts::default())).collect();
    let mut parked = Vec::new();
    for ((message, mark), fate) in had {
        counts.entry(mark.shard).or_default().add(fate);
        let behind = Parked {
            shard: mark.shard,
            position: message.position,
            aggregateid: &message.aggregate_id,
            sequence: message.sequence,
            refused: None,
            tries: 0,
            strikes: 0,
            retry_ms: None,
            failure: None,
        };
        parked.push(match fate {
            Fate::Delivered | Fate::NotWanted | Fate::Open => continue,
            Fate::Behind => behind,
            Fate::Refused { why } => Parked { refused: Some(why), ..behind },
            Fate::NotTaken { why, retry_after, is_strike, .. } => Parked {
                tries: 1,
                strikes: i16::from(*is_strike),
                retry_ms: Some(milliseconds(backoff(1, *retry_after))),
                failure: Some(why),
                ..behind
            },
        });
    }
    let moves = page.shards.iter().map(|read| Move {
        shard: read.shard,
        lease: read.lease,
        counts: counts.get(&read.shard).copied().unwrap_or_default(),
    });
    let moves: Vec<_> = moves.collect();
    let still_read = advance(
        pool,
        (sink, reader),
        (&page.snapshot, is_complete, up_to),
        (&moves, &parked),
        failure,
    )
    .await?;
    counts.retain(|shard, _| still_read.contains(shard));
    Ok(counts)
}

/// The statement. A shard whose messages are all done advances to the snapshot that was read;
/// another one advances to a position.
async fn advance(
    pool: &PgPool,
    (sink, reader): (&SinkName, Uuid),
    (snapshot, is_complete, up_to): (&str, bool, Option<i64>),
    (moves, parked): (&[Move], &[Parked<'_>]),
    failure: Option<&str>,
) -> sqlx::Result<Vec<i16>> {
    sqlx::query_scalar!(
        r#"
        with moved as (
            update outbox.progress as progress set
                seen = case
                    when $4 then coalesce(progress.reading, $3::text::pg_snapshot)
                    else progress.seen
                end,
                reading = case
                    when $4 then null
                    when $5::bigint is null then progress.reading
                    else coalesce(progress.reading, $3::text::pg_snapshot)
                end,
                after_position = case
                    when $4 then 0 else greatest(progress.after_position, $5::bigint)
                end,
                delivered = progress.delivered + had.delivered,
                not_wanted = progress.not_wanted + had.not_wanted,
                parked = progress.parked + had.parked,
                progressed_at = case
                    when had.delivered > 0 then now() else progress.progressed_at
                end,
                failing_since = case
                    when $8::text is not null then coalesce(progress.failing_since, now())
                end,
                failure = $8
            from jsonb_to_recordset($6) as had (
                shard smallint, lease bigint, delivered bigint, not_wanted bigint, parked bigint
            )
            where progress.sink = $1 and progress.leased_by = $2
                and progress.shard = had.shard and progress.lease = had.lease
            returning progress.shard
        ), put_aside as (
            insert into outbox.parked (
                sink, position, aggregateid, sequence, refused, tries, strikes, tried_at, retry_at,
                failure
            )
            select
                $1, position, aggregateid, sequence, refused, tries, strikes,
                case when tries > 0 then now() end, now() + retry_ms * interval '1 millisecond',
                failure
            from jsonb_to_recordset($7) as kept (
                shard smallint, position bigint, aggregateid text, sequence integer, refused text,
                tries smallint, strikes smallint, retry_ms bigint, failure text
            )
            where shard in (select shard from moved)
            on conflict do nothing
        )
        select shard as "shard!" from moved
        "#,
        sink.as_str(),
        reader,
        snapshot,
        is_complete,
        up_to,
        Json(moves) as _,
        Json(parked) as _,
        failure,
    )
    .fetch_all(pool)
    .await
}
