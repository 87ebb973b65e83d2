//! Gauges of what is open: orders, disputes, orders that wait for a review, undelivered messages,
//! unapplied events of the payment provider, and differences between provider and shop.
//!
//! The worker counts because its role may read all of this; the starter has no right to the outbox.
//! Every worker that serves orders reports the same numbers, so take their maximum, not their sum.

mod outbox;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use metrics::{describe_gauge, gauge};
pub use outbox::{Outbox, SinkStanding};
use runtime::chain;
use runtime::metrics::{count, timestamp};
use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Open orders, by what they wait for.
const OPEN: &str = "ordersaga_open_orders";

/// The age of the oldest of them.
const OPEN_OLDEST: &str = "ordersaga_open_orders_oldest_seconds";

/// The longest time that an order has waited for a person.
const ATTENTION_OLDEST: &str = "ordersaga_attention_oldest_seconds";

/// Undecided disputes; those that wait for the shop's answer; and the earliest deadline for an
/// answer.
const DISPUTES: &str = "ordersaga_disputes_open";
const TO_ANSWER: &str = "ordersaga_disputes_to_answer";
const ANSWER_DUE: &str = "ordersaga_dispute_due_timestamp_seconds";

/// Unapplied events of the payment provider, and the age of the oldest.
const EVENTS: &str = "ordersaga_provider_events_open";
const EVENTS_OLDEST: &str = "ordersaga_provider_events_oldest_seconds";

/// Orders that wait for a review, and the earliest deadline after which the rules decide.
const REVIEWS: &str = "ordersaga_reviews_waiting";
const REVIEW_DUE: &str = "ordersaga_review_due_timestamp_seconds";

/// Open differences between provider and shop, the age of the oldest, and the time of the last
/// comparison.
const DIFFERENCES: &str = "ordersaga_differences_open";
const DIFFERENCES_OLDEST: &str = "ordersaga_differences_oldest_seconds";
const RECONCILED_AT: &str = "ordersaga_reconciled_timestamp_seconds";

/// When all of this was last counted. Older values are stale.
const COUNTED_AT: &str = "ordersaga_counted_timestamp_seconds";

/// How often it is counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// The maximum number of orders, and of messages, that are counted: the oldest orders, and any
/// messages. Larger backlogs show as this number, so that counting stays cheap when everything is
/// waiting.
pub const COUNTED_MAX: i64 = 10_000;

/// What an open order may wait for.
pub const STATES: [&str; 4] = ["under-way", "awaiting-customer", "unwinding", "needs-attention"];

/// What is open at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The orders by state, which is one of [`STATES`]. A state without orders is left out.
    pub orders: Vec<OpenOrders>,
    /// The disputes.
    pub disputes: Disputes,
    /// The messages.
    pub outbox: Outbox,
    /// The payment provider's unapplied events.
    pub events: Events,
    /// The reviews.
    pub reviews: Reviews,
    /// The differences.
    pub differences: Differences,
}

/// Open orders in the same state.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOrders {
    /// One of [`STATES`]. An order that waits for its launch, or in its cancel window, is under way.
    pub state: String,
    /// How many there are.
    pub orders: i64,
    /// The age of the oldest of them, in seconds.
    pub oldest_seconds: f64,
    /// The longest time that one of them has waited for a person, in seconds.
    pub attention_seconds: Option<f64>,
}

/// Undecided disputes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disputes {
    /// How many there are.
    pub open: i64,
    /// How many of them wait for the shop's answer.
    pub to_answer: i64,
    /// The earliest deadline for an answer, in Unix seconds; `None` if none has a deadline.
    pub due_at: Option<f64>,
}

/// Unapplied events of the payment provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Events {
    /// How many.
    pub open: i64,
    /// The age of the oldest of them since it was received, in seconds.
    pub oldest_seconds: Option<f64>,
}

/// Orders that wait for a review.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reviews {
    /// How many.
    pub waiting: i64,
    /// The earliest deadline after which the rules decide, in Unix seconds.
    pub due_at: Option<f64>,
}

/// Unsettled differences between provider and shop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Differences {
    /// How many.
    pub open: i64,
    /// The age of the oldest of them since it was found, in seconds.
    pub oldest_seconds: Option<f64>,
    /// When a comparison last completed, in Unix seconds; `None` if none ever did.
    pub compared_at: Option<f64>,
}

/// Counts periodically until `stop`. While the database does not answer, the last numbers and their
/// timestamp stay.
pub async fn run(pool: PgPool, stop: CancellationToken) {
    describe();
    let mut due = interval(COUNT_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = BTreeSet::new();
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        match read(&pool).await {
            Ok(open) => show(&open, &mut shown),
            Err(error) => warn!(error = chain(&error), "open orders could not be counted"),
        }
    }
}

/// Counts once. No statement reads ended orders that wait for nobody or, except for the latest one,
/// published messages.
pub async fn read(pool: &PgPool) -> sqlx::Result<Open> {
    let orders = sqlx::query_as!(
        OpenOrders,
        r#"
        select
            case
                when attention is not null then 'needs-attention'
                when ending is not null then 'unwinding'
                when payment_status = 'awaiting-customer' then 'awaiting-customer'
                else 'under-way'
            end as "state!",
            count(*) as "orders!",
            extract(epoch from now() - min(placed_at))::double precision as "oldest_seconds!",
            extract(epoch from now() - min((attention ->> 'since')::timestamptz))::double precision
                as attention_seconds
        from (
            (
                select placed_at, attention, ending, payment_status from orders.orders
                where status_data ->> 'status' = 'processing'
                order by placed_at, order_id
                limit $1
            )
            union all
            -- A refund of theirs waits for a person.
            (
                select placed_at, attention, ending, payment_status from orders.orders
                where attention is not null and status_data ->> 'status' <> 'processing'
                limit $1
            )
        ) as open_order
        group by 1
        "#,
        COUNTED_MAX,
    )
    .fetch_all(pool)
    .await?;
    Ok(Open {
        orders,
        disputes: disputes(pool).await?,
        outbox: outbox::read(pool).await?,
        events: read_events(pool).await?,
        reviews: reviews(pool).await?,
        differences: differences(pool).await?,
    })
}

async fn disputes(pool: &PgPool) -> sqlx::Result<Disputes> {
    sqlx::query_as!(
        Disputes,
        r#"
        select count(*) as "open!",
            count(*) filter (where asked_at is not null) as "to_answer!",
            extract(epoch from min(evidence_due) filter (where asked_at is not null))
                ::double precision as due_at
        from payments.disputes where is_open
        "#,
    )
    .fetch_one(pool)
    .await
}

async fn reviews(pool: &PgPool) -> sqlx::Result<Reviews> {
    sqlx::query_as!(
        Reviews,
        r#"
        select count(*) as "waiting!",
            extract(epoch from min(review_until))::double precision as due_at
        from fraud.reviews where decision is null
        "#,
    )
    .fetch_one(pool)
    .await
}

async fn differences(pool: &PgPool) -> sqlx::Result<Differences> {
    sqlx::query_as!(
        Differences,
        r#"
        select count(*) as "open!",
            extract(epoch from now() - min(opened_at))::double precision as oldest_seconds,
            (
                select extract(epoch from max(finished_at))::double precision
                from finance.runs where state = 'finished'
            ) as compared_at
        from finance.differences where closed_at is null and settled_at is null
        "#,
    )
    .fetch_one(pool)
    .await
}

async fn read_events(pool: &PgPool) -> sqlx::Result<Events> {
    sqlx::query_as!(
        Events,
        r#"
        select
            count(*) as "open!",
            extract(epoch from now() - min(received_at))::double precision as oldest_seconds
        from (
            select received_at from inbox.events where state = 'open'
            order by received_at, event_id
            limit $1
        ) as open_event
        "#,
        COUNTED_MAX,
    )
    .fetch_one(pool)
    .await
}

fn show(
    Open { orders, disputes, outbox, events, reviews, differences }: &Open,
    shown: &mut BTreeSet<String>,
) {
    for state in STATES {
        let found = orders.iter().find(|found| found.state == state);
        gauge!(OPEN, "state" => state).set(found.map_or(0.0, |found| count(found.orders)));
        let oldest = found.map_or(0.0, |found| found.oldest_seconds);
        gauge!(OPEN_OLDEST, "state" => state).set(oldest);
    }
    let waited = orders.iter().filter_map(|found| found.attention_seconds).fold(0.0, f64::max);
    gauge!(ATTENTION_OLDEST).set(waited);
    gauge!(DISPUTES).set(count(disputes.open));
    gauge!(TO_ANSWER).set(count(disputes.to_answer));
    gauge!(ANSWER_DUE).set(disputes.due_at.unwrap_or(0.0));
    outbox::show(outbox, shown);
    gauge!(EVENTS).set(count(events.open));
    gauge!(EVENTS_OLDEST).set(events.oldest_seconds.unwrap_or(0.0));
    gauge!(REVIEWS).set(count(reviews.waiting));
    gauge!(REVIEW_DUE).set(reviews.due_at.unwrap_or(0.0));
    gauge!(DIFFERENCES).set(count(differences.open));
    gauge!(DIFFERENCES_OLDEST).set(differences.oldest_seconds.unwrap_or(0.0));
    gauge!(RECONCILED_AT).set(differences.compared_at.unwrap_or(0.0));
    gauge!(COUNTED_AT).set(timestamp(SystemTime::now()));
}

fn describe() {
    describe_gauge!(OPEN, "Orders that have not ended, by what they wait for; 10000 at most");
    describe_gauge!(OPEN_OLDEST, "Age of the oldest open order");
    describe_gauge!(ATTENTION_OLDEST, "Longest time that an order has waited for a person");
    describe_gauge!(DISPUTES, "Disputes that customers' banks have not decided");
    describe_gauge!(TO_ANSWER, "Disputes that wait for the shop's answer");
    describe_gauge!(ANSWER_DUE, "Earliest deadline for the shop's answer; 0 if none waits");
    outbox::describe();
    describe_gauge!(EVENTS, "Events of the payment provider that are not applied; 10000 at most");
    describe_gauge!(EVENTS_OLDEST, "Age of the oldest unapplied event");
    describe_gauge!(REVIEWS, "Orders that wait for a review");
    describe_gauge!(REVIEW_DUE, "Earliest deadline of a review; 0 if none waits");
    describe_gauge!(DIFFERENCES, "Unsettled differences between provider and shop");
    describe_gauge!(DIFFERENCES_OLDEST, "Age of the oldest unsettled difference");
    describe_gauge!(RECONCILED_AT, "Time of the last reconciliation; 0 if there was none");
    describe_gauge!(COUNTED_AT, "When open orders and unpublished messages were last counted");
}
