//! `GET /v1/orders/{order_id}/timeline`: what happened to this order, told to people?

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{OrderId, OrderStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::{Path, wants};
use crate::identity::access::{May, scope};
use crate::orders;
use crate::orders::events::{OrderEvent, events_after};
use crate::problem::{Document, Guarded, Problem, ReadProblems};
use crate::state::State;

/// An order that needs more lines than this is one for the list of its events.
const LINES_MAX: i64 = 500;

const MARKDOWN: &str = "text/markdown";

/// An order's life, in words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Timeline {
    /// The order.
    order_id: OrderId,
    /// First to last, at most 500 lines.
    timeline: Vec<Line>,
}

/// One line of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    /// The number of the event that it tells of.
    sequence: i32,
    /// When.
    at: DateTime<Utc>,
    /// What happened.
    #[schema(example = "The payment was taken: 23.10 GBP")]
    pub(crate) text: String,
    /// Where the order stood from then on, if the event was a turn in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "paid")]
    status: Option<String>,
}

/// Tells what happened to an order, for people: as Markdown with `Accept: text/markdown`, else
/// as JSON.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/timeline", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order's life, in words", content(
            (Timeline = "application/json"),
            (String = "text/markdown", example = "# Order 018f…: paid\n\n- `2026-01-02T03:04:05.000Z` The order was placed: 23.10 GBP"),
        )),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn timeline(
    May { caller, .. }: May<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = orders::id(&order_id)?;
    let order = orders::visible(&state, &caller, order_id).await?;
    let events = events_after(&state, order_id, 0, LINES_MAX).await?;
    let timeline: Vec<_> = events.iter().map(Line::of).collect();
    let body = if wants(&headers, MARKDOWN, "application/json") {
        let told = markdown(order_id, &order.resource.status, &timeline);
        ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], told).into_response()
    } else {
        Json(Timeline { order_id, timeline }).into_response()
    };
    Ok(([(header::VARY, "Accept")], body).into_response())
}

impl Line {
    pub(crate) fn of(event: &OrderEvent) -> Self {
        let status = event.data.pointer("/status/status").and_then(Value::as_str);
        Self {
            sequence: event.sequence,
            at: event.occurred_at,
            text: told(&event.kind, &event.data),
            status: status.map(str::to_owned),
        }
    }
}

fn markdown(order_id: OrderId, status: &OrderStatus, lines: &[Line]) -> String {
    let heading = format!("# Order {order_id}: {}\n", status.name());
    lines.iter().fold(heading, |text, line| {
        let at = line.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        format!("{text}\n- `{at}` {}", escaped(&line.text))
    }) + "\n"
}

/// What people wrote is shown as they wrote it, and formats nothing.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        if "\\`*_{}[]<>()#+!|~&".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
        escaped
    })
}

/// The parts of an event that a sentence names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    amount: Option<domain::Money>,
    totals: Option<domain::Totals>,
    status: Option<OrderStatus>,
    rejection: Option<domain::Rejection>,
    tracking: Option<String>,
    remark: Option<String>,
}

/// The event as a sentence. A kind that came after this page was written tells its name.
fn told(kind: &str, data: &Value) -> String {
    // An event of another shape is told without its particulars, not withheld.
    let told = Told::deserialize(data).unwrap_or_default();
    let of = |amount: Option<domain::Money>| amount.map(|it| format!(": {it}")).unwrap_or_default();
    let refused =
        || told.rejection.as_ref().map_or_else(|| kind.to_owned(), |no| format!("Refused: {no}"));
    let parcel = told.tracking.as_ref().map(|number| format!(" as {number}")).unwrap_or_default();
    match kind {
        "order.placed" => {
            format!("The order was placed{}", of(told.totals.map(|totals| totals.total)))
        }
        "stock.reserved" => "The goods were set aside".to_owned(),
        "stock.refused" | "payment.declined" | "shipment.refused" => refused(),
        "stock.released" => "The goods were given back to the stock".to_owned(),
        "stock.reservation-expired" => "The goods were held for too long and given back".to_owned(),
        "payment.captured" => format!("The payment was taken{}", of(told.amount)),
        "payment.refunded" => format!("The payment was refunded{}", of(told.amount)),
        "payment.voided" => format!("The authorised payment was let go{}", of(told.amount)),
        "ledger.posted" => "The payment was booked".to_owned(),
        "ledger.reversed" => "The booking was reversed".to_owned(),
        "ledger.revenue-recognised" => "The sale was booked as revenue".to_owned(),
        "order.shipped" => format!("The parcel was handed over{parcel}"),
        "shipment.cancelled" => format!("The parcel{parcel} was called off"),
        _ => turn(kind, told.status, told.remark),
    }
}

/// A note of a turn that no step's own effect tells.
fn turn(kind: &str, status: Option<OrderStatus>, remark: Option<String>) -> String {
    let remark = remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let turned = match status {
        Some(OrderStatus::Unwinding) if remark.is_empty() => {
            "Everything done so far is being taken back".to_owned()
        }
        Some(OrderStatus::Unwinding | OrderStatus::Shipped { .. }) => {
            "The order goes on".to_owned()
        }
        Some(OrderStatus::Cancelled { reason }) => format!("The order was cancelled: {reason}"),
        Some(OrderStatus::Rejected { rejection }) => format!("The order was refused: {rejection}"),
        Some(OrderStatus::Stuck { step, .. }) => {
            format!("The order is stuck at {step} and waits for an operator")
        }
        Some(OrderStatus::Failed { incident }) => {
            format!("A fault stopped the order, incident {incident}")
        }
        Some(
            OrderStatus::Processing
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Posted,
        )
        | None => kind.to_owned(),
    };
    turned + &remark
}
