//! `POST /v1/orders`: places an order.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::app::basket::BasketInput;
use crate::app::orders::OrderResource;
use crate::app::orders::place::command::{AddressInput, MoneyInput, OrderInput, PlaceOrder};
use crate::app::orders::place::{self, Placed};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, IdempotencyKeyHeader, PreferWait};
use crate::http::line::{LineRequest, whole_number};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// An order request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderRequest {
    /// The customer, by the shop's own customer id. A customer may omit it.
    #[schema(min_length = 1, max_length = 64, example = "17850")]
    pub customer_id: Option<String>,
    /// Articles and quantities; prices come from the catalogue.
    #[schema(min_items = 1, max_items = 1_000)]
    pub lines: Vec<LineRequest>,
    /// The destination.
    pub ship_to: ShipToRequest,
    /// The payment provider's token for the card. Never a card number.
    #[schema(min_length = 5, max_length = 128, example = "tok_visa")]
    pub payment_token: String,
    /// The discount code that the customer entered.
    #[schema(min_length = 1, max_length = 32, example = "WELCOME10")]
    pub discount_code: Option<String>,
    /// The price that the customer was shown. If the order costs something else, it is refused.
    pub expected_total: Option<MoneyRequest>,
    /// How long the order can be cancelled before it is packed.
    #[schema(value_type = Option<u32>, maximum = 2_592_000, example = 0)]
    pub cancel_window_seconds: Option<Number>,
    /// The patience: how long the order waits for a party that does not answer before it is
    /// unwound.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 604_800)]
    pub patience_seconds: Option<Number>,
    /// How long a declined payment may be replaced, while the goods stay reserved. Zero rejects the
    /// order at once.
    #[schema(value_type = Option<u32>, maximum = 604_800, example = 0)]
    pub payment_retry_seconds: Option<Number>,
    /// The customer's IP address, IPv4 or IPv6, as seen by the shop's backend; customers must omit
    /// it. Screening counts orders by network, and only the network is stored. A repeat may have
    /// another address.
    #[schema(min_length = 2, max_length = 45, example = "203.0.113.7")]
    pub customer_ip: Option<String>,
}

/// The destination. The country alone is enough for a trial; with any other field, name and line1
/// are required, and city and `postal_code` where the country has them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ShipTo)]
pub(crate) struct ShipToRequest {
    /// The country, as an ISO 3166-1 alpha-2 code. Decides tax and shipping fee.
    #[schema(min_length = 2, max_length = 2, example = "GB")]
    pub country: String,
    /// The recipient.
    #[schema(max_length = 200)]
    pub name: Option<String>,
    /// Street and house number.
    #[schema(max_length = 200)]
    pub line1: Option<String>,
    /// Anything else that the carrier needs.
    #[schema(max_length = 200)]
    pub line2: Option<String>,
    /// The city. Required, except in countries whose addresses need none, such as Hong Kong.
    #[schema(max_length = 100)]
    pub city: Option<String>,
    /// The postal code: letters and digits, with spaces, `-` or `.` between. Required where the
    /// country's addresses need one.
    #[schema(max_length = 20)]
    pub postal_code: Option<String>,
}

/// An amount of money. It is text, because many programs read JSON numbers as floating point.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoneyRequest {
    /// In major units, with no more decimals than the currency has.
    #[schema(example = "19.99")]
    pub amount: String,
    /// ISO 4217.
    #[schema(example = "GBP")]
    pub currency: String,
}

impl OrderRequest {
    pub(in crate::http) fn input(&self) -> OrderInput<'_> {
        let ShipToRequest { country, name, line1, line2, city, postal_code } = &self.ship_to;
        OrderInput {
            customer_id: self.customer_id.as_deref(),
            basket: BasketInput {
                lines: self.lines.iter().map(LineRequest::input).collect(),
                country,
                discount_code: self.discount_code.as_deref(),
            },
            address: AddressInput {
                name: name.as_deref(),
                line1: line1.as_deref(),
                line2: line2.as_deref(),
                city: city.as_deref(),
                postal_code: postal_code.as_deref(),
            },
            payment_token: &self.payment_token,
            expected_total: self
                .expected_total
                .as_ref()
                .map(|total| MoneyInput { amount: &total.amount, currency: &total.currency }),
            cancel_window_seconds: self.cancel_window_seconds.as_ref().map(whole_number),
            patience_seconds: self.patience_seconds.as_ref().map(whole_number),
            payment_retry_seconds: self.payment_retry_seconds.as_ref().map(whole_number),
            customer_ip: self.customer_ip.as_deref(),
        }
    }
}

/// Places an order.
///
/// A customer orders for themself; the shop's backend orders for the customer that it names.
/// Idempotency keys belong to the customer, whoever sends them.
///
/// Once the response is 201, the order is recorded durably: it will be shipped, or rejected or
/// cancelled with every effect undone. It is accepted even while Temporal is unavailable, and
/// processed afterwards. When the backlog of waiting orders is full, further orders are answered
/// with 503.
///
/// Send an `Idempotency-Key`, and repeat the request with the same key when there is no response:
/// the repeat gets the same response (with `Idempotency-Replayed: true` added) and places no second
/// order. A key never expires: it is valid for as long as the order is kept. A request that was
/// refused does not consume its key. With `Prefer: wait=N` the response comes when the order is
/// paid or rejected or its customer has to act (`customer_action`), or after N seconds with its
/// status then, or at once when too many callers wait; `Prefer` is excluded from the idempotency
/// fingerprint.
#[utoipa::path(
    post, path = "/v1/orders", tag = "orders", security(("bearer" = ["orders:place"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
         description = "The caller's name for this order, under which it may be repeated. It \
                        belongs to the customer and never expires"),
        ("Prefer" = Option<String>, Header, example = "wait=5",
         description = "`wait=N`: answer when the order is paid or refused or its customer has to \
                        do something, at most after N seconds (30 at most), or at once when too \
                        many wait"),
    ),
    request_body(content = OrderRequest, description = "What is bought, where it goes and how it is paid"),
    responses(
        (status = 201, description = "The order is placed", body = OrderResource, headers(
            ("Location" = String, description = "Where the order is"),
            ("Idempotency-Replayed" = String, description = "`true` if this is a repeat of an earlier response"),
            ("Preference-Applied" = String, description = "`wait=N` if the order was decided in time"),
        )),
        (status = 409, description = "The price is not the expected one", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn place(
    Authorized { caller, .. }: Authorized<scope::PlaceOrders>,
    Shared(state): Shared<State>,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    PreferWait(wait): PreferWait,
    Body(request): Body<OrderRequest>,
) -> Result<Response, Problem> {
    let command = PlaceOrder::check(&caller, &request.input())?;
    respond(place::place(&state.app, &caller, &command, key.as_ref(), wait).await?)
}

fn respond(placed: Placed) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(format!("/v1/orders/{}", placed.resource.order_id))
        .map_err(|error| Problem::internal("writing an order's location", &error))?;
    let mut response = (StatusCode::CREATED, Json(placed.resource)).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    tell(&mut response, placed.replayed, placed.decided_within)?;
    Ok(response)
}

/// Adds the headers that say whether this is a repeat, and whether the wait was honoured.
pub(in crate::http) fn tell(
    response: &mut Response,
    replayed: bool,
    decided_within: Option<u32>,
) -> Result<(), Problem> {
    let headers = response.headers_mut();
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(seconds) = decided_within {
        let applied = HeaderValue::try_from(format!("wait={seconds}"))
            .map_err(|error| Problem::internal("writing an applied preference", &error))?;
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    Ok(())
}
