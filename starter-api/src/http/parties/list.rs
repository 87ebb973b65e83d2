//! `GET /v1/parties`: lists the parties that orders depend on.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::parties::{self, PartyStanding};
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists the parties that orders depend on, their state at each worker, and who stopped one and
/// why.
///
/// A worker stops calling a party that does not answer for a while by itself. `state` is the worst
/// state that any worker reports, or `unknown` if none has reported within a minute.
#[utoipa::path(
    get, path = "/v1/parties", tag = "operators", security(("bearer" = ["queues:operate"])),
    responses((status = 200, description = "Every party", body = Vec<PartyStanding>),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn parties(
    _allowed: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
) -> Result<Json<Vec<PartyStanding>>, Problem> {
    parties::list::list(&state.app).await.map(Json)
}
