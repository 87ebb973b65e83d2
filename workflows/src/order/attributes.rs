//! What the Web UI shows and searches: search attributes and summary.

use domain::{CountryCode, CustomerId, Money, OrderStatus};
use rust_decimal::prelude::ToPrimitive;
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};

/// Whether the order is being worked on, and how it ended.
pub const ORDER_STATUS: SearchAttributeKey<String> = SearchAttributeKey::keyword("OrderStatus");

/// Whose order it is.
pub const CUSTOMER_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("CustomerId");

/// What the order comes to. For searching alone: a search attribute is a floating-point number,
/// the exact amount is in the order.
pub const ORDER_TOTAL: SearchAttributeKey<f64> = SearchAttributeKey::float("OrderTotal");

/// In which currency it is paid.
pub const CURRENCY: SearchAttributeKey<String> = SearchAttributeKey::keyword("Currency");

/// Whether a person has to decide something.
pub const NEEDS_ATTENTION: SearchAttributeKey<bool> = SearchAttributeKey::bool("NeedsAttention");

/// What an order's workflow is started with, so that it can be found from its first moment.
#[must_use]
pub fn search_attributes_at_start(customer_id: &CustomerId, total: Money) -> SearchAttributes {
    SearchAttributes::new([
        ORDER_STATUS.value_set(OrderStatus::Processing.name().to_owned()),
        CUSTOMER_ID.value_set(customer_id.to_string()),
        ORDER_TOTAL.value_set(total.amount().to_f64().unwrap_or_default()),
        CURRENCY.value_set(total.currency().code().to_owned()),
        NEEDS_ATTENTION.value_set(false),
    ])
}

/// The order in one line, beside its workflow in the Web UI.
#[must_use]
pub fn static_summary(total: Money, country: CountryCode) -> String {
    format!("{total} · to {country}")
}
