//! Metrics of the outbox: undelivered messages, and the state of each sink.

use std::collections::BTreeSet;

use metrics::{describe_gauge, gauge};
use runtime::metrics::count;
use sqlx::PgPool;

use super::COUNTED_MAX;

/// Undelivered messages of the sink that is furthest behind, and the age of the oldest undelivered
/// message of any sink. Without sinks: messages that no program has marked as published.
const UNPUBLISHED: &str = "ordersaga_outbox_unpublished_messages";
const UNPUBLISHED_OLDEST: &str = "ordersaga_outbox_oldest_seconds";

/// When a receiver last accepted a message, or a program marked one as published.
const PUBLISHED_AT: &str = "ordersaga_outbox_published_timestamp_seconds";

/// Messages that receivers have refused, and that an operator has to decide about.
const REFUSED: &str = "ordersaga_outbox_refused_messages";

/// Sinks without a reading process, and sinks paused by an operator.
const UNREAD: &str = "ordersaga_outbox_sinks_unread";
const PAUSED: &str = "ordersaga_outbox_sinks_paused";

/// 1 if the database was restored from another cluster's dump, so that nothing is delivered.
const RESTORED: &str = "ordersaga_outbox_restored";

/// The same for each sink.
const SINK_WAITING: &str = "ordersaga_sink_waiting_messages";
const SINK_OLDEST: &str = "ordersaga_sink_oldest_seconds";
const SINK_PARKED: &str = "ordersaga_sink_parked_messages";
const SINK_FAILING: &str = "ordersaga_sink_failing_seconds";

/// The state of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox {
    /// Undelivered messages of the sink that is furthest behind; without sinks, unpublished
    /// messages. Paused sinks do not count.
    pub unpublished: i64,
    /// The age of the oldest message that was looked at, in seconds.
    pub oldest_seconds: Option<f64>,
    /// When a receiver last accepted a message, or one was last published, in Unix seconds.
    pub published_at: Option<f64>,
    /// Whether the database was restored from another cluster's dump.
    pub is_restored: bool,
    /// The sinks.
    pub sinks: Vec<SinkStanding>,
}

/// The state of a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkStanding {
    /// The sink's name.
    pub sink: String,
    /// The number of undelivered messages, as far as they are counted.
    pub waiting: i64,
    /// The age of the oldest undelivered or retried message, in seconds.
    pub oldest_seconds: Option<f64>,
    /// Messages that its receiver has refused, and that nobody has decided about.
    pub refused: i64,
    /// Single messages that were not accepted and are retried.
    pub retried: i64,
    /// Messages that wait behind a refused or retried one of their order.
    pub behind: i64,
    /// How long its receiver has accepted nothing, in seconds; `None` if it accepts.
    pub failing_seconds: Option<f64>,
    /// When its receiver last accepted a message, in Unix seconds.
    pub progressed_at: Option<f64>,
    /// Whether an operator has paused it.
    pub is_paused: bool,
    /// Whether a process reads for it.
    pub is_read: bool,
}

pub(super) async fn read(pool: &PgPool) -> sqlx::Result<Outbox> {
    let sinks = sqlx::query_as!(
        SinkStanding,
        r#"
        select sink as "sink!", waiting as "waiting!",
            extract(epoch from now() - oldest_at)::double precision as oldest_seconds,
            refused as "refused!", retried as "retried!", behind as "behind!",
            extract(epoch from now() - failing_since)::double precision as failing_seconds,
            extract(epoch from progressed_at)::double precision as progressed_at,
            paused_at is not null as "is_paused!", readers <> '{}' as "is_read!"
        from outbox.standings()
        "#,
    )
    .fetch_all(pool)
    .await?;
    let is_restored = sqlx::query_scalar!(r#"select outbox.is_restored() as "is_restored!""#)
        .fetch_one(pool)
        .await?;
    if sinks.is_empty() {
        return Ok(Outbox { is_restored, ..without_sinks(pool).await? });
    }
    let going = || sinks.iter().filter(|sink| !sink.is_paused);
    Ok(Outbox {
        unpublished: going().map(|sink| sink.waiting).max().unwrap_or_default(),
        oldest_seconds: going().filter_map(|sink| sink.oldest_seconds).reduce(f64::max),
        published_at: sinks.iter().filter_map(|sink| sink.progressed_at).reduce(f64::max),
        is_restored,
        sinks,
    })
}

/// A program that reads the outbox directly may mark what it has published.
async fn without_sinks(pool: &PgPool) -> sqlx::Result<Outbox> {
    let counted = sqlx::query!(
        r#"
        select
            count(*) as "unpublished!",
            extract(epoch from now() - min(created_at))::double precision as oldest_seconds,
            (
                select extract(epoch from max(published_at))::double precision
                from outbox.messages where published_at is not null
            ) as published_at
        from (
            select created_at from outbox.messages where published_at is null
            order by aggregateid, sequence
            limit $1
        ) as unpublished
        "#,
        COUNTED_MAX,
    )
    .fetch_one(pool)
    .await?;
    Ok(Outbox {
        unpublished: counted.unpublished,
        oldest_seconds: counted.oldest_seconds,
        published_at: counted.published_at,
        is_restored: false,
        sinks: Vec::new(),
    })
}

/// `shown` holds the sinks shown before: one that no longer exists is reset to zero.
pub(super) fn show(outbox: &Outbox, shown: &mut BTreeSet<String>) {
    let sinks = &outbox.sinks;
    gauge!(UNPUBLISHED).set(count(outbox.unpublished));
    gauge!(UNPUBLISHED_OLDEST).set(outbox.oldest_seconds.unwrap_or(0.0));
    gauge!(PUBLISHED_AT).set(outbox.published_at.unwrap_or(0.0));
    gauge!(RESTORED).set(f64::from(u8::from(outbox.is_restored)));
    let refused = sinks.iter().map(|sink| sink.refused).fold(0, i64::saturating_add);
    gauge!(REFUSED).set(count(refused));
    let unread = sinks.iter().filter(|sink| !sink.is_read && !sink.is_paused);
    gauge!(UNREAD).set(count(unread.count()));
    gauge!(PAUSED).set(count(sinks.iter().filter(|sink| sink.is_paused).count()));
    shown.extend(sinks.iter().map(|sink| sink.sink.clone()));
    for name in &*shown {
        show_sink(name, sinks.iter().find(|sink| sink.sink == *name));
    }
}

fn show_sink(name: &str, sink: Option<&SinkStanding>) {
    let of = |number: fn(&SinkStanding) -> i64| count(sink.map_or(0, number));
    let oldest = sink.and_then(|sink| sink.oldest_seconds).unwrap_or(0.0);
    let failing = sink.and_then(|sink| sink.failing_seconds).unwrap_or(0.0);
    let sink = || name.to_owned();
    gauge!(SINK_WAITING, "sink" => sink()).set(of(|sink| sink.waiting));
    gauge!(SINK_OLDEST, "sink" => sink()).set(oldest);
    gauge!(SINK_FAILING, "sink" => sink()).set(failing);
    gauge!(SINK_PARKED, "sink" => sink(), "state" => "refused").set(of(|sink| sink.refused));
    gauge!(SINK_PARKED, "sink" => sink(), "state" => "retried").set(of(|sink| sink.retried));
    gauge!(SINK_PARKED, "sink" => sink(), "state" => "behind").set(of(|sink| sink.behind));
}

pub(super) fn describe() {
    describe_gauge!(UNPUBLISHED, "Undelivered messages of the sink furthest behind; 10000 at most");
    describe_gauge!(UNPUBLISHED_OLDEST, "Age of the oldest undelivered message");
    describe_gauge!(PUBLISHED_AT, "When a message was last delivered; 0 if none ever was");
    describe_gauge!(REFUSED, "Messages that receivers have refused, and an operator decides about");
    describe_gauge!(UNREAD, "Sinks without a relay");
    describe_gauge!(PAUSED, "Sinks that an operator has paused");
    describe_gauge!(
        RESTORED,
        "1 if the database was restored from a dump and nothing is delivered"
    );
    describe_gauge!(
        SINK_WAITING,
        "Undelivered messages of a sink; 10000 at most, and 1000 of a paused one"
    );
    describe_gauge!(SINK_OLDEST, "Age of a sink's oldest undelivered or retried message");
    describe_gauge!(SINK_PARKED, "Parked messages of a sink, by reason");
    describe_gauge!(
        SINK_FAILING,
        "How long a sink's receiver has accepted nothing; 0 if it accepts"
    );
}
