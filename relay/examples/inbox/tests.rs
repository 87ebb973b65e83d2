//! Each event is applied once, whether it is redelivered, late or follows a crash. The last test
//! does the same through a broker, if the launcher has started one (`ORDERSAGA_TEST_KAFKA`).

use std::io::{self, Write as _};
use std::time::Duration;

use rdkafka::Timestamp;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use super::*;

const ORDER: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// The relevant events of an order: 24.30 are received, and 4.30 refunded.
fn happened(sequence: i32) -> (&'static str, Value) {
    let booked = |side: &str, amount: &str| {
        let entry = |account: &str, side: &str| {
            json!({
                "account": account, "side": side,
                "amount": { "amount": amount, "currency": "GBP" },
            })
        };
        let other = if side == "debit" { "credit" } else { "debit" };
        json!({ "entries": [entry("payment-clearing", side), entry("customer-deposits", other)] })
    };
    match sequence {
        1 => ("ordersaga.order.placed.v1", json!({ "ship_to": { "country": "GB" } })),
        2 => ("ordersaga.stock.reserved.v1", json!({ "lines": [] })),
        3 => ("ordersaga.ledger.posted.v1", booked("debit", "24.30")),
        _ => ("ordersaga.ledger.refund-posted.v1", booked("credit", "4.30")),
    }
}

fn headers(order: Uuid, sequence: i32) -> OwnedHeaders {
    let (kind, _) = happened(sequence);
    let id = format!("{order}:{sequence}");
    let headers = [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_type", kind)];
    headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

fn event(order: Uuid, sequence: i32) -> Event {
    let payload = happened(sequence).1.to_string().into_bytes();
    let (topic, time) = ("a topic".to_owned(), Timestamp::NotAvailable);
    let headers = Some(headers(order, sequence));
    Event::read(&OwnedMessage::new(Some(payload), None, topic, time, 0, 0, headers)).unwrap()
}

async fn opened(db: &PgPool) {
    sqlx::raw_sql(TABLES).execute(db).await.unwrap();
}

async fn takes(db: &PgPool, order: Uuid, sequence: i32) -> bool {
    handle(db, &event(order, sequence)).await.unwrap()
}

async fn takings(db: &PgPool) -> Vec<String> {
    let takings = "select country || ' ' || currency || ' ' || amount from takings";
    sqlx::query_scalar(takings).fetch_all(db).await.unwrap()
}

async fn taken(db: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from inbox").fetch_one(db).await.unwrap()
}

#[sqlx::test(migrations = false)]
async fn a_repeat_takes_no_effect(db: PgPool) {
    opened(&db).await;
    for sequence in 1..=4 {
        assert!(takes(&db, ORDER, sequence).await);
    }
    // As after a crash: redelivery starts over at an earlier message.
    for sequence in [3, 4, 1, 2, 3, 4] {
        assert!(!takes(&db, ORDER, sequence).await);
    }
    assert_eq!((takings(&db).await, taken(&db).await), (vec!["GB GBP 20.00".to_owned()], 4));
}

#[sqlx::test(migrations = false)]
async fn orders_are_told_in_any_mixture(db: PgPool) {
    opened(&db).await;
    for (order, sequence) in [
        (ORDER, 1),
        (OTHER, 1),
        (OTHER, 2),
        (ORDER, 2),
        (ORDER, 1),
        (OTHER, 3),
        (ORDER, 3),
        (OTHER, 3),
    ] {
        takes(&db, order, sequence).await;
    }
    assert_eq!(takings(&db).await, ["GB GBP 48.60"]);
}

#[sqlx::test(migrations = false)]
async fn what_comes_before_an_earlier_event_is_refused_and_taken_once_that_is_there(db: PgPool) {
    opened(&db).await;
    takes(&db, ORDER, 1).await;
    let early = handle(&db, &event(ORDER, 3)).await;
    assert!(matches!(early, Err(NotTaken::Gap(order, 3)) if order == ORDER), "{early:?}");
    assert_eq!(takings(&db).await, Vec::<String>::new());
    assert!(takes(&db, ORDER, 2).await && takes(&db, ORDER, 3).await);
    assert_eq!(takings(&db).await, ["GB GBP 24.30"]);
}

/// Simulates a crash after all statements and before the commit.
const CRASH: &str = "
    create function crash() returns trigger language plpgsql as
        $$ begin raise exception 'the power is off'; end $$;
    create constraint trigger crash after insert on inbox deferrable initially deferred
        for each row execute function crash()";

#[sqlx::test(migrations = false)]
async fn a_crash_between_effect_and_commit_leaves_neither(db: PgPool) {
    opened(&db).await;
    takes(&db, ORDER, 1).await;
    takes(&db, ORDER, 2).await;
    sqlx::raw_sql(CRASH).execute(&db).await.unwrap();
    assert!(handle(&db, &event(ORDER, 3)).await.is_err());
    assert_eq!((takings(&db).await, taken(&db).await), (vec![], 2));
    sqlx::raw_sql("drop trigger crash on inbox").execute(&db).await.unwrap();
    assert!(takes(&db, ORDER, 3).await && !takes(&db, ORDER, 3).await);
    assert_eq!(takings(&db).await, ["GB GBP 24.30"]);
}

#[sqlx::test(migrations = false)]
async fn of_two_that_take_the_same_event_at_once_one_takes_effect(db: PgPool) {
    opened(&db).await;
    for sequence in 1..=4 {
        let event = event(ORDER, sequence);
        let both = tokio::join!(handle(&db, &event), handle(&db, &event));
        let effects = [both.0.unwrap(), both.1.unwrap()];
        assert_eq!(effects.iter().filter(|took| **took).count(), 1);
    }
    assert_eq!(takings(&db).await, ["GB GBP 20.00"]);
}

/// Produces events to a topic used only by this test.
async fn produce(brokers: &str, topic: &str, told: &[(Uuid, i32)]) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for (order, sequence) in told {
        let (key, payload) = (order.to_string(), happened(*sequence).1.to_string());
        let record = FutureRecord::to(topic).key(&key).payload(&payload);
        let record = record.headers(headers(*order, *sequence));
        producer.send(record, Duration::from_mins(1)).await.unwrap();
    }
}

/// Runs the consumer until it has applied this many events, and then aborts it.
async fn until_taken(db: &PgPool, brokers: &str, topic: &str, events: i64) {
    let all = async {
        while taken(db).await < events {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = run(db, brokers, topic) => panic!("{ended:?}"),
        () = all => {}
    }
}

#[sqlx::test(migrations = false)]
async fn a_consumer_that_dies_goes_on_where_it_was(db: PgPool) {
    let Ok(brokers) = env::var("ORDERSAGA_TEST_KAFKA") else {
        let why = "inbox: NOT RUN through a broker: ORDERSAGA_TEST_KAFKA names none";
        writeln!(io::stderr(), "{why}").unwrap();
        return;
    };
    opened(&db).await;
    let topic = format!("inbox-{}", Uuid::now_v7());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    admin.create_topics([&new], &AdminOptions::new()).await.unwrap();

    produce(&brokers, &topic, &[(ORDER, 1), (OTHER, 1), (ORDER, 2), (OTHER, 2)]).await;
    until_taken(&db, &brokers, &topic, 4).await;
    let again = [(ORDER, 1), (ORDER, 2), (OTHER, 1), (OTHER, 2)];
    let new = [(ORDER, 3), (OTHER, 3), (ORDER, 4), (OTHER, 4)];
    produce(&brokers, &topic, &[again, new].concat()).await;
    until_taken(&db, &brokers, &topic, 8).await;
    assert_eq!(takings(&db).await, ["GB GBP 40.00"]);
}
