//! `POST /v1/orders/{order_id}/cancel`: call it off, if it is not too late; or say what that
//! would mean.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{Money, OrderId, OrderStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use workflows::{CancelAnswer, CancelDecision, CancelRequest};

use crate::catalogue::money;
use crate::extract::{Body, Path, Query};
use crate::identity::access::{Caller, May, scope};
use crate::orders::{self, OrderResource};
use crate::problem::{Document, Guarded, Kind, OrProblem, Problem, WriteProblems};
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

/// How to cancel.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Manner {
    /// Only say what cancelling would do at this moment; change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What cancelling would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelPreview {
    /// The order.
    order_id: OrderId,
    /// Where it stands.
    #[serde(flatten)]
    pub(crate) status: OrderStatus,
    /// Whether the order would be called off, or is not going forward anyway.
    pub(crate) would: Would,
    /// What would become of the customer's money.
    payment: PaymentFate,
    /// How much would be given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refund: Option<Money>,
}

/// What a cancel would come to.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Would {
    /// The order would be called off, and everything done for it taken back.
    CallOff,
    /// Nothing: it is being taken back, or has been.
    ChangeNothing,
}

/// What would become of the customer's money.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PaymentFate {
    /// None was taken, and none is being asked for.
    Nothing,
    /// The provider is being asked for it: what it has set aside is let go, or given back if it
    /// is taken by then.
    Void,
    /// It was taken and is given back in full.
    Refund,
}

/// The answer to a cancel that changes nothing.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the two answers together, for the API's description")]
enum CancelAnswered {
    Order(OrderResource),
    Preview(CancelPreview),
}

/// What was decided.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelDecided {
    /// The order.
    order_id: OrderId,
    /// `unwinding`: it is called off from now on, and everything done for it is taken back.
    /// `pending`: the wish is kept, and is decided before anything else is done for the order; the
    /// order itself shows how.
    #[schema(example = "unwinding")]
    pub(crate) decision: Decision,
    /// Where it stood at that moment.
    #[serde(flatten)]
    pub(crate) status: OrderStatus,
}

/// What is answered to a wish to cancel that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decision {
    /// Everything is taken back.
    Unwinding,
    /// Nobody could decide yet.
    Pending,
}

/// Calls an order off.
///
/// Cancelling twice is the same as once. Once the parcel is handed over it is too late: a return
/// is the way back then. With `dry_run=true` nothing is changed, and the answer says what a
/// cancel would do at this moment; where it is too late, the answer is the same as a cancel's.
#[utoipa::path(
    post, path = "/v1/orders/{order_id}/cancel", tag = "orders", security(("bearer" = ["orders:cancel"])),
    params(("order_id" = Uuid, Path, description = "The order"), Manner),
    request_body(content = CancelOrder, description = "Why"),
    responses(
        (status = 202, description = "It is called off from now on, or as soon as the shop's \
                                      workers are back, if it is not too late then",
         body = CancelDecided),
        (status = 200, description = "It was called off, or being unwound, already; or what a \
                                      cancel would do",
         body = CancelAnswered),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "There is nothing to call off any more", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn cancel(
    May { caller, .. }: May<scope::CancelOrders>,
    Shared(state): Shared<State>,
    Path(order_id): Path<String>,
    Query(manner): Query<Manner>,
    Body(request): Body<CancelOrder>,
) -> Result<Response, Problem> {
    let dry_run = manner.dry_run;
    Ok(call_off(&state, &caller, &order_id, &request, dry_run).await?.into_response())
}

/// What a wish to cancel came to, or would come to.
#[derive(Debug)]
pub(crate) enum CancelOutcome {
    /// The order is called off from now on.
    CalledOff(CancelDecided),
    /// It was called off, or being unwound, already.
    Already(OrderResource),
    /// Nothing was changed.
    Preview(CancelPreview),
}

impl IntoResponse for CancelOutcome {
    fn into_response(self) -> Response {
        match self {
            Self::CalledOff(decided) => (StatusCode::ACCEPTED, Json(decided)).into_response(),
            Self::Already(order) => Json(order).into_response(),
            Self::Preview(preview) => Json(preview).into_response(),
        }
    }
}

/// Calls an order off, or says what that would mean; the same for every protocol.
pub(crate) async fn call_off(
    state: &State,
    caller: &Caller,
    order_id: &str,
    wish: &CancelOrder,
    dry_run: bool,
) -> Result<CancelOutcome, Problem> {
    let order_id = orders::id(order_id)?;
    let mut rules = Rules::default();
    let reason = rules.check("/reason", line_of_text(&wish.reason, 200));
    let reason = rules.kept(reason)?;
    let order = orders::visible(state, caller, order_id).await?.resource;
    if dry_run {
        return preview(state, order).await;
    }
    if order.status.is_terminal() {
        return already(order);
    }
    match state.temporal.cancel(order_id, CancelRequest { reason }).await? {
        Cancelled::Answered(CancelAnswer { decision: CancelDecision::Unwinding, status }) => {
            let decision = Decision::Unwinding;
            Ok(CancelOutcome::CalledOff(CancelDecided { order_id, decision, status }))
        }
        Cancelled::Answered(CancelAnswer {
            decision: CancelDecision::AlreadyUnwinding,
            status,
        }) => {
            let known = orders::find(state, order_id).await?;
            let known = known.ok_or_else(Problem::order_not_found)?;
            already(known.resource.standing(status))
        }
        Cancelled::Refused => match orders::recorded(state, order_id).await? {
            Some(known) if known.resource.status.is_terminal() => already(known.resource),
            Some(_) | None => Err(already_shipped()),
        },
        Cancelled::Kept => {
            let known = orders::find(state, order_id).await?;
            let status = known.ok_or_else(Problem::order_not_found)?.resource.status;
            let decision = Decision::Pending;
            Ok(CancelOutcome::CalledOff(CancelDecided { order_id, decision, status }))
        }
        // The order ended between the two looks, or there is none.
        Cancelled::NotOpen => {
            let known = orders::find(state, order_id).await?;
            let order = known.ok_or_else(Problem::order_not_found)?.resource;
            if order.status.is_terminal() {
                already(order)
            } else {
                Err(Problem::internal("cancelling an order", &Abandoned(order_id)))
            }
        }
    }
}

/// What a cancel would do, by the record, which every step writes together with its effect.
async fn preview(state: &State, order: OrderResource) -> Result<CancelOutcome, Problem> {
    let order_id = order.order_id;
    let status = order.status.clone();
    if status.is_terminal() && !matches!(status, OrderStatus::Cancelled { .. }) {
        return already(order);
    }
    let would = if status.can_be_cancelled() { Would::CallOff } else { Would::ChangeNothing };
    let refund = match would {
        Would::CallOff => paid(state, order_id).await?,
        Would::ChangeNothing => None,
    };
    let payment = match (would, &refund, &status) {
        (Would::CallOff, Some(_), _) => PaymentFate::Refund,
        (Would::CallOff, None, OrderStatus::Reserved) => PaymentFate::Void,
        (Would::CallOff | Would::ChangeNothing, _, _) => PaymentFate::Nothing,
    };
    Ok(CancelOutcome::Preview(CancelPreview { order_id, status, would, payment, refund }))
}

/// What the customer has paid and not been given back.
async fn paid(state: &State, order_id: OrderId) -> Result<Option<Money>, Problem> {
    const DOING: &str = "reading what was paid for an order";
    let charge = sqlx::query!(
        r#"select captured - refunded as "paid!", currency from payments.charges
           where order_id = $1 and captured > refunded"#,
        order_id.uuid(),
    )
    .fetch_optional(&state.database)
    .await
    .or_problem(DOING)?;
    let Some(charge) = charge else { return Ok(None) };
    let paid = money(charge.paid, &charge.currency);
    paid.map(Some).ok_or_else(|| Problem::internal(DOING, &BadCharge(order_id)))
}

#[derive(Debug, thiserror::Error)]
#[error("the charge of order {0} is no money")]
struct BadCharge(OrderId);

/// Somebody terminated the workflow: nobody is left to take back what was done.
#[derive(Debug, thiserror::Error)]
#[error("order {0} has not ended, and its workflow is closed")]
struct Abandoned(OrderId);

/// What cancelling means for an order that does not go forward any more.
fn already(order: OrderResource) -> Result<CancelOutcome, Problem> {
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
        | OrderStatus::Stuck { .. } => Ok(CancelOutcome::Already(order)),
    }
}

fn already_shipped() -> Problem {
    Problem::new(
        Kind::OrderAlreadyShipped,
        "The parcel has been handed over to the carrier. A return is the way back.",
    )
}
