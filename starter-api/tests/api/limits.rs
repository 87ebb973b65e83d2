use std::future::{pending, ready};
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, stream};
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use starter_api::{Identity, Limits, State, Temporal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::issuer::Issuer;
use crate::shop::{Answer, Shop, no_database, nowhere, send};

async fn shop(limits: Limits) -> Shop {
    Shop::with(no_database(), nowhere(), limits).await
}

/// Repeats a request until it is refused, which happens long before the five hundredth time.
async fn refused(ask: impl AsyncFn() -> Answer) -> Answer {
    let answers = stream::repeat(()).take(500).then(|()| ask());
    let refused = answers.filter(|answer| ready(answer.status == 429));
    pin!(refused).next().await.unwrap()
}

#[tokio::test]
async fn an_address_that_sends_too_much_is_told_when_to_come_again() {
    let shop = shop(Limits { rate_per_address: NonZeroU32::MIN, ..Limits::default() }).await;
    let first = shop.get("/nowhere").await;
    assert_eq!(first.header("ratelimit-policy"), Some(r#""address";q=2;w=2"#));
    assert_eq!(first.header("ratelimit"), Some(r#""address";r=1;t=2"#));

    let answer = refused(async || shop.get("/nowhere").await).await;
    assert_eq!(answer.problem(), "too-many-requests");
    assert_eq!(answer.header("ratelimit"), Some(r#""address";r=0;t=2"#));
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Monitoring is not rate limited.
    assert_eq!(shop.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_token_that_is_used_too_much_waits_and_another_does_not() {
    let shop = shop(Limits { rate_per_token: NonZeroU32::MIN, ..Limits::default() }).await;
    let shop = shop.with_token(None);
    let ask = |token: &str| send(shop.request("GET", "/nowhere").bearer_auth(token));
    let answer = refused(async || ask("hers").await).await;
    let told = answer.headers.get_all("ratelimit").iter();
    let told: Vec<_> =
        told.map(|field| field.to_str().unwrap().split(';').next().unwrap()).collect();
    assert_eq!(told, [r#""address""#, r#""token""#]);
    assert_eq!(ask("his").await.problem(), "route-not-found");
}

#[tokio::test]
async fn an_address_registers_only_so_many_customers_a_minute() {
    let two = NonZeroU32::new(2).unwrap();
    let shop = shop(Limits { registrations_per_address: two, ..Limits::default() }).await;
    let shop = shop.with_token(None);
    let register = async || {
        let ada = json!({"email": "ada@example.org", "password": "correct horse battery"});
        shop.post("/v1/customers", &ada).await
    };
    let first = register().await;
    assert_eq!(first.problem(), "issued-elsewhere");
    let told = first.headers.get_all("ratelimit-policy").iter();
    let told: Vec<_> = told.map(|field| field.to_str().unwrap()).collect();
    assert_eq!(told, [r#""address";q=4000;w=2"#, r#""registration";q=2;w=60"#]);
    assert_eq!(register().await.problem(), "issued-elsewhere");
    let third = register().await;
    assert_eq!((third.status.as_u16(), third.problem().as_str()), (429, "too-many-requests"));
    assert!(third.header("retry-after").is_some());
    // Other requests of the address are admitted.
    assert_eq!(shop.get("/v1/customers").await.status, 401);
}

#[tokio::test]
async fn whoever_drips_its_request_is_let_go() {
    let limits = Limits { headers_timeout: Duration::from_millis(50), ..Limits::default() };
    let shop = shop(limits).await;
    let mut caller = TcpStream::connect(shop.address.trim_start_matches("http://")).await.unwrap();
    caller.write_all(b"GET /health HTTP/1.1\r\nhost: shop\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The connection is closed although the client has not finished and does not close it.
    let read = timeout(Duration::from_secs(20), caller.read_to_end(&mut answer)).await;
    // It is reset if the starter has not read all of the request.
    if let Err(error) = read.unwrap() {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let limits = Limits { body_timeout: Duration::from_millis(50), ..Limits::default() };
    let shop = shop(limits).await;
    let mut caller = TcpStream::connect(shop.address.trim_start_matches("http://")).await.unwrap();
    let head = "POST /v1/quotes HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    caller.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1_000];
    let read = timeout(Duration::from_secs(20), caller.read(&mut answer)).await;
    let length = read.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_not_read() {
    let shop = shop(Limits::default()).await;
    let answer = send(shop.request("GET", "/health").header("x-much", "x".repeat(40_000))).await;
    assert_eq!(answer.status, 431);
    let many = (0..200).fold(shop.request("GET", "/health"), |request, number| {
        request.header(format!("x-{number}"), "1")
    });
    assert_eq!(send(many).await.status, 431);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_answer_that_the_caller_has_is_not_sent_again(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let path = "/v1/products/71053";
    let first = shop.get(path).await;
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    let tag = first.header("etag").unwrap().to_owned();
    let ask = |tag: &str| send(shop.request("GET", path).header("if-none-match", tag));
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = ask(&known).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{known}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
    }
    assert_eq!(ask("\"x\"").await.status, 200);
    // One piece fewer changes the `ETag`.
    sqlx::query!("update inventory.stock set reserved = reserved + 1 where sku = '71053'")
        .execute(&database)
        .await
        .unwrap();
    let changed = ask(&tag).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["available"]), (200, &4.into()));
    // A response without an `ETag` must not be cached.
    assert_eq!(shop.get("/v1/products").await.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_page_of_another_origin_may_call_only_if_it_is_named() {
    let state = State::new(
        no_database(),
        Temporal::from_env().unwrap(),
        Identity::external(Issuer::start().await.trusted()),
        Limits::default(),
    );
    let state = state.open_to_pages_of(&["https://shop.example".parse().unwrap()]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    tokio::spawn(starter_api::serve(listener, state, pending()));
    let client = runtime::http::client_builder().build().unwrap();
    let preflight = async |origin: &str| {
        let request = client.request(reqwest::Method::OPTIONS, &url).header("origin", origin);
        send(request.header("access-control-request-method", "GET")).await
    };
    let named = preflight("https://shop.example").await;
    assert_eq!(named.header("access-control-allow-origin"), Some("https://shop.example"));
    let stranger = preflight("https://evil.example").await;
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    let closed = shop(Limits::default()).await;
    let asked = closed.request("GET", "/health").header("origin", "https://shop.example");
    let told = send(asked).await;
    assert_eq!(told.header("access-control-allow-origin"), None);
    assert_eq!(told.header("vary"), None, "no answer depends on the origin");
}
