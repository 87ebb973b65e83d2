//! `GET /v1/orders/{order_id}/events`: the events of an order, as pages or as a stream.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::OrderId;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::{number, number_as_written};
use crate::app::orders;
use crate::app::orders::OrderEvent;
use crate::app::orders::watch::Watch;
use crate::app::paging::{Page, PageSize};
use crate::app::turn::Turn;
use crate::error::{Kind, Problem};
use crate::http::extract::{Path, Query, wants};
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, Caller, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i32>,
}

/// Lists the events of an order, oldest first; with `Accept: text/event-stream`, streams them as
/// they happen.
///
/// The stream has one server-sent event for each event of the order, with the event's number as
/// its `id`, and ends when the order does. A client that was disconnected continues with
/// `Last-Event-ID` (browsers do so by themselves) and misses nothing; 204 means that no more
/// events will come. A stream is closed after ten minutes, or when its token expires, and can be
/// opened again.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/events", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order"), ListQuery,
           ("Last-Event-ID" = Option<String>, Header, example = "3",
            description = "For a stream: the number of the last event seen")),
    responses(
        (status = 200, description = "A page of events",
         content((Page<OrderEvent> = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "For a stream: no more events will come"),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn events(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Query(query): Query<ListQuery>,
    turn: Turn,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = orders::parse_id(&order_id)?;
    let response = if wants(&headers, "text/event-stream", "application/json") {
        stream(&state, &caller, &turn, order_id, &headers).await?
    } else {
        let (after, size) = (query.cursor.unwrap_or(0), query.limit);
        let page = orders::events::list(&state.app, &caller, order_id, after, size).await?;
        page::respond(page, &format!("/v1/orders/{order_id}/events"), &query)?
    };
    Ok(([(header::VARY, "Accept")], response).into_response())
}

/// Server-sent events: the order's events after the one that the caller has seen.
async fn stream(
    state: &State,
    caller: &Caller,
    turn: &Turn,
    order_id: OrderId,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let seen = last_seen(headers)?;
    let Some(watch) = Watch::open(&state.app, caller, turn, order_id, seen).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let events = watch.events().map(|event| event.and_then(|event| sse_event(&event)));
    // The problem has been logged; a disconnected client reconnects, and gets the status then.
    let events = events.map_err(|_problem| "the stream broke off");
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

pub(in crate::http) fn last_seen(headers: &HeaderMap) -> Result<i32, Problem> {
    let Some(header) = headers.get("last-event-id") else { return Ok(0) };
    let number = header.to_str().ok().and_then(number_as_written);
    number.filter(|number| *number >= 0).ok_or_else(|| {
        let detail = "Last-Event-ID is the `id` of an event of this stream.";
        Problem::new(Kind::MalformedRequest, detail)
    })
}

fn sse_event(event: &OrderEvent) -> Result<Event, Problem> {
    Event::default()
        .id(event.sequence.to_string())
        .event(&event.kind)
        .json_data(event)
        .map_err(|error| Problem::internal("writing an event", &error))
}
