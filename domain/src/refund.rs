//! Refunds of completed orders: how much of which part, and what to do next.
//!
//! A refund is a separate process, because its order has ended: an operator or a service requests
//! it, the provider carries it out, and it is posted to the ledger. An order can have several
//! refunds, one after the other, up to the amount of its payment.
//!
//! # How a refund is split
//!
//! A customer's payment has four [`Parts`]. Each refund takes its share of what is *left* of each
//! part, in minor units. So the refunds of an order add up exactly to the payment, and to each part
//! of it, whatever their amounts and order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::status::InvalidTransition;
use crate::{
    Money, MoneyError, OrderId, OrderLine, Quantity, Sku, StepKey, StepName, Totals, minor_digits,
};

/// The most refunds of one order, including those that failed or were cancelled.
pub const REFUNDS_MAX: usize = 100;

/// Identifies a refund within its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefundId {
    /// The order whose money is given back.
    pub order_id: OrderId,
    /// Counts the order's refunds, from 1.
    pub number: u32,
}

impl RefundId {
    /// Prefix of every refund's workflow id.
    pub const WORKFLOW_ID_PREFIX: &'static str = "refund-";

    /// The id of the refund's workflow.
    #[must_use]
    pub fn workflow_id(self) -> String {
        format!("{}{}-{}", Self::WORKFLOW_ID_PREFIX, self.order_id, self.number)
    }

    /// The refund of a workflow, by the workflow's id.
    #[must_use]
    pub fn of_workflow(workflow_id: &str) -> Option<Self> {
        let (order, number) =
            workflow_id.strip_prefix(Self::WORKFLOW_ID_PREFIX)?.rsplit_once('-')?;
        Some(Self { order_id: OrderId::of(order.parse().ok()?), number: number.parse().ok()? })
    }

    /// The key of its step, with the refund's number as the attempt.
    #[must_use]
    pub const fn key(self, record_version: u32) -> StepKey {
        let Self { order_id, number } = self;
        StepKey { order_id, step: StepName::IssueRefund, version: record_version, attempt: number }
    }

    /// The refund that a step's key belongs to.
    #[must_use]
    pub const fn of_key(key: StepKey) -> Self {
        Self { order_id: key.order_id, number: key.attempt }
    }
}

/// The state of a refund.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RefundState {
    /// On record; the provider has not been asked yet.
    Requested,
    /// The provider was asked, and has not refunded the money yet.
    Pending,
    /// The money is on its way to the customer, and the refund is booked. The money may still come
    /// back.
    Succeeded,
    /// The provider did not give the money back, and is not asked again.
    Failed,
    /// Cancelled before the provider was asked.
    Cancelled,
}

impl RefundState {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it may still give money back.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Requested | Self::Pending => true,
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }

    /// Changes to the next state.
    ///
    /// **Errors.** [`InvalidTransition`]: an ended refund does not change.
    pub fn transition_to(self, next: Self) -> Result<Self, InvalidTransition> {
        let is_allowed = match self {
            // If the first statement after a request was lost, the refund may already be done at
            // the provider.
            Self::Requested => matches!(next, Self::Pending | Self::Succeeded | Self::Cancelled),
            Self::Pending => matches!(next, Self::Succeeded | Self::Failed),
            // Its money may come back days later: then it is requested again, or is over if it was
            // made at the provider without the shop.
            Self::Succeeded => matches!(next, Self::Pending | Self::Failed),
            Self::Failed | Self::Cancelled => false,
        };
        if is_allowed {
            Ok(next)
        } else {
            Err(InvalidTransition { from: self.name(), to: next.name() })
        }
    }
}

/// Pieces of one article that are refunded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefundLine {
    /// The article.
    pub sku: Sku,
    /// How many pieces of it.
    pub quantity: Quantity,
}

/// A request for a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// This amount, of everything that was paid for.
    Amount(Money),
    /// What is left of the price of these goods, and if requested all that is left of the shipping.
    Goods {
        /// The goods.
        lines: Vec<RefundLine>,
        /// Whether the shipping is given back, too.
        with_shipping: bool,
    },
}

/// The parts of an amount. All in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = RefundParts))]
pub struct Parts {
    /// The goods, after the discount and before tax.
    pub goods: Money,
    /// The sales tax on the goods.
    pub goods_tax: Money,
    /// The shipping, before tax.
    pub shipping: Money,
    /// The sales tax on the shipping.
    pub shipping_tax: Money,
}

/// A refund that has not failed, as far as the next one depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The amounts that it gives back.
    pub parts: Parts,
    /// For which goods, if it was asked for by goods.
    pub lines: Vec<RefundLine>,
}

/// What can still be refunded of an order's payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    parts: Parts,
    /// Pieces that were not refunded yet, and the price of one.
    pieces: BTreeMap<Sku, (u32, Money)>,
}

/// Why a refund cannot be requested, in words for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRefund {
    /// Its amount is zero.
    #[error("this comes to no money at all")]
    Nothing,
    /// More than is left of what the customer paid.
    #[error("{left} can still be given back, not {wanted}")]
    MoreThanLeft {
        /// The requested amount.
        wanted: Money,
        /// The amount left.
        left: Money,
    },
    /// The order was not paid in this currency.
    #[error("the order was paid in {}, not in {}", .paid.code(), .wanted.code())]
    OtherCurrency {
        /// The order's currency.
        paid: Currency,
        /// The requested currency.
        wanted: Currency,
    },
    /// The article is not part of the order.
    #[error("{0} was not ordered")]
    NotOrdered(Sku),
    /// Fewer pieces are left of what was ordered.
    #[error("money can still be given back for {left} pieces of {sku}, not for {wanted}")]
    TooManyPieces {
        /// The article.
        sku: Sku,
        /// The pieces that are left.
        left: u32,
        /// The pieces asked for.
        wanted: u32,
    },
    /// An invalid amount: see [`MoneyError`].
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Parts {
    /// The parts of an order's total. Its tax is on goods and shipping together, and is split
    /// between them.
    pub fn of(totals: &Totals) -> Result<Self, MoneyError> {
        let goods = totals.subtotal.checked_sub(totals.discount)?;
        let coins = |money: Money| money.amount().mantissa();
        let taxed = goods.checked_add(totals.shipping)?;
        let on_goods = if taxed.is_zero() {
            coins(totals.tax)
        } else {
            share(coins(totals.tax), coins(goods), coins(taxed)).ok_or(MoneyError::OutOfRange)?
        };
        let goods_tax = of_coins(on_goods, totals.tax.currency())?;
        let shipping_tax = totals.tax.checked_sub(goods_tax)?;
        Ok(Self { goods, goods_tax, shipping: totals.shipping, shipping_tax })
    }

    /// The sum of all parts.
    pub fn total(self) -> Result<Money, MoneyError> {
        let Self { goods, goods_tax, shipping, shipping_tax } = self;
        Money::sum(goods.currency(), [goods, goods_tax, shipping, shipping_tax])
    }

    /// The sales tax in it.
    pub fn tax(self) -> Result<Money, MoneyError> {
        self.goods_tax.checked_add(self.shipping_tax)
    }

    /// The difference; an error if a part would fall below zero.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        Ok(Self {
            goods: self.goods.checked_sub(other.goods)?,
            goods_tax: self.goods_tax.checked_sub(other.goods_tax)?,
            shipping: self.shipping.checked_sub(other.shipping)?,
            shipping_tax: self.shipping_tax.checked_sub(other.shipping_tax)?,
        })
    }

    /// Splits off this amount: of each part its share, in minor units. `amount` is at most the
    /// total.
    fn split(self, amount: Money) -> Result<Self, MoneyError> {
        let Self { goods, goods_tax, shipping, shipping_tax } = self;
        let parts = [goods, goods_tax, shipping, shipping_tax].map(|part| part.amount().mantissa());
        let shares = shares(amount.amount().mantissa(), parts).ok_or(MoneyError::OutOfRange)?;
        let [goods, goods_tax, shipping, shipping_tax] = shares;
        let money = |coins| of_coins(coins, amount.currency());
        Ok(Self {
            goods: money(goods)?,
            goods_tax: money(goods_tax)?,
            shipping: money(shipping)?,
            shipping_tax: money(shipping_tax)?,
        })
    }
}

/// An amount given in the currency's minor unit.
fn of_coins(coins: i128, currency: Currency) -> Result<Money, MoneyError> {
    let amount = Decimal::try_from_i128_with_scale(coins, minor_digits(currency)?);
    Money::new(amount.map_err(|_too_large| MoneyError::OutOfRange)?, currency)
}

/// `whole` × `part` ÷ `of`, halves up. `None` on overflow.
fn share(whole: i128, part: i128, of: i128) -> Option<i128> {
    let doubled = whole.checked_mul(part)?.checked_mul(2)?.checked_add(of)?;
    doubled.checked_div(of.checked_mul(2)?)
}

/// Splits an amount in proportion to parts whose sum is at least as large. No share exceeds its
/// part: shares are rounded down, and the remaining units go one by one to those with the largest
/// remainder.
fn shares<const N: usize>(amount: i128, parts: [i128; N]) -> Option<[i128; N]> {
    let whole = parts.iter().try_fold(0_i128, |sum, part| sum.checked_add(*part))?;
    let mut shares = [0; N];
    let mut cut_off = Vec::with_capacity(N);
    let mut missing = amount;
    for (place, (part, share)) in parts.iter().zip(&mut shares).enumerate() {
        let exact = part.checked_mul(amount)?;
        *share = exact.checked_div(whole)?;
        missing = missing.checked_sub(*share)?;
        cut_off.push((Reverse(exact.checked_rem(whole)?), place));
    }
    cut_off.sort_unstable();
    for (_, place) in cut_off {
        if missing <= 0 {
            break;
        }
        let share = shares.get_mut(place)?;
        *share = share.checked_add(1)?;
        missing = missing.checked_sub(1)?;
    }
    Some(shares)
}

impl Left {
    /// What an order's refunds have left. `claimed` excludes those that failed or were cancelled.
    ///
    /// **Errors.** More was refunded than paid, which would be a bug.
    pub fn of(
        lines: &[OrderLine],
        totals: &Totals,
        claimed: &[Claimed],
    ) -> Result<Self, InvalidRefund> {
        let mut pieces = BTreeMap::new();
        for line in lines {
            let (ordered, _) = pieces.entry(line.sku.clone()).or_insert((0_u32, line.unit_price));
            *ordered = ordered.saturating_add(line.quantity.pieces());
        }
        let mut left = Self { parts: Parts::of(totals)?, pieces };
        for refund in claimed {
            left.parts = left.parts.checked_sub(refund.parts)?;
            for line in &refund.lines {
                left.take(&line.sku, line.quantity.pieces())?;
            }
        }
        Ok(left)
    }

    /// The whole amount left.
    pub fn total(&self) -> Result<Money, MoneyError> {
        self.parts.total()
    }

    /// The parts of a requested refund.
    ///
    /// **Errors.** It is more than is left, or zero.
    pub fn parts_of(&self, ask: &Ask) -> Result<Parts, InvalidRefund> {
        let left = self.total()?;
        let parts = match ask {
            Ask::Amount(wanted) => {
                if wanted.currency() != left.currency() {
                    let (paid, wanted) = (left.currency(), wanted.currency());
                    return Err(InvalidRefund::OtherCurrency { paid, wanted });
                }
                if wanted.is_zero() {
                    return Err(InvalidRefund::Nothing);
                }
                if wanted.amount() > left.amount() {
                    return Err(InvalidRefund::MoreThanLeft { wanted: *wanted, left });
                }
                self.parts.split(*wanted)?
            }
            Ask::Goods { lines, with_shipping } => self.goods(lines, *with_shipping)?,
        };
        if parts.total()?.is_zero() { Err(InvalidRefund::Nothing) } else { Ok(parts) }
    }

    /// Splits what is left of all goods in proportion to the goods' list prices.
    fn goods(&self, lines: &[RefundLine], with_shipping: bool) -> Result<Parts, InvalidRefund> {
        let whole = self.worth()?;
        let mut rest = self.clone();
        for line in lines {
            rest.take(&line.sku, line.quantity.pieces())?;
        }
        let wanted = whole.checked_sub(rest.worth()?).ok_or(MoneyError::OutOfRange)?;
        let currency = self.parts.goods.currency();
        let of = |part: Money| {
            if whole == 0 {
                return Money::zero(currency);
            }
            let coins = share(part.amount().mantissa(), wanted, whole);
            of_coins(coins.ok_or(MoneyError::OutOfRange)?, currency)
        };
        let shipping = |part: Money| if with_shipping { Ok(part) } else { Money::zero(currency) };
        Ok(Parts {
            goods: of(self.parts.goods)?,
            goods_tax: of(self.parts.goods_tax)?,
            shipping: shipping(self.parts.shipping)?,
            shipping_tax: shipping(self.parts.shipping_tax)?,
        })
    }

    /// The list price of all pieces left, in minor units.
    fn worth(&self) -> Result<i128, MoneyError> {
        let worth = self.pieces.values().try_fold(0_i128, |sum, (pieces, price)| {
            sum.checked_add(price.amount().mantissa().checked_mul(i128::from(*pieces))?)
        });
        worth.ok_or(MoneyError::OutOfRange)
    }

    fn take(&mut self, sku: &Sku, wanted: u32) -> Result<(), InvalidRefund> {
        let (left, _) =
            self.pieces.get_mut(sku).ok_or_else(|| InvalidRefund::NotOrdered(sku.clone()))?;
        let rest = left.checked_sub(wanted);
        *left = rest.ok_or_else(|| InvalidRefund::TooManyPieces {
            sku: sku.clone(),
            left: *left,
            wanted,
        })?;
        Ok(())
    }
}

/// The state of a refund at the provider.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum AtProvider {
    /// It was made, and its outcome is open.
    Pending,
    /// The money is on its way to the customer.
    Succeeded,
    /// It will not reach the customer; the shop has the money.
    Failed,
}

/// What is known about a refund.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// Its state has to be looked up.
    #[default]
    Unasked,
    /// The provider has no refund under its key.
    Nothing,
    /// The state of the newest refund under its key; and whether a person was already told of this
    /// one.
    Is(AtProvider, bool),
}

/// The next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Looks up the refund under its key at the provider.
    LookUp,
    /// Asks the provider to refund the money.
    Ask,
    /// Records that the money was refunded, and posts that.
    RecordSuccess,
    /// Has a person decide, because the provider did not refund the money.
    Tell,
    /// Records that no money is refunded.
    RecordEnd,
    /// Nothing, until the provider has decided.
    Wait,
}

/// The next call of a refund.
///
/// The provider is queried before it is asked for a refund, so that one whose answer was lost is
/// found. If a refund has failed, a person is told before the provider is asked again.
#[must_use]
pub const fn issue(known: Known) -> Call {
    match known {
        Known::Unasked => Call::LookUp,
        Known::Is(AtProvider::Pending, _) => Call::Wait,
        Known::Is(AtProvider::Succeeded, _) => Call::RecordSuccess,
        Known::Is(AtProvider::Failed, false) => Call::Tell,
        Known::Nothing | Known::Is(AtProvider::Failed, true) => Call::Ask,
    }
}

/// The next call when a refund is given up. Money that was already refunded is recorded as
/// refunded, whatever was decided; while the provider has not decided, the outcome is unknown.
#[must_use]
pub const fn withdraw(known: Known) -> Call {
    match known {
        Known::Unasked => Call::LookUp,
        Known::Is(AtProvider::Pending, _) => Call::Wait,
        Known::Is(AtProvider::Succeeded, _) => Call::RecordSuccess,
        Known::Nothing | Known::Is(AtProvider::Failed, _) => Call::RecordEnd,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use itertools::Itertools as _;
    use proptest::prelude::*;
    use strum::IntoEnumIterator as _;
    use uuid::Uuid;

    use super::*;
    use crate::ledger::{Account, JournalEntry, Side};

    fn order_id() -> OrderId {
        OrderId::of(Uuid::from_u128(7))
    }

    fn coins(minor: u32, currency: Currency) -> Money {
        of_coins(minor.into(), currency).unwrap()
    }

    fn sku(number: usize) -> Sku {
        Sku::parse(format!("ART-{number}")).unwrap()
    }

    fn line(number: usize, pieces: u32) -> RefundLine {
        RefundLine { sku: sku(number), quantity: Quantity::new(pieces.into()).unwrap() }
    }

    /// An order of these pieces and prices, in minor units, with this discount and tax in per cent.
    fn order(
        bought: &[(u32, u32)],
        off: u32,
        shipping: u32,
        tax: u32,
        currency: Currency,
    ) -> (Vec<OrderLine>, Totals) {
        let lines: Vec<_> = bought
            .iter()
            .enumerate()
            .map(|(number, (pieces, price))| {
                let unit_price = coins(*price, currency);
                OrderLine {
                    sku: sku(number),
                    quantity: Quantity::new((*pieces).into()).unwrap(),
                    unit_price,
                    line_total: unit_price.times(*pieces).unwrap(),
                }
            })
            .collect();
        let subtotal = Money::sum(currency, lines.iter().map(|line| line.line_total)).unwrap();
        let discount = subtotal.percent(off.into()).unwrap();
        let shipping = coins(shipping, currency);
        let net = subtotal.checked_sub(discount).unwrap().checked_add(shipping).unwrap();
        let tax = net.percent(tax.into()).unwrap();
        let total = net.checked_add(tax).unwrap();
        (lines, Totals { subtotal, discount, shipping, tax, total })
    }

    /// Two of one article and three of another, 10 % off, shipping, 19 % tax.
    fn pounds() -> (Vec<OrderLine>, Totals) {
        order(&[(2, 1_000), (3, 333)], 10, 495, 19, Currency::GBP)
    }

    fn told(parts: Parts) -> String {
        let Parts { goods, goods_tax, shipping, shipping_tax } = parts;
        let all = [goods, goods_tax, shipping, shipping_tax].map(|part| part.amount().to_string());
        all.join(" ")
    }

    #[test]
    fn a_refund_is_made_of_what_is_left_of_each_part() {
        let (lines, totals) = pounds();
        assert_eq!(totals.total.to_string(), "38.01 GBP");
        assert_eq!(told(Parts::of(&totals).unwrap()), "26.99 5.13 4.95 0.94");
        let left = Left::of(&lines, &totals, &[]).unwrap();
        let amount = |pence| Ask::Amount(coins(pence, Currency::GBP));
        let goods = |lines, with_shipping| Ask::Goods { lines, with_shipping };
        for (ask, parts) in [
            (amount(3_801), "26.99 5.13 4.95 0.94"),
            (amount(1_000), "7.10 1.35 1.30 0.25"),
            (amount(1), "0.01 0.00 0.00 0.00"),
            (goods(vec![line(0, 1)], false), "9.00 1.71 0.00 0.00"),
            (goods(vec![line(0, 2), line(1, 3)], true), "26.99 5.13 4.95 0.94"),
            (goods(vec![], true), "0.00 0.00 4.95 0.94"),
        ] {
            assert_eq!(told(left.parts_of(&ask).unwrap()), parts, "{ask:?}");
        }
    }

    #[test]
    fn what_was_not_paid_or_is_given_back_cannot_be_given_back() {
        let (lines, totals) = pounds();
        let ask = Ask::Goods { lines: vec![line(0, 2)], with_shipping: true };
        let none = Left::of(&lines, &totals, &[]).unwrap();
        let first = Claimed { parts: none.parts_of(&ask).unwrap(), lines: vec![line(0, 2)] };
        let left = Left::of(&lines, &totals, &[first]).unwrap();
        let refused = |ask: &Ask| left.parts_of(ask).unwrap_err().to_string();
        assert_eq!(left.total().unwrap().to_string(), "10.70 GBP");
        assert_eq!(
            refused(&Ask::Amount(coins(1_071, Currency::GBP))),
            "10.70 GBP can still be given back, not 10.71 GBP"
        );
        assert_eq!(
            refused(&Ask::Amount(coins(1, Currency::EUR))),
            "the order was paid in GBP, not in EUR"
        );
        assert_eq!(
            left.parts_of(&Ask::Amount(coins(0, Currency::GBP))),
            Err(InvalidRefund::Nothing)
        );
        let goods = |lines, with_shipping| Ask::Goods { lines, with_shipping };
        assert_eq!(left.parts_of(&goods(vec![], true)), Err(InvalidRefund::Nothing), "it is back");
        assert_eq!(
            refused(&goods(vec![line(0, 1)], false)),
            "money can still be given back for 0 pieces of ART-0, not for 1"
        );
        assert_eq!(
            refused(&goods(vec![line(1, 2), line(1, 2)], false)),
            "money can still be given back for 1 pieces of ART-1, not for 2"
        );
        assert_eq!(refused(&goods(vec![line(2, 1)], false)), "ART-2 was not ordered");
    }

    #[test]
    fn a_refund_has_these_transitions_and_no_others() {
        let lines = RefundState::iter().map(|from| {
            let next = RefundState::iter().filter(|to| from.transition_to(*to).is_ok());
            format!("{} -> {}\n", from.name(), next.map(RefundState::name).join(" | "))
        });
        expect![[r"
            requested -> pending | succeeded | cancelled
            pending -> succeeded | failed
            succeeded -> pending | failed
            failed -> 
            cancelled -> 
        "]]
        .assert_eq(&lines.collect::<String>());
        for state in RefundState::iter() {
            let goes_on = RefundState::iter().any(|next| state.transition_to(next).is_ok());
            // As far as anybody knows, a succeeded refund has ended.
            let is_open = goes_on && state != RefundState::Succeeded;
            assert_eq!(state.is_open(), is_open, "{state:?}");
        }
    }

    #[test]
    fn a_refund_that_failed_is_told_before_it_is_asked_for_anew() {
        use AtProvider as P;
        let all = [P::Pending, P::Succeeded, P::Failed];
        let known = all.into_iter().flat_map(|at| [Known::Is(at, false), Known::Is(at, true)]);
        let lines = [Known::Unasked, Known::Nothing]
            .into_iter()
            .chain(known)
            .map(|known| format!("{known:?}: {:?}, {:?}\n", issue(known), withdraw(known)));
        expect![[r"
            Unasked: LookUp, LookUp
            Nothing: Ask, RecordEnd
            Is(Pending, false): Wait, Wait
            Is(Pending, true): Wait, Wait
            Is(Succeeded, false): RecordSuccess, RecordSuccess
            Is(Succeeded, true): RecordSuccess, RecordSuccess
            Is(Failed, false): Tell, RecordEnd
            Is(Failed, true): Ask, RecordEnd
        "]]
        .assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn a_refund_is_found_again_by_its_workflow_and_by_its_key() {
        for number in [1, 2, 17] {
            let refund = RefundId { order_id: order_id(), number };
            assert_eq!(RefundId::of_workflow(&refund.workflow_id()), Some(refund));
            assert_eq!(RefundId::of_key(refund.key(1)), refund);
            assert_eq!(refund.key(1).to_string().parse(), Ok(refund.key(1)));
        }
        for wrong in ["refund-", "refund-1", "order-00000000-0000-0000-0000-000000000007-1"] {
            assert_eq!(RefundId::of_workflow(wrong), None, "{wrong}");
        }
    }

    /// A move of the test: refund so many thousandths of what is left, some pieces, or the
    /// shipping; or let an earlier refund fail.
    #[derive(Clone, Debug)]
    enum Move {
        Amount(u32),
        Pieces(usize, u32),
        Shipping,
        Fails(usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (0_u32..=1_000).prop_map(Move::Amount),
            (0_usize..4, 1_u32..4).prop_map(|(article, pieces)| Move::Pieces(article, pieces)),
            Just(Move::Shipping),
            (0_usize..8).prop_map(Move::Fails),
        ];
        prop::collection::vec(one, 0..20)
    }

    fn currency() -> impl Strategy<Value = Currency> {
        prop::sample::select(vec![Currency::GBP, Currency::JPY, Currency::KWD])
    }

    fn ask_of(one: &Move, left: &Left) -> Option<Ask> {
        match one {
            Move::Amount(thousandths) => {
                let share = Decimal::new((*thousandths).into(), 1);
                Some(Ask::Amount(left.total().unwrap().percent(share).unwrap()))
            }
            Move::Pieces(article, pieces) => {
                Some(Ask::Goods { lines: vec![line(*article, *pieces)], with_shipping: false })
            }
            Move::Shipping => Some(Ask::Goods { lines: vec![], with_shipping: true }),
            Move::Fails(_) => None,
        }
    }

    fn lines_of(ask: &Ask) -> Vec<RefundLine> {
        match ask {
            Ask::Amount(_) => vec![],
            Ask::Goods { lines, .. } => lines.clone(),
        }
    }

    fn minus(amount: Decimal) -> Decimal {
        Decimal::ZERO.checked_sub(amount).unwrap()
    }

    /// What the refunds' journal entries debit an account with.
    fn booked(refunds: &[Claimed], account: Account) -> Decimal {
        let mut sum = Decimal::ZERO;
        for (number, refund) in (1..).zip(refunds) {
            let key = RefundId { order_id: order_id(), number }.key(1);
            let entry = JournalEntry::refund(key, refund.parts).unwrap();
            for entry in entry.entries().iter().filter(|entry| entry.account == account) {
                let amount = entry.amount.amount();
                let debit = if entry.side == Side::Debit { amount } else { minus(amount) };
                sum = sum.checked_add(debit).unwrap();
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn any_refunds_add_up_to_the_payment_and_to_each_part_of_it(
            bought in prop::collection::vec((1_u32..5, 0_u32..5_000), 1..4),
            off in 0_u32..=100, shipping in 0_u32..2_000, tax in 0_u32..=25,
            currency in currency(), moves in moves(),
        ) {
            let (lines, totals) = order(&bought, off, shipping, tax, currency);
            let paid = Parts::of(&totals).unwrap();
            prop_assert_eq!(paid.total().unwrap(), totals.total);
            prop_assert_eq!(paid.tax().unwrap(), totals.tax);
            let mut refunds: Vec<Claimed> = vec![];
            for one in &moves {
                if let Move::Fails(place) = one {
                    if *place < refunds.len() {
                        refunds.remove(*place);
                    }
                    continue;
                }
                let left = Left::of(&lines, &totals, &refunds).unwrap();
                let Some(ask) = ask_of(one, &left) else { continue };
                let Ok(parts) = left.parts_of(&ask) else { continue };
                if let Ask::Amount(amount) = ask {
                    prop_assert_eq!(parts.total().unwrap(), amount, "all of it, and no more");
                }
                refunds.push(Claimed { parts, lines: lines_of(&ask) });
            }
            let left = Left::of(&lines, &totals, &refunds).unwrap();
            if let Ok(parts) = left.parts_of(&Ask::Amount(left.total().unwrap())) {
                refunds.push(Claimed { parts, lines: vec![] });
            }
            let rest = Left::of(&lines, &totals, &refunds).unwrap();
            prop_assert!(rest.parts.total().unwrap().is_zero());
            let goods = totals.subtotal.checked_sub(totals.discount).unwrap();
            for (account, amount) in [
                (Account::Refunds, goods.amount()),
                (Account::ShippingIncome, totals.shipping.amount()),
                (Account::SalesTaxPayable, totals.tax.amount()),
                (Account::PaymentClearing, minus(totals.total.amount())),
            ] {
                prop_assert_eq!(booked(&refunds, account), amount, "{}", account);
            }
        }

        #[test]
        fn goods_that_come_back_piece_by_piece_come_to_what_they_cost(
            bought in prop::collection::vec((1_u32..5, 0_u32..5_000), 1..4),
            off in 0_u32..=100, shipping in 0_u32..2_000, tax in 0_u32..=25,
            currency in currency(), seed in any::<u64>(),
        ) {
            let (lines, totals) = order(&bought, off, shipping, tax, currency);
            let mut pieces: Vec<_> = bought
                .iter()
                .enumerate()
                .flat_map(|(number, (pieces, _))| (0..*pieces).map(move |_| number))
                .collect();
            let places = u64::try_from(pieces.len()).unwrap();
            pieces.rotate_left(usize::try_from(seed.checked_rem(places).unwrap()).unwrap());
            let mut refunds: Vec<Claimed> = vec![];
            for piece in pieces {
                let lines_back = vec![line(piece, 1)];
                let left = Left::of(&lines, &totals, &refunds).unwrap();
                let ask = Ask::Goods { lines: lines_back.clone(), with_shipping: false };
                let nothing = left.parts.split(Money::zero(currency).unwrap());
                let parts = match left.parts_of(&ask) {
                    Ok(parts) => parts,
                    // Goods that were free, or worth less than half a minor unit, refund nothing.
                    Err(InvalidRefund::Nothing) if !left.total().unwrap().is_zero() => nothing.unwrap(),
                    Err(InvalidRefund::Nothing) => break,
                    Err(error) => panic!("{error}"),
                };
                refunds.push(Claimed { parts, lines: lines_back });
            }
            let left = Left::of(&lines, &totals, &refunds).unwrap();
            let is_worth_something = bought.iter().any(|(_, price)| *price > 0);
            if is_worth_something {
                prop_assert!(left.parts.goods.is_zero() && left.parts.goods_tax.is_zero());
            }
            let rest = left.parts.shipping.checked_add(left.parts.shipping_tax).unwrap();
            if is_worth_something {
                prop_assert_eq!(left.total().unwrap(), rest, "the shipping");
            }
        }
    }
}
