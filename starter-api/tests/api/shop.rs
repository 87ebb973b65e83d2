//! A running starter for tests, with its HTTP client.

use std::sync::Arc;
use std::time::Duration;

use domain::{CustomerId, OrderId};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use starter_api::{Identity, Limits, State, StripeWebhooks, Temporal};
use temporalio_client::{Client, ClientOptions, ConnectionOptions, Url};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::issuer::Issuer;

/// The real router on a port, and a client with the token of a caller.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) address: String,
    pub(crate) database: PgPool,
    pub(crate) issuer: Issuer,
    /// Cancelled to stop the starter.
    pub(crate) closing: CancellationToken,
    client: reqwest::Client,
    token: Option<String>,
    /// The client address that a trusted proxy reports.
    from: Option<&'static str>,
    /// Stops the starter when the last clone is dropped, so that it does not outlive its database.
    _open: Arc<DropGuard>,
}

/// A complete response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Shop {
    /// With the real Temporal, and three articles in the catalogue.
    pub(crate) async fn open(database: PgPool) -> Self {
        stock(&database).await;
        Self::with(database, Temporal::from_env().unwrap(), Limits::default()).await
    }

    /// With tokens of an identity provider; by default, requests have a token with all staff roles.
    pub(crate) async fn with(database: PgPool, temporal: Temporal, limits: Limits) -> Self {
        let issuer = Issuer::start().await;
        let identity = Identity::external(issuer.trusted());
        Self::trusting(database, temporal, limits, identity, issuer).await
    }

    pub(crate) async fn trusting(
        database: PgPool,
        temporal: Temporal,
        limits: Limits,
        identity: Identity,
        issuer: Issuer,
    ) -> Self {
        let state = State::new(as_starter(&database), temporal, identity, limits);
        Self::serving(state, database, issuer).await
    }

    /// Accepts webhooks; without Temporal.
    pub(crate) async fn hearing(
        database: PgPool,
        webhooks: StripeWebhooks,
        limits: Limits,
    ) -> Self {
        let issuer = Issuer::start().await;
        let identity = Identity::external(issuer.trusted());
        let state = State::new(as_starter(&database), nowhere(), identity, limits);
        Self::serving(state.taking_webhooks(webhooks), database, issuer).await
    }

    async fn serving(state: State, database: PgPool, issuer: Issuer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let closing = CancellationToken::new();
        tokio::spawn(starter_api::serve(listener, state, closing.clone().cancelled_owned()));
        let token = Some(issuer.token("staff", &["service", "operator", "finance"]));
        let client = runtime::http::client_builder().build().unwrap();
        let open = Arc::new(closing.clone().drop_guard());
        Self { address, database, issuer, closing, client, token, from: None, _open: open }
    }

    /// The same shop, called with this name and role.
    pub(crate) fn asked_by(&self, name: &str, role: &str) -> Self {
        self.with_token(Some(self.issuer.token(name, &[role])))
    }

    /// The same shop, called by this customer.
    pub(crate) fn asked_by_customer(&self, customer: &str) -> Self {
        self.asked_by(customer, "customer")
    }

    /// The same shop, called with this token or with none.
    pub(crate) fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// The same shop, called from this address, according to the proxy in front of it.
    pub(crate) fn asked_from(&self, address: &'static str) -> Self {
        Self { from: Some(address), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request("POST", path).json(body)).await
    }

    /// Places an order under a key.
    pub(crate) async fn place(&self, key: &str, order: &Value) -> Answer {
        let request = self.request("POST", "/v1/orders").header("Idempotency-Key", key);
        send(request.json(order)).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method.parse().unwrap(), self.url(path));
        if let Some(address) = self.from {
            request = request.header("x-forwarded-for", address);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Asserts that the request under this key had no effect.
    pub(crate) async fn assert_nothing_left(&self, customer: &str, key: &str) {
        let order_id = OrderId::for_request(&CustomerId::parse(customer).unwrap(), key);
        let order = self.get(&format!("/v1/orders/{order_id}")).await;
        assert_eq!(order.status, 404, "an order was left behind: {}", order.text);
        let rows = sqlx::query_scalar!(
            r#"select (select count(*) from orders.orders) + (select count(*) from orders.launches)
                    + (select count(*) from payments.methods)
                    + (select count(*) from customers.addresses) as "rows!""#
        );
        assert_eq!(rows.fetch_one(&self.database).await.unwrap(), 0, "rows were left behind");
    }
}

/// The same database, with the starter's role.
pub(crate) fn as_starter(owner: &PgPool) -> PgPool {
    testkit::as_role(owner, "ordersaga_starter")
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.timeout(Duration::from_secs(30)).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Answer { status, headers, text: answer.text().await.unwrap() }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The heading of `docs/problems.md` that the problem links to.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["type"].as_str().unwrap().trim_start_matches("/docs/problems.md#").to_owned()
    }

    /// The status, and the pretty-printed body.
    pub(crate) fn told(&self) -> String {
        let body = serde_json::to_string_pretty(&self.json()).unwrap();
        format!("{}\n{body}\n", self.status)
    }
}

/// A valid order.
pub(crate) fn order(customer: &str) -> Value {
    json!({
        "customer_id": customer,
        "lines": [{"sku": "85123A", "quantity": 6}],
        "ship_to": {"country": "GB"},
        "payment_token": "tok_visa",
    })
}

/// A name that no other test run has used, because Temporal's state outlives a run.
pub(crate) fn fresh(name: &str) -> String {
    format!("{name}-{}", Uuid::now_v7())
}

/// A client of the tests' Temporal server.
pub(crate) async fn temporal() -> Client {
    let server = runtime::temporal::Temporal::from_env("a test").unwrap();
    // On a busy machine, the two seconds that an attempt has are not always enough.
    let connected = async {
        loop {
            if let Ok(client) = server.client().await {
                break client.clone();
            }
        }
    };
    timeout(Duration::from_mins(1), connected).await.unwrap()
}

/// A Temporal client whose server does not exist.
pub(crate) fn nowhere() -> Temporal {
    let target = Url::parse("http://127.0.0.1:9").unwrap();
    Temporal::at(ConnectionOptions::new(target).build(), ClientOptions::new("default").build())
}

/// A database that does not exist.
pub(crate) fn no_database() -> PgPool {
    let database = PgPoolOptions::new().acquire_timeout(Duration::from_millis(300));
    database.connect_lazy("postgres://nobody@127.0.0.1:9/nothing").unwrap()
}

pub(crate) async fn stock(database: &PgPool) {
    sqlx::query!(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency) values
             ('85123A', 'WHITE HANGING HEART T-LIGHT HOLDER', 2.55, 1.02, 'GBP'),
             ('71053', 'WHITE METAL LANTERN', 3.39, 1.35, 'GBP'),
             ('JP-1', 'FUROSHIKI', 1200, 400, 'JPY'),
             ('SAMPLE', 'SWATCH OF FABRIC', 0, 0, 'GBP')"
    )
    .execute(database)
    .await
    .unwrap();
    sqlx::query!(
        "insert into inventory.stock (sku, on_hand, reserved, received)
         values ('85123A', 100, 40, 100), ('71053', 5, 0, 5)"
    )
    .execute(database)
    .await
    .unwrap();
}
