//! The orders used for measuring, as requests and as priced by the shop.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    CountryCode, Currency, CustomerId, Destination, IdError, InvalidOrder, Money, MoneyError,
    Order, OrderId, PaymentToken, PriceList, PricedSku, Quantity, RateTable, ShippingRate, Sku,
    Terms, UnknownCountry,
};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::ordersaga::{PlaceOrder, ShipTo};
use crate::retail::{RetailError, RetailOrder, RetailOrders};

const PRODUCTS: &[u8] = include_bytes!("../../data/products.csv");

const TOKEN: &str = "tok_visa";

/// Why there are no orders to measure with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GoodsError {
    /// The orders cannot be read.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// The catalogue cannot be read.
    #[error("the catalogue cannot be read")]
    Catalogue(#[from] csv::Error),
    /// An order contains an article that the catalogue does not.
    #[error("the catalogue has no article {0}")]
    NotSold(String),
    /// An id is invalid.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The country is unknown.
    #[error(transparent)]
    Country(#[from] UnknownCountry),
    /// An amount is invalid.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// An order is invalid.
    #[error(transparent)]
    Order(#[from] InvalidOrder),
}

#[derive(Deserialize)]
struct Product {
    sku: String,
    unit_price_gbp: Decimal,
}

/// All valid orders of the sample.
pub(super) fn orders() -> Result<Vec<(PlaceOrder, Order)>, GoodsError> {
    let products = csv::Reader::from_reader(PRODUCTS).into_deserialize();
    let prices = products
        .map(|product| product.map(|Product { sku, unit_price_gbp }| (sku, unit_price_gbp)))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let all = RetailOrders::read(None, SAMPLE_SIZE)?;
    all.orders.iter().map(|(_, order)| Ok((asked(order), priced(order, &prices)?))).collect()
}

/// The number of orders in the sample.
const SAMPLE_SIZE: usize = 882;

fn asked(order: &RetailOrder) -> PlaceOrder {
    PlaceOrder {
        customer_id: order.customer.clone(),
        lines: order.lines.clone(),
        ship_to: ShipTo::country(order.country),
        payment_token: TOKEN,
        cancel_window_seconds: None,
    }
}

/// The order as the starter would price it. The textbook saga gets it ready-made, so that only the
/// saga is measured; the exact cost of the goods does not matter.
fn priced(order: &RetailOrder, prices: &BTreeMap<String, Decimal>) -> Result<Order, GoodsError> {
    let country = CountryCode::parse(order.country)?;
    let mut basket = Vec::with_capacity(order.lines.len());
    for line in &order.lines {
        let price = prices.get(&line.sku).ok_or_else(|| GoodsError::NotSold(line.sku.clone()))?;
        let unit_price = Money::rounded(*price, Currency::GBP)?;
        let sku = Sku::parse(line.sku.as_str())?;
        let article = PricedSku { sku, unit_price, unit_cost: unit_price };
        basket.push((article, Quantity::new(line.quantity.into())?));
    }
    let mut rates = RateTable::default();
    rates.sell_to(country, Decimal::TEN);
    let fee = Money::new(Decimal::TEN, Currency::GBP)?;
    rates.ship_to(country, ShippingRate { fee, free_from: None });
    let PriceList { lines, totals, .. } = PriceList::of(&basket, None, country, &rates)?;
    let customer_id = CustomerId::parse(order.customer.as_str())?;
    Ok(Order {
        order_id: OrderId::for_request(&customer_id, &order.invoice),
        customer_id,
        // Replaced each time it is placed.
        placed_at: DateTime::<Utc>::UNIX_EPOCH,
        record_version: 1,
        lines,
        totals,
        cost_of_goods: totals.subtotal,
        discount_code: None,
        ship_to: Destination { country, address_id: None },
        payment_token: PaymentToken::parse(TOKEN)?,
        terms: Terms::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_the_sample_that_has_a_country_is_measured() {
        let sample = RetailOrders::read(None, SAMPLE_SIZE).unwrap();
        let refused = sample.refused.values().sum::<usize>();
        assert_eq!(orders().unwrap().len() + refused, SAMPLE_SIZE);
        let first =
            |count| RetailOrders::read(None, count).unwrap().orders.pop().unwrap().1.invoice;
        assert_ne!(first(SAMPLE_SIZE), first(1));
        assert!(first(SAMPLE_SIZE + 1).ends_with(".1"), "the sample has more orders than that");
    }
}
