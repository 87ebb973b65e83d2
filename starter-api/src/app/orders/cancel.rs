//! Cancels an order, if it is not too late; or says what that would do.

use domain::{Money, OrderId, OrderStatus};
use serde::Serialize;
use utoipa::ToSchema;
use workflows::{CancelAnswer, CancelDecision, CancelRequest};

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::orders::{OrderResource, StoredOrder, parse_id, read, store};
use crate::error::{Kind, Problem, Rules};
use crate::identity::Caller;
use crate::temporal::Cancelled;

/// The command to cancel an order.
#[derive(Clone, Debug)]
pub(crate) struct CancelOrder {
    order_id: OrderId,
    reason: String,
}

/// What became of a request to cancel that was not refused.
#[derive(Debug)]
pub(crate) enum CancelOutcome {
    /// The order is cancelled from now on.
    CalledOff(CancelDecided),
    /// It was cancelled, or being unwound, already.
    Already(Box<OrderResource>),
}

/// What cancelling would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelPreview {
    /// The order.
    order_id: OrderId,
    /// Where it stands.
    #[serde(flatten)]
    pub(crate) status: OrderStatus,
    /// Whether the order would be cancelled, or is not going forward anyway.
    #[serde(rename = "would")]
    pub(crate) effect: CancelEffect,
    /// What would become of the customer's money.
    payment: PaymentFate,
    /// How much would be refunded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refund: Option<Money>,
}

/// What cancelling would do.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CancelEffect {
    /// The order would be cancelled, and everything done for it undone.
    CallOff,
    /// Nothing: it is being unwound, or has been.
    ChangeNothing,
}

/// What would become of the customer's money.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PaymentFate {
    /// Nothing was charged, and nothing is being charged.
    Nothing,
    /// It is being charged: the authorisation is voided, or the charge refunded if it is captured by
    /// then.
    Void,
    /// It was charged and is refunded in full.
    Refund,
}

/// What was decided.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelDecided {
    /// The order.
    order_id: OrderId,
    /// `unwinding`: it is cancelled from now on, and everything done for it is being undone.
    /// `pending`: the request is kept, and is decided before anything else is done for the order;
    /// the order itself shows the decision.
    #[schema(example = "unwinding")]
    pub(crate) decision: Decision,
    /// Where it stood at that moment.
    #[serde(flatten)]
    pub(crate) status: OrderStatus,
}

/// The answer to a request to cancel that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decision {
    /// Everything done is being undone.
    Unwinding,
    /// No worker could decide yet.
    Pending,
}

/// The workflow was terminated by hand: what was done for the order is not taken back.
#[derive(Debug, thiserror::Error)]
#[error("order {0} has not ended, and its workflow is closed")]
struct Abandoned(OrderId);

impl CancelOrder {
    /// Checks what a caller wrote.
    pub(crate) fn check(order_id: &str, reason: &str) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let reason = rules.check("/reason", line_of_text(reason, 200));
        Ok(Self { order_id, reason: rules.kept(reason)? })
    }
}

/// Cancels the order.
///
/// **Repeats.** Cancelling twice is the same as once.
///
/// **Errors.** 409 once the parcel is handed over, or if the order ended otherwise.
pub(crate) async fn cancel(
    app: &App,
    caller: &Caller,
    command: CancelOrder,
) -> Result<CancelOutcome, Problem> {
    let CancelOrder { order_id, reason } = command;
    let order = read::read(app, caller, order_id).await?;
    if order.status.is_terminal() {
        return already(order);
    }
    let decided = |decision, status| {
        Ok(CancelOutcome::CalledOff(CancelDecided { order_id, decision, status }))
    };
    match app.temporal.cancel(order_id, CancelRequest { reason }).await? {
        Cancelled::Answered(CancelAnswer { decision: CancelDecision::Unwinding, status }) => {
            decided(Decision::Unwinding, status)
        }
        Cancelled::Answered(CancelAnswer {
            decision: CancelDecision::AlreadyUnwinding,
            status,
        }) => {
            let order = known(app, order_id).await?;
            already(order.with_status(status))
        }
        Cancelled::Refused => match store::find(&app.database, order_id).await? {
            Some(StoredOrder { resource, .. }) if resource.status.is_terminal() => {
                already(resource)
            }
            Some(_) | None => Err(already_shipped()),
        },
        Cancelled::Kept => decided(Decision::Pending, known(app, order_id).await?.status),
        // The order ended between the two looks, or its workflow was terminated.
        Cancelled::NotOpen => {
            let order = known(app, order_id).await?;
            if order.status.is_terminal() {
                already(order)
            } else {
                Err(Problem::internal("cancelling an order", &Abandoned(order_id)))
            }
        }
    }
}

/// What cancelling would do at this moment, by the record, which every step writes together with
/// its effect.
///
/// **Errors.** Those of [`cancel`].
pub(crate) async fn preview(
    app: &App,
    caller: &Caller,
    command: &CancelOrder,
) -> Result<CancelPreview, Problem> {
    let order_id = command.order_id;
    let status = read::read(app, caller, order_id).await?.status;
    refuse_if_too_late(&status)?;
    let effect =
        if status.can_be_cancelled() { CancelEffect::CallOff } else { CancelEffect::ChangeNothing };
    let refund = match effect {
        CancelEffect::CallOff => store::paid(&app.database, order_id).await?,
        CancelEffect::ChangeNothing => None,
    };
    let payment = match (effect, &refund, &status) {
        (CancelEffect::CallOff, Some(_), _) => PaymentFate::Refund,
        (CancelEffect::CallOff, None, OrderStatus::Reserved) => PaymentFate::Void,
        (CancelEffect::CallOff | CancelEffect::ChangeNothing, _, _) => PaymentFate::Nothing,
    };
    Ok(CancelPreview { order_id, status, effect, payment, refund })
}

/// An order that was visible a moment ago.
async fn known(app: &App, order_id: OrderId) -> Result<OrderResource, Problem> {
    let stored = read::find(app, order_id).await?;
    stored.map(|stored| stored.resource).ok_or_else(Problem::order_not_found)
}

/// The answer for an order that does not go forward any more.
fn already(order: OrderResource) -> Result<CancelOutcome, Problem> {
    refuse_if_too_late(&order.status)?;
    Ok(CancelOutcome::Already(Box::new(order)))
}

/// Refuses to cancel an order that ended otherwise.
fn refuse_if_too_late(status: &OrderStatus) -> Result<(), Problem> {
    match status {
        OrderStatus::Shipped { .. } => Err(already_shipped()),
        OrderStatus::Rejected { rejection } => Err(Problem::new(
            Kind::OrderAlreadyRejected,
            format!("The shop has rejected the order and undone everything: {rejection}."),
        )),
        OrderStatus::Failed { .. } => Err(Problem::new(
            Kind::OrderAlreadyFailed,
            "A fault stopped the order; everything done for it has been undone.",
        )),
        OrderStatus::Processing
        | OrderStatus::Reserved
        | OrderStatus::Paid
        | OrderStatus::Posted
        | OrderStatus::Unwinding
        | OrderStatus::Cancelled { .. }
        | OrderStatus::Stuck { .. } => Ok(()),
    }
}

fn already_shipped() -> Problem {
    Problem::new(
        Kind::OrderAlreadyShipped,
        "The parcel has been handed over to the carrier. The goods have to be returned.",
    )
}
