//! Where messages of orders go: how each sink stands, what its receiver has refused, and what operators
//! do about it. The relay carries it out; what an operator asks for is on record with who and why.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::paging::{Page, PageSize};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// Every place that messages go to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkList {
    /// The sinks, by their names.
    pub(crate) items: Vec<SinkStanding>,
    /// Whether the database was restored from a dump. Then nothing is delivered until
    /// `ordersaga relay rebase` was run.
    pub(crate) is_restored: bool,
}

/// How a sink stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkStanding {
    /// What it is called.
    #[schema(example = "kafka")]
    sink: String,
    /// Whether it gets on.
    state: SinkState,
    /// How many messages it has still to have; 1,250 of each of its eight shards are counted at most,
    /// and while it is paused 125.
    #[schema(example = 12)]
    waiting: i64,
    /// When the oldest message was written that it has still to have, or that is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_at: Option<DateTime<Utc>>,
    /// How many messages its receiver has taken.
    #[schema(example = 48_210)]
    delivered: i64,
    /// How many its receiver did not want to hear of.
    #[schema(example = 0)]
    not_wanted: i64,
    /// How many messages were refused and wait for an operator: one of each order.
    #[schema(example = 1)]
    refused: i64,
    /// How many alone were not taken, and are tried again by themselves.
    #[schema(example = 0)]
    retried: i64,
    /// How many wait behind either, as later messages of the same orders.
    #[schema(example = 3)]
    behind: i64,
    /// When its receiver last took one.
    #[serde(skip_serializing_if = "Option::is_none")]
    progressed_at: Option<DateTime<Utc>>,
    /// Since when its receiver has taken nothing, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<DateTime<Utc>>,
    /// Why, or why the oldest message that is tried again was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the broker does not answer")]
    failure: Option<String>,
    /// Who has paused it, and why; absent while it is not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<SinkPause>,
    /// The processes that read for it, with their machines.
    readers: Vec<String>,
}

/// Who has paused a sink, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkPause {
    /// Who, as the token names them.
    #[schema(example = "eve")]
    paused_by: String,
    /// Why.
    #[schema(example = "the warehouse imports its backup")]
    why: String,
    /// Since when.
    paused_at: DateTime<Utc>,
}

/// Whether a sink gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SinkState {
    /// It is delivered to.
    Read,
    /// Its receiver takes nothing at present, and is asked again and again.
    Failing,
    /// An operator has paused it.
    Paused,
    /// No process reads for it: none runs, or none is configured to.
    Unread,
}

/// A message that an order's later ones wait behind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParkedMessage {
    /// The order.
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38")]
    order_id: String,
    /// The message's number within its order.
    #[schema(example = 3)]
    sequence: i32,
    /// Why the receiver will never take it; absent for one that is tried again by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the broker refuses a message of 2 MB")]
    refused: Option<String>,
    /// Why it was not taken when it was last tried, if the receiver did not say that it never will.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// Since when it is parked.
    parked_at: DateTime<Utc>,
    /// How often it was tried since then, or since an operator has decided.
    #[schema(example = 0)]
    tries: i16,
    /// When it is tried again, if it is by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<DateTime<Utc>>,
    /// What an operator has decided, until it is carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "replay")]
    decision: Option<String>,
    /// Who has decided, as the token named them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    decided_by: Option<String>,
    /// How many later messages of the order wait behind it.
    #[schema(example = 3)]
    behind: i64,
    #[serde(skip)]
    position: i64,
}

/// How many messages were decided about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    /// So many: one of each order. None if no message waits for a decision, or somebody was faster.
    /// Where everything is delivered again: how many messages are kept, 10,000 at most being counted.
    #[schema(example = 1)]
    decided: i64,
}

/// A sink that is not kept any more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    /// Which.
    #[schema(example = "kafka")]
    removed: String,
}

/// What to do with messages that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Deliver them again, and what waits behind them.
    Replay,
    /// Give them up, and deliver what waits behind them.
    Skip,
}

impl Decision {
    /// As the database writes it.
    const fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Skip => "skip",
        }
    }
}

/// Every sink, and how it stands.
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

/// A page of the messages of a sink that others wait behind, in the order in which they were written,
/// after this position.
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

/// Pauses a sink, or lets it go on.
///
/// **Repeats.** A sink that is paused stays paused by whoever paused it first.
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
    tracing::warn!(sink, is_paused, by, "a sink is paused or goes on");
    standings(app, Some(sink)).await?.pop().ok_or_else(not_found)
}

/// Decides about messages that a sink's receiver has refused: those of one order, or of all.
///
/// **Repeats.** What is decided is decided; a second decision finds nothing.
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
    tracing::warn!(sink, order, decision, decided, by, "it is decided about parked messages");
    Ok(Decided { decided })
}

/// Has a sink hear everything again that is kept, in order, whatever it has had.
///
/// **Repeats.** Each time it begins anew.
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
    tracing::warn!(sink, by, "a sink is told everything again");
    Ok(Decided { decided })
}

/// Forgets a sink for which no process reads: how far it was, and what it had parked.
///
/// **Errors.** 404 if there is no such sink; 409 if a process reads for it, or if it is a webhook
/// endpoint's.
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

/// The name, if a sink can have it.
fn named(sink: &str) -> Result<&str, Problem> {
    let may_be_in_a_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-:".contains(&byte);
    let is_one = sink.len() <= 80 && sink.bytes().all(may_be_in_a_name);
    if is_one { Ok(sink) } else { Err(not_found()) }
}

/// The name of a sink that there is.
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
