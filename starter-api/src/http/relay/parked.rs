//! `GET /v1/relay/sinks/{sink}/parked`: lists parked messages.

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
    cursor: Option<i64>,
}

/// Lists a sink's parked messages, oldest first: at most one of each order, with the number of
/// later messages of the order that wait behind it.
///
/// A refused message waits for `replay` or `skip`. One that only failed individually is retried
/// automatically, and counts as refused after ten failures while the receiver accepted others.
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
