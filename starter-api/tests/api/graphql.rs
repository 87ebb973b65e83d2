use std::cell::Cell;
use std::fmt::Debug;

use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use uuid::Uuid;

use crate::life::{happen, record, reserved};
use crate::refunding::{completed_order, of_amount, pounds, refund};
use crate::shop::{Shop, nowhere};

async fn asked(shop: &Shop, query: &str) -> Value {
    let answer = shop.post("/v1/graphql", &json!({ "query": query })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn variables_are_an_object(database: PgPool) {
    let shop = Shop::open(database).await;
    for (variables, status) in
        [(json!({}), 200_u16), (json!(null), 200), (json!([]), 400), (json!("a"), 400)]
    {
        let question = json!({ "query": "{ __typename }", "variables": variables });
        let answer = shop.post("/v1/graphql", &question).await;
        assert_eq!(answer.status, status, "{variables}: {}", answer.text);
    }
}

/// An order that was paid, booked and shipped.
async fn sent(database: &PgPool, number: u128, customer: &str) -> Uuid {
    let id = Uuid::from_u128(number);
    let placed_at = format!("2026-01-02T03:04:{number:02}Z");
    record(database, id, customer, &placed_at).await;
    happen(database, id, &[reserved()]).await;
    sqlx::query!(
        "with charged as (
             insert into payments.charges
                 (charge_key, order_id, provider_reference, currency, amount, captured, state)
             values ($1 || ':charge', $2, 'pay_1', 'GBP', 23.10, 23.10, 'captured')
         ), sent as (
             insert into shipping.shipments
                 (shipment_key, order_id, reservation_key, carrier_reference, tracking, country,
                  pieces, state)
             values ($1 || ':ship', $2, $1 || ':reserve', 'shp_1', 'T-1', 'GB', 6, 'purchased'),
                    ($1 || ':draft', $2, $1 || ':reserve', 'shp_2', null, 'GB', 6, 'drafted')
         ), booked as (
             insert into ledger.transactions (key, order_id) values ($1 || ':post', $2)
             returning transaction_id
         )
         insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         select transaction_id, line, account, side, 23.10, 'GBP' from booked,
             (values (1::smallint, 'payment-clearing', 'debit'),
                     (2::smallint, 'customer-deposits', 'credit')) as e (line, account, side)",
        id.to_string(),
        id,
    )
    .execute(database)
    .await
    .unwrap();
    id
}

const EVERYTHING: &str = "{ orders(first: 3) { items { id status paymentStatus fulfilmentStatus \
    unwinding needsAttention { step } tracking total { amount } \
    events { sequence text } payments { captured { amount } refunded { amount } } \
    refunds { number } shipments { tracking isCancelled } ledgerEntries { account side amount { amount } } } } }";

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_are_told_with_everything_that_belongs_to_them(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (first, second) = (sent(&database, 1, "ada").await, sent(&database, 2, "bob").await);
    let answer = asked(&shop, EVERYTHING).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let orders = answer["data"]["orders"]["items"].as_array().unwrap();
    let told = |id: Uuid| {
        json!({
            "id": id.to_string(), "status": "processing", "paymentStatus": "none",
            "fulfilmentStatus": "reserved", "unwinding": false, "needsAttention": null,
            "tracking": null, "total": {"amount": "23.10"},
            "events": [{"sequence": 1, "text": "The order was placed: 23.10 GBP"},
                       {"sequence": 2, "text": "The goods were set aside"}],
            "payments": [{"captured": {"amount": "23.10"}, "refunded": {"amount": "0.00"}}],
            "refunds": [],
            "shipments": [{"tracking": "T-1", "isCancelled": false}],
            "ledgerEntries": [
                {"account": "payment-clearing", "side": "debit", "amount": {"amount": "23.10"}},
                {"account": "customer-deposits", "side": "credit", "amount": {"amount": "23.10"}},
            ],
        })
    };
    assert_eq!(orders, &[told(second), told(first)]);
    let one = asked(&shop, &format!("{{ order(id: \"{first}\") {{ customerId }} }}")).await;
    assert_eq!(one["data"]["order"]["customerId"], "ada");
    let none = asked(&shop, "{ order(id: \"nonsense\") { id } }").await;
    assert_eq!(none["data"]["order"], Value::Null);
}

thread_local! {
    /// The number of statements that this thread, and so this test, has sent to the database.
    static STATEMENTS: Cell<usize> = const { Cell::new(0) };
}

/// Counts statements, for the whole program: a subscriber of a single test could lose events,
/// because `tracing` caches the interest of all subscribers globally.
struct Statements;

/// Whether a statement is the launcher's, which polls the database once a second for orders and
/// refunds.
struct Launchers(bool);

impl Visit for Launchers {
    fn record_debug(&mut self, _field: &Field, value: &dyn Debug) {
        self.0 |= format!("{value:?}").contains("launches");
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut launchers = Launchers(false);
        event.record(&mut launchers);
        if event.metadata().target() == "sqlx::query" && !launchers.0 {
            STATEMENTS.set(STATEMENTS.get().saturating_add(1));
        }
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_belongs_to_many_orders_is_read_at_once(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    for number in 1..=5 {
        sent(&database, number, "ada").await;
    }
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Statements))
        .unwrap();
    let before = STATEMENTS.get();
    let told = asked(&shop, &EVERYTHING.replace("first: 3", "first: 5")).await;
    assert_eq!(told["data"]["orders"]["items"].as_array().unwrap().len(), 5, "{told}");
    // One for the orders, and one each for events, payments, refunds, parcels and ledger entries.
    assert_eq!(STATEMENTS.get().saturating_sub(before), 6);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn refunds_are_told_with_their_order_to_whoever_may_see_it(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let (id, other) = (completed_order(&database).await, completed_order(&database).await);
    let eve = shop.asked_by("eve", "operator");
    let hearts = json!([{ "sku": "85123A", "quantity": 2 }]);
    let goods = json!({ "lines": hearts, "reason": "arrived broken" });
    assert_eq!(refund(&eve, id, "k", &goods).await.status, 202);
    assert_eq!(refund(&eve, other, "k", &of_amount("1.00")).await.status, 202);
    let money = "{ amount currency }";
    let query = format!(
        "{{ order(id: \"{id}\") {{ refunds {{ number state amount {money} goods {money} \
         goodsTax {money} shipping {money} shippingTax {money} lines {{ sku quantity }} reason \
         requestedBy failure }} }} }}"
    );
    let told = asked(&shop.asked_by_customer("ada"), &query).await;
    let expected = json!([{
        "number": 1, "state": "requested", "amount": pounds("6.12"), "goods": pounds("5.10"),
        "goodsTax": pounds("1.02"), "shipping": pounds("0.00"), "shippingTax": pounds("0.00"),
        "lines": hearts, "reason": "arrived broken", "requestedBy": "eve", "failure": null,
    }]);
    assert_eq!(told["data"]["order"]["refunds"], expected, "{told}");
    let his = asked(&shop.asked_by_customer("bob"), &query).await;
    assert_eq!(his["data"]["order"], Value::Null);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_caller_sees_by_graphql_what_it_sees_by_http(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (ada, bob) = (sent(&database, 1, "ada").await, sent(&database, 2, "bob").await);
    let her = shop.asked_by_customer("ada");
    let listed = asked(&her, "{ orders { items { customerId } } }").await;
    assert_eq!(listed["data"]["orders"]["items"], json!([{"customerId": "ada"}]));
    let others = asked(&her, "{ orders(customerId: \"bob\") { items { id } } }").await;
    assert_eq!(others["data"]["orders"]["items"], json!([]));
    let his = asked(&her, &format!("{{ order(id: \"{bob}\") {{ id }} }}")).await;
    assert_eq!(his["data"]["order"], Value::Null);
    // Customers may not read the ledger.
    let books = format!("{{ order(id: \"{ada}\") {{ ledgerEntries {{ account }} }} }}");
    let refused = asked(&her, &books).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "insufficient-scope", "{refused}");
    let clerk = shop.asked_by("clerk", "finance");
    assert_eq!(asked(&clerk, &books).await.get("errors"), None);
    let nobody =
        shop.with_token(None).post("/v1/graphql", &json!({"query": "{ __typename }"})).await;
    assert_eq!(nobody.problem(), "unauthenticated");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_question_that_costs_too_much_is_not_answered(database: PgPool) {
    let shop = Shop::open(database).await;
    let dear = "{ orders(first: 100) { items { events { sequence text kind occurredAt } \
                ledgerEntries { account side amount { amount currency } } } } }";
    let refused = asked(&shop, dear).await;
    assert_eq!(
        (&refused["data"], &refused["errors"][0]["message"]),
        (&Value::Null, &json!("Query is too complex."))
    );
    let type_of = "ofType { ".repeat(20);
    let deep = format!(
        "{{ __schema {{ types {{ fields {{ type {{ {type_of} name {} }} }} }} }} }}",
        "}".repeat(20)
    );
    let refused = asked(&shop, &deep).await;
    assert_eq!(refused["errors"][0]["message"], "Query is nested too deep.", "{refused}");
    for wrong in [
        "orders(first: 101)",
        "orders(first: 0)",
        "orders(status: \"lost\")",
        "orders(paymentStatus: \"lost\")",
        "orders(fulfilmentStatus: \"paid\")",
        "orders(after: \"x\")",
    ] {
        let refused = asked(&shop, &format!("{{ {wrong} {{ items {{ id }} }} }}")).await;
        assert!(refused["errors"][0]["message"].is_string(), "{wrong}: {refused}");
    }
    let malformed = shop.post("/v1/graphql", &json!({"question": "?"})).await;
    assert_eq!(malformed.problem(), "malformed-request");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_question_that_multiplies_is_refused_before_anybody_follows_it(database: PgPool) {
    let shop = Shop::open(database).await.asked_by_customer("ada");
    // Each fragment spreads the next one twice: the last is spread 33 million times.
    let doubling = (0_u32..25).fold("{ ...f0 }".to_owned(), |query, level| {
        let next = level.saturating_add(1);
        format!("{query} fragment f{level} on Query {{ ...f{next} ...f{next} }}")
    });
    let refused = asked(&shop, &format!("{doubling} fragment f25 on Query {{ __typename }}")).await;
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("Query selects too much"), "{message}");

    // A field that queries the database has a minimum cost, however little is selected of it.
    let many = |field: &str, count: usize| {
        let fields: Vec<_> = (0..count).map(|number| format!("a{number}: {field}")).collect();
        let fields = fields.join(" ");
        format!("{{ {fields} }}")
    };
    for field in [
        "orders(first: 100) { __typename }",
        "orders(first: 1) { __typename }",
        "order(id: \"x\") { __typename }",
    ] {
        let refused = asked(&shop, &many(field, 60)).await;
        assert_eq!(refused["errors"][0]["message"], "Query is too complex.", "{field}");
    }
    for list in ["lines", "events", "payments", "refunds", "shipments"] {
        let names = many(&format!("{list} {{ __typename }}"), 90);
        let query = format!("{{ orders(first: 100) {{ items {names} }} }}");
        let refused = asked(&shop, &query).await;
        assert_eq!(refused["errors"][0]["message"], "Query is too complex.", "{list}");
    }
}
