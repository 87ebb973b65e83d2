//! `GET /v1/orders/{order_id}/events`: what happened to this order, and when? Page by page, or
//! as it happens.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::OrderId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::extract::{Path, Query, wants};
use crate::identity::access::{Caller, May, scope};
use crate::orders::{self, watch};
use crate::paging::{Page, PageSize};
use crate::problem::{Document, Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// Something that happened to an order. Never changed afterwards.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderEvent {
    /// The event's number within the order, from 1.
    pub(crate) sequence: i32,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "order.placed")]
    pub(crate) kind: String,
    /// The particulars, by kind.
    #[schema(value_type = Object)]
    pub(crate) data: Value,
    /// When.
    pub(crate) occurred_at: DateTime<Utc>,
}

/// Which events to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i32>,
}

/// Lists what happened to an order, first to last; with `Accept: text/event-stream`, tells it as
/// it happens.
///
/// The stream has one server-sent event for each event of the order, its `id` the event's
/// number, and ends when the order does. A client that was cut off goes on with `Last-Event-ID`
/// (browsers do so by themselves) and misses nothing; 204 tells it that there is nothing to come.
/// A stream is closed after ten minutes, or when its token expires, to be opened again.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/events", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order"), Listing,
           ("Last-Event-ID" = Option<String>, Header, example = "3",
            description = "Of a stream: the number of the last event seen")),
    responses(
        (status = 200, description = "A page of events; empty for an order accepted a moment ago",
         content((Page<OrderEvent> = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "Of a stream: nothing more will happen to the order"),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn events(
    May { caller, .. }: May<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Query(listing): Query<Listing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = orders::id(&order_id)?;
    let answer = if wants(&headers, "text/event-stream", "application/json") {
        watch::stream(&state, &caller, order_id, &headers).await?
    } else {
        page(&state, &caller, order_id, &listing).await?
    };
    Ok(([(header::VARY, "Accept")], answer).into_response())
}

async fn page(
    state: &State,
    caller: &Caller,
    order_id: OrderId,
    listing: &Listing,
) -> Result<Response, Problem> {
    orders::visible(state, caller, order_id).await?;
    let after = listing.cursor.unwrap_or(0);
    let events = events_after(state, order_id, after, listing.limit.to_read()).await?;
    Page::of(events, listing.limit, |event| event.sequence.to_string())
        .answer(&format!("/v1/orders/{order_id}/events"), listing)
}

/// The order's events after this number, first to last, at most so many.
pub(crate) async fn events_after(
    state: &State,
    order_id: OrderId,
    sequence: i32,
    most: i64,
) -> Result<Vec<OrderEvent>, Problem> {
    sqlx::query_as!(
        OrderEvent,
        r#"select sequence, type as kind, data, occurred_at from orders.order_events
           where order_id = $1 and sequence > $2
           order by sequence limit $3"#,
        order_id.uuid(),
        sequence,
        most,
    )
    .fetch_all(&state.database)
    .await
    .or_problem("listing an order's events")
}
