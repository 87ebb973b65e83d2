//! Orders between placing and the start of their workflow.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what cannot be prepared or read fails its test"
)]

use std::num::NonZeroU32;
use std::time::Duration;

use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::{Limits, Temporal};
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus,
    WorkflowTerminateOptions,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::life::{cancelled, happen, record, unwound};
use crate::shop::{Answer, Shop, as_starter, fresh, nowhere, order, send, stock, temporal};

fn id_of(placed: &Answer) -> Uuid {
    assert_eq!(placed.status, 201, "{}", placed.text);
    placed.json()["order_id"].as_str().unwrap().parse().unwrap()
}

/// The state of an order's workflow; `None` if there never was one.
async fn workflow(client: &Client, id: Uuid) -> Option<WorkflowExecutionStatus> {
    state_of(client, format!("order-{id}")).await
}

/// The state of the workflow with this id; `None` if there never was one.
pub(crate) async fn workflow_called(id: &str) -> Option<WorkflowExecutionStatus> {
    state_of(&temporal().await, id.to_owned()).await
}

async fn state_of(client: &Client, id: String) -> Option<WorkflowExecutionStatus> {
    let workflow = client.get_workflow_handle::<UntypedWorkflow>(id);
    match workflow.describe(WorkflowDescribeOptions::default()).await {
        Ok(described) => Some(described.status()),
        Err(WorkflowInteractionError::NotFound(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Pauses launching before a shop opens, so that it launches nothing from the beginning.
async fn stop_the_line(database: &PgPool) {
    sqlx::query!(
        "insert into operations.paused_queues (queue, paused_by, why) values ('orders', 'eve', 'x')"
    )
    .execute(database)
    .await
    .unwrap();
}

async fn resume_the_line(shop: &Shop) {
    let resumed = send(shop.request("POST", "/v1/queues/orders/resume")).await;
    assert_eq!(resumed.status, 200, "{}", resumed.text);
}

async fn waiting(database: &PgPool) -> Vec<Uuid> {
    sqlx::query_scalar!("select order_id from orders.launches order by placed_at, order_id")
        .fetch_all(database)
        .await
        .unwrap()
}

/// Waits until none of these orders waits for its launch.
pub(crate) async fn until_launched(database: &PgPool, orders: &[Uuid]) {
    let launched =
        async { while waiting(database).await.iter().any(|order| orders.contains(order)) {} };
    timeout(Duration::from_mins(1), launched).await.expect("an order is never launched");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_launched_as_soon_as_it_is_placed(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = id_of(&shop.post("/v1/orders", &order("ada")).await);
    until_launched(&database, &[id]).await;
    let running = workflow(&temporal().await, id).await;
    assert_eq!(running, Some(WorkflowExecutionStatus::Running));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_accepted_without_temporal_and_launched_once_it_is_back(database: PgPool) {
    stock(&database).await;
    let id = {
        let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
        let placed = shop.post("/v1/orders", &order("ada")).await;
        let shown = shop.get(placed.header("location").unwrap()).await;
        assert_eq!(shown.json(), placed.json());
        let listed = shop.get("/v1/orders?status=processing").await.json();
        assert_eq!(listed["items"], json!([placed.json()]));
        id_of(&placed)
    };
    assert_eq!(waiting(&database).await, [id]);
    assert_eq!(workflow(&temporal().await, id).await, None);

    let _shop =
        Shop::with(database.clone(), Temporal::from_env().unwrap(), Limits::default()).await;
    until_launched(&database, &[id]).await;
    let running = workflow(&temporal().await, id).await;
    assert_eq!(running, Some(WorkflowExecutionStatus::Running));
    let faults = sqlx::query_scalar!(r#"select count(*) as "n!" from orders.launches"#);
    assert_eq!(faults.fetch_one(&database).await.unwrap(), 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn that_temporal_is_away_is_not_the_orders_fault(database: PgPool) {
    stock(&database).await;
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let id = id_of(&shop.post("/v1/orders", &order("ada")).await);
    // Waits until the launcher has tried, and has postponed it for less than the timeout of an
    // attempt.
    let tried = async {
        loop {
            let row = sqlx::query!(
                r#"select attempts, last_error,
                       not_before > now() and not_before < now() + interval '5 s' as "postponed!"
                   from orders.launches where order_id = $1"#,
                id,
            );
            let row = row.fetch_one(&database).await.unwrap();
            assert_eq!((row.attempts, row.last_error), (0, None));
            if row.postponed {
                break;
            }
        }
    };
    timeout(Duration::from_secs(30), tried).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_cancelled_before_its_launch_is_never_launched(database: PgPool) {
    stop_the_line(&database).await;
    let shop = Shop::open(database.clone()).await;
    let id = id_of(&shop.post("/v1/orders", &order("ada")).await);
    let path = format!("/v1/orders/{id}/cancel");
    let reason = json!({"reason": "ordered twice"});
    let answer = shop.post(&path, &reason).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["decision"], &answer.json()["status"]),
        (200, &json!("cancelled"), &json!("cancelled")),
        "{}",
        answer.text
    );
    // A repeat gets the same response as after a launch.
    let again = shop.post(&path, &reason).await;
    assert_eq!((again.status.as_u16(), &again.json()["status"]), (200, &json!("cancelled")));
    let events = shop.get(&format!("/v1/orders/{id}/events")).await.json();
    let types: Vec<_> = events["items"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["order.placed", "order.cancelled"]);

    resume_the_line(&shop).await;
    let next = id_of(&shop.post("/v1/orders", &order("ada")).await);
    until_launched(&database, &[next]).await;
    assert_eq!(workflow(&temporal().await, id).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_repeat_under_the_key_of_an_order_that_waits_is_the_same_order(database: PgPool) {
    stop_the_line(&database).await;
    let shop = Shop::open(database.clone()).await;
    let (key, wanted) = (fresh("key"), order("ada"));
    let answers = futures::future::join_all((0..10).map(|_| shop.place(&key, &wanted))).await;
    let first = answers[0].json();
    assert!(answers.iter().all(|it| it.status == 201 && it.json() == first));
    let firsts = answers.iter().filter(|it| it.header("idempotency-replayed").is_none()).count();
    assert_eq!(firsts, 1);
    assert_eq!(waiting(&database).await, [id_of(&answers[0])]);
    let later = shop.place(&key, &wanted).await;
    assert_eq!((later.header("idempotency-replayed"), later.json()), (Some("true"), first));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_cannot_be_launched_does_not_stop_the_others(database: PgPool) {
    stop_the_line(&database).await;
    let shop = Shop::open(database.clone()).await;
    let damaged = id_of(&shop.post("/v1/orders", &order("ada")).await);
    sqlx::query!("update orders.orders set terms = '{}' where order_id = $1", damaged)
        .execute(&database)
        .await
        .unwrap();
    let unknown = Uuid::nil();
    sqlx::query!(
        "insert into orders.launches (order_id, placed_at) values ($1, '2026-01-01')",
        unknown
    )
    .execute(&database)
    .await
    .unwrap();
    let good = id_of(&shop.post("/v1/orders", &order("ada")).await);

    resume_the_line(&shop).await;
    until_launched(&database, &[good]).await;
    let faulty = async {
        loop {
            let told = sqlx::query!(
                r#"select order_id, attempts, last_error as "last_error!",
                       not_before > now() as "is_put_off!"
                   from orders.launches where last_error is not null order by placed_at"#
            );
            let told = told.fetch_all(&database).await.unwrap();
            if told.len() == 2 {
                break told;
            }
        }
    };
    let faulty = timeout(Duration::from_secs(30), faulty).await.unwrap();
    assert_eq!([faulty[0].order_id, faulty[1].order_id], [unknown, damaged]);
    assert!(faulty.iter().all(|row| row.attempts >= 1));
    assert_eq!(faulty[0].last_error, "the order is not on record");
    assert_eq!(faulty[1].last_error, "the order's terms cannot be read");

    // Once it is repaired, it is launched like any other order.
    sqlx::query!(
        r#"update orders.orders set terms = '{"cancel_window_seconds": 0}' where order_id = $1"#,
        damaged
    )
    .execute(&database)
    .await
    .unwrap();
    until_launched(&database, &[damaged]).await;
    assert!(workflow(&temporal().await, damaged).await.is_some());
}

/// Places orders until a response is as wanted; the backlog is counted once a second.
async fn ordered_until(
    shop: &Shop,
    placed: &mut Vec<Uuid>,
    is_wanted: impl Fn(&Answer) -> bool,
) -> Answer {
    let wanted = order("ada");
    let answered = async {
        loop {
            let answer = shop.post("/v1/orders", &wanted).await;
            if answer.status == 201 {
                placed.push(id_of(&answer));
            }
            if is_wanted(&answer) {
                break answer;
            }
        }
    };
    timeout(Duration::from_secs(30), answered).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn while_the_line_is_stopped_orders_are_accepted_and_wait_in_their_order(database: PgPool) {
    stop_the_line(&database).await;
    stock(&database).await;
    let limits = Limits { backlog_max: 3, ..Limits::default() };
    let shop = Shop::with(database.clone(), Temporal::from_env().unwrap(), limits).await;
    let mut placed = Vec::new();
    let refused = |answer: &Answer| answer.status == 503;
    // The launcher has looked once it refuses more, and has looked again once it accepts more.
    ordered_until(&shop, &mut placed, refused).await;
    for id in placed.drain(2..) {
        shop.post(&format!("/v1/orders/{id}/cancel"), &json!({ "reason": "too many" })).await;
    }
    ordered_until(&shop, &mut placed, |answer| !refused(answer)).await;
    assert_eq!(waiting(&database).await, placed);
    let client = temporal().await;
    for id in &placed {
        assert_eq!(workflow(&client, *id).await, None);
    }
    resume_the_line(&shop).await;
    until_launched(&database, &placed).await;
    for id in &placed {
        assert_eq!(workflow(&client, *id).await, Some(WorkflowExecutionStatus::Running));
    }
}

/// A client that pages through the list, or remembers its cursor, misses no order.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_its_launch_has_its_place_in_every_list(database: PgPool) {
    stop_the_line(&database).await;
    let shop = Shop::open(database.clone()).await;
    let first = id_of(&shop.post("/v1/orders", &order("ada")).await);
    let second = id_of(&shop.post("/v1/orders", &order("ada")).await);
    let listed = async || {
        let page = shop.get("/v1/orders?limit=1").await;
        let next = page.header("link").unwrap().trim_start_matches('<').split_once('>').unwrap().0;
        let pages = [page.json(), shop.get(next).await.json()];
        let question = json!({ "query": "{ orders(first: 2) { items { id } } }" });
        let orders = shop.post("/v1/graphql", &question).await.json();
        let events = shop.get(&format!("/v1/orders/{first}/events")).await.json();
        assert_eq!(events["items"][0]["type"], "order.placed");
        let ids = pages.map(|page| page["items"][0]["order_id"].clone());
        let items = [0_usize, 1].map(|at| orders["data"]["orders"]["items"][at]["id"].clone());
        assert_eq!(ids, items);
        ids
    };
    let before = listed().await;
    assert_eq!(before, [second.to_string(), first.to_string()]);
    resume_the_line(&shop).await;
    until_launched(&database, &[first, second]).await;
    assert_eq!(listed().await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn more_than_the_shop_lets_wait_is_asked_to_come_again(database: PgPool) {
    stop_the_line(&database).await;
    stock(&database).await;
    let limits = Limits { backlog_max: 2, ..Limits::default() };
    let shop = Shop::with(database.clone(), Temporal::from_env().unwrap(), limits).await;
    let (key, wanted) = (fresh("key"), order("ada"));
    let first = shop.place(&key, &wanted).await;
    let refused = ordered_until(&shop, &mut Vec::new(), |answer| answer.status != 201).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "overloaded"));
    // Nothing is launched, so there is no estimate.
    assert_eq!(refused.header("retry-after"), Some("300"));
    let waited = waiting(&database).await.len();
    assert_eq!(shop.post("/v1/orders", &wanted).await.status, 503);
    assert_eq!(waiting(&database).await.len(), waited);
    // An accepted order gets the same response as ever.
    let again = shop.place(&key, &wanted).await;
    assert_eq!((again.status.as_u16(), again.json()), (201, first.json()));

    resume_the_line(&shop).await;
    let accepted = async { while shop.post("/v1/orders", &wanted).await.status != 201 {} };
    timeout(Duration::from_mins(1), accepted).await.expect("the backlog was worked off");
}

/// Two are launched per second during a burst, so hardly any has been at the first look.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn while_a_burst_comes_in_few_orders_are_launched_and_then_all_the_oldest_first(
    database: PgPool,
) {
    stop_the_line(&database).await;
    stock(&database).await;
    let limits = Limits { burst_per_second: NonZeroU32::MIN, ..Limits::default() };
    let shop = Shop::with(database.clone(), Temporal::from_env().unwrap(), limits).await;
    let mut placed = Vec::new();
    for _ in 0..30 {
        placed.push(id_of(&shop.post("/v1/orders", &order("ada")).await));
    }
    resume_the_line(&shop).await;
    let some_are_launched = async {
        loop {
            placed.push(id_of(&shop.post("/v1/orders", &order("ada")).await));
            let left = waiting(&database).await;
            if left.len() < placed.len() {
                break left;
            }
        }
    };
    let left = timeout(Duration::from_secs(30), some_are_launched).await.expect("few, not none");
    // Of two concurrent launches, the row of the later one may be deleted first.
    let launched = placed.len().saturating_sub(left.len());
    let last = placed.iter().rposition(|order| !left.contains(order)).unwrap();
    assert!(last < launched.next_multiple_of(2), "{launched} were launched, and number {last}");
    assert!(launched <= 4, "{launched} were launched beside a burst");
    until_launched(&database, &placed).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_has_ended_is_not_launched(database: PgPool) {
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    happen(&database, id, &unwound(&cancelled("twice"))).await;
    sqlx::query!("insert into orders.launches (order_id, placed_at) values ($1, now())", id)
        .execute(&database)
        .await
        .unwrap();
    let _shop = Shop::open(database.clone()).await;
    until_launched(&database, &[id]).await;
    assert_eq!(workflow(&temporal().await, id).await, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_workflow_was_lost_is_launched_anew(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let client = temporal().await;
    let id = id_of(&shop.post("/v1/orders", &order("ada")).await);
    until_launched(&database, &[id]).await;
    let lost = client.get_workflow_handle::<UntypedWorkflow>(format!("order-{id}"));
    lost.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    let relaunch = async |is_recovery: bool| {
        sqlx::query!(
            "insert into orders.launches (order_id, placed_at, is_recovery) values ($1, now(), $2)",
            id,
            is_recovery,
        )
        .execute(&database)
        .await
        .unwrap();
        until_launched(&database, &[id]).await;
        workflow(&client, id).await
    };
    // Only an order that `recover` has found lost gets a second workflow.
    assert_eq!(relaunch(false).await, Some(WorkflowExecutionStatus::Terminated));
    assert_eq!(relaunch(true).await, Some(WorkflowExecutionStatus::Running));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_found_lost_while_it_is_launched_waits_to_be_launched_again(
    database: PgPool,
) {
    stop_the_line(&database).await;
    let shop = Shop::open(database.clone()).await;
    let lost = id_of(&shop.post("/v1/orders", &order("ada")).await);
    // `recover` renews the launch row between the claim and the launch.
    let mark = format!(
        "create function public.mark() returns trigger language plpgsql security definer as $$
         begin
             update orders.launches set is_recovery = true, not_before = 'infinity'
             where order_id = new.order_id;
             return null;
         end $$;
         create trigger mark after update of not_before on orders.launches for each row
         when (new.order_id = '{lost}' and not new.is_recovery) execute function public.mark()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&database).await.unwrap();
    resume_the_line(&shop).await;
    let client = temporal().await;
    let launched = async { while workflow(&client, lost).await.is_none() {} };
    timeout(Duration::from_mins(1), launched).await.expect("it was launched");
    // Launch rows of later orders are deleted later.
    let later = id_of(&shop.post("/v1/orders", &order("ada")).await);
    let settled = async { while waiting(&database).await.contains(&later) {} };
    timeout(Duration::from_mins(1), settled).await.expect("the later one was taken off");
    assert_eq!(waiting(&database).await, [lost]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_starter_can_write_no_order_but_by_placing_it(database: PgPool) {
    let starter = as_starter(&database);
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    for forbidden in [
        "insert into orders.orders (order_id) values (gen_random_uuid())",
        "update orders.orders set total = 0.01",
        "delete from orders.orders",
        "insert into orders.order_events (order_id, sequence, type, data)
         values (gen_random_uuid(), 1, 'payment.captured', '{}')",
        "insert into orders.launches (order_id, placed_at) values (gen_random_uuid(), now())",
        "update orders.launches set is_recovery = true",
        "insert into orders.step_keys (order_id, step, version)
         values (gen_random_uuid(), 'capture-payment', 1)",
        "insert into payments.methods (order_id, method) values (gen_random_uuid(), 'tok_x')",
        "select method from payments.methods",
        "insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
         values ('order', 'x', 1, 'x', '{}')",
        "insert into customers.addresses
             (address_id, customer_id, name, line1, city, postal_code, country)
         values (gen_random_uuid(), 'ada', 'a', 'b', 'c', 'd', 'GB')",
        "select orders.record(order_id, 'payment.captured', '{}') from orders.orders",
        "select * from operations.sweep('0', '0', 1)",
    ] {
        let refused = sqlx::raw_sql(forbidden).execute(&starter).await.unwrap_err();
        let code = refused.as_database_error().unwrap().code().unwrap();
        assert_eq!(code, "42501", "{forbidden}: {refused}");
    }
    let untouched: Value =
        Shop::open(database.clone()).await.get(&format!("/v1/orders/{id}")).await.json();
    assert_eq!(untouched["totals"]["total"]["amount"], "23.10");
}
