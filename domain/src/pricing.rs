//! Prices an order: from articles and quantities to the customer's total.
//!
//! Pure functions over the shop's tables, shared by quote and order.
//! **Rounding.** A line is exact: a unit price has no more decimals than its currency, and a
//! quantity is whole. Discount and tax are each rounded once per order, to the minor unit, halves
//! away from zero.

use std::collections::BTreeMap;

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{CountryCode, InvalidOrder, LINES_MAX, Money, OrderLine, Quantity, Sku, Totals};

/// An article's price and cost when it is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedSku {
    /// The article.
    pub sku: Sku,
    /// Price of one piece, before tax.
    pub unit_price: Money,
    /// Cost of one piece for the shop.
    pub unit_cost: Money,
}

/// The value of a discount code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscountKind {
    /// Per cent of the subtotal, 0 to 100.
    Percent(Decimal),
    /// A fixed amount, at most the subtotal.
    Amount(Money),
}

/// A discount that applies to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discount(pub DiscountKind);

/// The fee for sending one parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShippingRate {
    /// The fee, before tax.
    pub fee: Money,
    /// From this value of goods, after discount, shipping is free.
    pub free_from: Option<Money>,
}

/// Tax by destination, and shipping by destination and currency.
#[derive(Clone, Debug, Default)]
pub struct RateTable {
    tax_percent: BTreeMap<CountryCode, Decimal>,
    shipping: BTreeMap<(CountryCode, &'static str), ShippingRate>,
}

impl RateTable {
    /// Adds a country with its sales tax rate, in per cent.
    pub fn sell_to(&mut self, country: CountryCode, tax_percent: Decimal) {
        self.tax_percent.insert(country, tax_percent);
    }

    /// Adds a shipping fee for a country, for orders in the fee's currency.
    pub fn ship_to(&mut self, country: CountryCode, rate: ShippingRate) {
        self.shipping.insert((country, rate.fee.currency().code()), rate);
    }

    fn tax(&self, country: CountryCode) -> Result<Decimal, InvalidOrder> {
        self.tax_percent.get(&country).copied().ok_or(InvalidOrder::NotServed(country))
    }

    fn shipping_rate(
        &self,
        country: CountryCode,
        currency: Currency,
    ) -> Result<ShippingRate, InvalidOrder> {
        self.shipping
            .get(&(country, currency.code()))
            .copied()
            .ok_or(InvalidOrder::NoShippingRate { country, currency })
    }
}

/// The lines, totals and cost of an order: what a quote shows and an order fixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PriceList {
    /// Each line with its price.
    pub lines: Vec<OrderLine>,
    /// The order's amounts.
    pub totals: Totals,
    /// What the goods cost the shop. Not shown to the customer.
    #[serde(skip)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub cost_of_goods: Option<Money>,
}

impl PriceList {
    /// Prices a basket for a destination.
    ///
    /// **Errors.** [`InvalidOrder`]: no lines or too many, two currencies, a destination that is
    /// not served, or an implausible total. A total of zero is valid.
    pub fn of(
        basket: &[(PricedSku, Quantity)],
        discount: Option<Discount>,
        country: CountryCode,
        rates: &RateTable,
    ) -> Result<Self, InvalidOrder> {
        let Some((first, _)) = basket.first() else { return Err(InvalidOrder::NoLines) };
        if basket.len() > LINES_MAX {
            return Err(InvalidOrder::TooManyLines(basket.len()));
        }
        let currency = first.unit_price.currency();
        let lines = basket.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        let subtotal = Money::sum(currency, lines.iter().map(|line| line.line_total))?;
        let discount = discount.map_or_else(|| Ok(Money::zero(currency)?), |d| d.of(subtotal))?;
        let goods = subtotal.checked_sub(discount)?;
        let shipping = rates.shipping_rate(country, currency)?.of(goods)?;
        let taxed = goods.checked_add(shipping)?;
        let tax = taxed.percent(rates.tax(country)?)?;
        let total = taxed.checked_add(tax)?.within_reason()?;
        let costs = basket.iter().map(cost).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            lines,
            totals: Totals { subtotal, discount, shipping, tax, total },
            cost_of_goods: Some(Money::sum(currency, costs)?.within_reason()?),
        })
    }
}

fn line((article, quantity): &(PricedSku, Quantity)) -> Result<OrderLine, InvalidOrder> {
    Ok(OrderLine {
        sku: article.sku.clone(),
        quantity: *quantity,
        unit_price: article.unit_price,
        line_total: article.unit_price.times(quantity.pieces())?,
    })
}

fn cost((article, quantity): &(PricedSku, Quantity)) -> Result<Money, InvalidOrder> {
    Ok(article.unit_cost.times(quantity.pieces())?)
}

impl Discount {
    /// The discount's amount, at most the subtotal.
    fn of(self, subtotal: Money) -> Result<Money, InvalidOrder> {
        match self.0 {
            DiscountKind::Percent(percent) => {
                Ok(subtotal.percent(percent.clamp(Decimal::ZERO, Decimal::ONE_HUNDRED))?)
            }
            DiscountKind::Amount(amount) if amount.currency() != subtotal.currency() => {
                Err(InvalidOrder::DiscountCurrency {
                    discount: amount.currency(),
                    order: subtotal.currency(),
                })
            }
            DiscountKind::Amount(amount) if amount.amount() > subtotal.amount() => Ok(subtotal),
            DiscountKind::Amount(amount) => Ok(amount),
        }
    }
}

impl ShippingRate {
    fn of(self, goods: Money) -> Result<Money, InvalidOrder> {
        match self.free_from {
            Some(threshold) if goods.amount() >= threshold.amount() => {
                Ok(Money::zero(self.fee.currency())?)
            }
            Some(_) | None => Ok(self.fee),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::MoneyError;

    fn pounds(text: &str) -> Money {
        Money::new(text.parse().unwrap(), Currency::GBP).unwrap()
    }

    fn country(code: &str) -> CountryCode {
        CountryCode::parse(code).unwrap()
    }

    fn rates() -> RateTable {
        let mut rates = RateTable::default();
        rates.sell_to(country("GB"), Decimal::from(20));
        rates.sell_to(country("US"), Decimal::ZERO);
        rates.sell_to(country("CH"), "8.1".parse().unwrap());
        for code in ["GB", "CH", "US"] {
            let rate = ShippingRate { fee: pounds("4.95"), free_from: Some(pounds("50.00")) };
            rates.ship_to(country(code), rate);
        }
        rates
    }

    fn basket(lines: &[(&str, i64)]) -> Vec<(PricedSku, Quantity)> {
        lines
            .iter()
            .map(|(price, pieces)| {
                let article = PricedSku {
                    sku: Sku::parse("85123A").unwrap(),
                    unit_price: pounds(price),
                    unit_cost: pounds("0.50"),
                };
                (article, Quantity::new(*pieces).unwrap())
            })
            .collect()
    }

    fn check(lines: &[(&str, i64)], discount: Option<DiscountKind>, to: &str, expected: &Expect) {
        let list = PriceList::of(&basket(lines), discount.map(Discount), country(to), &rates());
        let text = match list {
            Ok(PriceList { totals, .. }) => format!(
                "{} - {} + {} + {} = {}",
                totals.subtotal.amount(),
                totals.discount.amount(),
                totals.shipping.amount(),
                totals.tax.amount(),
                totals.total.amount()
            ),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn goods_less_discount_plus_shipping_plus_tax_is_the_total() {
        use DiscountKind::{Amount, Percent};
        check(&[("2.55", 6)], None, "GB", &expect!["15.30 - 0.00 + 4.95 + 4.05 = 24.30"]);
        check(&[("2.55", 6)], None, "US", &expect!["15.30 - 0.00 + 4.95 + 0.00 = 20.25"]);
        check(&[("2.55", 6)], None, "CH", &expect!["15.30 - 0.00 + 4.95 + 1.64 = 21.89"]);
        let ten = Some(Percent(Decimal::TEN));
        check(&[("2.55", 6)], ten, "GB", &expect!["15.30 - 1.53 + 4.95 + 3.74 = 22.46"]);
        check(&[("25.00", 2)], None, "GB", &expect!["50.00 - 0.00 + 0.00 + 10.00 = 60.00"]);
        check(&[("25.00", 2)], ten, "GB", &expect!["50.00 - 5.00 + 4.95 + 9.99 = 59.94"]);
        let more_than_all = Some(Amount(pounds("100.00")));
        check(&[("2.55", 6)], more_than_all, "GB", &expect!["15.30 - 15.30 + 4.95 + 0.99 = 5.94"]);
    }

    #[test]
    fn what_cannot_be_priced_says_why() {
        check(&[], None, "GB", &expect!["an order has at least one line"]);
        check(&[("1.00", 1)], None, "AQ", &expect!["the shop does not ship to AQ for GBP"]);
        check(
            &vec![("1.00", 1); 1_001],
            None,
            "GB",
            &expect!["an order has at most 1000 lines, not 1001; split it"],
        );
        let yen = Money::new(Decimal::TEN, Currency::JPY).unwrap();
        check(
            &[("1.00", 1)],
            Some(DiscountKind::Amount(yen)),
            "GB",
            &expect!["the discount is in JPY, the order in GBP"],
        );
        let everything = Some(DiscountKind::Percent(Decimal::ONE_HUNDRED));
        check(&[("60.00", 1)], everything, "US", &expect!["60.00 - 60.00 + 4.95 + 0.00 = 4.95"]);
    }

    #[test]
    fn a_basket_of_two_currencies_is_refused() {
        let mut mixed = basket(&[("1.00", 1), ("1.00", 1)]);
        mixed[1].0.unit_price = Money::new(Decimal::TEN, Currency::JPY).unwrap();
        let refused = PriceList::of(&mixed, None, country("GB"), &rates());
        let both = MoneyError::MixedCurrencies(Currency::GBP, Currency::JPY);
        assert_eq!(refused, Err(InvalidOrder::Money(both)));
    }

    proptest! {
        #[test]
        fn the_parts_always_add_up_to_the_total(
            lines in prop::collection::vec((1u32..100_000, 1i64..1_000), 1..20),
            percent in 0u32..=100,
        ) {
            let basket: Vec<_> = lines
                .into_iter()
                .map(|(pence, pieces)| {
                    let unit_price = Money::new(Decimal::new(pence.into(), 2), Currency::GBP).unwrap();
                    let sku = Sku::parse("A").unwrap();
                    (PricedSku { sku, unit_price, unit_cost: unit_price }, Quantity::new(pieces).unwrap())
                })
                .collect();
            let discount = Some(Discount(DiscountKind::Percent(percent.into())));
            let Ok(PriceList { totals, .. }) = PriceList::of(&basket, discount, country("GB"), &rates())
            else { return Ok(()) };
            let parts = totals.subtotal.checked_sub(totals.discount).unwrap()
                .checked_add(totals.shipping).unwrap()
                .checked_add(totals.tax).unwrap();
            prop_assert_eq!(parts, totals.total);
        }
    }
}
