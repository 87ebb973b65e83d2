//! `GET /v1/orders/{order_id}/events`: what happened to this order, and when?

use axum::extract::State as Shared;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::extract::{Path, Query};
use crate::orders;
use crate::paging::{Page, PageSize};
use crate::problem::{Document, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// Something that happened to an order. Never changed afterwards.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderEvent {
    /// The event's number within the order, from 1.
    sequence: i32,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "order.placed")]
    kind: String,
    /// The particulars, by kind.
    #[schema(value_type = Object)]
    data: Value,
    /// When.
    occurred_at: DateTime<Utc>,
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
    #[serde(skip_serializing)]
    #[param(value_type = Option<String>)]
    cursor: Option<i32>,
}

/// Lists what happened to an order, first to last.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/events", tag = "orders",
    params(("order_id" = Uuid, Path, description = "The order"), Listing),
    responses(
        (status = 200, description = "A page of events; empty for an order accepted a moment ago",
         body = Page<OrderEvent>),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let order_id = orders::id(&order_id)?;
    let events = sqlx::query_as!(
        OrderEvent,
        r#"select sequence, type as kind, data, occurred_at from orders.order_events
           where order_id = $1 and sequence > $2
           order by sequence limit $3"#,
        order_id.uuid(),
        listing.cursor.unwrap_or(0),
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
    .or_problem("listing an order's events")?;
    // An order has its first event before anything else, so only here can it be unknown.
    if events.is_empty() && orders::find(&state, order_id).await?.is_none() {
        return Err(Problem::order_not_found());
    }
    Page::of(events, listing.limit, |event| event.sequence.to_string())
        .answer(&format!("/v1/orders/{order_id}/events"), &listing)
}
