//! From articles and quantities to what the customer pays.
//!
//! Pure functions of the shop's tables, shared by quote and order.
//! **Rounding.** A line is exact: a unit price has no more decimals than its currency, and a
//! quantity is whole. Discount and tax are each rounded once an order, to the smallest coin,
//! halves away from zero.

use std::collections::BTreeMap;

use iso_currency::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{CountryCode, InvalidOrder, LINES_MAX, Money, OrderLine, Quantity, Sku, Totals};

/// An article's price and cost at the moment of ordering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedSku {
    /// The article.
    pub sku: Sku,
    /// What one piece costs the customer, before tax.
    pub unit_price: Money,
    /// What one piece cost the shop.
    pub unit_cost: Money,
}

/// What a discount code is worth.
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

/// What sending one parcel costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShippingRate {
    /// The fee, before tax.
    pub fee: Money,
    /// From this much goods, after discount, the parcel travels free.
    pub free_from: Option<Money>,
}

/// Tax by destination, and shipping by destination and currency.
#[derive(Clone, Debug, Default)]
pub struct RateTable {
    tax_percent: BTreeMap<CountryCode, Decimal>,
    shipping: BTreeMap<(CountryCode, &'static str), ShippingRate>,
}

impl RateTable {
    /// Sells to a country, at this rate of sales tax in per cent.
    pub fn sell_to(&mut self, country: CountryCode, tax_percent: Decimal) {
        self.tax_percent.insert(country, tax_percent);
    }

    /// Ships to a country, for orders in the fee's currency.
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
    /// What it comes to.
    pub totals: Totals,
    /// What the goods cost the shop. Not for the customer.
    #[serde(skip)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub cost_of_goods: Option<Money>,
}

impl PriceList {
    /// Prices a basket for a destination.
    ///
    /// **Errors.** [`InvalidOrder`]: no or too many lines, two currencies, a destination that
    /// is not served, nothing to pay.
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
        let total = taxed.checked_add(tax)?;
        if total.is_zero() {
            return Err(InvalidOrder::NothingToPay);
        }
        let costs = basket.iter().map(cost).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            lines,
            totals: Totals { subtotal, discount, shipping, tax, total },
            cost_of_goods: Some(Money::sum(currency, costs)?),
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
    /// What the discount takes off, never more than there is.
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
