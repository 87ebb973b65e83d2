//! Filters of the order list.

use chrono::{DateTime, Datelike as _, Utc};
use domain::{CustomerId, FulfilmentStatus, OrderStatus, PaymentStatus};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::input::SearchText;
use crate::app::paging::PageSize;

/// Filters of the order list. An order has to meet every given condition.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOrders {
    /// The customer; `None` for all. A customer always sees only their own orders.
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) statuses: Option<Statuses>,
    pub(crate) payment_statuses: Option<PaymentStatuses>,
    pub(crate) fulfilment_statuses: Option<FulfilmentStatuses>,
    /// Whether it waits for a person's decision.
    pub(crate) needs_attention: Option<bool>,
    /// Whether it is being unwound.
    pub(crate) unwinding: Option<bool>,
    /// Placed at this time or later.
    pub(crate) placed_from: Option<DateTime<Utc>>,
    /// Placed before this time.
    pub(crate) placed_before: Option<DateTime<Utc>>,
    /// The start of the order's, customer's or workflow's id; or a SKU, a discount code or a
    /// tracking number. Case is ignored.
    pub(crate) text: Option<SearchText>,
    pub(crate) size: PageSize,
    /// The last order of the previous page.
    pub(crate) after: Option<OrderCursor>,
}

macro_rules! names {
    ($(#[$doc:meta])* $list:ident, $what:literal, $known:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub(crate) struct $list(Vec<String>);

        impl $list {
            pub(crate) fn as_slice(&self) -> &[String] {
                &self.0
            }
        }

        impl TryFrom<String> for $list {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let known: Vec<&str> = $known;
                let names: Vec<_> = text.split(',').map(str::to_owned).collect();
                if names.iter().all(|name| known.contains(&name.as_str())) {
                    Ok(Self(names))
                } else {
                    Err(format!("the {} are {}", $what, known.join(", ")))
                }
            }
        }

        impl From<$list> for String {
            fn from(list: $list) -> Self {
                list.0.join(",")
            }
        }
    };
}

names! {
    /// The names of one or more statuses.
    Statuses, "statuses", OrderStatus::NAMES.to_vec()
}

impl Statuses {
    /// The names, each once; `None` if `completed` is one of them.
    pub(crate) fn without_completed(&self) -> Option<Vec<String>> {
        let Self(names) = self;
        if names.iter().any(|name| name == OrderStatus::Completed.name()) {
            return None;
        }
        let mut names = names.clone();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

names! {
    /// The names of one or more payment statuses.
    PaymentStatuses, "payment statuses", PaymentStatus::names().collect()
}

names! {
    /// The names of one or more fulfilment statuses.
    FulfilmentStatuses, "fulfilment statuses", FulfilmentStatus::names().collect()
}

/// The cursor: where a page of orders ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OrderCursor {
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) order_id: Uuid,
}

impl TryFrom<String> for OrderCursor {
    type Error = &'static str;

    fn try_from(cursor: String) -> Result<Self, Self::Error> {
        let parsed = cursor.split_once('_').and_then(|(micros, order_id)| {
            Some(Self {
                placed_at: DateTime::from_timestamp_micros(micros.parse().ok()?)
                    .filter(|placed_at| (0..=9_999).contains(&placed_at.year()))?,
                order_id: order_id.parse().ok()?,
            })
        });
        parsed.ok_or("a cursor is the `next_cursor` of the page before")
    }
}

impl From<OrderCursor> for String {
    fn from(OrderCursor { placed_at, order_id }: OrderCursor) -> Self {
        format!("{}_{order_id}", placed_at.timestamp_micros())
    }
}
