//! `POST /v1/orders/{order_id}/resolve`: a person decides what becomes of a stuck order.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::OrderId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use workflows::{Resolution, ResolutionKind};

use crate::extract::{Body, Path};
use crate::identity::access::{May, scope};
use crate::orders;
use crate::problem::{Document, Guarded, Kind, Problem, WriteProblems};
use crate::rules::{Rules, line_of_text};
use crate::state::State;

/// What to do with what is stuck.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveOrder {
    /// `retry`: the cause is mended, try again. `skip`: it has been settled by hand, or never
    /// will be; go on without it.
    #[schema(value_type = String, example = "retry")]
    pub decision: ResolutionKind,
    /// Why, for those who read the record later. It is kept for good, so it names no person.
    #[schema(min_length = 1, max_length = 200, example = "the provider has repaired the payment")]
    pub why: String,
}

/// A decision that the order was told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resolved {
    /// The order.
    order_id: OrderId,
    /// What was decided.
    #[schema(value_type = String, example = "retry")]
    decision: ResolutionKind,
    /// Who decided, as the token names them.
    #[schema(example = "eve")]
    by: String,
}

/// Decides what becomes of an order that is stuck. Who decided and why goes on record.
///
/// The order takes the decision up at once; `/v1/orders/{order_id}/events` says what came of it.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/resolve", tag = "operators",
    security(("bearer" = ["orders:resolve"])),
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body(content = ResolveOrder, description = "The decision, whose it is and why"),
    responses(
        (status = 202, description = "The order knows", body = Resolved),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "Nothing of it waits for a decision", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn resolve(
    May { caller, .. }: May<scope::ResolveOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Body(written): Body<ResolveOrder>,
) -> Result<(StatusCode, Json<Resolved>), Problem> {
    let order_id = orders::id(&order_id)?;
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(&written.why, 200));
    let why = rules.kept(why)?;
    orders::visible(&state, &caller, order_id).await?;
    let (decision, by) = (written.decision, caller.name().to_owned());
    let resolution = Resolution { decision, by: by.clone(), why };
    if !state.temporal.resolve(order_id, &resolution).await? {
        return Err(Problem::new(
            Kind::OrderNotStuck,
            "Nothing of this order waits for a decision.",
        ));
    }
    tracing::info!(%order_id, by, ?decision, "a person decided about a stuck order");
    Ok((StatusCode::ACCEPTED, Json(Resolved { order_id, decision, by })))
}
