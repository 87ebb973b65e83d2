//! What the Web UI shows and searches: search attributes, memo, summary.

use domain::{Order, OrderStatus};
use rust_decimal::prelude::ToPrimitive;
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};

/// Where the order stands, for lists such as `OrderStatus = "stuck"`.
pub const ORDER_STATUS: SearchAttributeKey<String> = SearchAttributeKey::keyword("OrderStatus");

/// Whose order it is.
pub const CUSTOMER_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("CustomerId");

/// What the order comes to. For searching alone: a search attribute is a floating number, the
/// exact amount is in the order.
pub const ORDER_TOTAL: SearchAttributeKey<f64> = SearchAttributeKey::float("OrderTotal");

/// In which currency it is paid.
pub const CURRENCY: SearchAttributeKey<String> = SearchAttributeKey::keyword("Currency");

/// Whether a person has to decide something.
pub const NEEDS_ATTENTION: SearchAttributeKey<bool> = SearchAttributeKey::bool("NeedsAttention");

/// The memo that holds the request's hash, for telling a repeat from another order.
pub const MEMO_REQUEST_HASH: &str = "request_hash";

/// What an order's workflow is started with, so that it can be found from its first moment.
#[must_use]
pub fn search_attributes_at_start(order: &Order) -> SearchAttributes {
    let total = order.totals.total;
    SearchAttributes::new([
        ORDER_STATUS.value_set(OrderStatus::Processing.name().to_owned()),
        CUSTOMER_ID.value_set(order.customer_id.to_string()),
        ORDER_TOTAL.value_set(total.amount().to_f64().unwrap_or_default()),
        CURRENCY.value_set(total.currency().code().to_owned()),
        NEEDS_ATTENTION.value_set(false),
    ])
}

/// The order in one line, beside its workflow in the Web UI.
#[must_use]
pub fn static_summary(order: &Order) -> String {
    let pieces = order.parcel().pieces;
    format!(
        "{total} · {pieces} pieces in {lines} lines · to {country}",
        total = order.totals.total,
        lines = order.lines.len(),
        country = order.ship_to.country,
    )
}

/// The order in a few lines of Markdown: what it comes to, and how.
#[must_use]
pub fn static_details(order: &Order) -> String {
    let totals = order.totals;
    format!(
        "Customer **{customer}**\n\n| | |\n|---|---:|\n| Goods | {goods} |\n| Discount | −{discount} |\n\
         | Shipping | {shipping} |\n| Tax | {tax} |\n| **Total** | **{total}** |\n",
        customer = order.customer_id,
        goods = totals.subtotal,
        discount = totals.discount,
        shipping = totals.shipping,
        tax = totals.tax,
        total = totals.total,
    )
}
