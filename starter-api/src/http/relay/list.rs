//! `GET /v1/relay/sinks`: lists where messages of orders go.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::relay::{self, SinkList};
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists the sinks that messages of orders go to, how many messages each has still to have, and
/// why one does not get on.
///
/// A sink that is not configured any more is listed as `unread`, and messages are kept for it, until
/// it is removed.
#[utoipa::path(
    get, path = "/v1/relay/sinks", tag = "operators", security(("bearer" = ["queues:operate"])),
    responses((status = 200, description = "Every sink", body = SinkList),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn sinks(
    _allowed: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
) -> Result<Json<SinkList>, Problem> {
    relay::list(&state.app).await.map(Json)
}
