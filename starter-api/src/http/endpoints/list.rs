//! `GET /v1/webhook-endpoints`: lists webhook endpoints.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::app::endpoints::{EndpointResource, EndpointState, list};
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndpointsQuery {
    /// Whether to list only `enabled` or only `disabled` ones; both, if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<EndpointState>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<Uuid>,
}

/// Lists the webhook endpoints with their delivery state.
///
/// An endpoint that has answered 410 Gone, or has failed for days, is `disabled` and says why: an
/// operator has to enable or remove it.
#[utoipa::path(
    get, path = "/v1/webhook-endpoints", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(EndpointsQuery),
    responses((status = 200, description = "A page of the endpoints", body = Page<EndpointResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn endpoints(
    _allowed: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Query(query): Query<EndpointsQuery>,
) -> Result<Response, Problem> {
    let page = list::list(&state.app, query.state, query.cursor, query.limit).await?;
    page::respond(page, "/v1/webhook-endpoints", &query)
}
