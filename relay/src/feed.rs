//! Reads a sink's undelivered messages.
//!
//! A position is assigned when a message is written, and visible when its transaction commits, so a
//! reader that remembers only positions skips messages that commit late. This one remembers a
//! snapshot: everything visible to that snapshot is done. `outbox.read` returns what is visible to
//! the statement's own snapshot and not to the remembered one, in order of position.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Message, SinkName};

/// A shard that this process reads for a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Which.
    pub shard: i16,
    /// The lease under which it was read: a later one means that another process has read the shard
    /// in between.
    pub lease: i64,
    /// Whether the sink works through a backlog in this shard.
    pub is_paging: bool,
}

/// The next messages of a sink, from all shards that this process reads for it.
#[derive(Clone, Debug)]
pub struct Page {
    /// The snapshot that was read.
    pub snapshot: String,
    /// The shards that were read, including those without a message.
    pub shards: Vec<Shard>,
    /// The messages, in order of position.
    pub messages: Vec<Message>,
    /// For each message, its shard and parking state.
    pub marks: Vec<Mark>,
    /// Whether there may be more messages in this snapshot.
    pub is_full: bool,
}

/// The shard and parking state of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its shard.
    pub shard: i16,
    /// An earlier message of its order is parked, so it has to be parked behind that one.
    pub is_behind: bool,
}

impl Page {
    /// Whether there is nothing to deliver and nothing to record.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty() && !self.shards.iter().any(|shard| shard.is_paging)
    }
}

/// A row of the statement, whose message may be null.
pub(crate) struct Row {
    pub(crate) position: Option<i64>,
    pub(crate) id: Option<String>,
    pub(crate) aggregate_type: Option<String>,
    pub(crate) aggregate_id: Option<String>,
    pub(crate) sequence: Option<i32>,
    pub(crate) event_type: Option<String>,
    pub(crate) payload: Option<String>,
    pub(crate) created_at: Option<DateTime<Utc>>,
}

impl Row {
    pub(crate) fn message(self) -> sqlx::Result<Option<Message>> {
        let Some(position) = self.position else { return Ok(None) };
        let missing = || sqlx::Error::ColumnNotFound("a column of outbox.messages".to_owned());
        let payload = RawValue::from_string(self.payload.ok_or_else(missing)?)
            .map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Some(Message {
            position,
            id: self.id.ok_or_else(missing)?,
            aggregate_type: self.aggregate_type.ok_or_else(missing)?,
            aggregate_id: self.aggregate_id.ok_or_else(missing)?,
            sequence: self.sequence.ok_or_else(missing)?,
            event_type: self.event_type.ok_or_else(missing)?,
            payload,
            created_at: self.created_at.ok_or_else(missing)?,
        }))
    }
}

/// Reads a sink's next undelivered messages from the shards that this process has leased. Returns
/// none while the sink is paused, or if the database was restored from a dump.
pub async fn read(pool: &PgPool, sink: &SinkName, reader: Uuid, batch: u16) -> sqlx::Result<Page> {
    let rows = sqlx::query!(
        r#"
        with due as materialized (
            select of_shard, held_lease, is_paging, message_position
            from outbox.read($1, $2, $3)
        ), page as (
            select * from due where message_position is null
            union all
            (
                select * from due where message_position is not null
                order by message_position limit $3
            )
        )
        select
            pg_current_snapshot()::text as "snapshot!",
            of_shard as "shard!", held_lease as "lease!", is_paging as "is_paging!",
            message.position as "position?", message.id as "id?",
            message.aggregatetype as "aggregate_type?", message.aggregateid as "aggregate_id?",
            message.sequence as "sequence?", message.type as "event_type?",
            message.payload::text as "payload?", message.created_at as "created_at?",
            exists (
                select from outbox.parked
                where parked.sink = $1 and parked.aggregateid = message.aggregateid
            ) as "is_behind!"
        from page left join outbox.messages as message on message.position = page.message_position
        order by page.message_position nulls first
        "#,
        sink.as_str(),
        reader,
        i32::from(batch),
    )
    .fetch_all(pool)
    .await?;
    let mut page = Page {
        snapshot: rows.first().map(|row| row.snapshot.clone()).unwrap_or_default(),
        shards: Vec::new(),
        messages: Vec::new(),
        marks: Vec::new(),
        is_full: false,
    };
    for row in rows {
        let (shard, lease, is_paging) = (row.shard, row.lease, row.is_paging);
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
        match message.message()? {
            None => page.shards.push(Shard { shard, lease, is_paging }),
            Some(message) => {
                page.messages.push(message);
                page.marks.push(Mark { shard, is_behind: row.is_behind });
            }
        }
    }
    page.is_full = page.messages.len() >= usize::from(batch);
    Ok(page)
}
