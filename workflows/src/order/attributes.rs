//! Search attributes and summary of an order's workflow, shown in Temporal's Web UI.

use domain::{CountryCode, CustomerId, Money, OrderStatus};
use rust_decimal::prelude::ToPrimitive;
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};

/// The order's status: processing, or how it ended.
pub const ORDER_STATUS: SearchAttributeKey<String> = SearchAttributeKey::keyword("OrderStatus");

/// The customer who placed the order.
pub const CUSTOMER_ID: SearchAttributeKey<String> = SearchAttributeKey::keyword("CustomerId");

/// The order's total. For searching only: a search attribute is a floating-point number; the exact
/// amount is in the order.
pub const ORDER_TOTAL: SearchAttributeKey<f64> = SearchAttributeKey::float("OrderTotal");

/// The currency of the total.
pub const CURRENCY: SearchAttributeKey<String> = SearchAttributeKey::keyword("Currency");

/// Whether the order waits for a person's decision.
pub const NEEDS_ATTENTION: SearchAttributeKey<bool> = SearchAttributeKey::bool("NeedsAttention");

/// The search attributes set when an order's workflow is started.
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

/// One-line summary of the order, shown beside its workflow in the Web UI.
#[must_use]
pub fn static_summary(total: Money, country: CountryCode) -> String {
    format!("{total} · to {country}")
}
