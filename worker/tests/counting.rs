//! The metrics count everything that is open, and nothing else.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod support;

use std::time::Duration;

use domain::Order;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use support::{order, put_on_record};
use worker::order_metrics::{OpenOrders, read};

async fn change(db: &PgPool, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(db).await.unwrap();
}

/// An order placed this many seconds ago, whose row is then changed by `assignments`.
async fn placed(db: &PgPool, seconds_ago: u32, assignments: &str) -> Order {
    let order = order();
    put_on_record(db, &order, &json!(order.placed())).await;
    let placed_at = format!("placed_at = now() - interval '{seconds_ago} s'");
    let whose = format!("where order_id = '{}'", order.order_id);
    change(db, format!("update orders.orders set {placed_at}, {assignments} {whose}")).await;
    order
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn open_orders_are_counted_by_what_they_wait_for(owner: PgPool) {
    const COMPLETED: &str = r#"status_data = '{"status":"completed"}'"#;
    const UNWINDING: &str = r#"ending = '{"status":"cancelled","reason":"x"}'"#;
    let waits = |seconds: u32| {
        format!(
            "{UNWINDING}, attention = jsonb_build_object(
                 'since', orders.in_utc(now() - interval '{seconds} s'))"
        )
    };
    placed(&owner, 1_000, "updated_at = now()").await;
    placed(&owner, 2_000, "updated_at = now()").await;
    placed(&owner, 3_000, "payment_status = 'awaiting-customer'").await;
    placed(&owner, 4_000, UNWINDING).await;
    placed(&owner, 5_000, &waits(100)).await;
    placed(&owner, 6_000, &waits(200)).await;
    placed(&owner, 90_000, COMPLETED).await;
    // Its refund waits for a person.
    let refund = waits(150).replace(UNWINDING, COMPLETED);
    placed(&owner, 7_000, &refund).await;

    let db = testkit::as_role(&owner, "ordersaga_worker");
    let orders = read(&db).await.unwrap().orders;
    let of = |state: &str| orders.iter().find(|found| found.state == state).unwrap();
    let is = |found: &OpenOrders, count: i64, oldest: u64| {
        // The test may be slow, but not so slow that an age fits another order.
        assert_eq!(found.orders, count, "{found:?}");
        let age = Duration::from_secs_f64(found.oldest_seconds);
        let oldest = Duration::from_secs(oldest);
        let next = oldest.saturating_add(Duration::from_mins(15));
        assert!((oldest..next).contains(&age), "{found:?}");
    };
    is(of("under-way"), 2, 2_000);
    is(of("awaiting-customer"), 1, 3_000);
    is(of("unwinding"), 1, 4_000);
    is(of("needs-attention"), 3, 7_000);
    assert_eq!(orders.len(), 4);
    let waited = of("needs-attention").attention_seconds.unwrap();
    assert!((200.0..1_100.0).contains(&waited), "{waited}");
    assert_eq!(of("unwinding").attention_seconds, None);
    db.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn disputes_that_wait_for_an_answer_are_counted_with_the_first_time_to_answer(owner: PgPool) {
    let db = testkit::as_role(&owner, "ordersaga_worker");
    let nothing = read(&db).await.unwrap().disputes;
    assert_eq!((nothing.open, nothing.to_answer, nothing.due_at), (0, 0, None));
    let order = placed(&owner, 1_000, "updated_at = now()").await;
    let id = order.order_id;
    let charge = format!(
        "insert into payments.charges
            (charge_key, order_id, provider_reference, currency, amount, state, captured)
         values ('c', '{id}', 'p', 'GBP', 1, 'captured', 1)"
    );
    change(&owner, charge).await;
    for (number, due, asked) in
        [(1, "1700000000", "null"), (2, "1800000000", "now()"), (3, "1900000000", "now()")]
    {
        let dispute = format!(
            "insert into payments.disputes (
                dispute_id, order_id, number, charge_key, currency, amount, status, is_lost,
                reason, evidence_due, asked_at
             ) values (
                'dp_{number}', '{id}', {number}, 'c', 'GBP', 1, 'needs-response', false,
                'fraudulent', to_timestamp({due}), {asked}
             )"
        );
        change(&owner, dispute).await;
    }
    let waiting = read(&db).await.unwrap().disputes;
    let told = |one: worker::order_metrics::Disputes| (one.open, one.to_answer, one.due_at);
    assert_eq!(told(waiting), (3, 2, Some(1_800_000_000.0)));
    let decided = "update payments.disputes set status = 'lost', asked_at = null where number > 1";
    change(&owner, decided.to_owned()).await;
    assert_eq!(told(read(&db).await.unwrap().disputes), (1, 0, None));
    db.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_that_wait_for_a_review_are_counted_with_the_first_deadline(owner: PgPool) {
    let db = testkit::as_role(&owner, "ordersaga_worker");
    let nothing = read(&db).await.unwrap().reviews;
    assert_eq!((nothing.waiting, nothing.due_at), (0, None));
    for (number, until, decision) in [
        (1, "1700000000", "'approve', now()"),
        (2, "1900000000", "null, null"),
        (3, "1800000000", "null, null"),
    ] {
        let review = format!(
            "insert into fraud.reviews
                (order_id, version, attempt, review_until, otherwise, decision, decided_at)
             values (gen_random_uuid(), {number}, 1, to_timestamp({until}), 'decline', {decision})"
        );
        change(&owner, review).await;
    }
    let waiting = read(&db).await.unwrap().reviews;
    assert_eq!((waiting.waiting, waiting.due_at), (2, Some(1_800_000_000.0)));
    db.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn differences_that_nobody_has_settled_are_counted_and_when_they_were_looked_for(
    owner: PgPool,
) {
    let db = testkit::as_role(&owner, "ordersaga_worker");
    let nothing = read(&db).await.unwrap().differences;
    assert_eq!((nothing.open, nothing.oldest_seconds, nothing.compared_at), (0, None, None));
    let runs = "insert into finance.runs (request, covers_from, covers_to, state, finished_at)
         values ('first', '2026-01-01', '2026-02-01', 'finished', to_timestamp(1700000000)),
                ('given up', '2026-01-01', '2026-02-01', 'abandoned', to_timestamp(1800000000))";
    change(&owner, runs.to_owned()).await;
    for (subject, seconds_ago) in [("pi_1", 5_000), ("pi_2", 4_000), ("pi_3", 3_000), ("pi_4", 2)] {
        let difference = format!(
            "insert into finance.differences (kind, subject, opened_at, opened_in, seen_in)
             values ('not-in-shop', '{subject}', now() - interval '{seconds_ago} s', 1, 1)"
        );
        change(&owner, difference).await;
    }
    let gone = "update finance.differences set closed_at = now(), closed_in = 1
         where subject = 'pi_1'";
    change(&owner, gone.to_owned()).await;
    change(&owner, "select finance.settle_difference(2, 'eve', 'known')".to_owned()).await;
    let open = read(&db).await.unwrap().differences;
    assert_eq!((open.open, open.compared_at), (2, Some(1_700_000_000.0)));
    assert!((3_000.0..3_900.0).contains(&open.oldest_seconds.unwrap()), "{open:?}");
    db.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn events_of_the_payment_provider_that_wait_are_counted(owner: PgPool) {
    let db = testkit::as_role(&owner, "ordersaga_worker");
    let nothing = read(&db).await.unwrap().events;
    assert_eq!((nothing.open, nothing.oldest_seconds), (0, None));
    for (id, seconds_ago) in [("evt_1", 5_000), ("evt_2", 3_000), ("evt_3", 1_000)] {
        let received = format!("now() - interval '{seconds_ago} s'");
        let columns = "(event_id, type, object_kind, happened_at, received_at)";
        let values = format!("('{id}', 'refund.created', 'refund', now(), {received})");
        change(&owner, format!("insert into inbox.events {columns} values {values}")).await;
    }
    let applied = "update inbox.events set state = 'applied', done_at = now()";
    change(&owner, format!("{applied} where event_id = 'evt_1'")).await;
    let waiting = read(&db).await.unwrap().events;
    assert_eq!(waiting.open, 2);
    assert!((3_000.0..3_900.0).contains(&waiting.oldest_seconds.unwrap()), "{waiting:?}");
    db.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn messages_that_nobody_has_published_are_counted(owner: PgPool) {
    let db = testkit::as_role(&owner, "ordersaga_worker");
    let nothing = read(&db).await.unwrap().outbox;
    assert_eq!((nothing.unpublished, nothing.oldest_seconds), (0, None));

    let mut orders = Vec::new();
    for seconds_ago in [3_000, 2_000, 1_000] {
        let order = placed(&owner, seconds_ago, "updated_at = now()").await;
        let written = format!("created_at = now() - interval '{seconds_ago} s'");
        let whose = format!("where aggregateid = '{}'", order.order_id);
        change(&owner, format!("update outbox.messages set {written} {whose}")).await;
        orders.push(order.order_id);
    }
    let waiting = read(&db).await.unwrap().outbox;
    assert_eq!((waiting.unpublished, waiting.published_at), (3, None));
    assert!((3_000.0..3_900.0).contains(&waiting.oldest_seconds.unwrap()), "{waiting:?}");

    let first = orders.first().unwrap();
    let publish = "update outbox.messages set published_at = to_timestamp(1700000000)";
    change(&owner, format!("{publish} where aggregateid = '{first}'")).await;
    let waiting = read(&db).await.unwrap().outbox;
    assert_eq!(waiting.unpublished, 2);
    assert!((2_000.0..2_900.0).contains(&waiting.oldest_seconds.unwrap()), "{waiting:?}");
    assert_eq!(waiting.published_at, Some(1_700_000_000.0));
    db.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn where_messages_go_to_sinks_the_one_that_is_furthest_behind_is_counted(owner: PgPool) {
    let db = testkit::as_role(&owner, "ordersaga_worker");
    for seconds_ago in [3_000, 2_000] {
        let order = placed(&owner, seconds_ago, "updated_at = now()").await;
        let written = format!("created_at = now() - interval '{seconds_ago} s'");
        let whose = format!("where aggregateid = '{}'", order.order_id);
        change(&owner, format!("update outbox.messages set {written} {whose}")).await;
    }
    let sinks = "insert into outbox.sinks (sink) values ('amqp'), ('kafka'), ('mail');
         insert into outbox.progress (sink, shard, seen, leased_by, leased_until, progressed_at)
         select sink, shard, case sink when 'amqp' then pg_current_snapshot() else '3:3:' end,
            gen_random_uuid(), now() + interval '1 hour', to_timestamp(1700000000)
         from outbox.sinks, generate_series(0, 7) as shard;
         insert into outbox.readers (sink, reader, name, here_until)
         select sink, gen_random_uuid(), '17@web-3', now() + interval '1 hour'
         from outbox.sinks where sink <> 'mail';
         insert into outbox.parked (sink, position, aggregateid, sequence, refused)
         select 'amqp', position, aggregateid, sequence, 'too large' from outbox.messages limit 1";
    change(&owner, sinks.to_owned()).await;
    let outbox = read(&db).await.unwrap().outbox;
    let told: Vec<_> = outbox
        .sinks
        .iter()
        .map(|sink| (sink.sink.as_str(), sink.waiting, sink.refused, sink.is_read))
        .collect();
    assert_eq!(told, [("amqp", 0, 1, true), ("kafka", 2, 0, true), ("mail", 2, 0, false)]);
    assert_eq!((outbox.unpublished, outbox.is_restored), (2, false));
    assert_eq!(outbox.published_at, Some(1_700_000_000.0));
    assert!((3_000.0..3_900.0).contains(&outbox.oldest_seconds.unwrap()), "{outbox:?}");

    // A paused sink is not late.
    for sink in ["kafka", "mail"] {
        let pause = format!("select outbox.pause('{sink}', true, 'eve', 'maintenance')");
        change(&owner, pause).await;
    }
    let outbox = read(&db).await.unwrap().outbox;
    assert_eq!((outbox.unpublished, outbox.oldest_seconds), (0, None));
    change(&owner, "update outbox.origin set cluster = cluster + 1".to_owned()).await;
    assert!(read(&db).await.unwrap().outbox.is_restored);
    db.close().await;
}
