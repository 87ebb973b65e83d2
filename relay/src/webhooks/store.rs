//! Stores endpoints, and the attempts to deliver to them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Message;
use crate::webhooks::answer::Outcome;

/// An endpoint's settings for sending.
pub(super) struct Endpoint {
    pub(super) url: String,
    /// The short names of the events in its filter; empty means all.
    pub(super) events: Vec<String>,
    pub(super) is_enabled: bool,
    /// The signing keys, the newest first.
    pub(super) keys: Vec<Vec<u8>>,
}

/// A delivery attempt and its outcome.
pub(super) struct Attempt<'a> {
    pub(super) message: &'a Message,
    pub(super) attempted_at: DateTime<Utc>,
    pub(super) duration_ms: i32,
    /// The HTTP status, if there was a response.
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
}

/// A delivery requested by an operator.
pub(super) struct Asked {
    pub(super) send_id: i64,
    pub(super) endpoint_id: Uuid,
    /// The number of attempts, including this one.
    pub(super) attempts: i32,
    /// Whether this is the last attempt, because the request is too old to be retried.
    pub(super) is_last: bool,
    pub(super) message: Message,
}

/// The number of endpoints, by state.
#[derive(Default)]
pub(super) struct Counts {
    /// Enabled, and accepting messages.
    pub(super) enabled: i64,
    /// Enabled, and the last attempts failed.
    pub(super) failing: i64,
    /// Disabled by an operator.
    pub(super) disabled: i64,
    /// Disabled by the relay, because they accepted nothing.
    pub(super) given_up: i64,
}

/// All endpoints, including disabled ones.
pub(super) async fn all(db: &PgPool) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select endpoint_id from webhooks.endpoints order by created_at, endpoint_id"
    )
    .fetch_all(db)
    .await
}

/// Reads an endpoint's current settings: an operator may have changed them.
pub(super) async fn read(db: &PgPool, endpoint_id: Uuid) -> sqlx::Result<Option<Endpoint>> {
    sqlx::query_as!(
        Endpoint,
        r#"select url, events, disabled_at is null as "is_enabled!",
               array(
                   select key from webhooks.secrets as secret
                   where secret.endpoint_id = endpoint.endpoint_id
                       and (expires_at is null or expires_at > now())
                   order by secret_id desc
               ) as "keys!"
           from webhooks.endpoints as endpoint
           where endpoint.endpoint_id = $1"#,
        endpoint_id,
    )
    .fetch_optional(db)
    .await
}

/// Logs attempts, in the order in which they were made.
pub(super) async fn log(
    db: &PgPool,
    endpoint_id: Uuid,
    attempts: &[Attempt<'_>],
) -> sqlx::Result<()> {
    let tried: Value = attempts.iter().map(Attempt::row).collect();
    sqlx::query!(
        r#"insert into webhooks.deliveries (
               endpoint_id, message_id, type, attempt, attempted_at, duration_ms, status, outcome,
               failure
           )
           select $1, tried.message_id, tried.type, 1 + coalesce((
                   select max(before.attempt) from webhooks.deliveries as before
                   where before.endpoint_id = $1 and before.message_id = tried.message_id
               ), 0), tried.attempted_at, tried.duration_ms, tried.status, tried.outcome,
               tried.failure
           from jsonb_to_recordset($2) as tried (
               message_id text, type text, attempted_at timestamptz, duration_ms integer,
               status smallint, outcome text, failure text
           )
           order by tried.attempted_at"#,
        endpoint_id,
        tried,
    )
    .execute(db)
    .await?;
    Ok(())
}

impl Attempt<'_> {
    fn row(&self) -> Value {
        json!({
            "message_id": self.message.id,
            "type": self.message.event_type,
            "attempted_at": self.attempted_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            "duration_ms": self.duration_ms,
            "status": self.status,
            "outcome": self.outcome.name(),
            "failure": self.outcome.why(),
        })
    }
}

/// Records that an endpoint works.
pub(super) async fn answers(db: &PgPool, endpoint_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhooks.endpoints
         set failing_since = null, last_failed_at = null, last_failure = null
         where endpoint_id = $1 and failing_since is not null",
        endpoint_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records that an endpoint accepts nothing. Returns whether that has lasted for this many days.
///
/// Failures count as one period only if they follow each other: whatever is not accepted is retried
/// within an hour, so after a longer silence the state in between is unknown, and the days are
/// counted from the start. A single failure days after another one does not mean days of failure.
pub(super) async fn fails(
    db: &PgPool,
    endpoint_id: Uuid,
    why: &str,
    days_max: u16,
) -> sqlx::Result<bool> {
    let is_too_long = sqlx::query_scalar!(
        r#"update webhooks.endpoints
           set failing_since = case
                   when last_failed_at > now() - interval '6 hours' then failing_since else now()
               end,
               last_failed_at = now(), last_failure = $2
           where endpoint_id = $1
           returning failing_since < now() - make_interval(days => $3) as "is_too_long!""#,
        endpoint_id,
        why,
        i32::from(days_max),
    )
    .fetch_optional(db)
    .await?;
    Ok(is_too_long.unwrap_or(false))
}

/// Disables an endpoint. Returns whether it was enabled.
pub(super) async fn disable(
    db: &PgPool,
    endpoint_id: Uuid,
    reason: &str,
    why: &str,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select webhooks.disable($1, $2, null, $3) as "is_done!""#,
        endpoint_id,
        reason,
        why,
    )
    .fetch_one(db)
    .await
}

/// Takes due deliveries requested by operators: at most this many of each endpoint, the oldest
/// request first, and this many in total. For the given number of seconds, other relays skip them
/// and everything else requested for their endpoints.
///
/// The lease is checked again once the row is locked: another relay may have been faster.
pub(super) async fn take_sends(
    db: &PgPool,
    of_an_endpoint: i64,
    of_all: i64,
    hold_seconds: i32,
) -> sqlx::Result<Vec<Asked>> {
    let mut rows = sqlx::query!(
        r#"with ranked as (
               select send_id, row_number() over (partition by endpoint_id order by send_id) as place
               from webhooks.sends as send
               where next_try_at <= now() and not exists (
                   select from webhooks.sends as held
                   where held.endpoint_id = send.endpoint_id and held.held_until > now()
               )
           ), due as (
               select send.send_id
               from webhooks.sends as send join ranked on ranked.send_id = send.send_id
               where ranked.place <= $1 and (send.held_until is null or send.held_until <= now())
               order by ranked.place, send.send_id limit $2
               for update of send skip locked
           ), taken as (
               update webhooks.sends as send
               set held_until = now() + make_interval(secs => $3::integer),
                   attempts = send.attempts + 1
               from due where send.send_id = due.send_id
               returning send.send_id, send.endpoint_id, send.attempts, send.position,
                   send.requested_at
           )
           select send_id as "send_id!", endpoint_id as "endpoint_id!", attempts as "attempts!",
               requested_at as "requested_at!", message.position as "position?",
               requested_at < now() - interval '1 day' as "is_last!",
               taken.position is null as "is_trial!", message.id as "id?",
               aggregatetype as "aggregate_type?", aggregateid as "aggregate_id?",
               sequence as "sequence?", type as "event_type?",
               payload as "payload?: Json<Box<RawValue>>", message.created_at as "created_at?"
           from taken left join outbox.messages as message on message.position = taken.position
           order by send_id"#,
        of_an_endpoint,
        of_all,
        hold_seconds,
    )
    .fetch_all(db)
    .await?;
    let gone = rows.extract_if(.., |row| row.id.is_none() && !row.is_trial);
    let gone: Vec<_> = gone.map(|row| row.send_id).collect();
    if !gone.is_empty() {
        tracing::warn!(messages = gone.len(), "the outbox no longer has them: they are not sent");
        end_sends(db, &gone).await?;
    }
    let sends = rows.into_iter().map(|row| {
        let message = Message {
            position: row.position.unwrap_or_default(),
            id: row.id.unwrap_or_else(|| format!("trial:{}", row.send_id)),
            aggregate_type: row.aggregate_type.unwrap_or_else(|| "trial".to_owned()),
            aggregate_id: row.aggregate_id.unwrap_or_else(|| format!("trial-{}", row.send_id)),
            sequence: row.sequence.unwrap_or(1),
            event_type: row.event_type.unwrap_or_else(|| super::TRIAL.to_owned()),
            payload: row.payload.map_or_else(nothing, |payload| payload.0),
            created_at: row.created_at.unwrap_or(row.requested_at),
        };
        Asked {
            send_id: row.send_id,
            endpoint_id: row.endpoint_id,
            attempts: row.attempts,
            is_last: row.is_last,
            message,
        }
    });
    Ok(sends.collect())
}

/// The content of a trial message.
fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

/// Removes finished deliveries.
pub(super) async fn end_sends(db: &PgPool, send_ids: &[i64]) -> sqlx::Result<()> {
    sqlx::query!("delete from webhooks.sends where send_id = any($1)", send_ids)
        .execute(db)
        .await?;
    Ok(())
}

/// Retries these deliveries after a pause.
pub(super) async fn put_off_sends(
    db: &PgPool,
    send_ids: &[i64],
    pause_seconds: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhooks.sends
         set next_try_at = now() + make_interval(secs => $2::integer), held_until = null
         where send_id = any($1)",
        send_ids,
        pause_seconds,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Counts the endpoints by state.
pub(super) async fn counts(db: &PgPool) -> sqlx::Result<Counts> {
    sqlx::query_as!(
        Counts,
        r#"select
               count(*) filter (where disabled_at is null and failing_since is null) as "enabled!",
               count(*) filter (where disabled_at is null and failing_since is not null)
                   as "failing!",
               count(*) filter (where disabled_because = 'by-operator') as "disabled!",
               count(*) filter (where disabled_because in ('gone', 'failing')) as "given_up!"
           from webhooks.endpoints"#,
    )
    .fetch_one(db)
    .await
}

/// Deletes up to `at_most` log rows past their retention.
pub(super) async fn sweep(db: &PgPool, kept_days: u16, at_most: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select webhooks.sweep($1, $2) as "removed!""#,
        i32::from(kept_days),
        at_most,
    )
    .fetch_one(db)
    .await
}
