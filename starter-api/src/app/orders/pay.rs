//! Replaces a declined payment of an order.

use domain::{OrderId, OrderState, PaymentStatus, PaymentToken};
use workflows::order::PaymentReplaced;

use crate::app::App;
use crate::app::orders::place::{IdempotencyKey, Wait};
use crate::app::orders::store::Replacing;
use crate::app::orders::{OrderResource, parse_id, read, store};
use crate::error::{Kind, Problem, Rules};
use crate::identity::Caller;

/// The command to pay for an order with another payment method.
#[derive(Clone, Debug)]
pub(crate) struct PayOrder {
    order_id: OrderId,
    payment_token: PaymentToken,
}

/// The order with its new payment method, recorded by this request or by the one that it repeats.
#[derive(Debug)]
pub(crate) struct PaidAnew {
    /// The current state of the order.
    pub(crate) resource: OrderResource,
    /// Whether this is a repeat.
    pub(crate) replayed: bool,
    /// The maximum wait in seconds, if the order was decided within it.
    pub(crate) decided_within: Option<u32>,
}

impl PayOrder {
    /// Validates the input.
    pub(crate) fn check(order_id: &str, payment_token: &str) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let token = rules.check("/payment_token", PaymentToken::parse(payment_token));
        Ok(Self { order_id, payment_token: rules.kept(token)? })
    }
}

/// Records the payment method in place of the declined one, and signals the order's workflow. If
/// the caller waits, the response is sent once the new payment is decided.
///
/// **Repeats.** Under the same key, the first request's method counts, and the workflow is
/// signalled again.
///
/// **Errors.** 409 if the order does not wait for a payment, 422 if the key was used for another
/// method. Once the method is recorded, a failure to signal the workflow is not an error: the
/// workflow finds the method in the database.
pub(crate) async fn pay(
    app: &App,
    caller: &Caller,
    command: PayOrder,
    key: Option<&IdempotencyKey>,
    wait: Option<Wait>,
) -> Result<PaidAnew, Problem> {
    let PayOrder { order_id, payment_token } = command;
    read::read(app, caller, order_id).await?;
    let key = key.map(IdempotencyKey::as_str);
    let (outcome, attempt) =
        store::replace_method(&app.database, order_id, &payment_token, key).await?;
    match outcome {
        Replacing::Replaced | Replacing::Repeated => {}
        Replacing::OtherRequest => {
            return Err(Problem::new(
                Kind::IdempotencyKeyReused,
                "Another payment method came for this order under the same Idempotency-Key. Use a \
                 new key for a new payment.",
            ));
        }
        Replacing::NotWaiting => return Err(not_due(&known(app, order_id).await?.state)),
        Replacing::TooLate => return Err(too_late()),
    }
    // A failure is logged; the workflow also reads the database by itself.
    let _told = app.temporal.pay(order_id, PaymentReplaced { attempt }).await;
    let mut resource = known(app, order_id).await?;
    let mut decided_within = None;
    if let Some(wait) = wait.and_then(|wait| wait.allowed_by(app)) {
        resource = wait.until_decided(app, caller, resource).await;
        decided_within = resource.is_decided().then_some(wait.seconds);
    }
    Ok(PaidAnew { resource, replayed: outcome == Replacing::Repeated, decided_within })
}

/// Reads an order that the caller was allowed to see before.
async fn known(app: &App, order_id: OrderId) -> Result<OrderResource, Problem> {
    let stored = store::find(&app.database, order_id).await?;
    stored.map(|stored| stored.resource).ok_or_else(Problem::order_not_found)
}

fn not_due(state: &OrderState) -> Problem {
    let detail = match state.payment_status {
        _ if state.status.is_terminal() => "The order has ended. Place a new one.",
        _ if state.unwinding => "The order is being unwound, and will end without a payment.",
        PaymentStatus::AwaitingCustomer => {
            "The customer has to approve the payment that is under way, or to transfer it: see \
             `customer_action`."
        }
        PaymentStatus::Authorised
        | PaymentStatus::Paid
        | PaymentStatus::PartiallyRefunded
        | PaymentStatus::Refunded
        | PaymentStatus::Disputed => "The order is paid for.",
        PaymentStatus::Declined => {
            "Another payment method is on record already, and is tried next; or the order's terms \
             grant no time for one."
        }
        PaymentStatus::None | PaymentStatus::Voided => "The order's payment was not declined.",
    };
    Problem::new(Kind::NoPaymentDue, detail)
}

fn too_late() -> Problem {
    let detail = "The time in which the declined payment could be replaced is over, and the order is \
                  rejected. Place a new one.";
    Problem::new(Kind::NoPaymentDue, detail)
}
