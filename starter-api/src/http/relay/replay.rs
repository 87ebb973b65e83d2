//! `POST /v1/relay/sinks/{sink}/replay`: delivers again what was refused, or everything.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::relay::{self, Decided, Decision};
use crate::error::{Problem, Rules};
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// What is decided about, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayTheMessages)]
pub(crate) struct ReplayRequest {
    /// The order; left out, every order of which a message was refused.
    #[serde(default)]
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38")]
    pub order_id: Option<Uuid>,
    /// Deliver everything again that the outbox still keeps, also what the receiver has taken. Only
    /// without an order.
    #[serde(default)]
    #[schema(example = false)]
    pub all: bool,
    /// The reason, kept on record. Do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the broker takes 4 MB now")]
    pub why: String,
}

/// Has messages delivered again that a sink's receiver has refused, and then what waits behind them, in
/// order: of one order, or of all orders.
///
/// Do so once the cause is repaired. What is refused again waits again. The relay begins within a
/// second.
///
/// With `all` the sink hears everything again that the outbox still keeps, from the first message on and
/// in order: for a receiver that has lost what it had taken. All of that are repeats, with the ids that
/// they had; other sinks hear nothing of it.
#[utoipa::path(
    post, path = "/v1/relay/sinks/{sink}/replay", tag = "operators",
    security(("bearer" = ["queues:operate"])),
    params(("sink" = String, Path, description = "The sink", example = "kafka")),
    request_body(content = ReplayRequest, description = "What, and why"),
    responses(
        (status = 200, description = "How many messages were decided about", body = Decided),
        (status = 404, description = "There is no such sink", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn replay_parked(
    Authorized { caller, .. }: Authorized<scope::OperateQueues>,
    Shared(state): Shared<State>,
    Path(sink): Path<String>,
    Body(request): Body<ReplayRequest>,
) -> Result<Json<Decided>, Problem> {
    let ReplayRequest { order_id, all, why } = request;
    let decided = match (order_id, all) {
        (Some(_), true) => {
            let mut rules = Rules::default();
            rules.broken("/all", "everything, or one order: not both");
            rules.kept(None)
        }
        (None, true) => relay::replay_all(&state.app, &caller, &sink, &why).await,
        (order_id, false) => {
            let decision = Decision::Replay;
            relay::decide(&state.app, &caller, &sink, order_id, decision, &why).await
        }
    };
    decided.map(Json)
}
