//! Double-entry bookkeeping: journal entries that always balance.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::refund::Parts;
use crate::{Currency, Money, MoneyError, Order, StepKey, StepName};

/// An account of the shop's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Account {
    /// Money the payment provider holds for the shop. An asset.
    PaymentClearing,
    /// Money that the payment provider has paid out to the shop's bank account. An asset.
    Bank,
    /// What customers have paid for goods not yet sent. A liability.
    CustomerDeposits,
    /// Goods sold, before tax. Income.
    Sales,
    /// Shipping fees, before tax. Income.
    ShippingIncome,
    /// Sales tax the shop owes the state. A liability.
    SalesTaxPayable,
    /// Goods in the warehouse, at cost. An asset.
    Inventory,
    /// What the sold goods cost the shop. An expense.
    CostOfGoods,
    /// Goods received whose invoice has not come yet. A liability.
    GoodsReceived,
    /// What was given back for goods after the parcel was handed over, before tax. Reduces income.
    Refunds,
    /// Payments that customers' banks have taken back and may still return. An asset.
    DisputedPayments,
    /// What the payment provider takes for disputes. An expense.
    DisputeFees,
    /// Disputed payments that customers keep. An expense.
    DisputeLosses,
    /// What the payment provider keeps for its services. An expense.
    PaymentFees,
    /// Money that customers have transferred and that belongs to no order, and money to be sent
    /// back to them by transfer. A liability.
    CustomerCredit,
}

/// The side of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Side {
    /// Left: assets and expenses grow.
    Debit,
    /// Right: liabilities and income grow.
    Credit,
}

/// One line of a journal entry.
///
/// **Shape.** The amount is above zero; the side gives the direction, never a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    /// The account.
    pub account: Account,
    /// The side.
    pub side: Side,
    /// How much.
    pub amount: Money,
}

/// Entries that are posted together, or not at all.
///
/// **Shape.** Debits equal credits in every currency; [`JournalEntry::balanced`] is the only way to
/// build one, also from JSON.
/// **Repeats.** The key identifies the journal entry in the ledger: the same key is one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct JournalEntry {
    key: StepKey,
    entries: Vec<Entry>,
}

/// Why entries do not form a journal entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbalanced {
    /// The two sides differ.
    #[error("debits and credits differ by {difference} {currency}")]
    Differs {
        /// The currency in which they differ.
        currency: &'static str,
        /// Debits minus credits.
        difference: Decimal,
    },
    /// Nothing to post.
    #[error("a posting has entries on both sides")]
    Empty,
    /// An entry with an amount of zero.
    #[error("an entry's amount is above zero")]
    Zero,
    /// The sum is out of range.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Account {
    /// Every account, in the order of the trial balance.
    pub const ALL: [Self; 15] = [
        Self::PaymentClearing,
        Self::DisputedPayments,
        Self::Bank,
        Self::Inventory,
        Self::CustomerDeposits,
        Self::CustomerCredit,
        Self::SalesTaxPayable,
        Self::GoodsReceived,
        Self::Sales,
        Self::ShippingIncome,
        Self::Refunds,
        Self::CostOfGoods,
        Self::PaymentFees,
        Self::DisputeFees,
        Self::DisputeLosses,
    ];

    /// The account's id in the database and in URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentClearing => "payment-clearing",
            Self::Bank => "bank",
            Self::CustomerDeposits => "customer-deposits",
            Self::Sales => "sales",
            Self::ShippingIncome => "shipping-income",
            Self::SalesTaxPayable => "sales-tax-payable",
            Self::Inventory => "inventory",
            Self::CostOfGoods => "cost-of-goods",
            Self::GoodsReceived => "goods-received",
            Self::Refunds => "refunds",
            Self::DisputedPayments => "disputed-payments",
            Self::DisputeFees => "dispute-fees",
            Self::DisputeLosses => "dispute-losses",
            Self::PaymentFees => "payment-fees",
            Self::CustomerCredit => "customer-credit",
        }
    }

    /// Parses an account's id.
    #[must_use]
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|account| account.as_str() == id)
    }

    /// The side on which the account grows, and on which its balance is shown.
    #[must_use]
    pub const fn normal_side(self) -> Side {
        match self {
            Self::PaymentClearing
            | Self::Bank
            | Self::Inventory
            | Self::CostOfGoods
            | Self::Refunds
            | Self::DisputedPayments
            | Self::PaymentFees
            | Self::DisputeFees
            | Self::DisputeLosses => Side::Debit,
            Self::CustomerDeposits
            | Self::CustomerCredit
            | Self::Sales
            | Self::ShippingIncome
            | Self::SalesTaxPayable
            | Self::GoodsReceived => Side::Credit,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Debit => Self::Credit,
            Self::Credit => Self::Debit,
        }
    }

    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }
}

impl Entry {
    /// A debit entry.
    #[must_use]
    pub const fn debit(account: Account, amount: Money) -> Self {
        Self { account, side: Side::Debit, amount }
    }

    /// A credit entry.
    #[must_use]
    pub const fn credit(account: Account, amount: Money) -> Self {
        Self { account, side: Side::Credit, amount }
    }

    /// The entries that move an amount from payment clearing to another account, such as a payout
    /// or a fee; a negative amount moves it back. `None` for zero.
    pub fn out_of_clearing(
        account: Account,
        amount: Decimal,
        currency: Currency,
    ) -> Result<Option<[Self; 2]>, MoneyError> {
        let moved = Money::new(amount.abs(), currency)?;
        let (to, from) = if amount.is_sign_negative() {
            (Account::PaymentClearing, account)
        } else {
            (account, Account::PaymentClearing)
        };
        Ok((!moved.is_zero()).then(|| [Self::debit(to, moved), Self::credit(from, moved)]))
    }
}

impl JournalEntry {
    /// Builds a journal entry.
    ///
    /// **Errors.** [`Unbalanced`] if debits and credits differ, with the difference and its
    /// currency.
    pub fn balanced(key: StepKey, entries: Vec<Entry>) -> Result<Self, Unbalanced> {
        if entries.is_empty() {
            return Err(Unbalanced::Empty);
        }
        let mut differences = BTreeMap::<&'static str, Decimal>::new();
        for entry in &entries {
            if entry.amount.is_zero() {
                return Err(Unbalanced::Zero);
            }
            let difference = differences.entry(entry.amount.currency().code()).or_default();
            let sum = match entry.side {
                Side::Debit => difference.checked_add(entry.amount.amount()),
                Side::Credit => difference.checked_sub(entry.amount.amount()),
            };
            *difference = sum.ok_or(MoneyError::OutOfRange)?;
        }
        match differences.into_iter().find(|(_, difference)| !difference.is_zero()) {
            Some((currency, difference)) => Err(Unbalanced::Differs { currency, difference }),
            None => Ok(Self { key, entries }),
        }
    }

    /// The reversing journal entry: sides swapped, order reversed, same key. The ledger is
    /// corrected by adding entries, never by deleting them.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let entries = self
            .entries
            .iter()
            .rev()
            .map(|entry| Entry { side: entry.side.opposite(), ..*entry })
            .collect();
        Self { key: self.key, entries }
    }

    /// The payment as it is posted at first: money in, and a liability to the customer.
    pub fn deposit(order: &Order) -> Result<Self, Unbalanced> {
        let total = order.totals.total;
        Self::balanced(
            order.key(StepName::PostEntries),
            vec![
                Entry::debit(Account::PaymentClearing, total),
                Entry::credit(Account::CustomerDeposits, total),
            ],
        )
    }

    /// The sale, posted once the parcel is handed over: the liability to the customer becomes
    /// income. `None` if the customer paid nothing and the goods cost the shop nothing.
    pub fn revenue(order: &Order) -> Result<Option<Self>, Unbalanced> {
        let totals = order.totals;
        let goods = totals.subtotal.checked_sub(totals.discount)?;
        let entries = [
            Entry::debit(Account::CustomerDeposits, totals.total),
            Entry::credit(Account::Sales, goods),
            Entry::credit(Account::ShippingIncome, totals.shipping),
            Entry::credit(Account::SalesTaxPayable, totals.tax),
            Entry::debit(Account::CostOfGoods, order.cost_of_goods),
            Entry::credit(Account::Inventory, order.cost_of_goods),
        ];
        let entries: Vec<_> = entries.into_iter().filter(|entry| !entry.amount.is_zero()).collect();
        if entries.is_empty() {
            return Ok(None);
        }
        Self::balanced(order.key(StepName::RecogniseRevenue), entries).map(Some)
    }

    /// Money refunded for a completed order: reduces its income, and the tax that the shop owes.
    pub fn refund(key: StepKey, parts: Parts) -> Result<Self, Unbalanced> {
        let entries = [
            Entry::debit(Account::Refunds, parts.goods),
            Entry::debit(Account::ShippingIncome, parts.shipping),
            Entry::debit(Account::SalesTaxPayable, parts.tax()?),
            Entry::credit(Account::PaymentClearing, parts.total()?),
        ];
        let entries = entries.into_iter().filter(|entry| !entry.amount.is_zero()).collect();
        Self::balanced(key, entries)
    }

    /// Its key in the ledger.
    #[must_use]
    pub const fn key(&self) -> StepKey {
        self.key
    }

    /// The entries, in booking order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// A journal entry as JSON, before it is checked.
#[derive(Deserialize)]
struct Written {
    key: StepKey,
    entries: Vec<Entry>,
}

impl TryFrom<Written> for JournalEntry {
    type Error = Unbalanced;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::balanced(written.key, written.entries)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use expect_test::expect;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{
        CountryCode, CustomerId, Destination, OrderId, OrderLine, PaymentToken, Quantity, Sku,
        Terms, Totals,
    };

    fn key() -> StepKey {
        let order_id = OrderId::of(Uuid::from_u128(1));
        StepKey { order_id, step: StepName::PostEntries, version: 1, attempt: 1 }
    }

    fn pence(amount: u32) -> Money {
        Money::new(Decimal::new(amount.into(), 2), Currency::GBP).unwrap()
    }

    /// An order whose parts are given in pence; the total is computed.
    fn order(goods: u32, discount: u32, shipping: u32, tax: u32, cost: u32) -> Order {
        let (subtotal, discount) = (pence(goods), pence(discount));
        let total = [pence(shipping), pence(tax)]
            .into_iter()
            .try_fold(subtotal.checked_sub(discount).unwrap(), Money::checked_add)
            .unwrap();
        Order {
            order_id: OrderId::of(Uuid::from_u128(1)),
            customer_id: CustomerId::parse("17850").unwrap(),
            placed_at: DateTime::UNIX_EPOCH,
            record_version: 1,
            lines: vec![OrderLine {
                sku: Sku::parse("85123A").unwrap(),
                quantity: Quantity::new(1).unwrap(),
                unit_price: subtotal,
                line_total: subtotal,
            }],
            totals: Totals {
                subtotal,
                discount,
                shipping: pence(shipping),
                tax: pence(tax),
                total,
            },
            cost_of_goods: pence(cost),
            discount_code: None,
            ship_to: Destination { country: CountryCode::parse("GB").unwrap(), address_id: None },
            payment_token: PaymentToken::parse("tok_visa").unwrap(),
            terms: Terms::default(),
        }
    }

    fn told(posting: &JournalEntry) -> String {
        let line = |entry: &Entry| {
            format!("{:<6} {:<17} {}\n", entry.side.as_str(), entry.account, entry.amount)
        };
        posting.entries().iter().map(line).collect()
    }

    #[test]
    fn a_payment_is_a_deposit_until_the_parcel_is_gone() {
        let order = order(1530, 0, 495, 405, 918);
        expect![[r"
            debit  payment-clearing 24.30 GBP
            credit customer-deposits 24.30 GBP
        "]]
        .assert_eq(&told(&JournalEntry::deposit(&order).unwrap()));
        expect![[r"
            debit  customer-deposits 24.30 GBP
            credit sales 15.30 GBP
            credit shipping-income 4.95 GBP
            credit sales-tax-payable 4.05 GBP
            debit  cost-of-goods 9.18 GBP
            credit inventory 9.18 GBP
        "]]
        .assert_eq(&told(&JournalEntry::revenue(&order).unwrap().unwrap()));
    }

    #[test]
    fn a_refund_takes_back_income_and_tax_and_its_reversal_takes_back_the_refund() {
        let totals = order(1530, 0, 495, 405, 918).totals;
        let key = StepKey { step: StepName::IssueRefund, ..key() };
        let refund = JournalEntry::refund(key, Parts::of(&totals).unwrap()).unwrap();
        expect![[r"
            debit  refunds 15.30 GBP
            debit  shipping-income 4.95 GBP
            debit  sales-tax-payable 4.05 GBP
            credit payment-clearing 24.30 GBP
        "]]
        .assert_eq(&told(&refund));
        expect![[r"
            debit  payment-clearing 24.30 GBP
            credit sales-tax-payable 4.05 GBP
            credit shipping-income 4.95 GBP
            credit refunds 15.30 GBP
        "]]
        .assert_eq(&told(&refund.reversed()));
    }

    #[test]
    fn entries_that_do_not_balance_cannot_be_posted() {
        let lopsided = vec![
            Entry::debit(Account::PaymentClearing, pence(100)),
            Entry::credit(Account::CustomerDeposits, pence(99)),
        ];
        let error = JournalEntry::balanced(key(), lopsided.clone()).unwrap_err();
        assert_eq!(error.to_string(), "debits and credits differ by 0.01 GBP");
        let json = serde_json::json!({ "key": key(), "entries": lopsided });
        assert!(serde_json::from_value::<JournalEntry>(json).is_err(), "JSON is checked as well");
        assert_eq!(JournalEntry::balanced(key(), vec![]), Err(Unbalanced::Empty));
        let nothing =
            vec![Entry::debit(Account::Sales, pence(0)), Entry::credit(Account::Sales, pence(0))];
        assert_eq!(JournalEntry::balanced(key(), nothing), Err(Unbalanced::Zero));
    }

    #[test]
    fn a_payout_and_a_fee_leave_payment_clearing_and_what_is_taken_back_returns_there() {
        let moved = |account, amount: i64| {
            let amount = Decimal::new(amount, 2);
            let moved = Entry::out_of_clearing(account, amount, Currency::GBP).unwrap();
            moved.map(|moved| told(&JournalEntry::balanced(key(), moved.to_vec()).unwrap()))
        };
        expect![[r"
            debit  bank 23.93 GBP
            credit payment-clearing 23.93 GBP
        "]]
        .assert_eq(&moved(Account::Bank, 2_393).unwrap());
        expect![[r"
            debit  payment-clearing 0.37 GBP
            credit payment-fees 0.37 GBP
        "]]
        .assert_eq(&moved(Account::PaymentFees, -37).unwrap());
        assert_eq!(moved(Account::PaymentFees, 0), None);
        let fine = Entry::out_of_clearing(Account::Bank, Decimal::new(1, 3), Currency::GBP);
        assert!(fine.is_err(), "a tenth of a penny is no money");
    }

    #[test]
    fn every_account_has_one_id() {
        for account in Account::ALL {
            assert_eq!(Account::by_id(account.as_str()), Some(account));
            assert_eq!(serde_json::to_value(account).unwrap(), account.as_str());
        }
    }

    proptest! {
        #[test]
        fn every_order_can_be_booked_and_reversing_twice_changes_nothing(
            goods in 1u32..10_000_000, off in 0u32..=100, shipping in 1u32..10_000,
            tax in 0u32..1_000_000, cost in 0u32..10_000_000,
        ) {
            let discount = goods.div_euclid(100).saturating_mul(off);
            let order = order(goods, discount, shipping, tax, cost);
            for posting in [JournalEntry::deposit(&order).unwrap(), JournalEntry::revenue(&order).unwrap().unwrap()] {
                let reversed = posting.reversed();
                prop_assert_eq!(JournalEntry::balanced(key(), reversed.entries().to_vec()).is_ok(), true);
                for (entry, back) in posting.entries().iter().zip(reversed.entries().iter().rev()) {
                    prop_assert_eq!((entry.account, entry.amount), (back.account, back.amount));
                    prop_assert_ne!(entry.side, back.side);
                }
                prop_assert_eq!(reversed.reversed(), posting);
            }
        }
    }
}
