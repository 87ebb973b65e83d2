//! `GET /v1/attention`: which orders wait for a person?

use axum::Json;
use axum::extract::State as Shared;

use crate::app::attention::{self, Attention};
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists the orders that wait for a person to decide, with the reason.
///
/// The order engine knows which those are, also where the record could not be written.
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
