use std::time::Duration;

use expect_test::expect;
use futures::StreamExt;
use jsonwebtoken::get_current_timestamp;
use ordersaga_grpc::v1::WatchOrderRequest;
use reqwest::Response;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use starter_api::{Limits, Temporal};
use tokio::time::timeout;
use tonic::Code;
use uuid::Uuid;

use crate::grpc::{Program, reason};
use crate::issuer::first_key;
use crate::life::{
    cancelled, decided, declined, failed, happen, needs_attention, record, rejected, released,
    reserved, unwinding, unwound, whole_life,
};
use crate::shop::{Shop, nowhere, order, send};

/// A stream of server-sent events.
pub(crate) struct Stream {
    answer: Response,
    text: String,
}

impl Stream {
    pub(crate) async fn open(shop: &Shop, id: Uuid, last_seen: Option<&str>) -> Self {
        let mut request = shop.request("GET", &format!("/v1/orders/{id}/events"));
        if let Some(last_seen) = last_seen {
            request = request.header("last-event-id", last_seen);
        }
        let answer = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The id and type of the next event; `None` if the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                let told = field("id: ").zip(field("event: "));
                let told = told.map(|(id, kind)| format!("{id} {kind}"));
                self.text = String::from(rest);
                // A comment keeps the connection open and has no content.
                if told.is_some() {
                    return told;
                }
                continue;
            }
            let chunk = timeout(Duration::from_mins(1), self.answer.chunk()).await.unwrap();
            self.text += std::str::from_utf8(&chunk.unwrap()?).unwrap();
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(event) = self.next().await {
            told.push(event);
        }
        told
    }
}

async fn recorded(database: &PgPool) -> Uuid {
    let id = Uuid::now_v7();
    record(database, id, "ada", "2026-01-02T03:04:05Z").await;
    id
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_told_as_it_moves_and_the_stream_ends_with_it(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = recorded(&database).await;
    let mut stream = Stream::open(&shop, id, None).await;
    assert_eq!(stream.next().await.unwrap(), "1 order.placed");
    // Only now does it continue.
    happen(&database, id, &whole_life()).await;
    assert_eq!(
        stream.rest().await,
        [
            "2 stock.reserved",
            "3 payment.captured",
            "4 ledger.posted",
            "5 order.shipped",
            "6 ledger.revenue-recognised",
            "7 order.completed",
        ]
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_stream_that_was_cut_goes_on_after_the_last_event_seen(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = recorded(&database).await;
    happen(&database, id, &whole_life()).await;
    let stream = Stream::open(&shop, id, Some("4")).await;
    let rest = ["5 order.shipped", "6 ledger.revenue-recognised", "7 order.completed"];
    assert_eq!(stream.rest().await, rest);

    // A browser does not reconnect after a 204.
    let path = format!("/v1/orders/{id}/events");
    let request = shop.request("GET", &path).header("accept", "text/event-stream");
    assert_eq!(send(request.header("last-event-id", "7")).await.status, 204);
    for nonsense in ["-1", "six", "", "99999999999"] {
        let request = shop.request("GET", &path).header("accept", "text/event-stream");
        let answer = send(request.header("last-event-id", nonsense)).await;
        assert_eq!(answer.problem(), "malformed-request", "{nonsense}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_end_of_an_order_ends_its_stream(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    for ending in [cancelled("ordered twice"), rejected(), failed()] {
        let id = recorded(&database).await;
        let stream = Stream::open(&shop, id, None).await;
        happen(&database, id, &unwound(&ending)).await;
        let told = stream.rest().await;
        let end = told.last().unwrap();
        assert_eq!(told[..2], ["1 order.placed", "2 order.unwinding"], "{ending:?}");
        assert!(told.len() == 3 && end.starts_with("3 order."), "{told:?}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_can_be_watched_as_soon_as_it_is_placed(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let placed = shop.post("/v1/orders", &order("ada")).await.json();
    let id = placed["order_id"].as_str().unwrap().parse().unwrap();
    let mut stream = Stream::open(&shop, id, None).await;
    assert_eq!(stream.next().await.unwrap(), "1 order.placed");
    let unknown = shop.request("GET", &format!("/v1/orders/{}/events", Uuid::now_v7()));
    let answer = send(unknown.header("accept", "text/event-stream")).await;
    assert_eq!(answer.problem(), "order-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_stream_ends_with_the_token_that_opened_it(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = recorded(&database).await;
    let mut claims = shop.issuer.claims("ada", &["customer"]);
    claims["exp"] = json!(get_current_timestamp().saturating_add(3));
    let shop = shop.with_token(Some(first_key().sign(&claims)));
    // Nothing happens to the order, and only the shop closes the stream, after ten minutes in any
    // case.
    let stream = Stream::open(&shop, id, None).await;
    let told = timeout(Duration::from_mins(1), stream.rest()).await;
    assert_eq!(told.expect("the token has expired"), ["1 order.placed"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn only_so_many_orders_are_watched_at_once(database: PgPool) {
    let limits = Limits { streams_max: 1, ..Limits::default() };
    let shop = Shop::with(database.clone(), Temporal::from_env().unwrap(), limits).await;
    let id = recorded(&database).await;
    let first = Stream::open(&shop, id, None).await;
    let path = format!("/v1/orders/{id}/events");
    let second = send(shop.request("GET", &path).header("accept", "text/event-stream")).await;
    assert_eq!((second.problem().as_str(), second.status.as_u16()), ("overloaded", 503));
    assert_eq!(second.header("retry-after"), Some("2"));
    // A closed stream frees its slot.
    drop(first);
    let again = || send(shop.request("HEAD", &path).header("accept", "text/event-stream"));
    let freed = futures::stream::repeat(()).then(|()| again()).any(async |it| it.status == 200);
    assert!(timeout(Duration::from_secs(20), freed).await.unwrap());
    // The page is not a stream, and is always available.
    assert_eq!(shop.get(&path).await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_caller_does_not_take_the_streams_of_all(database: PgPool) {
    let limits = Limits { streams_per_caller: 1, trusted_proxies: 1, ..Limits::default() };
    let shop = Shop::with(database.clone(), nowhere(), limits).await;
    let (hers, his) = (recorded(&database).await, Uuid::now_v7());
    record(&database, his, "bob", "2026-01-02T03:04:05Z").await;
    let (ada, bob) = (shop.asked_by_customer("ada"), shop.asked_by_customer("bob"));
    let backend = shop.asked_by("backend", "service");
    let _hers = Stream::open(&ada.asked_from("192.0.2.1"), hers, None).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let watch = |id: Uuid, address: &str| {
        let message = WatchOrderRequest { order_id: id.to_string(), after_sequence: 0 };
        let mut request = program.asks(message);
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        request
    };
    let (second, third) = (watch(his, "192.0.2.2"), watch(hers, "192.0.2.1"));
    let _programs = program.orders.watch_order(second).await.unwrap();

    // Neither may the same address open another one, whoever asks, nor the same caller from
    // elsewhere.
    for (caller, address, id) in [
        (&bob, "192.0.2.1", his),
        (&bob, "192.0.2.2", his),
        (&ada, "192.0.2.3", hers),
        (&backend, "192.0.2.3", hers),
    ] {
        let request = caller.asked_from(address).request("GET", &format!("/v1/orders/{id}/events"));
        let refused = send(request.header("accept", "text/event-stream")).await;
        assert_eq!((refused.problem().as_str(), refused.status.as_u16()), ("overloaded", 503));
        assert_eq!(refused.header("retry-after"), Some("2"));
    }
    let refused = program.orders.watch_order(third).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "OVERLOADED"));
    let _his = Stream::open(&bob.asked_from("192.0.2.3"), his, None).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_orders_life_is_told_to_people(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::from_u128(1);
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let mut events = vec![
        reserved(),
        declined(),
        unwinding(cancelled("ordered twice")),
        released(),
        needs_attention(1, "no such payment"),
        decided("Ada", "it was mended"),
    ];
    events.push(unwound(&cancelled("<b>[click](http://x)")).pop().unwrap());
    happen(&database, id, &events).await;
    // A newer release may write events that this one does not know.
    sqlx::query!("select orders.record($1, 'parcel.lost', '{\"amount\": \"not money\"}')", id)
        .fetch_one(&database)
        .await
        .unwrap();
    let path = format!("/v1/orders/{id}/timeline");
    let markdown = shop.request("GET", &path).header("accept", "text/html, text/markdown;q=0.9");
    let markdown = send(markdown).await;
    assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
    assert_eq!(markdown.header("vary"), Some("Accept"));
    let undated: Vec<_> = markdown
        .text
        .lines()
        .map(|line| line.split_once("Z` ").map_or(line, |(_, told)| told))
        .collect();
    expect![[r#"
        # Order 00000000-0000-0000-0000-000000000001: cancelled

        The order was placed: 23.10 GBP
        The goods were set aside
        Refused: the payment was declined: do\_not\_honour
        Everything done so far is being undone: cancelled, ordered twice
        The goods were given back to the stock
        capture-payment cannot be undone and waits for an operator: no such payment
        Ada decided retry for capture-payment: it was mended
        The order was cancelled: \<b\>\[click\]\(http://x\)
        parcel.lost
    "#]]
    .assert_eq(&(undated.join("\n") + "\n"));

    let json = shop.get(&path).await.json();
    assert_eq!(json["timeline"].as_array().unwrap().len(), 9);
    assert_eq!(json["timeline"][1]["text"], "The goods were set aside");
    assert_eq!(json["timeline"][1].get("status"), None);
    assert_eq!(json["timeline"][7]["status"], "cancelled");
    for undecided in ["application/json, text/markdown", "*/*", "text/markdown;q=0", "image/png"] {
        let answer = send(shop.request("GET", &path).header("accept", undecided)).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{undecided}");
    }
}
