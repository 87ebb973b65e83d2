//! `POST /v1/attention/resolve`: one decision for all orders that wait for the same cause.

use axum::Json;
use axum::extract::State as Shared;
use domain::Decision;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::attention::{self, ResolveAll, ResolvedAll};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::problem::{AuthResponses, WriteProblems};
use crate::identity::{Authorized, scope};

/// One decision for all orders that wait at the same step for the same cause.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResolveAll)]
pub(crate) struct ResolveAllRequest {
    /// The step at which they wait.
    #[schema(min_length = 1, max_length = 64, example = "ship-order")]
    pub step: String,
    /// The cause: the beginning of `why` in the list. The rest, such as the incident, differs from
    /// order to order.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "something is broken in refunding a payment"
    )]
    pub cause: String,
    /// The decision, as for a single order.
    pub decision: Decision,
    /// The reason, for the record. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the carrier has repaired its service")]
    pub why: String,
}

/// Decides about all orders that wait at the same step for the same cause, at most 1000 in one
/// request. Repeat the request for the rest.
///
/// Refunds and disputes are selected in the same way: by the step and the `why` that the list
/// shows.
#[utoipa::path(
    post, path = "/v1/attention/resolve", tag = "operators",
    security(("bearer" = ["orders:resolve"])),
    request_body(content = ResolveAllRequest, description = "Which orders, the decision, and why"),
    responses(
        (status = 200, description = "Which orders have accepted the decision, and which have not",
         body = ResolvedAll),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn resolve_all(
    Authorized { caller, .. }: Authorized<scope::ResolveOrders>,
    Shared(state): Shared<State>,
    Body(request): Body<ResolveAllRequest>,
) -> Result<Json<ResolvedAll>, Problem> {
    let ResolveAllRequest { step, cause, decision, why } = request;
    let command = ResolveAll::check(&step, &cause, decision, &why)?;
    attention::resolve_all(&state.app, &caller, &command).await.map(Json)
}
