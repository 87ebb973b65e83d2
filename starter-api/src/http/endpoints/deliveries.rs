//! `GET /v1/webhook-endpoints/{endpoint_id}/deliveries`: lists delivery attempts.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::endpoints::deliveries::{self, Delivery};
use crate::app::input::{SearchText, number};
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::http::extract::{Path, Query};
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveriesQuery {
    /// Only attempts at this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, max_length = 100)]
    message_id: Option<SearchText>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the attempts to deliver messages to an endpoint, newest first. They are kept for some
/// weeks.
#[utoipa::path(
    get, path = "/v1/webhook-endpoints/{endpoint_id}/deliveries", tag = "endpoints",
    security(("bearer" = ["webhooks:manage"])),
    params(("endpoint_id" = Uuid, Path, description = "The endpoint's id"), DeliveriesQuery),
    responses(
        (status = 200, description = "A page of the attempts", body = Page<Delivery>,
         headers(("Link" = String, description = "The next page, as rel=\"next\""))),
        (status = 404, description = "There is no such endpoint", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn deliveries(
    _allowed: Authorized<scope::ManageWebhooks>,
    Shared(state): Shared<State>,
    Path(endpoint_id): Path<String>,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Response, Problem> {
    let DeliveriesQuery { message_id, limit, cursor } = &query;
    let page =
        deliveries::list(&state.app, &endpoint_id, message_id.as_ref(), *cursor, *limit).await?;
    page::respond(page, &format!("/v1/webhook-endpoints/{endpoint_id}/deliveries"), &query)
}
