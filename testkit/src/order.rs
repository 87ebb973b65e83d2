//! A valid order.

use chrono::DateTime;
use domain::{
    CountryCode, Currency, CustomerId, Destination, Money, Order, OrderId, PaymentToken, PriceList,
    PricedSku, Quantity, RateTable, ShippingRate, Sku, Terms,
};

/// An amount in pounds.
#[must_use]
pub fn pounds(amount: &str) -> Money {
    Money::new(amount.parse().unwrap(), Currency::GBP).unwrap()
}

/// An article at this price, whose cost is a percentage of the price.
#[must_use]
pub fn priced(sku: &str, unit_price: &str, cost_percent: u32) -> PricedSku {
    let unit_price = pounds(unit_price);
    let unit_cost = unit_price.percent(cost_percent.into()).unwrap();
    PricedSku { sku: Sku::parse(sku).unwrap(), unit_price, unit_cost }
}

/// Tax and shipping rates for Great Britain, where all these orders go.
#[must_use]
pub fn british_rates() -> RateTable {
    let mut rates = RateTable::default();
    rates.sell_to(britain(), 20.into());
    rates.ship_to(britain(), ShippingRate { fee: pounds("3.95"), free_from: None });
    rates
}

/// An order for this basket: to Great Britain, with a valid card.
#[must_use]
pub fn order_of(order_id: OrderId, basket: &[(PricedSku, Quantity)]) -> Order {
    let PriceList { lines, totals, cost_of_goods } =
        PriceList::of(basket, None, britain(), &british_rates()).unwrap();
    Order {
        order_id,
        customer_id: CustomerId::parse("17850").unwrap(),
        placed_at: DateTime::from_timestamp(1_291_190_760, 0).unwrap(),
        record_version: 1,
        lines,
        totals,
        cost_of_goods: cost_of_goods.unwrap(),
        discount_code: None,
        ship_to: Destination { country: britain(), address_id: None },
        payment_token: PaymentToken::parse("tok_visa").unwrap(),
        terms: Terms::default(),
    }
}

fn britain() -> CountryCode {
    CountryCode::parse("GB").unwrap()
}
