//! Counts what stands open: orders that have not ended, disputes, orders that wait for a review,
//! messages that somebody has still to hear of, events of the payment provider that are not applied, and
//! differences between provider and shop.
//!
//! The worker counts, because its role may read both; the starter has no right to the outbox. Every
//! worker that carries orders does so and says the same, so take the largest number of them, not
//! their sum.

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

/// Orders that have not ended, by what they wait for.
const OPEN: &str = "ordersaga_open_orders";

/// How long ago the oldest of them was placed.
const OPEN_OLDEST: &str = "ordersaga_open_orders_oldest_seconds";

/// How long the order that has waited longest for a person has done so.
const ATTENTION_OLDEST: &str = "ordersaga_attention_oldest_seconds";

/// Disputes that are not decided; those of them that wait for the shop's answer, and until when the
/// first of these can be answered.
const DISPUTES: &str = "ordersaga_disputes_open";
const TO_ANSWER: &str = "ordersaga_disputes_to_answer";
const ANSWER_DUE: &str = "ordersaga_dispute_due_timestamp_seconds";

/// Events of the payment provider that are not applied, and how long the oldest of them has waited.
const EVENTS: &str = "ordersaga_provider_events_open";
const EVENTS_OLDEST: &str = "ordersaga_provider_events_oldest_seconds";

/// Orders that wait for a review, and when the first of them is decided without one.
const REVIEWS: &str = "ordersaga_reviews_waiting";
const REVIEW_DUE: &str = "ordersaga_review_due_timestamp_seconds";

/// Differences between provider and shop that stand open, how long the oldest of them is known, and
/// when the two were last compared.
const DIFFERENCES: &str = "ordersaga_differences_open";
const DIFFERENCES_OLDEST: &str = "ordersaga_differences_oldest_seconds";
const RECONCILED_AT: &str = "ordersaga_reconciled_timestamp_seconds";

/// When all of this was last counted. Older numbers say nothing of today.
const COUNTED_AT: &str = "ordersaga_counted_timestamp_seconds";

/// How often it is counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// How many orders, and how many messages, are looked at: the oldest orders, and any messages. If
/// there are more, this is the number that is shown, so that counting costs little on the very day
/// on which everything waits.
pub const COUNTED_MAX: i64 = 10_000;

/// What an order that has not ended may wait for.
pub const STATES: [&str; 4] = ["under-way", "awaiting-customer", "unwinding", "needs-attention"];

/// What stands open at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The orders, by what they wait for: one of [`STATES`]. A state without orders is left out.
    pub orders: Vec<OpenOrders>,
    /// The disputes.
    pub disputes: Disputes,
    /// The messages.
    pub outbox: Outbox,
    /// The payment provider's events.
    pub events: Events,
    /// The reviews.
    pub reviews: Reviews,
    /// The differences.
    pub differences: Differences,
}

/// Orders that wait for the same.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOrders {
    /// One of [`STATES`]. An order that waits for its launch, or in its cancel window, is under way.
    pub state: String,
    /// How many there are.
    pub orders: i64,
    /// How many seconds ago the oldest of them was placed.
    pub oldest_seconds: f64,
    /// How many seconds one of them has waited for a person, if they do.
    pub attention_seconds: Option<f64>,
}

/// Disputes that are not decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disputes {
    /// How many there are.
    pub open: i64,
    /// How many of them wait for the shop's answer.
    pub to_answer: i64,
    /// Until when the first of them can be answered, in seconds since 1970; none if none has a time.
    pub due_at: Option<f64>,
}

/// Events of the payment provider that are not applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Events {
    /// How many.
    pub open: i64,
    /// How many seconds ago the oldest of them was received.
    pub oldest_seconds: Option<f64>,
}

/// Orders that wait for a review.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reviews {
    /// How many.
    pub waiting: i64,
    /// When the first of them is decided without one, in seconds since 1970.
    pub due_at: Option<f64>,
}

/// Differences between provider and shop that nobody has settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Differences {
    /// How many.
    pub open: i64,
    /// How many seconds ago the oldest of them was found.
    pub oldest_seconds: Option<f64>,
    /// When a comparison last came to its end, in seconds since 1970; none if none ever did.
    pub compared_at: Option<f64>,
}

/// Counts until `stop`. While the database does not answer, the last numbers stand, and so does the
/// time at which they were true.
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

/// Counts once. No statement reads an order that has ended and waits for nobody or, but for the
/// latest, a message that is published.
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
    describe_gauge!(OPEN_OLDEST, "How long ago the oldest of them was placed");
    describe_gauge!(ATTENTION_OLDEST, "How long an order has waited for a person");
    describe_gauge!(DISPUTES, "Disputes that customers' banks have not decided");
    describe_gauge!(TO_ANSWER, "Disputes that wait for the shop's answer");
    describe_gauge!(ANSWER_DUE, "Until when the first of them can be answered; 0 if none waits");
    outbox::describe();
    describe_gauge!(EVENTS, "Events of the payment provider that are not applied; 10000 at most");
    describe_gauge!(EVENTS_OLDEST, "How long the oldest of them has waited");
    describe_gauge!(REVIEWS, "Orders that wait for a review");
    describe_gauge!(REVIEW_DUE, "When the rules decide the first of them; 0 if none waits");
    describe_gauge!(DIFFERENCES, "Where provider and shop differ, and nobody has settled it");
    describe_gauge!(DIFFERENCES_OLDEST, "How long the oldest of that is known");
    describe_gauge!(RECONCILED_AT, "When the two were last compared; 0 if they never were");
    describe_gauge!(COUNTED_AT, "When open orders and unpublished messages were last counted");
}
