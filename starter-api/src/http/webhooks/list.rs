//! `GET /v1/webhooks/events`: lists the payment provider's events.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::paging::{Page, PageSize};
use crate::app::webhooks::list::{self, EventCursor};
use crate::app::webhooks::{EventResource, EventStatus};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The status: `open`, `applied` or `ignored`.
    #[serde(default)]
    #[param(value_type = String, default = "open", example = "open")]
    status: EventStatus,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<EventCursor>,
}

/// Lists the payment provider's events, in the order of receipt.
///
/// An open event waits for an attempt to apply it, or for its object to be recorded; `last_error`
/// says what it waits for. Workers retry it for ever, at most an hour apart, until it is dismissed
/// with `POST /v1/webhooks/events/{event_id}/dismiss` because it can never be applied.
#[utoipa::path(
    get, path = "/v1/webhooks/events", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(ListQuery),
    responses((status = 200, description = "A page of events", body = Page<EventResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn provider_events(
    _allowed: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = list::list(&state.app, query.status, query.cursor.as_ref(), query.limit).await?;
    page::respond(page, "/v1/webhooks/events", &query)
}
