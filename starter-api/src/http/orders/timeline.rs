//! `GET /v1/orders/{order_id}/timeline`: the history of an order as text.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;

use crate::app::orders;
use crate::app::orders::timeline::{self, Timeline};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Path, wants};
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

const MARKDOWN: &str = "text/markdown";

/// Describes the history of an order as text: as Markdown with `Accept: text/markdown`, otherwise
/// as JSON.
#[utoipa::path(
    get, path = "/v1/orders/{order_id}/timeline", tag = "orders", security(("bearer" = ["orders:read"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    responses(
        (status = 200, description = "The order's history in words", content(
            (Timeline = "application/json"),
            (String = "text/markdown", example = "# Order 018f…: paid\n\n- `2026-01-02T03:04:05.000Z` The order was placed: 23.10 GBP"),
        )),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn timeline(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order_id = orders::parse_id(&order_id)?;
    let timeline = timeline::timeline(&state.app, &caller, order_id).await?;
    let body = if wants(&headers, MARKDOWN, "application/json") {
        let content_type = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
        (content_type, markdown(&timeline)).into_response()
    } else {
        Json(timeline).into_response()
    };
    Ok(([(header::VARY, "Accept")], body).into_response())
}

fn markdown(timeline: &Timeline) -> String {
    let heading = format!("# Order {}: {}\n", timeline.order_id, timeline.status.name());
    timeline.lines.iter().fold(heading, |text, line| {
        let at = line.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        format!("{text}\n- `{at}` {}", escape(&line.text))
    }) + "\n"
}

/// Escapes user-supplied text for Markdown.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        if "\\`*_{}[]<>()#+!|~&".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
        escaped
    })
}
