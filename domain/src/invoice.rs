//! The amounts of invoices and credit notes: lines, discount, shipping, tax and total.
//!
//! An order has one tax rate, its destination's, and its tax was computed once, on discounted goods
//! and shipping together (see [`crate::PriceList`]). So a document has one rate, too: discount and
//! shipping are amounts of the whole document at that rate, and the tax is the amount charged, not
//! recomputed. Nothing is rounded here: a document's total is exactly what an order was charged, or
//! what a refund gave back.

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::refund::{Parts, RefundLine};
use crate::{CountryCode, Money, MoneyError, OrderLine, Sku, Totals};

/// The kind of a document.
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
#[cfg_attr(feature = "openapi", schema(as = InvoiceKind))]
pub enum DocumentKind {
    /// The customer owes this, or has paid it.
    Invoice,
    /// The customer no longer owes this, or has it back.
    CreditNote,
}

impl DocumentKind {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The reason for which a document is issued. An order has at most one document for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Occasion {
    /// The order was sold.
    Sale,
    /// The order was undone as a whole, after it was invoiced.
    Reversal,
    /// This refund gave money back.
    Refund(u32),
    /// This refund finally failed after it was credited, and its money came back to the shop.
    RefundFailed(u32),
}

impl Occasion {
    /// The kind of its document.
    #[must_use]
    pub const fn kind(self) -> DocumentKind {
        match self {
            Self::Sale | Self::RefundFailed(_) => DocumentKind::Invoice,
            Self::Reversal | Self::Refund(_) => DocumentKind::CreditNote,
        }
    }

    /// The number of the order's refund, if it is about one.
    #[must_use]
    pub const fn refund(self) -> Option<u32> {
        match self {
            Self::Sale | Self::Reversal => None,
            Self::Refund(number) | Self::RefundFailed(number) => Some(number),
        }
    }
}

/// The VAT category of what was sold.
///
/// **Source.** UNCL 5305, as used by EN 16931.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VatCategory {
    /// `S`: at a rate above zero.
    Standard,
    /// `Z`: at a rate of zero.
    ZeroRated,
    /// `G`: exported from the European Union, and therefore exempt from its tax.
    Export,
}

impl VatCategory {
    /// The category of goods sent from one country to another at this rate.
    #[must_use]
    pub fn of(tax_percent: Decimal, from: CountryCode, to: CountryCode) -> Self {
        if !tax_percent.is_zero() {
            Self::Standard
        } else if from.is_in_european_union() && !to.is_in_european_union() {
            Self::Export
        } else {
            Self::ZeroRated
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Standard => "S",
            Self::ZeroRated => "Z",
            Self::Export => "G",
        }
    }
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An article that was bought.
    Article(Sku),
    /// The goods that a refund is for; if none are named, it is for a share of all goods.
    Goods(Vec<RefundLine>),
    /// Shipping of the parcel.
    Shipping,
}

/// A line, before discount and tax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub item: Item,
    /// Number of pieces.
    pub quantity: u32,
    /// Price of one piece.
    pub unit_price: Money,
    /// `unit_price` × `quantity`.
    pub net: Money,
}

/// The amounts of a document, all in one currency.
///
/// **Shape.** Lines − discount + shipping = net; net + tax = total. [`Document::of_order`] and
/// [`Document::of_refund`] guarantee this. The amounts of a credit note are positive, too: its kind
/// gives the direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// At least one.
    pub lines: Vec<Line>,
    /// Discount on all lines together.
    pub discount: Money,
    /// Shipping fee, if it is not a line.
    pub shipping: Money,
    /// The tax rate, in per cent.
    pub tax_percent: Decimal,
    /// The taxed amount.
    pub net: Money,
    /// The tax.
    pub tax: Money,
    /// The amount that the customer pays, or gets back.
    pub total: Money,
}

/// Why no document can be issued, in words for the shop's operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// Nothing was sold.
    #[error("it has no lines")]
    Empty,
    /// The parts do not come to the total.
    #[error("its {what} does not add up: {stated} is stated, and its parts come to {comes_to}")]
    DoesNotAddUp {
        /// The amount that is wrong.
        what: &'static str,
        /// The amount on record.
        stated: Money,
        /// The computed amount.
        comes_to: Money,
    },
    /// No tax rate that the destination ever had gives the charged tax.
    #[error("{tax} on {net} is none of the destination's rates of tax")]
    NoSuchRate {
        /// The taxed amount.
        net: Money,
        /// The charged tax.
        tax: Money,
    },
    /// An invalid amount.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// The order's tax rate, which is not on record: the first of its destination's rates that gives
/// the tax that was charged.
///
/// **Errors.** None of them does.
pub fn tax_percent_of(
    totals: &Totals,
    rates: impl IntoIterator<Item = Decimal>,
) -> Result<Decimal, InvalidDocument> {
    let net = net_of(totals)?;
    let fits = |rate: &Decimal| net.percent(*rate).is_ok_and(|tax| tax == totals.tax);
    let rate = rates.into_iter().find(fits);
    rate.ok_or(InvalidDocument::NoSuchRate { net, tax: totals.tax })
}

/// The taxed amount of an order: goods after the discount, and shipping.
fn net_of(totals: &Totals) -> Result<Money, MoneyError> {
    totals.subtotal.checked_sub(totals.discount)?.checked_add(totals.shipping)
}

impl Line {
    /// A line with a single piece.
    const fn one(item: Item, net: Money) -> Self {
        Self { item, quantity: 1, unit_price: net, net }
    }
}

impl Document {
    /// The amounts of an order's invoice, and of the credit note that reverses it completely.
    ///
    /// **Errors.** The order's lines and totals do not add up, or it was taxed at another rate;
    /// both would be bugs.
    pub fn of_order(
        lines: &[OrderLine],
        totals: &Totals,
        tax_percent: Decimal,
    ) -> Result<Self, InvalidDocument> {
        let net = net_of(totals)?;
        if net.percent(tax_percent)? != totals.tax {
            return Err(InvalidDocument::NoSuchRate { net, tax: totals.tax });
        }
        let line = |line: &OrderLine| Line {
            item: Item::Article(line.sku.clone()),
            quantity: line.quantity.pieces(),
            unit_price: line.unit_price,
            net: line.line_total,
        };
        let document = Self {
            lines: lines.iter().map(line).collect(),
            discount: totals.discount,
            shipping: totals.shipping,
            tax_percent,
            net,
            tax: totals.tax,
            total: totals.total,
        };
        document.checked()
    }

    /// The amounts of a refund's credit note: one line for the goods, after the discount, and one
    /// for shipping, with the tax as the refund booked it. `goods` are the refunded goods, if
    /// named; `tax_percent` is the rate of the order's invoice.
    ///
    /// **Errors.** Tax is given back where none was charged, which would be a bug.
    pub fn of_refund(
        parts: Parts,
        goods: &[RefundLine],
        tax_percent: Decimal,
    ) -> Result<Self, InvalidDocument> {
        let has_goods = !(parts.goods.is_zero() && parts.goods_tax.is_zero());
        let has_shipping = !(parts.shipping.is_zero() && parts.shipping_tax.is_zero());
        let mut lines = Vec::new();
        if has_goods {
            lines.push(Line::one(Item::Goods(goods.to_vec()), parts.goods));
        }
        if has_shipping {
            lines.push(Line::one(Item::Shipping, parts.shipping));
        }
        let none = Money::zero(parts.goods.currency())?;
        let document = Self {
            lines,
            discount: none,
            shipping: none,
            tax_percent,
            net: parts.goods.checked_add(parts.shipping)?,
            tax: parts.tax()?,
            total: parts.total()?,
        };
        document.checked()
    }

    /// The currency of all its amounts.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.total.currency()
    }

    /// The sum of the lines.
    pub fn line_total(&self) -> Result<Money, MoneyError> {
        Money::sum(self.currency(), self.lines.iter().map(|line| line.net))
    }

    fn checked(self) -> Result<Self, InvalidDocument> {
        let adds_up = |what, stated: Money, comes_to: Money| {
            if stated == comes_to {
                Ok(())
            } else {
                Err(InvalidDocument::DoesNotAddUp { what, stated, comes_to })
            }
        };
        if self.lines.is_empty() {
            return Err(InvalidDocument::Empty);
        }
        for line in &self.lines {
            adds_up("line", line.net, line.unit_price.times(line.quantity)?)?;
        }
        let net = self.line_total()?.checked_sub(self.discount)?.checked_add(self.shipping)?;
        adds_up("net amount", self.net, net)?;
        adds_up("total", self.total, self.net.checked_add(self.tax)?)?;
        if self.tax_percent.is_zero() {
            adds_up("tax", self.tax, Money::zero(self.currency())?)?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{Account, JournalEntry, Side};
    use crate::refund::{Ask, Claimed, InvalidRefund, Left, RefundId};
    use crate::{
        Discount, DiscountKind, OrderId, PriceList, PricedSku, Quantity, RateTable, ShippingRate,
        minor_digits,
    };

    fn coins(minor: u32, currency: Currency) -> Money {
        Money::new(Decimal::new(minor.into(), minor_digits(currency).unwrap()), currency).unwrap()
    }

    fn pence(minor: u32) -> Money {
        coins(minor, Currency::GBP)
    }

    fn country(code: &str) -> CountryCode {
        CountryCode::parse(code).unwrap()
    }

    /// An order of these pieces and prices, in minor units, priced as usual.
    fn priced(
        bought: &[(u32, u32)],
        discount: Option<DiscountKind>,
        shipping: u32,
        tax_percent: Decimal,
        currency: Currency,
    ) -> PriceList {
        let basket: Vec<_> = bought
            .iter()
            .enumerate()
            .map(|(number, (pieces, price))| {
                let sku = Sku::parse(format!("ART-{number}")).unwrap();
                let unit_price = coins(*price, currency);
                let article = PricedSku { sku, unit_price, unit_cost: unit_price };
                (article, Quantity::new((*pieces).into()).unwrap())
            })
            .collect();
        let mut rates = RateTable::default();
        rates.sell_to(country("GB"), tax_percent);
        let fee = coins(shipping, currency);
        rates.ship_to(country("GB"), ShippingRate { fee, free_from: None });
        PriceList::of(&basket, discount.map(Discount), country("GB"), &rates).unwrap()
    }

    fn invoice(list: &PriceList, tax_percent: Decimal) -> Document {
        Document::of_order(&list.lines, &list.totals, tax_percent).unwrap()
    }

    fn told(document: &Document) -> String {
        let Document { discount, shipping, net, tax, total, .. } = document;
        let lines = document.line_total().unwrap();
        let all = [&lines, discount, shipping, net, tax, total];
        all.map(|amount| amount.amount().to_string()).join(" ")
    }

    #[test]
    fn an_invoice_has_the_orders_lines_discount_shipping_and_tax() {
        let ten_percent = Some(DiscountKind::Percent(Decimal::TEN));
        let list = priced(&[(2, 1_000), (3, 333)], ten_percent, 495, 19.into(), Currency::GBP);
        let document = invoice(&list, 19.into());
        assert_eq!(told(&document), "29.99 3.00 4.95 31.94 6.07 38.01");
        assert_eq!(document.lines.len(), 2);
        // A discount of 100 % and free shipping.
        let all = Some(DiscountKind::Percent(Decimal::ONE_HUNDRED));
        let list = priced(&[(1, 1_000)], all, 0, 19.into(), Currency::GBP);
        assert_eq!(told(&invoice(&list, 19.into())), "10.00 10.00 0.00 0.00 0.00 0.00");
    }

    #[test]
    fn a_credit_note_has_what_the_refund_gives_back_of_goods_and_of_shipping() {
        let list = priced(&[(2, 1_000)], None, 500, 20.into(), Currency::GBP);
        let left = Left::of(&list.lines, &list.totals, &[]).unwrap();
        let two = vec![RefundLine {
            sku: Sku::parse("ART-0").unwrap(),
            quantity: Quantity::new(2).unwrap(),
        }];
        for (lines, with_shipping, expected, items) in [
            (two.clone(), true, "25.00 0.00 0.00 25.00 5.00 30.00", 2),
            (two, false, "20.00 0.00 0.00 20.00 4.00 24.00", 1),
            (vec![], true, "5.00 0.00 0.00 5.00 1.00 6.00", 1),
        ] {
            let ask = Ask::Goods { lines: lines.clone(), with_shipping };
            let parts = left.parts_of(&ask).unwrap();
            let note = Document::of_refund(parts, &lines, 20.into()).unwrap();
            assert_eq!((told(&note).as_str(), note.lines.len()), (expected, items));
        }
    }

    #[test]
    fn what_does_not_add_up_is_no_document() {
        let list = priced(&[(2, 1_000)], None, 500, 20.into(), Currency::GBP);
        let of = |totals: Totals, percent: u32| {
            Document::of_order(&list.lines, &totals, percent.into()).unwrap_err().to_string()
        };
        assert_eq!(
            of(list.totals, 19),
            "5.00 GBP on 25.00 GBP is none of the destination's rates of tax"
        );
        assert_eq!(
            of(Totals { total: pence(3_001), ..list.totals }, 20),
            "its total does not add up: 30.01 GBP is stated, and its parts come to 30.00 GBP"
        );
        let subtotal = pence(2_001);
        assert_eq!(
            of(Totals { subtotal, ..list.totals }, 20),
            "its net amount does not add up: 25.01 GBP is stated, and its parts come to 25.00 GBP"
        );
        let mut lines = list.lines.clone();
        lines[0].line_total = pence(1_999);
        let refused = Document::of_order(&lines, &list.totals, 20.into()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "its line does not add up: 19.99 GBP is stated, and its parts come to 20.00 GBP"
        );
        let none = pence(0);
        let free =
            Totals { subtotal: none, discount: none, shipping: none, tax: none, total: none };
        assert_eq!(Document::of_order(&[], &free, 20.into()), Err(InvalidDocument::Empty));
        let parts =
            Parts { goods: pence(10), goods_tax: pence(1), shipping: none, shipping_tax: none };
        assert!(Document::of_refund(parts, &[], Decimal::ZERO).is_err(), "no tax was charged");
    }

    #[test]
    fn the_rate_is_the_first_that_gives_the_tax_that_was_charged() {
        let list = priced(&[(2, 1_000)], None, 500, 20.into(), Currency::GBP);
        let rates = |all: &[u32]| -> Vec<Decimal> { all.iter().map(|it| (*it).into()).collect() };
        assert_eq!(tax_percent_of(&list.totals, rates(&[19, 20, 17])), Ok(20.into()));
        assert!(tax_percent_of(&list.totals, rates(&[19, 17])).is_err());
        // Any rate fits an amount of zero.
        let free = priced(&[(1, 0)], None, 0, 20.into(), Currency::GBP);
        assert_eq!(tax_percent_of(&free.totals, rates(&[19, 20])), Ok(19.into()));
    }

    #[test]
    fn without_tax_goods_are_exported_or_at_a_rate_of_zero() {
        for (percent, from, to, code) in [
            (20, "GB", "GB", "S"),
            (19, "DE", "CH", "S"),
            (0, "DE", "US", "G"),
            (0, "DE", "FR", "Z"),
            (0, "GB", "US", "Z"),
        ] {
            let category = VatCategory::of(Decimal::from(percent), country(from), country(to));
            assert_eq!(category.code(), code, "{percent} {from} {to}");
        }
    }

    #[test]
    fn an_occasion_says_which_document_it_has() {
        for (occasion, kind, refund) in [
            (Occasion::Sale, "invoice", None),
            (Occasion::Reversal, "credit-note", None),
            (Occasion::Refund(2), "credit-note", Some(2)),
            (Occasion::RefundFailed(2), "invoice", Some(2)),
        ] {
            assert_eq!((occasion.kind().name(), occasion.refund()), (kind, refund));
        }
    }

    fn currency() -> impl Strategy<Value = Currency> {
        prop::sample::select(vec![Currency::GBP, Currency::JPY, Currency::KWD])
    }

    fn discount(currency: Currency, kind: u8, worth: u32) -> Option<DiscountKind> {
        match kind {
            0 => None,
            1 => Some(DiscountKind::Percent(Decimal::new(worth.into(), 2))),
            _ => Some(DiscountKind::Amount(coins(worth, currency))),
        }
    }

    fn debit(entry: &JournalEntry, account: Account) -> Decimal {
        let booked = entry.entries().iter().find(|entry| entry.account == account);
        booked.map_or(Decimal::ZERO, |entry| {
            assert_eq!(entry.side, Side::Debit, "{account}");
            entry.amount.amount()
        })
    }

    proptest! {
        #[test]
        fn every_order_that_can_be_priced_has_an_invoice_of_its_charge(
            bought in prop::collection::vec((1_u32..1_000, 0_u32..100_000), 1..20),
            kind in 0_u8..3, worth in 0_u32..=10_000, shipping in 0_u32..2_000,
            tenths in 0_u32..=300, currency in currency(),
        ) {
            let percent = Decimal::new(tenths.into(), 1);
            let list = priced(&bought, discount(currency, kind, worth), shipping, percent, currency);
            let found = tax_percent_of(&list.totals, [percent]).unwrap();
            let document = invoice(&list, found);
            prop_assert_eq!(document.total, list.totals.total);
            prop_assert_eq!(document.tax, list.totals.tax);
            let parts = document.line_total().unwrap()
                .checked_sub(document.discount).unwrap()
                .checked_add(document.shipping).unwrap()
                .checked_add(document.tax).unwrap();
            prop_assert_eq!(parts, list.totals.total);
        }

        #[test]
        fn credit_notes_are_what_refunds_book_and_add_up_to_the_invoice(
            bought in prop::collection::vec((1_u32..5, 0_u32..5_000), 1..4),
            off in 0_u32..=10_000, shipping in 0_u32..2_000, tax in 0_u32..=25,
            currency in currency(), shares in prop::collection::vec(1_u32..=1_000, 0..8),
        ) {
            let percent = Decimal::from(tax);
            let list = priced(&bought, discount(currency, 1, off), shipping, percent, currency);
            let document = invoice(&list, percent);
            let mut refunds: Vec<Claimed> = vec![];
            let (mut net, mut credited) = (Money::zero(currency).unwrap(), Money::zero(currency).unwrap());
            // Each refund takes so many thousandths of the rest, and the last one all of it.
            for (number, share) in (1..).zip(shares.into_iter().chain([1_000])) {
                let left = Left::of(&list.lines, &list.totals, &refunds).unwrap();
                let amount = left.total().unwrap().percent(Decimal::new(share.into(), 1)).unwrap();
                let parts = match left.parts_of(&Ask::Amount(amount)) {
                    Ok(parts) => parts,
                    Err(InvalidRefund::Nothing) => continue,
                    Err(error) => panic!("{error}"),
                };
                let note = Document::of_refund(parts, &[], percent).unwrap();
                prop_assert_eq!(note.total, amount);
                let order_id = OrderId::of(uuid::Uuid::from_u128(7));
                let key = RefundId { order_id, number }.key(1);
                let entry = JournalEntry::refund(key, parts).unwrap();
                let booked = debit(&entry, Account::Refunds)
                    .checked_add(debit(&entry, Account::ShippingIncome)).unwrap();
                prop_assert_eq!(note.net.amount(), booked);
                prop_assert_eq!(note.tax.amount(), debit(&entry, Account::SalesTaxPayable));
                net = net.checked_add(note.net).unwrap();
                credited = credited.checked_add(note.total).unwrap();
                refunds.push(Claimed { parts, lines: vec![] });
            }
            prop_assert_eq!(credited, document.total);
            prop_assert_eq!(net, document.net);
        }
    }
}
