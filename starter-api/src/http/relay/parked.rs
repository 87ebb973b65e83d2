//! `GET /v1/relay/sinks/{sink}/parked`: lists the messages that others wait behind.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::number;
use crate::app::paging::{Page, PageSize};
use crate::app::relay::{self, ParkedMessage};
use crate::error::Problem;
use crate::http::extract::{Path, Query};
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Which of them to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the messages that a sink's receiver has refused, or alone has not taken, the one written
/// first first: one of each order, and how many later ones of the order wait behind it.
///
/// One that was refused waits for `replay` or `skip`. One that has only not been taken is tried again
/// by itself, and counts as refused after ten times at which the receiver took others.
#[utoipa::path(
    get, path = "/v1/relay/sinks/{sink}/parked", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("sink" = String, Path, description = "The sink", example = "kafka"), ListQuery),
    responses((status = 200, description = "A page of messages", body = Page<ParkedMessage>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              (status = 404, description = "There is no such sink", body = Document,
               content_type = "application/problem+json"),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn parked(
    _allowed: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(sink): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = relay::parked(&state.app, &sink, query.cursor, query.limit).await?;
    page::respond(page, &format!("/v1/relay/sinks/{sink}/parked"), &query)
}
