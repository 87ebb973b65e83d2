//! Whole lives of orders, seen through the API alone. Here the real worker runs, against a Temporal
//! server of its own; both programs have their own database roles.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use activities::Activities;
use activities::payment::sandbox::SandboxProvider;
use activities::shipping::sandbox::SandboxCarrier;
use activities::stock::ArticleQueues;
use domain::Screening;
use futures::StreamExt;
use futures::future::join_all;
use ordersaga_grpc::v1::{
    CancelDecision, CancelOrderRequest, FulfilmentStatus, GetOrderRequest, OrderStatus,
    PaymentStatus, PlaceOrderRequest, WatchOrderRequest,
};
use prost_types::Duration as Patience;
use runtime::database::Database;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use starter_api::{Limits, Temporal};
use temporalio_client::{Client, ClientOptions, ConnectionOptions, Url};
use temporalio_sdk::runtime::{Runtime, RuntimeOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker::activity_metrics::ActivityMetrics;
use worker::pausable_queue;
use worker::run::{Settings, build_worker};
use workflows::Queue;

use crate::examples::assert_shown_when_resolved;
use crate::grpc::{Program, wish};
use crate::shop::{Shop, fresh, order};
use crate::watching::Stream;

/// A shop with a worker.
struct Open {
    shop: Shop,
    server: testkit::Server,
    leaving: CancellationToken,
    worker: thread::JoinHandle<()>,
}

impl Open {
    async fn on(database: PgPool) -> Self {
        Self::within(Limits::default(), database).await
    }

    /// The same, with these limits.
    async fn within(limits: Limits, database: PgPool) -> Self {
        let (server, address) = testkit::server().await;
        let target = Url::parse(&format!("http://{address}")).unwrap();
        let temporal = Temporal::at(
            ConnectionOptions::new(target).build(),
            ClientOptions::new("default").build(),
        );
        crate::shop::stock(&database).await;
        let (client, leaving) = (server.client().clone(), CancellationToken::new());
        let (as_worker, stopped) =
            (testkit::as_role(&database, "ordersaga_worker"), leaving.clone());
        // On a runtime of its own, because a test's runtime ends with the test.
        let worker = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(serve(&as_worker, &client, &stopped));
        });
        let shop = Shop::with(database, temporal, limits).await;
        Self { shop, server, leaving, worker }
    }

    /// Places an order over HTTP, as the shop's backend does.
    async fn places(&self, order: &Value) -> Uuid {
        let backend = self.shop.asked_by("backend", "service");
        let placed = backend.place(&fresh("key"), order).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        placed.json()["order_id"].as_str().unwrap().parse().unwrap()
    }

    /// Follows the order over HTTP to its end, and returns it.
    async fn ended(&self, id: Uuid) -> Value {
        Stream::open(&self.shop, id, None).await.rest().await;
        self.shop.get(&format!("/v1/orders/{id}")).await.json()
    }

    /// The order's events.
    async fn events(&self, id: Uuid) -> Vec<Value> {
        let page = self.shop.get(&format!("/v1/orders/{id}/events?limit=100")).await.json();
        page["items"].as_array().unwrap().clone()
    }

    /// Asserts that goods and money were returned, and that the books balance.
    async fn assert_all_taken_back(&self, id: Uuid) {
        let product = self.shop.get("/v1/products/85123A").await.json();
        assert_eq!(product["available"], 60);
        let query = "query($id: ID!) { order(id: $id) { payments { captured { amount } \
                     refunded { amount } } } }";
        let asked = json!({"query": query, "variables": {"id": id}});
        let told = self.shop.post("/v1/graphql", &asked).await.json();
        let payment = &told["data"]["order"]["payments"][0];
        assert_eq!(payment["captured"], payment["refunded"], "{told}");
        let books = self.shop.get("/v1/ledger/validate").await.json();
        assert_eq!(books["valid"], true, "{books}");
        for account in ["payment-clearing", "customer-deposits", "sales"] {
            let balance = self.shop.get(&format!("/v1/accounts/{account}/balance")).await.json();
            for balance in balance["balances"].as_array().unwrap() {
                assert_eq!(balance["balance"], "0.00", "{account}");
            }
        }
    }

    /// The order's entry in `GET /v1/attention`, once it is there.
    async fn until_it_waits_for_somebody(&self, id: Uuid) -> Value {
        loop {
            let told = self.shop.get("/v1/attention").await.json();
            let items = told["items"].as_array().unwrap();
            if let Some(found) = items.iter().find(|item| item["order_id"] == json!(id)) {
                return found.clone();
            }
        }
    }

    async fn close(self) {
        self.leaving.cancel();
        let worker = self.worker;
        tokio::task::spawn_blocking(move || worker.join().unwrap()).await.unwrap();
        self.server.shutdown().await.unwrap();
    }
}

/// Serves every queue until it is told to stop.
async fn serve(as_worker: &PgPool, client: &Client, stop: &CancellationToken) {
    let pool = || {
        let options = PgPoolOptions::new().max_connections(10);
        options.connect_lazy_with(as_worker.connect_options().as_ref().clone())
    };
    let database = || Database::of(pool());
    let activities = Activities {
        db: database(),
        articles: ArticleQueues::default(),
        provider: Arc::new(SandboxProvider::new(database(), 0)),
        carrier: Arc::new(SandboxCarrier::new(database())),
        settings: activities::Settings {
            reservation_ttl: Duration::from_hours(24),
            ask_again_for: Duration::ZERO,
        },
    };
    let sdk = Runtime::from_current_tokio(RuntimeOptions::default()).unwrap();
    let db = pool();
    let lines = Queue::all().map(|queue| {
        let (sdk, activities) = (&sdk, &activities);
        let make = move |wear| {
            let (client, settings) = (client.clone(), Settings::default());
            build_worker(sdk, client, queue, activities, &settings, ActivityMetrics, wear)
        };
        pausable_queue::serve(u32::MAX, &db, queue, make, |_served| (), stop)
    });
    join_all(lines).await.into_iter().for_each(Result::unwrap);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_placed_by_grpc_ships_and_is_watched_to_its_end(database: PgPool) {
    let open = Open::on(database).await;
    let mut program = Program::of(&open.shop, "backend", "service").await;
    // As long as a caller may wait: the worker has only just started.
    let wait = Some(Patience { seconds: 30, nanos: 0 });
    let placed = PlaceOrderRequest { wait, ..wish("ada") };
    let placed = program.orders.place_order(program.asks(placed)).await.unwrap().into_inner();
    let placed = placed.order.unwrap();
    let id = placed.order_id.clone();
    // A caller who waits is answered once the payment is authorised, and no sooner.
    let payment = placed.payment_status();
    assert!(matches!(payment, PaymentStatus::Authorised | PaymentStatus::Paid), "{payment:?}");

    let watched = WatchOrderRequest { order_id: id.clone(), after_sequence: 0 };
    let stream = program.orders.watch_order(program.asks(watched)).await.unwrap().into_inner();
    let told: Vec<_> = stream.map(|event| event.unwrap().r#type).collect().await;
    assert_eq!(
        told,
        [
            "order.placed",
            "stock.reserved",
            "payment.authorised",
            "payment.captured",
            "ledger.posted",
            "order.shipped",
            "ledger.revenue-recognised",
            "order.completed"
        ]
    );
    let got = program.orders.get_order(program.asks(GetOrderRequest { order_id: id })).await;
    let got = got.unwrap().into_inner().order.unwrap();
    assert_eq!(got.status(), OrderStatus::Completed);
    assert_eq!(got.fulfilment_status(), FulfilmentStatus::Shipped);
    assert!(got.tracking.is_some());
    let books = open.shop.get("/v1/ledger/validate").await.json();
    assert_eq!(books["valid"], true, "{books}");
    open.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_by_grpc_within_the_window_takes_all_back(database: PgPool) {
    let open = Open::on(database).await;
    let mut program = Program::of(&open.shop, "backend", "service").await;
    let placed = PlaceOrderRequest { cancel_window_seconds: Some(600), ..wish("ada") };
    let placed = program.orders.place_order(program.asks(placed)).await.unwrap().into_inner();
    let id = placed.order.unwrap().order_id;
    let watched = WatchOrderRequest { order_id: id.clone(), after_sequence: 0 };
    let stream = program.orders.watch_order(program.asks(watched)).await.unwrap().into_inner();
    let mut told = stream.map(|event| event.unwrap().r#type).boxed();
    // Paid and booked, it now waits to be packed.
    while told.next().await.unwrap() != "payment.authorised" {}

    let wish =
        CancelOrderRequest { order_id: id.clone(), reason: "ordered twice".into(), dry_run: false };
    let cancelled = program.orders.cancel_order(program.asks(wish)).await.unwrap().into_inner();
    assert_eq!(cancelled.decision(), CancelDecision::Unwinding);
    let rest: Vec<_> = told.collect().await;
    assert_eq!(rest, ["order.unwinding", "payment.voided", "stock.released", "order.cancelled"]);
    let id: Uuid = id.parse().unwrap();
    assert_eq!(open.shop.get(&format!("/v1/orders/{id}")).await.json()["status"], "cancelled");
    open.assert_all_taken_back(id).await;
    open.close().await;
}

/// An address to which nobody delivers, so the order is unwound; and its refund is broken.
fn hopeless() -> Value {
    let mut order = order("ada");
    order["ship_to"]["country"] = json!("AQ");
    order["payment_token"] = json!("tok_refund_broken");
    order
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_stuck_order_is_found_and_ends_by_a_persons_decision(database: PgPool) {
    let open = Open::on(database.clone()).await;
    let eve = open.shop.asked_by("eve", "operator");
    let id = open.places(&hopeless()).await;
    let waiting = open.until_it_waits_for_somebody(id).await;
    assert_eq!(
        (&waiting["step"], &waiting["occurrence"], &waiting["undoing"], &waiting["customer_id"]),
        (&json!("capture-payment"), &json!(1), &json!(true), &json!("ada"))
    );
    let path = format!("/v1/orders/{id}/resolve");
    // A decision about another occurrence or step, or an impossible one, has no effect.
    for (field, value) in [
        ("occurrence", json!(2)),
        ("step", json!("ship-order")),
        ("decision", json!("accept-as-done")),
    ] {
        let mut wrong = decision(&waiting, "retry", "late");
        wrong[field] = value;
        let refused = eve.post(&path, &wrong).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "order-not-stuck"));
        let told = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.contains("capture-payment"), "{told}");
    }

    // The provider repairs the refund, and eve retries it.
    sqlx::query!(
        "insert into sandbox_provider.repairs (idempotency_key)
         select idempotency_key from sandbox_provider.payments"
    )
    .execute(&database)
    .await
    .unwrap();
    let mended = decision(&waiting, "retry", "the provider has mended it");
    let told = eve.post(&path, &mended).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_shown_when_resolved(&told);
    assert_eq!(open.ended(id).await["status"], "rejected");
    open.assert_all_taken_back(id).await;
    // Her response may have been lost, so she may repeat the decision; any other decision is too
    // late.
    let again = eve.post(&path, &mended).await;
    assert_eq!((again.status, again.json()), (told.status, told.json()));
    for (field, value) in [("decision", json!("skip")), ("why", json!("on second thoughts"))] {
        let mut other = mended.clone();
        other[field] = value;
        assert_eq!(eve.post(&path, &other).await.problem(), "order-not-stuck", "{other}");
    }
    assert_on_record(&open.events(id).await, ["retry", "eve", "the provider has mended it"]);
    open.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_person_may_end_a_stuck_order_without_its_refund(database: PgPool) {
    let open = Open::on(database).await;
    let eve = open.shop.asked_by("eve", "operator");
    let id = open.places(&hopeless()).await;
    let waiting = open.until_it_waits_for_somebody(id).await;
    let settled = decision(&waiting, "skip", "paid back by cheque");
    let told = eve.post(&format!("/v1/orders/{id}/resolve"), &settled).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(open.ended(id).await["status"], "rejected");
    let events = open.events(id).await;
    assert_on_record(&events, ["skip", "eve", "paid back by cheque"]);
    let refunded = events.iter().any(|event| event["type"] == "payment.refunded");
    assert!(!refunded, "{events:?}");
    open.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_that_wait_for_the_same_cause_are_decided_about_at_once(database: PgPool) {
    let open = Open::on(database).await;
    let eve = open.shop.asked_by("eve", "operator");
    let ids = [open.places(&hopeless()).await, open.places(&hopeless()).await];
    let mut causes = Vec::new();
    for id in ids {
        let why = open.until_it_waits_for_somebody(id).await["why"].as_str().unwrap().to_owned();
        causes.push(why.split_once("; incident").unwrap().0.to_owned());
    }
    assert_eq!(causes[0], causes[1]);
    let all = json!({"step": "capture-payment", "cause": causes[0], "decision": "skip",
                     "why": "paid back by cheque"});
    let mut resolved = Vec::new();
    // An order may be listed a moment before its workflow waits.
    while resolved.len() < ids.len() {
        let told = eve.post("/v1/attention/resolve", &all).await;
        assert_eq!(told.status, 200, "{}", told.text);
        resolved.extend(told.json()["resolved"].as_array().unwrap().clone());
    }
    for id in ids {
        assert!(resolved.contains(&json!(id)), "{resolved:?}");
    }
    for id in ids {
        assert_eq!(open.ended(id).await["status"], "rejected");
    }
    open.close().await;
}

/// The provider considers the payment risky, an operator decides, and the workflow is notified.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_with_a_risky_payment_goes_on_by_an_operators_decision(database: PgPool) {
    let screening = Some(Screening { review_seconds: 3_600 });
    let open = Open::within(Limits { screening, ..Limits::default() }, database).await;
    let eve = open.shop.asked_by("eve", "operator");
    let mut risky = order("ada");
    risky["payment_token"] = json!("tok_risk_elevated");
    for (decision, end) in [("approve", "completed"), ("decline", "rejected")] {
        let id = open.places(&risky).await;
        let review = loop {
            let told = eve.get("/v1/reviews").await.json();
            if let Some(found) = told["items"].as_array().unwrap().first() {
                break found.clone();
            }
        };
        assert_eq!(
            (&review["order_id"], &review["stage"], &review["reasons"][0]["rule"]),
            (&json!(id), &json!("after-authorisation"), &json!("risky-payment"))
        );
        let body = json!({"decision": decision, "note": "answered the phone"});
        let decided = eve.post(&format!("/v1/orders/{id}/review"), &body).await;
        assert_eq!(decided.status, 200, "{}", decided.text);
        assert_eq!(open.ended(id).await["status"], end);
    }
    open.close().await;
}

/// A decision about what an order waits for.
fn decision(waiting: &Value, decision: &str, why: &str) -> Value {
    json!({"step": waiting["step"], "occurrence": waiting["occurrence"], "decision": decision,
           "why": why})
}

/// One event records the decision, who made it and why.
#[track_caller]
fn assert_on_record(events: &[Value], [decision, by, why]: [&str; 3]) {
    let resolved = events.iter().filter(|it| it["type"] == "order.attention-resolved");
    let resolved: Vec<_> = resolved.map(|event| &event["data"]).collect();
    assert_eq!(resolved.len(), 1, "{events:?}");
    let told = resolved[0];
    assert_eq!(
        (&told["decision"], &told["by"], &told["why"], &told["occurrence"]),
        (&json!(decision), &json!(by), &json!(why), &json!(1))
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_stream_that_is_cut_in_the_middle_of_a_life_goes_on_where_it_was(database: PgPool) {
    let open = Open::on(database).await;
    let mut wanted = order("ada");
    wanted["cancel_window_seconds"] = json!(600);
    let id = open.places(&wanted).await;
    let mut stream = Stream::open(&open.shop, id, None).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(stream.next().await.unwrap());
    }
    assert_eq!(told, ["1 order.placed", "2 stock.reserved", "3 payment.authorised"]);
    // The stream is interrupted while the order continues and is cancelled.
    drop(stream);
    let backend = open.shop.asked_by("backend", "service");
    let cancel = json!({"reason": "ordered twice"});
    let cancelled = backend.post(&format!("/v1/orders/{id}/cancel"), &cancel).await;
    assert_eq!(cancelled.status, 202, "{}", cancelled.text);

    let rest = Stream::open(&open.shop, id, Some("3")).await.rest().await;
    let kinds: Vec<_> = rest.iter().map(|event| event.split_once(' ').unwrap()).collect();
    let (numbers, kinds): (Vec<_>, Vec<_>) = kinds.into_iter().unzip();
    let expected: Vec<_> =
        (4..).take(numbers.len()).map(|number: usize| number.to_string()).collect();
    assert_eq!(numbers, expected, "an event is missing, or is told twice");
    assert_eq!(kinds.last(), Some(&"order.cancelled"), "{kinds:?}");
    open.assert_all_taken_back(id).await;
    open.close().await;
}
