//! `GET /v1/relay/sinks`: lists the sinks.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::relay::{self, SinkList};
use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::identity::{Authorized, scope};

/// Lists the sinks, the number of messages to be delivered to each, and why one makes no progress.
///
/// A sink that is no longer configured is listed as `unread`, and messages are kept for it, until
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
