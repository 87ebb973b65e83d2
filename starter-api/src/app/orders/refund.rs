//! Refunds money of a completed order, and shows refunds.

use chrono::{DateTime, Utc};
use domain::event::RefundRequested;
use domain::refund::{
    Ask, Claimed, InvalidRefund, Left, Parts, REFUNDS_MAX, RefundLine, RefundState,
};
use domain::{Fingerprint, Money, OrderId, OrderState, OrderStatus, PaymentStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::basket::{LineInput, check_lines};
use crate::app::input::line_of_text;
use crate::app::orders::place::IdempotencyKey;
use crate::app::orders::place::command::{MoneyInput, money};
use crate::app::orders::store::refunds::{self, Requesting, StoredRefund};
use crate::app::orders::{OrderResource, parse_id, read};
use crate::error::{Breach, Kind, Problem, Rules};
use crate::identity::Caller;

/// The number of attempts to compute a refund when another one is recorded or fails concurrently.
const ATTEMPTS: usize = 5;

/// The maximum length of a reason, in characters.
const REASON_MAX: usize = 200;

/// A refund request, unchecked.
#[derive(Clone, Debug)]
pub(crate) struct RefundInput<'a> {
    pub(crate) amount: Option<MoneyInput<'a>>,
    pub(crate) lines: Vec<LineInput<'a>>,
    pub(crate) with_shipping: bool,
    pub(crate) reason: &'a str,
}

/// The command to refund money.
#[derive(Clone, Debug)]
pub(crate) struct RefundOrder {
    order_id: OrderId,
    ask: Ask,
    reason: String,
}

/// A refund of a completed order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub(crate) struct RefundResource {
    /// The refunded order.
    pub(crate) order_id: OrderId,
    /// The number of the refund within the order, counted from 1.
    #[schema(example = 1)]
    pub(crate) number: u32,
    /// Its state.
    pub(crate) state: RefundState,
    /// The refunded amount.
    pub(crate) amount: Money,
    /// The parts of the amount.
    pub(crate) parts: Parts,
    /// The refunded goods, if the request was by goods.
    pub(crate) lines: Vec<RefundLine>,
    /// The reason given in the request.
    #[schema(example = "arrived broken")]
    pub(crate) reason: String,
    /// Who requested it, as named by their token.
    #[schema(example = "eve")]
    pub(crate) requested_by: String,
    /// When it was requested.
    pub(crate) requested_at: DateTime<Utc>,
    /// When its state changed last.
    pub(crate) updated_at: DateTime<Utc>,
    /// Why the payment provider did not refund the money, at its last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// A refund recorded by this request, or by the one that it repeats.
#[derive(Debug)]
pub(crate) struct Refunded {
    pub(crate) resource: RefundResource,
    /// Whether this is a repeat.
    pub(crate) replayed: bool,
}

impl RefundOrder {
    /// Validates the input.
    pub(crate) fn check(order_id: &str, input: &RefundInput<'_>) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let reason = rules.check("/reason", line_of_text(input.reason, REASON_MAX));
        let ask = ask(&mut rules, input);
        let (ask, reason) = rules.kept(ask.zip(reason))?;
        Ok(Self { order_id, ask, reason })
    }

    /// The fingerprint of the request, version 1: it distinguishes a repeat from a different
    /// request under the same key. Append later fields at the end, with `given`.
    fn fingerprint(&self) -> Fingerprint {
        let v1 = Fingerprint::v1().field("reason", &self.reason);
        match &self.ask {
            Ask::Amount(amount) => v1
                .field("amount", amount.amount())
                .field("currency", amount.currency().code())
                .finish(),
            Ask::Goods { lines, with_shipping } => lines
                .iter()
                .fold(v1.field("lines", lines.len()), |v1, line| {
                    v1.field("sku", &line.sku).field("quantity", line.quantity.pieces())
                })
                .field("shipping", with_shipping)
                .finish(),
        }
    }
}

fn ask(rules: &mut Rules, input: &RefundInput<'_>) -> Option<Ask> {
    match (&input.amount, input.lines.as_slice(), input.with_shipping) {
        (Some(amount), [], false) => money(rules, "/amount", amount).map(Ask::Amount),
        (Some(_), _, _) => {
            rules.broken("/amount", "an amount, or `lines` and `shipping`, but not both");
            None
        }
        (None, [], false) => {
            rules.broken("/amount", "say how much, or for which `lines`, or the `shipping`");
            None
        }
        (None, [], true) => Some(Ask::Goods { lines: vec![], with_shipping: true }),
        (None, lines, with_shipping) => {
            let lines = check_lines(rules, lines)?.into_iter();
            let lines =
                lines.map(|line| RefundLine { sku: line.sku, quantity: line.quantity }).collect();
            Some(Ask::Goods { lines, with_shipping })
        }
    }
}

/// Records a refund and its launch row.
///
/// **Repeats.** Idempotent: under the same key of the same caller, the first refund of the order
/// counts.
///
/// **Errors.** 409 if nothing of the order can be refunded, or another refund is under way; 422 if
/// the amount is more than is left, or if the key was used for a different request.
pub(crate) async fn refund(
    app: &App,
    caller: &Caller,
    command: &RefundOrder,
    key: &IdempotencyKey,
) -> Result<Refunded, Problem> {
    let RefundOrder { order_id, ask, .. } = command;
    let fingerprint = command.fingerprint();
    for _ in 0..ATTEMPTS {
        let before = refunds::of(&app.database, *order_id).await?;
        let order = read::read(app, caller, *order_id).await?;
        if let Some(first) = before.iter().find(|one| one.is_of(caller.name(), key)) {
            return repeated(first, &fingerprint);
        }
        let parts = worked_out(&order, &before, ask)?;
        let event = command.event(caller, before.len().saturating_add(1), parts)?;
        let claimed = claimed_by(&before, &order)?;
        let wanted = refunds::Wanted { order_id: *order_id, claimed, parts, event };
        match refunds::request(&app.database, &wanted, key, &fingerprint).await? {
            Requesting::Requested => {
                tracing::info!(%order_id, by = caller.name(), "a refund was asked for");
                let now = refunds::of(&app.database, *order_id).await?;
                let made = now.into_iter().find(|one| one.is_of(caller.name(), key));
                let made = made.map(|one| Refunded { resource: one.resource, replayed: false });
                return made.ok_or_else(|| Problem::internal(DOING, &Vanished));
            }
            Requesting::NotRefundable => return Err(not_refundable(&order.state)),
            Requesting::UnderWay => return Err(under_way()),
            Requesting::TooMuch => {
                return Err(broken("/amount", "this is more than is left of the payment"));
            }
            // The next attempt sees what was recorded in between.
            Requesting::Repeated | Requesting::OtherRequest | Requesting::Changed => {}
        }
    }
    let detail = "Other refunds of the order came in between. Nothing was done; send the same \
                  request again, with the same Idempotency-Key, after the time in Retry-After.";
    Err(Problem::new(Kind::TryAgain, detail).with_retry_after(1))
}

/// The order's refunds, oldest first.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    order_id: &str,
) -> Result<Vec<RefundResource>, Problem> {
    let order = read::read(app, caller, parse_id(order_id)?).await?;
    of(app, &order).await
}

/// The refunds of an order that the caller may see, oldest first.
pub(crate) async fn of(app: &App, order: &OrderResource) -> Result<Vec<RefundResource>, Problem> {
    let refunds = refunds::of(&app.database, order.order_id).await?;
    Ok(refunds.into_iter().map(|one| one.resource).collect())
}

const DOING: &str = "asking for a refund";

#[derive(Debug, thiserror::Error)]
#[error("the refund was put on record and is not there")]
struct Vanished;

impl RefundOrder {
    /// The event that records the request.
    fn event(
        &self,
        caller: &Caller,
        number: usize,
        parts: Parts,
    ) -> Result<RefundRequested, Problem> {
        let internal = |error: &dyn std::error::Error| Problem::internal(DOING, error);
        let lines = match &self.ask {
            Ask::Amount(_) => vec![],
            Ask::Goods { lines, .. } => lines.clone(),
        };
        Ok(RefundRequested {
            number: u32::try_from(number).map_err(|error| internal(&error))?,
            amount: parts.total().map_err(|error| internal(&error))?,
            lines,
            reason: self.reason.clone(),
            requested_by: caller.name().to_owned(),
        })
    }
}

fn repeated(first: &StoredRefund, fingerprint: &Fingerprint) -> Result<Refunded, Problem> {
    if first.fingerprint != fingerprint.as_str() {
        return Err(Problem::new(
            Kind::IdempotencyKeyReused,
            "Another refund of this order was asked for under the same Idempotency-Key. Use a new \
             key for a new refund.",
        ));
    }
    Ok(Refunded { resource: first.resource.clone(), replayed: true })
}

/// Computes the parts of the refund.
fn worked_out(order: &OrderResource, before: &[StoredRefund], ask: &Ask) -> Result<Parts, Problem> {
    if !is_refundable(&order.state) {
        return Err(not_refundable(&order.state));
    }
    if before.iter().any(|one| one.resource.state.is_open()) {
        return Err(under_way());
    }
    if before.len() >= REFUNDS_MAX {
        return Err(Problem::new(
            Kind::OrderNotRefundable,
            "The order has reached the maximum number of refunds.",
        ));
    }
    let claimed: Vec<_> = before.iter().filter_map(StoredRefund::claimed).collect();
    let left = Left::of(&order.lines, &order.totals, &claimed)
        .map_err(|error| Problem::internal(DOING, &error))?;
    left.parts_of(ask).map_err(|error| invalid(ask, &error))
}

/// The sum of all refunds that have not failed.
fn claimed_by(before: &[StoredRefund], order: &OrderResource) -> Result<Money, Problem> {
    let claimed = before.iter().filter(|one| one.claimed().is_some());
    Money::sum(order.totals.total.currency(), claimed.map(|one| one.resource.amount))
        .map_err(|error| Problem::internal(DOING, &error))
}

fn is_refundable(state: &OrderState) -> bool {
    state.status == OrderStatus::Completed
        && matches!(state.payment_status, PaymentStatus::Paid | PaymentStatus::PartiallyRefunded)
}

fn not_refundable(state: &OrderState) -> Problem {
    let detail = match (&state.status, state.payment_status) {
        (OrderStatus::Processing, _) => {
            "The order is not completed yet. As long as its parcel is not handed over, cancel it."
        }
        (
            OrderStatus::Cancelled { .. }
            | OrderStatus::Rejected { .. }
            | OrderStatus::Failed { .. },
            _,
        ) => "The order was not completed, and holds no money.",
        (OrderStatus::Completed, PaymentStatus::Refunded) => {
            "The customer has the money already: it was given back, or their bank has taken it back."
        }
        (OrderStatus::Completed, PaymentStatus::Disputed) => {
            "The customer's bank disputes the payment and has the money already. What becomes of it \
             is decided there."
        }
        (
            OrderStatus::Completed,
            PaymentStatus::None
            | PaymentStatus::AwaitingCustomer
            | PaymentStatus::Authorised
            | PaymentStatus::Paid
            | PaymentStatus::PartiallyRefunded
            | PaymentStatus::Voided
            | PaymentStatus::Declined,
        ) => "Nothing of the order's payment can be given back.",
    };
    Problem::new(Kind::OrderNotRefundable, detail)
}

fn under_way() -> Problem {
    let detail = "Another refund of the order is under way. Send this one once that has ended.";
    Problem::new(Kind::RefundUnderWay, detail)
}

/// The problem for an invalid refund, with a pointer to the offending part of the request.
fn invalid(ask: &Ask, error: &InvalidRefund) -> Problem {
    let at_lines = match error {
        InvalidRefund::NotOrdered(_) | InvalidRefund::TooManyPieces { .. } => true,
        InvalidRefund::Nothing
        | InvalidRefund::MoreThanLeft { .. }
        | InvalidRefund::OtherCurrency { .. }
        | InvalidRefund::Money(_) => matches!(ask, Ask::Goods { .. }),
    };
    broken(if at_lines { "/lines" } else { "/amount" }, &error.to_string())
}

fn broken(pointer: &str, detail: &str) -> Problem {
    Problem::invalid(vec![Breach { pointer: pointer.to_owned(), detail: detail.to_owned() }])
}

impl StoredRefund {
    /// The amount that it claims of the payment, unless it has failed.
    fn claimed(&self) -> Option<Claimed> {
        let RefundResource { state, parts, lines, .. } = &self.resource;
        let gave_nothing = matches!(state, RefundState::Failed | RefundState::Cancelled);
        (!gave_nothing).then(|| Claimed { parts: *parts, lines: lines.clone() })
    }
}

#[cfg(test)]
mod tests {
    use domain::{Currency, Quantity, Sku};
    use rust_decimal::Decimal;
    use uuid::Uuid;

    use super::*;

    fn command(ask: Ask) -> RefundOrder {
        let reason = "arrived broken".to_owned();
        RefundOrder { order_id: OrderId::of(Uuid::from_u128(7)), ask, reason }
    }

    /// These values are stored in databases. If one changes, repeats of earlier requests are
    /// refused.
    #[test]
    fn fingerprints_of_version_1_never_change() {
        let amount = Money::new(Decimal::new(1_000, 2), Currency::GBP).unwrap();
        let line = |sku, pieces| RefundLine {
            sku: Sku::parse(sku).unwrap(),
            quantity: Quantity::new(pieces).unwrap(),
        };
        let lines = vec![line("85123A", 2), line("71053", 1)];
        // Computed by sha256sum over each name and value in turn, each as its length, a colon and
        // its text.
        assert_eq!(
            command(Ask::Amount(amount)).fingerprint().as_str(),
            "v1:ef30ee29c31d9d38e272105746458ccb9310d4a9ff67a9440b942b2c22aff057"
        );
        assert_eq!(
            command(Ask::Goods { lines, with_shipping: true }).fingerprint().as_str(),
            "v1:5bf94c288f13c7791674a411c624a328992d1beb5b44fc37b15f2b624ee4afd0"
        );
    }
}
