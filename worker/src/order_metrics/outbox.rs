//! Metrics of the outbox: undelivered messages, and the state of each sink.

use std::collections::BTreeSet;

use metrics::{describe_gauge, gauge};
use runtime::metrics::count;
use sqlx::PgPool;

use super::COUNTED_MAX;

/// Messages that the sink which is furthest behind has still to have, and how old the oldest message
/// is that a sink has still to have. Where there are no sinks, messages that no program has marked
/// as published.
const UNPUBLISHED: &str = "ordersaga_outbox_unpublished_messages";
const UNPUBLISHED_OLDEST: &str = "ordersaga_outbox_oldest_seconds";

/// When a receiver last took a message, or a program marked one as published.
const PUBLISHED_AT: &str = "ordersaga_outbox_published_timestamp_seconds";

/// Messages that receivers have refused, and that wait for an operator.
const REFUSED: &str = "ordersaga_outbox_refused_messages";

/// Sinks that no process reads for, and sinks that an operator has paused.
const UNREAD: &str = "ordersaga_outbox_sinks_unread";
const PAUSED: &str = "ordersaga_outbox_sinks_paused";

/// Whether the database was restored from another cluster's dump, so that nothing is delivered.
const RESTORED: &str = "ordersaga_outbox_restored";

/// The same of each sink.
const SINK_WAITING: &str = "ordersaga_sink_waiting_messages";
const SINK_OLDEST: &str = "ordersaga_sink_oldest_seconds";
const SINK_PARKED: &str = "ordersaga_sink_parked_messages";
const SINK_FAILING: &str = "ordersaga_sink_failing_seconds";

/// What messages wait for.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox {
    /// How many the sink has still to have that is furthest behind; without sinks, how many are not
    /// published. Paused sinks do not count.
    pub unpublished: i64,
    /// How many seconds ago the oldest of those that were looked at was written.
    pub oldest_seconds: Option<f64>,
    /// When a receiver last took one, or one was last published, in seconds since 1970.
    pub published_at: Option<f64>,
    /// Whether the database was restored from another cluster's dump.
    pub is_restored: bool,
    /// The sinks.
    pub sinks: Vec<SinkStanding>,
}

/// How a sink stands.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkStanding {
    /// What it is called.
    pub sink: String,
    /// How many messages it has still to have, as far as they are counted.
    pub waiting: i64,
    /// How many seconds ago the oldest was written of them and of those that are tried again.
    pub oldest_seconds: Option<f64>,
    /// How many messages its receiver has refused, and nobody has decided about.
    pub refused: i64,
    /// How many alone were not taken, and are tried again.
    pub retried: i64,
    /// How many wait behind either.
    pub behind: i64,
    /// For how many seconds its receiver has taken nothing, if that is so.
    pub failing_seconds: Option<f64>,
    /// When its receiver last took one, in seconds since 1970.
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

/// A program that reads the outbox by itself may mark what it has published.
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

/// `shown` are the sinks that have been shown before: one that is gone stands at zero.
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
    describe_gauge!(UNPUBLISHED, "Messages that a sink has still to have; 10000 at most");
    describe_gauge!(UNPUBLISHED_OLDEST, "How long ago the oldest of them was written");
    describe_gauge!(PUBLISHED_AT, "When a message was last taken; 0 if none ever was");
    describe_gauge!(REFUSED, "Messages that receivers have refused, and an operator decides about");
    describe_gauge!(UNREAD, "Sinks that no relay reads for");
    describe_gauge!(PAUSED, "Sinks that an operator has paused");
    describe_gauge!(
        RESTORED,
        "1 if the database was restored from a dump and nothing is delivered"
    );
    describe_gauge!(
        SINK_WAITING,
        "Messages that a sink has still to have; 10000 at most, and 1000 of a paused one"
    );
    describe_gauge!(SINK_OLDEST, "How long ago the oldest of them, or of the retried, was written");
    describe_gauge!(SINK_PARKED, "Messages of a sink that wait, by what for");
    describe_gauge!(
        SINK_FAILING,
        "For how long a sink's receiver has taken nothing; 0 if it takes"
    );
}
