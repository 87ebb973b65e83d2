//! `POST /v1/orders/{order_id}/cancel`: call it off, if it is not too late.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{OrderId, OrderStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use workflows::{CancelAnswer, CancelDecision, CancelRequest};

use crate::extract::{Body, Path};
use crate::orders::{self, OrderResource};
use crate::problem::{Document, Kind, Problem, WriteProblems};
use crate::rules::{Rules, line_of_text};
use crate::state::State;
use crate::temporal::Cancelled;

/// Why the order is called off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelOrder {
    /// The reason, in the words of whoever cancels. It is kept for good, so it names no person.
    #[schema(min_length = 1, max_length = 200, example = "ordered twice")]
    pub reason: String,
}

/// What was decided.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelDecided {
    /// The order.
    order_id: OrderId,
    /// `unwinding`: it is called off from now on, and everything done for it is taken back.
    #[schema(value_type = String, example = "unwinding")]
    decision: CancelDecision,
    /// Where it stood at that moment.
    #[serde(flatten)]
    status: OrderStatus,
}

/// Calls an order off.
///
/// Cancelling twice is the same as once. Once the parcel is handed over it is too late: a return
/// is the way back then.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/cancel", tag = "orders",
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body = CancelOrder,
    responses(
        (status = 202, description = "It is called off from now on", body = CancelDecided),
        (status = 200, description = "It was called off, or being unwound, already",
         body = OrderResource),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "There is nothing to call off any more", body = Document,
         content_type = "application/problem+json"),
        WriteProblems,
    ),
)]
pub(crate) async fn cancel(
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Body(request): Body<CancelOrder>,
) -> Result<Response, Problem> {
    let order_id = orders::id(&order_id)?;
    let mut rules = Rules::default();
    let reason = rules.check("/reason", line_of_text(&request.reason, 200));
    let reason = rules.kept(reason)?;

    let ended = orders::recorded(&state, order_id).await?.map(|known| known.resource);
    if let Some(order) = ended.filter(|order| order.status.is_terminal()) {
        return already(order);
    }
    match state.temporal.cancel(order_id, CancelRequest { reason }).await? {
        Cancelled::Answered(CancelAnswer { decision: CancelDecision::Unwinding, status }) => {
            let decision = CancelDecision::Unwinding;
            let decided = CancelDecided { order_id, decision, status };
            Ok((StatusCode::ACCEPTED, Json(decided)).into_response())
        }
        Cancelled::Answered(CancelAnswer {
            decision: CancelDecision::AlreadyUnwinding,
            status,
        }) => {
            let known = orders::find(&state, order_id).await?;
            let known = known.ok_or_else(Problem::order_not_found)?;
            already(known.resource.standing(status))
        }
        Cancelled::Refused => match orders::recorded(&state, order_id).await? {
            Some(known) if known.resource.status.is_terminal() => already(known.resource),
            Some(_) | None => Err(already_shipped()),
        },
        // The order ended between the two looks, or there is none.
        Cancelled::NotOpen => {
            let known = orders::find(&state, order_id).await?;
            let order = known.ok_or_else(Problem::order_not_found)?.resource;
            if order.status.is_terminal() {
                already(order)
            } else {
                Err(Problem::internal("cancelling an order", &Abandoned(order_id)))
            }
        }
    }
}

/// Somebody terminated the workflow: nobody is left to take back what was done.
#[derive(Debug, thiserror::Error)]
#[error("order {0} has not ended, and its workflow is closed")]
struct Abandoned(OrderId);

/// What cancelling means for an order that does not go forward any more.
fn already(order: OrderResource) -> Result<Response, Problem> {
    match &order.status {
        OrderStatus::Shipped { .. } => Err(already_shipped()),
        OrderStatus::Rejected { rejection } => Err(Problem::new(
            Kind::OrderAlreadyRejected,
            format!("The shop has refused the order and taken everything back: {rejection}."),
        )),
        OrderStatus::Failed { .. } => Err(Problem::new(
            Kind::OrderAlreadyFailed,
            "A fault stopped the order; everything done for it has been taken back.",
        )),
        OrderStatus::Processing
        | OrderStatus::Reserved
        | OrderStatus::Paid
        | OrderStatus::Posted
        | OrderStatus::Unwinding
        | OrderStatus::Cancelled { .. }
        | OrderStatus::Stuck { .. } => Ok(Json(order).into_response()),
    }
}

fn already_shipped() -> Problem {
    Problem::new(
        Kind::OrderAlreadyShipped,
        "The parcel has been handed over to the carrier. A return is the way back.",
    )
}
