//! The sinks of the relay: the state of each, parked messages, and operators' commands. The relay
//! carries the commands out; each is recorded with who gave it and why.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::paging::{Page, PageSize};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// All sinks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkList {
    /// The sinks, by name.
    pub(crate) items: Vec<SinkStanding>,
    /// Whether the database was restored from a dump. Then nothing is delivered until
    /// `ordersaga relay rebase` was run.
    pub(crate) is_restored: bool,
}

/// The state of a sink.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkStanding {
    /// The sink's name.
    #[schema(example = "kafka")]
    sink: String,
    /// Its state.
    state: SinkState,
    /// The number of messages still to be delivered. At most 1,250 are counted in each of its eight
    /// shards, or 125 while it is paused.
    #[schema(example = 12)]
    waiting: i64,
    /// When the oldest message was written that is still to be delivered or is being retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_at: Option<DateTime<Utc>>,
    /// The number of messages that its receiver has accepted.
    #[schema(example = 48_210)]
    delivered: i64,
    /// The number of messages that were filtered out.
    #[schema(example = 0)]
    not_wanted: i64,
    /// The number of refused messages that wait for an operator: at most one of each order.
    #[schema(example = 1)]
    refused: i64,
    /// The number of messages that failed individually and are retried automatically.
    #[schema(example = 0)]
    retried: i64,
    /// The number of messages that wait behind those, as later messages of the same orders.
    #[schema(example = 3)]
    behind: i64,
    /// When its receiver last accepted a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    progressed_at: Option<DateTime<Utc>>,
    /// Since when its receiver has accepted nothing, if it is failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<DateTime<Utc>>,
    /// The error of the sink, or of the oldest message that is being retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the broker does not answer")]
    failure: Option<String>,
    /// Who paused it and why; absent while it is not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<SinkPause>,
    /// The processes that serve it, with their hosts.
    readers: Vec<String>,
}

/// Who paused a sink, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkPause {
    /// Who paused it, as named by their token.
    #[schema(example = "eve")]
    paused_by: String,
    /// Why.
    #[schema(example = "the warehouse imports its backup")]
    why: String,
    /// Since when.
    paused_at: DateTime<Utc>,
}

/// The state of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SinkState {
    /// Messages are delivered.
    Read,
    /// Its receiver accepts nothing at present, and is retried.
    Failing,
    /// An operator has paused it.
    Paused,
    /// No process serves it: none is running or configured for it.
    Unread,
}

/// A parked message, behind which later messages of its order wait.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParkedMessage {
    /// The order.
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38")]
    order_id: String,
    /// The message's number within its order.
    #[schema(example = 3)]
    sequence: i32,
    /// Why the receiver will never accept it; absent for a message that is retried automatically.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the broker refuses a message of 2 MB")]
    refused: Option<String>,
    /// Why the last attempt failed, if the receiver did not refuse it for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// Since when it is parked.
    parked_at: DateTime<Utc>,
    /// The number of attempts since then, or since an operator's decision.
    #[schema(example = 0)]
    tries: i16,
    /// When it is retried automatically, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<DateTime<Utc>>,
    /// An operator's decision that has not been carried out yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "replay")]
    decision: Option<String>,
    /// Who decided, as named by their token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    decided_by: Option<String>,
    /// The number of later messages of the order that wait behind it.
    #[schema(example = 3)]
    behind: i64,
    #[serde(skip)]
    position: i64,
}

/// The number of messages that a decision covers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    /// One of each order; 0 if no message waited for a decision, or another operator was faster.
    /// For a full replay: the number of kept messages, counted up to 10,000.
    #[schema(example = 1)]
    decided: i64,
}

/// A sink that was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    /// The sink's name.
    #[schema(example = "kafka")]
    removed: String,
}

/// A decision about refused messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Deliver them again, with those that wait behind them.
    Replay,
    /// Give them up, and deliver those that wait behind them.
    Skip,
}

impl Decision {
    /// Its name in the database.
    const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Skip => "skip",
        }
    }
}

/// All sinks with their states.
pub(crate) async fn list(app: &App) -> Result<SinkList, Problem> {
    const DOING: &str = "reading how the sinks stand";
    let is_restored = sqlx::query_scalar!(r#"select outbox.is_restored() as "is_restored!""#)
        .fetch_one(&app.database)
        .await
        .or_problem(DOING)?;
    Ok(SinkList { items: standings(app, None).await?, is_restored })
}

async fn standings(app: &App, sink: Option<&str>) -> Result<Vec<SinkStanding>, Problem> {
    let rows = sqlx::query!(
        r#"select
               sink as "sink!", paused_at, paused_by, paused_why, waiting as "waiting!", oldest_at,
               delivered as "delivered!", not_wanted as "not_wanted!", refused as "refused!",
               retried as "retried!", behind as "behind!", progressed_at, failing_since, failure,
               readers as "readers!"
           from outbox.standings() where sink = coalesce($1, sink)"#,
        sink,
    )
    .fetch_all(&app.database)
    .await
    .or_problem("reading how the sinks stand")?;
    let standings = rows.into_iter().map(|row| {
        let paused = row.paused_at.zip(row.paused_by).zip(row.paused_why);
        let paused =
            paused.map(|((paused_at, paused_by), why)| SinkPause { paused_by, why, paused_at });
        let state = match (&paused, row.failing_since) {
            (Some(_), _) => SinkState::Paused,
            (None, _) if row.readers.is_empty() => SinkState::Unread,
            (None, Some(_)) => SinkState::Failing,
            (None, None) => SinkState::Read,
        };
        SinkStanding {
            sink: row.sink,
            state,
            waiting: row.waiting,
            oldest_at: row.oldest_at,
            delivered: row.delivered,
            not_wanted: row.not_wanted,
            refused: row.refused,
            retried: row.retried,
            behind: row.behind,
            progressed_at: row.progressed_at,
            failing_since: row.failing_since,
            failure: row.failure,
            paused,
            readers: row.readers,
        }
    });
    Ok(standings.collect())
}

/// A page of the parked messages of a sink, in the order in which they were written, after this
/// position.
///
/// **Errors.** 404 if there is no such sink.
pub(crate) async fn parked(
    app: &App,
    sink: &str,
    after: Option<i64>,
    size: PageSize,
) -> Result<Page<ParkedMessage>, Problem> {
    let sink = known(app, sink).await?;
    let rows = sqlx::query_as!(
        ParkedMessage,
        r#"with first as (
               select distinct on (aggregateid) *,
                   count(*) over (partition by aggregateid) - 1 as behind
               from outbox.parked where sink = $1
               order by aggregateid, sequence
           )
           select aggregateid as "order_id!", sequence as "sequence!", refused, failure,
               parked_at as "parked_at!", tries as "tries!",
               case when refused is null or decision is not null then retry_at end as retry_at,
               decision, decided_by, behind as "behind!", position as "position!"
           from first where position > coalesce($2::bigint, 0)
           order by position limit $3"#,
        sink,
        after,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing parked messages")?;
    Ok(Page::of(rows, size, |last: &ParkedMessage| last.position.to_string()))
}

/// Pauses or resumes a sink.
///
/// **Repeats.** A paused sink stays paused, in the name of whoever paused it first.
///
/// **Errors.** 404 if there is no such sink.
pub(crate) async fn pause(
    app: &App,
    caller: &Caller,
    sink: &str,
    is_paused: bool,
    why: &str,
) -> Result<SinkStanding, Problem> {
    let (why, sink) = (reason(why)?, named(sink)?);
    let by = caller.name();
    let is_known = sqlx::query_scalar!(
        r#"select outbox.pause($1, $2, $3, $4) as "is_known!""#,
        sink,
        is_paused,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("pausing a sink or letting it go on")?;
    if !is_known {
        return Err(not_found());
    }
    tracing::warn!(sink, is_paused, by, "a sink was paused or resumed");
    standings(app, Some(sink)).await?.pop().ok_or_else(not_found)
}

/// Decides about refused messages of a sink: those of one order, or all.
///
/// **Repeats.** A second decision finds nothing left to decide.
///
/// **Errors.** 404 if there is no such sink.
pub(crate) async fn decide(
    app: &App,
    caller: &Caller,
    sink: &str,
    order: Option<Uuid>,
    decision: Decision,
    why: &str,
) -> Result<Decided, Problem> {
    let why = reason(why)?;
    let sink = known(app, sink).await?;
    let (by, decision) = (caller.name(), decision.name());
    let order = order.map(|order| order.to_string());
    let decided = sqlx::query_scalar!(
        r#"select outbox.decide($1, $2, $3, $4, $5) as "decided!""#,
        sink,
        order,
        decision,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("deciding about parked messages")?;
    tracing::warn!(sink, order, decision, decided, by, "parked messages were decided");
    Ok(Decided { decided })
}

/// Delivers everything that the outbox keeps to a sink again, in order, whether or not it was
/// delivered before.
///
/// **Repeats.** Each call starts over.
///
/// **Errors.** 404 if there is no such sink.
pub(crate) async fn replay_all(
    app: &App,
    caller: &Caller,
    sink: &str,
    why: &str,
) -> Result<Decided, Problem> {
    let (why, sink) = (reason(why)?, named(sink)?);
    let by = caller.name();
    let kept = sqlx::query_scalar!("select outbox.replay_all($1, $2, $3)", sink, by, why)
        .fetch_one(&app.database)
        .await
        .or_problem("having a sink hear everything again")?;
    let Some(decided) = kept else { return Err(not_found()) };
    tracing::warn!(sink, by, "a sink replays all messages");
    Ok(Decided { decided })
}

/// Removes a sink that no process serves, with its position and its parked messages.
///
/// **Errors.** 404 if there is no such sink; 409 if a process serves it, or if it belongs to a
/// webhook endpoint.
pub(crate) async fn remove(
    app: &App,
    caller: &Caller,
    sink: &str,
    why: &str,
) -> Result<Removed, Problem> {
    let (why, sink) = (reason(why)?, named(sink)?);
    let by = caller.name();
    let what =
        sqlx::query_scalar!(r#"select outbox.remove($1, $2, $3) as "what!""#, sink, by, why,)
            .fetch_one(&app.database)
            .await
            .or_problem("removing a sink")?;
    match what.as_str() {
        "removed" => {
            tracing::warn!(sink, by, "a sink is removed");
            Ok(Removed { removed: sink.to_owned() })
        }
        "endpoint" => Err(Problem::new(
            Kind::SinkInUse,
            "This sink is a webhook endpoint's, and goes with it. Remove the endpoint instead: DELETE \
             /v1/webhook-endpoints/{id}, or `ordersaga endpoint remove`.",
        )),
        "read" => Err(Problem::new(
            Kind::SinkInUse,
            "A process reads for this sink. Take it out of the relay's settings first, and wait 15 \
             seconds.",
        )),
        _ => Err(not_found()),
    }
}

fn reason(why: &str) -> Result<String, Problem> {
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    rules.kept(why)
}

fn not_found() -> Problem {
    Problem::new(
        Kind::SinkNotFound,
        "There is no sink of this name. GET /v1/relay/sinks lists them.",
    )
}

/// Checks that a name is valid for a sink.
fn named(sink: &str) -> Result<&str, Problem> {
    let may_be_in_a_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-:".contains(&byte);
    let is_one = sink.len() <= 80 && sink.bytes().all(may_be_in_a_name);
    if is_one { Ok(sink) } else { Err(not_found()) }
}

/// Checks that a sink exists.
async fn known<'a>(app: &App, sink: &'a str) -> Result<&'a str, Problem> {
    let sink = named(sink)?;
    let is_known = sqlx::query_scalar!(
        r#"select exists (select from outbox.sinks where sink = $1) as "is_known!""#,
        sink,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("looking for a sink")?;
    if is_known { Ok(sink) } else { Err(not_found()) }
}
