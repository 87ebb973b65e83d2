//! `POST /v1/orders`: take an order in, once, and never lose it.
//!
//! With a warm catalogue an order costs one call to Temporal, and one indexed read more if it
//! came with an Idempotency-Key.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SubsecRound, Utc};
use domain::{Destination, Money, Order, OrderId, OrderStatus, PriceList, RequestHash, Terms};
use uuid::Uuid;

use crate::extract::{Body, IdempotencyKey, Wait};
use crate::identity::access::{Caller, May, scope};
use crate::observe::ORDERS_ACCEPTED;
use crate::orders::request::{OrderRequest, WrittenOrder};
use crate::orders::{self, Known, OrderResource};
use crate::problem::{Document, Guarded, Kind, Problem, WriteProblems};
use crate::state::State;
use crate::temporal::Started;

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Takes an order in.
///
/// A customer orders for themself; the shop's backend orders for the customer that it names. The
/// keys are the customer's, whoever sends them.
///
/// Once it has answered 201 the order cannot be lost: it will be shipped, or it will be rejected
/// or cancelled with everything taken back.
///
/// Send an `Idempotency-Key`, and repeat the request with the same key when no answer comes: the
/// repeat is answered like the first (with `Idempotency-Replayed: true` added) and is not a second
/// order. A key belongs to its customer and never expires: it holds for as long as the order is
/// kept. A request that was refused has used up no key. With `Prefer: wait=N` the answer comes when the order is paid or refused, or after N
/// seconds as it stands then; this wish is no part of what is repeated.
#[utoipa::path(
    post, path = "/v1/orders", tag = "orders", security(("bearer" = ["orders:place"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
         description = "The caller's name for this order, under which it may be repeated. It \
                        belongs to the customer and never expires"),
        ("Prefer" = Option<String>, Header, example = "wait=5",
         description = "`wait=N`: answer when the order is paid or refused, at most after N \
                        seconds (30 at most)"),
    ),
    request_body(content = WrittenOrder, description = "What is bought, where it goes and how it is paid"),
    responses(
        (status = 201, description = "The order is taken in", body = OrderResource, headers(
            ("Location" = String, description = "Where the order is"),
            ("Idempotency-Replayed" = String, description = "`true` if this repeats an answer"),
            ("Preference-Applied" = String, description = "`wait=N` if the order is decided"),
        )),
        (status = 409, description = "The price is not the expected one", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn place(
    May { caller, .. }: May<scope::PlaceOrders>,
    Shared(state): Shared<State>,
    IdempotencyKey(key): IdempotencyKey,
    Wait(wait): Wait,
    Body(written): Body<WrittenOrder>,
) -> Result<Response, Problem> {
    take_in(&state, &caller, key, wait, &written).await?.into_answer()
}

/// An order that was taken in, now or before.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The order as it is answered.
    pub(crate) resource: OrderResource,
    /// Whether this repeats an answer.
    pub(crate) replayed: bool,
    /// The seconds that were allowed for, if the order was decided within them.
    decided_within: Option<u32>,
}

/// Takes an order in, or finds that it was taken in before; the same for every protocol.
pub(crate) async fn take_in(
    state: &State,
    caller: &Caller,
    key: Option<String>,
    wait: Option<u32>,
    written: &WrittenOrder,
) -> Result<Placed, Problem> {
    let request = OrderRequest::checked(caller, written)?;
    let hash = request.hash()?;
    let (order_id, repeatable) = match &key {
        Some(key) => (OrderId::for_request(&request.customer_id, key), true),
        None => (OrderId::of(Uuid::now_v7()), false),
    };
    let taken_in = TakenIn { state, order_id, hash, wait };

    // The record outlives the workflow, so it is asked before Temporal is.
    if repeatable && let Some(known) = orders::recorded(state, order_id).await? {
        return taken_in.again(known).await;
    }
    let prices = match priced(state, &request).await {
        Ok(prices) => prices,
        // What is refused now may have been taken in a moment ago, at another price.
        Err(problem) if repeatable => match orders::accepted(state, order_id).await? {
            Some(known) => return taken_in.again(known).await,
            None => return Err(problem),
        },
        Err(problem) => return Err(problem),
    };
    let order = order(state, &request, &taken_in, prices)?;
    if let Some(recipient) = &request.recipient {
        recipient.keep(state, &request).await?;
    }
    match state.temporal.start(&order).await? {
        Started::Now => Ok(taken_in.first(order).await),
        Started::Before => match orders::find(state, order_id).await? {
            Some(known) => taken_in.again(known).await,
            // Kept by neither: Temporal forgot it between the two looks.
            None => Err(Problem::unavailable("looking for an order that was placed", &Vanished)),
        },
    }
}

impl Placed {
    fn into_answer(self) -> Result<Response, Problem> {
        let location = HeaderValue::try_from(format!("/v1/orders/{}", self.resource.order_id))
            .map_err(|error| Problem::internal("naming an order's place", &error))?;
        let mut response = (StatusCode::CREATED, Json(self.resource)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::LOCATION, location);
        if self.replayed {
            headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(seconds) = self.decided_within {
            let applied = HeaderValue::try_from(format!("wait={seconds}"))
                .map_err(|error| Problem::internal("telling a preference", &error))?;
            headers.insert(PREFERENCE_APPLIED, applied);
        }
        Ok(response)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("its workflow was there and then was not")]
struct Vanished;

/// What the answer needs, whether the order is new or was here before.
struct TakenIn<'a> {
    state: &'a State,
    order_id: OrderId,
    hash: RequestHash,
    wait: Option<u32>,
}

impl TakenIn<'_> {
    async fn first(self, order: Order) -> Placed {
        metrics::counter!(ORDERS_ACCEPTED, "repeat" => "no").increment(1);
        self.placed(OrderResource::at(order, OrderStatus::Processing)).await
    }

    async fn again(self, known: Known) -> Result<Placed, Problem> {
        if known.request_hash != self.hash.as_str() {
            return Err(Problem::new(
                Kind::IdempotencyKeyReused,
                "This customer has sent another order under the same Idempotency-Key. Use a new \
                 key for a new order.",
            ));
        }
        metrics::counter!(ORDERS_ACCEPTED, "repeat" => "yes").increment(1);
        // The same answer again, though the order may have moved on since; whoever wants to know
        // that waits for it, or asks for the order.
        let as_taken_in = known.resource.clone().standing(OrderStatus::Processing);
        let resource = if self.seconds_to_wait() == 0 { as_taken_in } else { known.resource };
        Ok(Placed { replayed: true, ..self.placed(resource).await })
    }

    fn seconds_to_wait(&self) -> u32 {
        self.wait.unwrap_or(0).min(self.state.limits.wait_seconds_max())
    }

    async fn placed(self, mut resource: OrderResource) -> Placed {
        let seconds = self.seconds_to_wait();
        if seconds > 0 {
            resource = self.decided(resource, seconds).await;
        }
        let decided_within = (seconds > 0 && resource.is_decided()).then_some(seconds);
        Placed { resource, replayed: false, decided_within }
    }

    /// The order once it is paid or refused, or as it stands after so many seconds. It has been
    /// taken in already, so a failure to find out more is no failure of the request.
    async fn decided(&self, resource: OrderResource, seconds: u32) -> OrderResource {
        if resource.is_decided() {
            return resource;
        }
        let patience = Duration::from_secs(seconds.into());
        if let Some(view) = self.state.temporal.placed(self.order_id, patience).await {
            return resource.standing(view.status);
        }
        // The workflow may have been over before it could be asked; then the record knows.
        match orders::recorded(self.state, self.order_id).await {
            Ok(Some(known)) => known.resource,
            Ok(None) | Err(_) => resource,
        }
    }
}

/// The price, if it is the one that the customer was shown.
async fn priced(state: &State, request: &OrderRequest) -> Result<PriceList, Problem> {
    let prices = state.catalogue.price(&request.basket).await?;
    match request.expected_total {
        Some(expected) if expected != prices.totals.total => {
            Err(Problem::price_changed(expected, prices.totals.total))
        }
        Some(_) | None => Ok(prices),
    }
}

fn order(
    state: &State,
    request: &OrderRequest,
    taken_in: &TakenIn<'_>,
    prices: PriceList,
) -> Result<Order, Problem> {
    let nothing = || Money::zero(prices.totals.total.currency());
    let cost_of_goods = prices.cost_of_goods.map_or_else(nothing, Ok);
    let limits = state.limits;
    Ok(Order {
        order_id: taken_in.order_id,
        customer_id: request.customer_id.clone(),
        // The database keeps microseconds; what the customer is told must be what it keeps.
        placed_at: DateTime::<Utc>::from(SystemTime::now()).trunc_subsecs(6),
        generation: 1,
        cost_of_goods: cost_of_goods
            .map_err(|error| Problem::internal("adding up what an order costs", &error))?,
        lines: prices.lines,
        totals: prices.totals,
        discount_code: request.basket.discount_code.clone(),
        ship_to: Destination {
            country: request.basket.country,
            address_id: request.recipient.as_ref().map(|recipient| recipient.address_id),
        },
        payment_token: request.payment_token.clone(),
        terms: Terms {
            cancel_window_seconds: request
                .cancel_window_seconds
                .unwrap_or(limits.cancel_window_seconds),
            patience_seconds: request.patience_seconds.or(limits.patience_seconds),
        },
        request_hash: taken_in.hash.clone(),
    })
}
