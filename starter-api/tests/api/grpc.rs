use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select;
use ordersaga_grpc::v1::order_service_client::OrderServiceClient;
use ordersaga_grpc::v1::{
    CancelDecision, CancelOrderRequest, FulfilmentStatus, GetOrderRequest, Money, OrderStatus,
    PaymentStatus, PlaceOrderRequest, RefundState, RequestRefundRequest, ShipTo, WantedLine,
    WatchOrderRequest, WatchOrderResponse,
};
use prost_types::Duration as Patience;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use starter_api::{Limits, Temporal};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, IntoRequest, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::life::{cancelled, happen, record, unwound};
use crate::refunding::completed_order;
use crate::shop::{Shop, fresh, no_database, nowhere};

/// A gRPC client with this role.
pub(crate) struct Program {
    pub(crate) orders: OrderServiceClient<Channel>,
    authorization: String,
}

async fn channel(shop: &Shop) -> Channel {
    Channel::from_shared(shop.address.clone()).unwrap().connect().await.unwrap()
}

impl Program {
    pub(crate) async fn of(shop: &Shop, name: &str, role: &str) -> Self {
        let token = shop.issuer.token(name, &[role]);
        let orders = OrderServiceClient::new(channel(shop).await);
        Self { orders, authorization: format!("Bearer {token}") }
    }

    pub(crate) fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = message.into_request();
        request.metadata_mut().insert("authorization", self.authorization.parse().unwrap());
        request
    }
}

pub(crate) fn wish(customer: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        customer_id: customer.to_owned(),
        lines: vec![WantedLine { sku: "85123A".to_owned(), quantity: 6 }],
        ship_to: Some(ShipTo { country: "GB".to_owned(), ..ShipTo::default() }),
        payment_token: "tok_visa".to_owned(),
        ..PlaceOrderRequest::default()
    }
}

pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_error_details().error_info().cloned().unwrap();
    assert_eq!(info.domain, "ordersaga");
    info.reason
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_placed_by_grpc_is_the_one_that_http_shows(database: PgPool) {
    let shop = Shop::open(database).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let request = PlaceOrderRequest {
        idempotency_key: Some(fresh("key")),
        expected_total: Some(Money { amount: "23.10".to_owned(), currency: "GBP".to_owned() }),
        wait: Some(Patience { seconds: 0, nanos: 0 }),
        ..wish("ada")
    };
    let placed = program.orders.place_order(program.asks(request.clone())).await.unwrap();
    let placed = placed.into_inner();
    let order = placed.order.unwrap();
    assert!(!placed.replayed);
    assert_eq!(order.status(), OrderStatus::Processing);
    assert_eq!(order.payment_status(), PaymentStatus::None);
    assert_eq!(order.fulfilment_status(), FulfilmentStatus::None);
    assert_eq!(order.total.clone().unwrap().amount, "23.10");
    let shown = shop.get(&format!("/v1/orders/{}", order.order_id)).await.json();
    assert_eq!((&shown["customer_id"], &shown["status"]), (&json!("ada"), &json!("processing")));

    let again = program.orders.place_order(program.asks(request.clone())).await.unwrap();
    assert!(again.get_ref().replayed);
    assert_eq!(again.into_inner().order.unwrap(), order);
    let other = PlaceOrderRequest { payment_token: "tok_other".to_owned(), ..request };
    let refused = program.orders.place_order(program.asks(other)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
    );

    let id = order.order_id.clone();
    let got = program.orders.get_order(program.asks(GetOrderRequest { order_id: id })).await;
    assert_eq!(got.unwrap().into_inner().order.unwrap(), order);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_bad_order_is_told_every_broken_rule_by_grpc_too(database: PgPool) {
    let shop = Shop::open(database).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let mut bad = wish("a b");
    bad.lines[0].quantity = 0;
    let refused = program.orders.place_order(program.asks(bad)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "INVALID_REQUEST")
    );
    let details = refused.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().collect();
    let fields: Vec<_> = fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["/customer_id", "/lines/0/quantity"]);
    // A missing message is a broken rule like any other.
    let nothing = PlaceOrderRequest::default();
    let refused = program.orders.place_order(program.asks(nothing)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_program_may_not_see_or_do_by_http_it_may_not_by_grpc(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let get = GetOrderRequest { order_id: id.to_string() };
    let mut ada = Program::of(&shop, "ada", "customer").await;
    assert!(ada.orders.get_order(ada.asks(get.clone())).await.is_ok());
    let mut bob = Program::of(&shop, "bob", "customer").await;
    let refused = bob.orders.get_order(bob.asks(get.clone())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "ORDER_NOT_FOUND"));
    let watch = WatchOrderRequest { order_id: id.to_string(), after_sequence: 0 };
    let refused = bob.orders.watch_order(bob.asks(watch)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let cancel =
        CancelOrderRequest { order_id: id.to_string(), reason: "mine".to_owned(), dry_run: true };
    let refused = bob.orders.cancel_order(bob.asks(cancel)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let refused = bob.orders.get_order(get).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unauthenticated, "UNAUTHENTICATED")
    );
    let mut clerk = Program::of(&shop, "clerk", "finance").await;
    let refused = clerk.orders.place_order(clerk.asks(wish("ada"))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "INSUFFICIENT_SCOPE")
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_watched_to_its_end_and_its_cancel_is_answered(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let watch = WatchOrderRequest { order_id: id.to_string(), after_sequence: 0 };
    let watched = program.orders.watch_order(program.asks(watch)).await.unwrap();
    let mut watched = watched.into_inner();
    let first = watched.next().await.unwrap().unwrap();
    assert_eq!((first.sequence, first.r#type.as_str()), (1, "order.placed"));
    assert_eq!(first.text, "The order was placed: 23.10 GBP");

    let mut ask = async |dry_run| {
        let wish =
            CancelOrderRequest { order_id: id.to_string(), reason: "twice".to_owned(), dry_run };
        program.orders.cancel_order(program.asks(wish)).await
    };
    let preview = ask(true).await.unwrap().into_inner();
    assert_eq!(preview.decision(), CancelDecision::WouldCancel);
    happen(&database, id, &unwound(&cancelled("twice"))).await;
    let done = ask(false).await.unwrap().into_inner();
    assert_eq!((done.decision(), done.status()), (CancelDecision::Already, OrderStatus::Cancelled));

    let rest: Vec<_> = watched.map(|event| event.unwrap()).collect().await;
    let statuses: Vec<_> = rest.iter().map(WatchOrderResponse::status).collect();
    assert_eq!(statuses, [OrderStatus::Unspecified, OrderStatus::Cancelled]);
    // Resuming after the end is not an error.
    let watch = WatchOrderRequest { order_id: id.to_string(), after_sequence: 3 };
    let watched = program.orders.watch_order(program.asks(watch)).await.unwrap();
    assert_eq!(watched.into_inner().count().await, 0);
}

/// A refund of this amount.
fn refund_of(order: Uuid, amount: &str, currency: &str) -> RequestRefundRequest {
    let (amount, currency) = (amount.to_owned(), currency.to_owned());
    RequestRefundRequest {
        order_id: order.to_string(),
        amount: Some(Money { amount, currency }),
        reason: "arrived broken".to_owned(),
        idempotency_key: "k".to_owned(),
        ..RequestRefundRequest::default()
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_asked_for_by_grpc_is_the_one_that_http_shows(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let id = completed_order(&database).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let lines = vec![WantedLine { sku: "85123A".to_owned(), quantity: 2 }];
    let request = RequestRefundRequest { amount: None, lines, ..refund_of(id, "", "") };
    let asked = program.orders.request_refund(program.asks(request.clone())).await.unwrap();
    let asked = asked.into_inner();
    let refund = asked.refund.unwrap();
    assert!(!asked.replayed);
    assert_eq!((refund.number, refund.state()), (1, RefundState::Requested));
    assert_eq!((&refund.lines, refund.requested_by.as_str()), (&request.lines, "backend"));
    let parts = [&refund.goods, &refund.goods_tax, &refund.shipping, &refund.shipping_tax];
    let parts = parts.map(|part| part.as_ref().unwrap().amount.as_str());
    assert_eq!(parts, ["5.10", "1.02", "0.00", "0.00"]);
    let listed = shop.get(&format!("/v1/orders/{id}/refunds")).await.json();
    let amount = json!({ "amount": "6.12", "currency": "GBP" });
    assert_eq!((&listed[0]["number"], &listed[0]["amount"]), (&json!(1), &amount));

    let again = program.orders.request_refund(program.asks(request.clone())).await.unwrap();
    assert!(again.get_ref().replayed);
    assert_eq!(again.into_inner().refund.as_ref(), Some(&refund));
    let other = RequestRefundRequest { shipping: true, ..request };
    let refused = program.orders.request_refund(program.asks(other)).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
    );

    let mut ada = Program::of(&shop, "ada", "customer").await;
    let get = GetOrderRequest { order_id: id.to_string() };
    let got = ada.orders.get_order(ada.asks(get)).await.unwrap().into_inner();
    assert_eq!(got.order.unwrap().payment_status(), PaymentStatus::Paid);
    assert_eq!(got.refunds, [refund]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_http_refuses_is_refused_by_grpc(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let id = completed_order(&database).await;
    for (name, role) in [("ada", "customer"), ("fin", "finance")] {
        let mut program = Program::of(&shop, name, role).await;
        let ask = program.asks(refund_of(id, "1.00", "GBP"));
        let refused = program.orders.request_refund(ask).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "INSUFFICIENT_SCOPE")
        );
    }
    let under_way = Uuid::now_v7();
    record(&database, under_way, "ada", "2026-01-02T03:04:05Z").await;
    let mut eve = Program::of(&shop, "eve", "operator").await;
    let fine = || refund_of(id, "1.00", "GBP");
    for (ask, why) in [
        (refund_of(id, "23.11", "GBP"), "INVALID_REQUEST"),
        (refund_of(id, "1.00", "EUR"), "INVALID_REQUEST"),
        (RequestRefundRequest { shipping: true, ..fine() }, "INVALID_REQUEST"),
        (RequestRefundRequest { idempotency_key: String::new(), ..fine() }, "MALFORMED_REQUEST"),
        (refund_of(under_way, "1.00", "GBP"), "ORDER_NOT_REFUNDABLE"),
        (refund_of(Uuid::now_v7(), "1.00", "GBP"), "ORDER_NOT_FOUND"),
    ] {
        let refused = eve.orders.request_refund(eve.asks(ask.clone())).await.unwrap_err();
        assert_eq!(reason(&refused), why, "{ask:?}");
    }
    let get = GetOrderRequest { order_id: id.to_string() };
    assert_eq!(eve.orders.get_order(eve.asks(get)).await.unwrap().into_inner().refunds, []);
}

#[tokio::test]
async fn what_stops_a_request_before_it_is_read_is_told_in_grpc_too() {
    let temporal = Temporal::from_env().unwrap();
    let limits = Limits { rate_per_address: NonZeroU32::MIN, ..Limits::default() };
    let shop = Shop::with(no_database(), temporal, limits).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let refused = loop {
        let get = GetOrderRequest { order_id: Uuid::now_v7().to_string() };
        let refused = program.orders.get_order(program.asks(get)).await.unwrap_err();
        // There is no database.
        if refused.code() != Code::Unavailable {
            break refused;
        }
        assert_eq!(reason(&refused), "TRY_AGAIN");
    };
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_REQUESTS")
    );
    assert!(refused.get_error_details().retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn whoever_asks_is_told_that_the_service_is_there_and_what_it_offers() {
    let shop = Shop::with(no_database(), nowhere(), Limits::default()).await;
    let mut health = HealthClient::new(channel(&shop).await);
    let service = "ordersaga.v1.OrderService".to_owned();
    let asked = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(asked.status(), ServingStatus::Serving);

    let mut contract = ServerReflectionClient::new(channel(&shop).await);
    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let asked = contract.server_reflection_info(futures::stream::iter([ask])).await.unwrap();
    let answer = asked.into_inner().next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else {
        unreachable!("{answer:?}")
    };
    let mut names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    let reflection = "grpc.reflection.v1.ServerReflection";
    assert_eq!(names, ["grpc.health.v1.Health", reflection, "ordersaga.v1.OrderService"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn requests_over_one_connection_count_each(database: PgPool) {
    let limits = Limits { requests_per_caller: 1, ..Limits::default() };
    let shop = Shop::with(database.clone(), nowhere(), limits).await;
    let program = Program::of(&shop, "backend", "service").await;
    let mut locked = database.begin().await.unwrap();
    let lock = sqlx::raw_sql("lock table orders.orders in access exclusive mode");
    lock.execute(&mut *locked).await.unwrap();
    let get = async || {
        let get = GetOrderRequest { order_id: Uuid::now_v7().to_string() };
        program.orders.clone().get_order(program.asks(get)).await.unwrap_err()
    };
    // One is processed once the table is unlocked, and the other one is refused meanwhile.
    let (refused, worked_on) = select(Box::pin(get()), Box::pin(get())).await.factor_first();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "OVERLOADED"));
    locked.rollback().await.unwrap();
    assert_eq!(reason(&worked_on.await), "ORDER_NOT_FOUND");
}

#[tokio::test]
async fn one_address_has_only_so_many_streams_of_grpcs_own() {
    let limits = Limits { streams_per_caller: 1, ..Limits::default() };
    let shop = Shop::with(no_database(), nowhere(), limits).await;
    let mut health = HealthClient::new(channel(&shop).await);
    let asked = HealthCheckRequest::default;
    let first = health.watch(asked()).await.unwrap();
    let refused = health.watch(asked()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "OVERLOADED"));
    let mut contract = ServerReflectionClient::new(channel(&shop).await);
    let asks = futures::stream::pending::<ServerReflectionRequest>();
    let refused = contract.server_reflection_info(asks).await.unwrap_err();
    assert_eq!(reason(&refused), "OVERLOADED");
    // A unary call opens no stream.
    assert!(health.check(asked()).await.is_ok());
    drop(first);
    let freed = async { while health.watch(asked()).await.is_err() {} };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}
