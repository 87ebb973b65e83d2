//! `GET /v1/attention`: lists the orders that wait for an operator.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::attention::{self, Attention};
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists the orders that wait for an operator's decision, with the reason.
///
/// The list comes from the order engine, so it is complete even if the record could not be
/// written.
#[utoipa::path(
    get, path = "/v1/attention", tag = "operators", security(("bearer" = ["orders:resolve"])),
    responses((status = 200, description = "The orders that wait", body = Attention),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn attention(
    _allowed: Authorized<scope::ResolveOrders>,
    Shared(state): Shared<State>,
) -> Result<Json<Attention>, Problem> {
    attention::attention(&state.app).await.map(Json)
}
