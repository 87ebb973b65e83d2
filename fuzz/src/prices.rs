//! Baskets: what an order comes to, from any prices, quantities, fees and rates.

use chrono::DateTime;
use domain::ledger::JournalEntry;
use domain::{
    CountryCode, Currency, CustomerId, Destination, Discount, DiscountKind, Money, Order, OrderId,
    PaymentToken, PriceList, PricedSku, Quantity, RateTable, ShippingRate, Sku, Terms,
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use rust_decimal::Decimal;
use uuid::Uuid;

/// What is priced.
struct Basket {
    lines: Vec<(PricedSku, Quantity)>,
    discount: Option<Discount>,
    country: CountryCode,
    rates: RateTable,
}

/// A basket that is accepted adds up to the smallest coin, comes to no more than an order may, and
/// can be booked.
pub(crate) fn prices(bytes: &[u8]) {
    let mut given = Unstructured::new(bytes);
    let Ok(Some(basket)) = basket(&mut given) else { return };
    let Basket { lines, discount, country, rates } = &basket;
    let Ok(priced) = PriceList::of(lines, *discount, *country, rates) else { return };
    adds_up(&priced);
    let Some(order) = order(priced, *country) else { return };
    assert_eq!(JournalEntry::deposit(&order).is_ok(), !order.totals.total.is_zero());
    assert!(JournalEntry::revenue(&order).is_ok());
    let pieces: u64 = order.stock_claim().lines.iter().map(|line| u64::from(line.quantity)).sum();
    assert_eq!(pieces, order.parcel().pieces);
}

fn adds_up(priced: &PriceList) {
    let totals = priced.totals;
    let lines = priced.lines.iter().map(|line| line.line_total);
    assert_eq!(Money::sum(totals.subtotal.currency(), lines), Ok(totals.subtotal));
    let total = totals
        .subtotal
        .checked_sub(totals.discount)
        .and_then(|goods| goods.checked_add(totals.shipping))
        .and_then(|taxed| taxed.checked_add(totals.tax));
    assert_eq!(total, Ok(totals.total));
    assert!(totals.total.within_reason().is_ok());
}

fn basket(given: &mut Unstructured<'_>) -> Result<Option<Basket>> {
    let Ok(country) = CountryCode::parse("GB") else { return Ok(None) };
    let mut rates = RateTable::default();
    rates.sell_to(country, Decimal::new(i64::from(given.arbitrary::<u16>()?), 2));
    let (fee, free_from) = (money(given)?, money(given)?);
    let Some(fee) = fee else { return Ok(None) };
    rates.ship_to(country, ShippingRate { fee, free_from });
    let discount = match given.arbitrary::<u8>()? {
        0 => None,
        1 => money(given)?.map(DiscountKind::Amount),
        percent => Some(DiscountKind::Percent(Decimal::from(percent.min(100)))),
    };
    let mut lines = Vec::new();
    while !given.is_empty() {
        let (price, cost) = (money(given)?, money(given)?);
        let quantity = Quantity::new(i64::from(given.arbitrary::<u32>()?));
        let sku = Sku::parse(format!("A{}", given.arbitrary::<u8>()?));
        let (Some(unit_price), Some(unit_cost), Ok(quantity), Ok(sku)) =
            (price, cost, quantity, sku)
        else {
            continue;
        };
        lines.push((PricedSku { sku, unit_price, unit_cost }, quantity));
    }
    Ok(Some(Basket { lines, discount: discount.map(Discount), country, rates }))
}

/// A price as the catalogue takes one.
fn money(given: &mut Unstructured<'_>) -> Result<Option<Money>> {
    let pence = given.arbitrary::<u64>()?;
    let amount = Decimal::from_i128_with_scale(i128::from(pence), 2);
    Ok(Money::new(amount, Currency::GBP).and_then(Money::within_reason).ok())
}

fn order(priced: PriceList, country: CountryCode) -> Option<Order> {
    Some(Order {
        order_id: OrderId::of(Uuid::from_u128(1)),
        customer_id: CustomerId::parse("17850").ok()?,
        placed_at: DateTime::UNIX_EPOCH,
        record_version: 1,
        lines: priced.lines,
        totals: priced.totals,
        cost_of_goods: priced.cost_of_goods?,
        discount_code: None,
        ship_to: Destination { country, address_id: None },
        payment_token: PaymentToken::parse("tok_visa").ok()?,
        terms: Terms::default(),
    })
}
