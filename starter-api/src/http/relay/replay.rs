//! `POST /v1/relay/sinks/{sink}/replay`: delivers refused messages again, or everything.

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

/// What to deliver again, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayTheMessages)]
pub(crate) struct ReplayRequest {
    /// The order; if left out, every order with a refused message.
    #[serde(default)]
    #[schema(example = "5bf1521d-9bb2-5baa-a74d-5f3bb0902d38")]
    pub order_id: Option<Uuid>,
    /// Deliver everything again that the outbox still keeps, including what the receiver has
    /// accepted. Not together with an order.
    #[serde(default)]
    #[schema(example = false)]
    pub all: bool,
    /// The reason, for the record. Do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the broker takes 4 MB now")]
    pub why: String,
}

/// Delivers refused messages of a sink again, of one order or of all, and then those that wait
/// behind them, in order.
///
/// Do this once the cause is repaired. A message that is refused again is parked again. The relay
/// begins within a second.
///
/// With `all`, everything that the outbox still keeps is delivered again, in order and from the
/// first message on: for a receiver that has lost its data. All of these are repeats with their
/// original ids; other sinks are not affected.
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
