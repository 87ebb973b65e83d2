//! Malicious clients, or clients that behave like them: what they take must not be taken from
//! others.

use std::time::Duration;

use ordersaga_grpc::v1::{PlaceOrderRequest, WatchOrderRequest};
use prost_types::Duration as Patience;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use starter_api::{Identity, Limits, State, Temporal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use uuid::Uuid;

use crate::grpc::{Program, wish};
use crate::issuer::Issuer;
use crate::life::record;
use crate::shop::{Shop, no_database, nowhere, order, send};
use crate::watching::Stream;

/// A timeout that is reached only if a test fails.
const LONG: Duration = Duration::from_secs(20);

const MOMENT: Duration = Duration::from_millis(100);

/// Longer than any test takes.
const NEVER: Duration = Duration::from_mins(10);

/// The HTTP/2 connection preface.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn shop(limits: Limits) -> Shop {
    Shop::with(no_database(), nowhere(), limits).await
}

async fn caller(shop: &Shop) -> TcpStream {
    TcpStream::connect(shop.address.trim_start_matches("http://")).await.unwrap()
}

/// Reads everything until the connection is closed.
async fn until_closed(caller: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset connection counts as closed, too.
    let closed = timeout(LONG, caller.read_to_end(&mut read)).await.unwrap();
    if let Err(error) = closed {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    read
}

#[tokio::test]
async fn whoever_asks_nothing_is_let_go() {
    let shop = shop(Limits { headers_timeout: MOMENT, ..Limits::default() }).await;
    for begun in ["", "G", "GET /health HTTP/1.1\r\nhost: shop\r\n", &PREFACE[..20], PREFACE] {
        let mut silent = caller(&shop).await;
        silent.write_all(begun.as_bytes()).await.unwrap();
        let told = until_closed(&mut silent).await;
        assert!(!String::from_utf8_lossy(&told).contains("200"), "{begun:?}");
    }
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![0, high, low, kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

/// An uncompressed HPACK string: its length has a 7-bit prefix.
fn hpack(text: &str) -> Vec<u8> {
    let mut coded = Vec::new();
    match text.len().checked_sub(127) {
        None => coded.push(u8::try_from(text.len()).unwrap()),
        Some(mut rest) => {
            coded.push(127);
            while rest > 127 {
                coded.push(u8::try_from((rest & 127) | 128).unwrap());
                rest = rest.div_euclid(128);
            }
            coded.push(u8::try_from(rest).unwrap());
        }
    }
    coded.extend(text.as_bytes());
    coded
}

/// The headers of an HTTP/2 request; with `ends`, without a body.
fn head(method: &str, path: &str, fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let begun = [(":method", method), (":scheme", "http"), (":authority", "shop")];
    let mut coded = Vec::new();
    for (name, value) in begun.iter().chain(&[(":path", path)]).chain(fields) {
        coded.push(0);
        coded.extend(hpack(name));
        coded.extend(hpack(value));
    }
    frame(1, 4 | u8::from(ends), 1, &coded)
}

/// The encoded status, if a response's HEADERS frame is among these frames.
fn status(mut told: &[u8]) -> Option<u8> {
    loop {
        let (head, rest) = told.split_at_checked(9)?;
        let length = u16::from_be_bytes([head[1], head[2]]);
        let (payload, rest) = rest.split_at_checked(length.into())?;
        if head[3] == 1 {
            return payload.first().copied();
        }
        told = rest;
    }
}

#[tokio::test]
async fn whoever_only_answers_pings_is_let_go() {
    let shop = shop(Limits { headers_timeout: MOMENT, ..Limits::default() }).await;
    let mut lively = caller(&shop).await;
    let mut sent = PREFACE.as_bytes().to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    lively.write_all(&sent).await.unwrap();
    let answering = async {
        let mut head = [0; 9];
        while lively.read_exact(&mut head).await.is_ok() {
            let length = u16::from_be_bytes([head[1], head[2]]);
            let mut payload = vec![0; usize::from(length)];
            lively.read_exact(&mut payload).await.unwrap();
            if (head[3], head[4]) == (6, 0)
                && lively.write_all(&frame(6, 1, 0, &payload)).await.is_err()
            {
                break;
            }
        }
    };
    timeout(LONG, answering).await.expect("it stays open");
}

#[tokio::test]
async fn whoever_has_asked_and_is_idle_is_let_go() {
    let shop = shop(Limits { idle_timeout: MOMENT, ..Limits::default() }).await;
    let mut idle = caller(&shop).await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    let told = until_closed(&mut idle).await;
    assert!(told.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn whoever_does_not_read_is_let_go() {
    let shop = shop(Limits { send_timeout: MOMENT, ..Limits::default() }).await;
    let mut deaf = caller(&shop).await;
    // Unread responses pile up until the starter cannot send any more, and reads no more.
    let asking = async {
        let ask = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: shop\r\n\r\n";
        while deaf.write_all(ask).await.is_ok() {}
    };
    timeout(LONG, asking).await.expect("it stays open");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_lets_nothing_be_sent_is_let_go(database: PgPool) {
    // Only an unread response ends these connections.
    let limits = Limits {
        send_timeout: MOMENT,
        headers_timeout: NEVER,
        idle_timeout: NEVER,
        ..Limits::default()
    };
    let shop = Shop::with(database.clone(), nowhere(), limits).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let token = format!("Bearer {}", shop.issuer.token("ada", &["customer"]));
    let token = ("authorization", token.as_str());
    let (events, watch) =
        (format!("/v1/orders/{id}/events"), "/ordersaga.v1.OrderService/WatchOrder");
    let by_grpc = [token, ("content-type", "application/grpc"), ("te", "trailers")];
    // An uncompressed message of 38 bytes, with a string in its first field.
    let mut message = vec![0, 0, 0, 0, 38, 10, 36];
    message.extend(id.to_string().as_bytes());
    let by_grpc = [head("POST", watch, &by_grpc, false), frame(0, 1, 1, &message)].concat();
    let (ok, not_found) = (0x88, 0x8d);
    for (asked, expected) in [
        (head("GET", "/nowhere", &[], true), not_found),
        (head("GET", "/docs/swagger-ui-bundle.js", &[], true), ok),
        (head("GET", &events, &[token, ("accept", "text/event-stream")], true), ok),
        (by_grpc, ok),
    ] {
        let mut deaf = caller(&shop).await;
        // Its settings have an initial window of 0 bytes, so no body can be sent.
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let sent = [PREFACE.as_bytes(), settings.as_slice(), asked.as_slice()].concat();
        deaf.write_all(&sent).await.unwrap();
        assert_eq!(status(&until_closed(&mut deaf).await), Some(expected));
    }
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let shop = shop(Limits { connections_per_address: 2, ..Limits::default() }).await;
    let ask = async || {
        let mut caller = caller(&shop).await;
        caller.write_all(b"GET /health HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
        let mut read = [0; 12];
        let is_served = caller.read_exact(&mut read).await.is_ok();
        (caller, is_served)
    };
    let ((first, one), (_second, two), (_third, three)) = (ask().await, ask().await, ask().await);
    assert_eq!([one, two, three], [true, true, false]);
    // A closed connection frees its slot.
    drop(first);
    let freed = async { while !ask().await.1 {} };
    timeout(LONG, freed).await.unwrap();
}

#[tokio::test]
async fn those_who_watch_over_the_process_are_answered_while_nobody_else_gets_in() {
    let state = State::new(
        no_database(),
        nowhere(),
        Identity::external(Issuer::start().await.trusted()),
        Limits { connections_max: 1, ..Limits::default() },
    );
    let (api, ops) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await);
    let (ops, address) = (ops.unwrap(), api.local_addr().unwrap());
    let watched = format!("http://{}", ops.local_addr().unwrap());
    tokio::spawn(starter_api::serve_ops(ops, state.clone()));
    tokio::spawn(starter_api::serve(api, state, std::future::pending()));
    let mut only = TcpStream::connect(address).await.unwrap();
    only.write_all(b"GET /health HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    only.read_exact(&mut [0; 12]).await.unwrap();

    let client = runtime::http::client_builder().build().unwrap();
    for (path, status) in
        [("/health", 200), ("/ready", 503), ("/metrics", 200), ("/v1/orders", 404)]
    {
        assert_eq!(send(client.get(format!("{watched}{path}"))).await.status, status, "{path}");
    }
    // The only slot is still taken.
    only.write_all(b"GET /health HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    only.read_exact(&mut [0; 12]).await.unwrap();
}

/// A request whose body is incomplete and stalls.
async fn half_sent(shop: &Shop, path: &str) -> TcpStream {
    let mut slow = caller(shop).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow
}

#[tokio::test]
async fn half_sent_bodies_take_no_places_from_others() {
    let shop = shop(Limits { requests_max: 1, ..Limits::default() }).await;
    let mut slow = Vec::new();
    for path in ["/v1/quotes", "/v1/sessions", "/v1/customers", "/oauth/token", "/v1/graphql"] {
        slow.push(half_sent(&shop, path).await);
    }
    // One request is processed at a time, and this is it.
    for _ in 0..5 {
        assert_eq!(shop.get("/nowhere").await.problem(), "route-not-found");
        let whole = shop.post("/v1/quotes", &json!({})).await;
        assert_eq!(whole.problem(), "malformed-request");
    }
}

#[tokio::test]
async fn a_body_that_is_sent_too_slowly_is_given_up() {
    let shop = shop(Limits { body_timeout: MOMENT, ..Limits::default() }).await;
    for path in ["/v1/quotes", "/ordersaga.v1.OrderService/PlaceOrder"] {
        let mut slow = half_sent(&shop, path).await;
        let told = String::from_utf8(until_closed(&mut slow).await).unwrap();
        assert!(told.starts_with("HTTP/1.1 408"), "{told}");
        assert!(told.contains("body-too-slow"), "{told}");
        // Over HTTP/2, where the connection stays open.
        let kind = if path.starts_with("/v1") { "application/json" } else { "application/grpc" };
        let asked = head("POST", path, &[("content-type", kind)], false);
        let mut slow = caller(&shop).await;
        let sent = [PREFACE.as_bytes(), &frame(4, 0, 0, &[]), &asked].concat();
        slow.write_all(&sent).await.unwrap();
        let answered = async {
            let mut told = Vec::new();
            while status(&told).is_none() {
                assert_ne!(slow.read_buf(&mut told).await.unwrap(), 0, "it is closed");
            }
        };
        timeout(LONG, answered).await.expect("it is waited for");
    }
}

/// An order of this customer that no worker processes, and whose caller waits for it.
fn waited_for(shop: &Shop, customer: &str) -> impl Future<Output = crate::shop::Answer> + use<> {
    let request = shop.request("POST", "/v1/orders").header("prefer", "Wait=\"30\"");
    send(request.json(&order(customer)))
}

async fn until_placed(shop: &Shop, number: usize) {
    let placed = async {
        loop {
            let page = shop.get("/v1/orders").await;
            if page.status == 200 && page.json()["items"].as_array().unwrap().len() == number {
                return;
            }
        }
    };
    // A waiting request must not block others.
    timeout(LONG, placed).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn those_who_wait_for_an_order_take_no_places_from_others(database: PgPool) {
    let limits = Limits { requests_max: 2, waits_max: 2, ..Limits::default() };
    crate::shop::stock(&database).await;
    let shop = Shop::with(database, Temporal::from_env().unwrap(), limits).await;
    let first = tokio::spawn(waited_for(&shop, "ada"));
    until_placed(&shop, 1).await;
    let program = Program::of(&shop, "backend", "service").await;
    let by_grpc =
        PlaceOrderRequest { wait: Some(Patience { seconds: 30, nanos: 0 }), ..wish("ada") };
    let by_grpc = program.asks(by_grpc);
    let mut orders = program.orders.clone();
    let second = tokio::spawn(async move { orders.place_order(by_grpc).await });
    until_placed(&shop, 2).await;
    // Two requests wait, so a third one is answered at once.
    let third = timeout(LONG, waited_for(&shop, "ada")).await.expect("it waits, too");
    assert_eq!((third.status.as_u16(), third.header("preference-applied")), (201, None));
    assert!(!first.is_finished() && !second.is_finished());

    // A caller who waits when the process is asked to stop still gets the order.
    shop.closing.cancel();
    let first = timeout(LONG, first).await.expect("it waits on").unwrap();
    assert_eq!((first.status.as_u16(), &first.json()["status"]), (201, &json!("processing")));
    let second = timeout(LONG, second).await.expect("it waits on").unwrap().unwrap().into_inner();
    assert!(!second.order.unwrap().order_id.is_empty());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_caller_does_not_take_the_waits_of_all(database: PgPool) {
    let limits = Limits { waits_per_caller: 1, trusted_proxies: 1, ..Limits::default() };
    crate::shop::stock(&database).await;
    let shop = Shop::with(database, Temporal::from_env().unwrap(), limits).await;
    let (ada, bob) = (shop.asked_by_customer("ada"), shop.asked_by_customer("bob"));
    let first = tokio::spawn(waited_for(&ada.asked_from("192.0.2.1"), "ada"));
    until_placed(&shop, 1).await;

    // Neither may the same address wait once more, whoever asks, nor the same customer from
    // elsewhere.
    for (caller, customer, address) in [(&bob, "bob", "192.0.2.1"), (&ada, "ada", "192.0.2.2")] {
        let second = timeout(LONG, waited_for(&caller.asked_from(address), customer)).await;
        let second = second.expect("it waits, too");
        assert_eq!((second.status.as_u16(), second.header("preference-applied")), (201, None));
        assert_eq!(second.json()["status"], "processing");
    }
    let mut program = Program::of(&shop, "ada", "customer").await;
    let patience = Some(Patience { seconds: 30, nanos: 0 });
    let mut by_grpc = program.asks(PlaceOrderRequest { wait: patience, ..wish("ada") });
    by_grpc.metadata_mut().insert("x-forwarded-for", "192.0.2.3".parse().unwrap());
    let placed = timeout(LONG, program.orders.place_order(by_grpc)).await.expect("it waits, too");
    assert!(placed.unwrap().into_inner().order.is_some());

    let other = tokio::spawn(waited_for(&bob.asked_from("192.0.2.2"), "bob"));
    until_placed(&shop, 5).await;
    until_placed(&shop, 5).await;
    assert!(!first.is_finished() && !other.is_finished());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn streams_take_no_places_from_others_and_end_with_the_process(database: PgPool) {
    let limits = Limits { requests_max: 1, ..Limits::default() };
    let shop = Shop::with(database.clone(), nowhere(), limits).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let mut events = Stream::open(&shop, id, None).await;
    assert_eq!(events.next().await.unwrap(), "1 order.placed");
    let mut program = Program::of(&shop, "backend", "service").await;
    let watch = WatchOrderRequest { order_id: id.to_string(), after_sequence: 0 };
    let watched = program.orders.watch_order(program.asks(watch)).await.unwrap();
    let mut watched = watched.into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().sequence, 1);
    assert_eq!(shop.get("/v1/orders").await.status, 200);

    shop.closing.cancel();
    assert_eq!(timeout(LONG, events.next()).await.expect("it goes on"), None);
    let ended = timeout(LONG, watched.message()).await.expect("it goes on");
    assert!(ended.unwrap().is_none());
}
