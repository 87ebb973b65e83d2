//! A consumer that takes effect of each event once: what the shop has taken in, country by country.
//! An idempotent consumer: applies each event exactly once, and sums the shop's takings by country.
//! `INBOX_DATABASE_URL=postgres://… cargo run -p relay --features kafka --example inbox -- KAFKA TOPIC`
//!
//! The event's number is stored in the same transaction as its effect, so a crash keeps both or
//! neither, and a redelivery finds the number. `docs/consuming.md` explains why that is enough.

#![expect(
    clippy::disallowed_methods,
    reason = "its database is its own, and not the one that the macros know"
)]

#[cfg(test)]
mod tests;

use std::env;
use std::error::Error;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// The name of the consumer and of its group.
const NAME: &str = "takings";

const TABLES: &str = "
    create table if not exists inbox (
        consumer text, order_id uuid, sequence integer, primary key (consumer, order_id, sequence)
    );
    create table if not exists countries (order_id uuid primary key, country text not null);
    create table if not exists takings (
        country text, currency text, amount numeric not null, primary key (country, currency)
    )";

/// A `CloudEvent` in binary mode: its attributes are headers, and its data is the payload.
struct Event {
    order_id: Uuid,
    sequence: i32,
    kind: String,
    data: Value,
}

/// Why an event is not applied; the consumer stops there.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0}:{1} comes before an earlier event of its order")]
    Gap(Uuid, i32),
    #[error("the inbox cannot be written")]
    Database(#[from] sqlx::Error),
}

impl Event {
    fn read(message: &impl Message) -> Option<Self> {
        let headers = message.headers()?;
        let header = |name: &str| {
            let found = headers.iter().find(|header| header.key == name)?;
            str::from_utf8(found.value?).ok()
        };
        let (order_id, sequence) = header("ce_id")?.rsplit_once(':')?;
        Some(Self {
            order_id: order_id.parse().ok()?,
            sequence: sequence.parse().ok()?,
            kind: header("ce_type")?.to_owned(),
            data: serde_json::from_slice(message.payload()?).ok()?,
        })
    }
}

/// Applies one event. Returns whether it had an effect.
async fn handle(db: &PgPool, event: &Event) -> Result<bool, NotTaken> {
    let mut transaction = db.begin().await?;
    let is_new = is_next(&mut transaction, event).await?;
    if is_new {
        take_effect(&mut transaction, event).await?;
    }
    transaction.commit().await?;
    Ok(is_new)
}

/// Records the event's number, unless it is a redelivery.
async fn is_next(db: &mut PgConnection, event: &Event) -> Result<bool, NotTaken> {
    let Event { order_id, sequence, .. } = event;
    let last = "select coalesce(max(sequence), 0) from inbox where consumer = $1 and order_id = $2";
    let last: i32 = sqlx::query_scalar(last).bind(NAME).bind(order_id).fetch_one(&mut *db).await?;
    if *sequence > last.saturating_add(1) {
        return Err(NotTaken::Gap(*order_id, *sequence));
    }
    // If two consumers take the same event, the second waits here for the first one's commit.
    let insert = sqlx::query("insert into inbox values ($1, $2, $3) on conflict do nothing");
    let inserted = insert.bind(NAME).bind(order_id).bind(sequence).execute(db).await?;
    Ok(inserted.rows_affected() == 1)
}

async fn take_effect(db: &mut PgConnection, event: &Event) -> Result<(), sqlx::Error> {
    if event.kind == "ordersaga.order.placed.v1" {
        sqlx::query("insert into countries values ($1, $2 #>> '{ship_to,country}')")
            .bind(event.order_id)
            .bind(&event.data)
            .execute(&mut *db)
            .await?;
    }
    // Every event type that moves money carries amounts; all other types, including later ones,
    // change nothing.
    sqlx::query(
        "insert into takings as known (country, currency, amount)
         select country, entry #>> '{amount,currency}', sum((entry #>> '{amount,amount}')::numeric
            * case entry ->> 'side' when 'debit' then 1 else -1 end)
         from countries, jsonb_array_elements(coalesce($2 -> 'entries', '[]')) as entry
         where order_id = $1 and entry ->> 'account' = 'payment-clearing'
         group by 1, 2
         on conflict (country, currency) do update set amount = known.amount + excluded.amount",
    )
    .bind(event.order_id)
    .bind(&event.data)
    .execute(db)
    .await?;
    Ok(())
}

async fn run(db: &PgPool, brokers: &str, topic: &str) -> Result<(), Box<dyn Error>> {
    sqlx::raw_sql(TABLES).execute(db).await?;
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", NAME)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // After this time, the partitions of a killed consumer are reassigned.
        .set("session.timeout.ms", "6000")
        .create()?;
    consumer.subscribe(&[topic])?;
    loop {
        let message = consumer.recv().await?;
        let event = Event::read(&message).ok_or("the message is no event of an order")?;
        handle(db, &event).await?;
        // Committed last: after a crash before this, the message is redelivered.
        consumer.commit_message(&message, CommitMode::Sync)?;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [brokers, topic] = arguments.as_slice() else { return Err("inbox KAFKA TOPIC".into()) };
    let db = PgPool::connect(&env::var("INBOX_DATABASE_URL")?).await?;
    run(&db, brokers, topic).await
}
