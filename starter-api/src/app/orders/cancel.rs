//! Cancels an order, or previews what cancelling would do.

use domain::{FulfilmentStatus, Money, OrderId, OrderState, OrderStatus, PaymentStatus};
use serde::Serialize;
use utoipa::ToSchema;
use workflows::order::{CancelDecision, CancelRequest};

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::orders::{OrderResource, parse_id, read, store};
use crate::error::{Kind, Problem, Rules};
use crate::identity::Caller;
use crate::temporal::Cancelled;

/// The command to cancel an order.
#[derive(Clone, Debug)]
pub(crate) struct CancelOrder {
    order_id: OrderId,
    reason: String,
}

/// The outcome of a cancellation that was not refused.
#[derive(Debug)]
pub(crate) enum CancelOutcome {
    /// The order is cancelled, or will be.
    Decided(CancelDecided),
    /// It was cancelled or being unwound before.
    Already(Box<OrderResource>),
}

/// What cancelling an order would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelPreview {
    /// The order.
    order_id: OrderId,
    /// The order's statuses.
    #[serde(flatten)]
    pub(crate) state: OrderState,
    /// The effect on the order.
    #[serde(rename = "would")]
    pub(crate) effect: CancelEffect,
    /// The effect on the customer's money.
    payment: PaymentFate,
    /// The amount that would be refunded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refund: Option<Money>,
}

/// The effect of a cancellation on the order.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CancelEffect {
    /// The order would be cancelled and everything done for it undone.
    CallOff,
    /// Nothing: the order is being unwound, or has been.
    ChangeNothing,
}

/// The effect of a cancellation on the customer's money.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PaymentFate {
    /// None: nothing is authorised, and no authorisation is in progress.
    Nothing,
    /// The authorisation is voided, or the payment is refunded if it is captured by then.
    Void,
    /// The captured payment is refunded in full.
    Refund,
}

/// The result of a cancellation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelDecided {
    /// The order.
    order_id: OrderId,
    /// `cancelled`: it was cancelled before anything was done for it. `unwinding`: it is cancelled,
    /// and everything done for it is being undone. `pending`: the request is recorded, and is
    /// decided before anything else is done for the order; the order then shows the decision.
    #[schema(example = "unwinding")]
    pub(crate) decision: CancelAnswer,
    /// The order's statuses.
    #[serde(flatten)]
    pub(crate) state: OrderState,
}

/// The result of a cancellation that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CancelAnswer {
    /// Nothing had been done for the order, and nothing will be.
    Cancelled,
    /// Everything done for the order is being undone.
    Unwinding,
    /// No worker has decided yet.
    Pending,
}

#[derive(Debug, thiserror::Error)]
#[error("the order is just being launched")]
struct BeingLaunched;

impl CancelOrder {
    /// Validates the input.
    pub(crate) fn check(order_id: &str, reason: &str) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let reason = rules.check("/reason", line_of_text(reason, 200));
        Ok(Self { order_id, reason: rules.kept(reason)? })
    }
}

/// Cancels the order: in the database if its workflow has not been launched, and otherwise through
/// its workflow.
///
/// **Repeats.** Idempotent.
///
/// **Errors.** 409 once the parcel is handed over, or if the order ended otherwise.
pub(crate) async fn cancel(
    app: &App,
    caller: &Caller,
    command: CancelOrder,
) -> Result<CancelOutcome, Problem> {
    let CancelOrder { order_id, reason } = command;
    let order = read::read(app, caller, order_id).await?;
    if !goes_forward(&order.state) {
        return already(order);
    }
    if store::cancel_before_launch(&app.database, order_id, &reason).await? {
        return decided(app, order_id, CancelAnswer::Cancelled).await;
    }
    let request = CancelRequest { reason };
    let heard = app.temporal.cancel(order_id, request.clone()).await?;
    if matches!(heard, Cancelled::NotOpen) {
        return without_workflow(app, order_id, request).await;
    }
    outcome(app, order_id, heard).await
}

/// Handles an order without an open workflow: it has just ended, its workflow is about to be
/// started, or its workflow was terminated externally.
async fn without_workflow(
    app: &App,
    order_id: OrderId,
    request: CancelRequest,
) -> Result<CancelOutcome, Problem> {
    let order = known(app, order_id).await?;
    if !goes_forward(&order.state) {
        return already(order);
    }
    if store::cancel_before_launch(&app.database, order_id, &request.reason).await? {
        return decided(app, order_id, CancelAnswer::Cancelled).await;
    }
    if store::launches::waits(&app.database, order_id).await? {
        return Err(Problem::unavailable("cancelling an order", &BeingLaunched));
    }
    // It was launched in the meantime, so it has a workflow now.
    outcome(app, order_id, app.temporal.cancel(order_id, request).await?).await
}

/// Translates the workflow's answer.
async fn outcome(app: &App, order_id: OrderId, heard: Cancelled) -> Result<CancelOutcome, Problem> {
    let too_late = match heard {
        Cancelled::Answered(CancelDecision::Unwinding) => {
            return decided(app, order_id, CancelAnswer::Unwinding).await;
        }
        Cancelled::Answered(CancelDecision::AlreadyUnwinding) => {
            return already(known(app, order_id).await?);
        }
        Cancelled::Kept => return decided(app, order_id, CancelAnswer::Pending).await,
        Cancelled::Refused => already_shipped(),
        Cancelled::NotOpen => lost(),
    };
    let order = known(app, order_id).await?;
    if goes_forward(&order.state) { Err(too_late) } else { already(order) }
}

fn lost() -> Problem {
    Problem::new(
        Kind::OrderInterrupted,
        "The order's workflow was ended from outside before the order had come to its end. Have an \
         operator run `ordersaga recover`, which lets the order go on, and cancel it then.",
    )
}

const fn goes_forward(state: &OrderState) -> bool {
    !state.status.is_terminal() && !state.unwinding
}

async fn decided(
    app: &App,
    order_id: OrderId,
    decision: CancelAnswer,
) -> Result<CancelOutcome, Problem> {
    let state = known(app, order_id).await?.state;
    Ok(CancelOutcome::Decided(CancelDecided { order_id, decision, state }))
}

/// Previews a cancellation from the recorded statuses, which every step writes in the same
/// transaction as its effect.
///
/// **Errors.** Those of [`cancel`].
pub(crate) async fn preview(
    app: &App,
    caller: &Caller,
    command: &CancelOrder,
) -> Result<CancelPreview, Problem> {
    let order_id = command.order_id;
    let state = read::read(app, caller, order_id).await?.state;
    refuse_if_too_late(&state)?;
    let effect =
        if state.can_be_cancelled() { CancelEffect::CallOff } else { CancelEffect::ChangeNothing };
    let refund = match effect {
        CancelEffect::CallOff => store::paid(&app.database, order_id).await?,
        CancelEffect::ChangeNothing => None,
    };
    let may_be_charged = matches!(
        (state.payment_status, state.fulfilment_status),
        (PaymentStatus::Authorised | PaymentStatus::AwaitingCustomer, _)
            | (PaymentStatus::None, FulfilmentStatus::Reserved)
    );
    let payment = match (effect, &refund) {
        (CancelEffect::CallOff, Some(_)) => PaymentFate::Refund,
        (CancelEffect::CallOff, None) if may_be_charged => PaymentFate::Void,
        (CancelEffect::CallOff | CancelEffect::ChangeNothing, _) => PaymentFate::Nothing,
    };
    Ok(CancelPreview { order_id, state, effect, payment, refund })
}

/// Reads an order that the caller was allowed to see before.
async fn known(app: &App, order_id: OrderId) -> Result<OrderResource, Problem> {
    let stored = store::find(&app.database, order_id).await?;
    stored.map(|stored| stored.resource).ok_or_else(Problem::order_not_found)
}

/// The answer for an order that is being unwound or has ended.
fn already(order: OrderResource) -> Result<CancelOutcome, Problem> {
    refuse_if_too_late(&order.state)?;
    Ok(CancelOutcome::Already(Box::new(order)))
}

/// Refuses to cancel an order whose parcel is handed over, or that ended otherwise.
fn refuse_if_too_late(state: &OrderState) -> Result<(), Problem> {
    match &state.status {
        OrderStatus::Completed => Err(already_shipped()),
        OrderStatus::Rejected { rejection } => Err(Problem::new(
            Kind::OrderAlreadyRejected,
            format!("The shop has rejected the order and undone everything: {rejection}."),
        )),
        OrderStatus::Failed { .. } => Err(Problem::new(
            Kind::OrderAlreadyFailed,
            "A fault stopped the order; everything done for it has been undone.",
        )),
        OrderStatus::Processing if !state.unwinding && state.fulfilment_status.has_left() => {
            Err(already_shipped())
        }
        OrderStatus::Processing | OrderStatus::Cancelled { .. } => Ok(()),
    }
}

fn already_shipped() -> Problem {
    Problem::new(
        Kind::OrderAlreadyShipped,
        "The parcel has been handed over to the carrier. The goods have to be returned.",
    )
}
