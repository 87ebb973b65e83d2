//! Which orders to list.

use chrono::{DateTime, Utc};
use domain::{CustomerId, OrderStatus};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::input::SearchText;
use crate::app::paging::PageSize;

/// Which orders to list. An order has to meet every condition that is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOrders {
    /// Whose; `None` for everybody's. A customer sees their own in any case.
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) statuses: Option<Statuses>,
    /// Placed at this moment or later.
    pub(crate) placed_from: Option<DateTime<Utc>>,
    /// Placed before this moment.
    pub(crate) placed_before: Option<DateTime<Utc>>,
    /// What the order's id or customer begins with, or a SKU, a discount code or a tracking number
    /// of it, whatever its case.
    pub(crate) text: Option<SearchText>,
    pub(crate) size: PageSize,
    /// The last order of the page before.
    pub(crate) after: Option<OrderCursor>,
}

/// The names of one or more statuses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Statuses(Vec<String>);

impl Statuses {
    pub(crate) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<String> for Statuses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let names: Vec<_> = text.split(',').map(str::to_owned).collect();
        if names.iter().all(|name| OrderStatus::NAMES.contains(&name.as_str())) {
            Ok(Self(names))
        } else {
            Err(format!("the statuses are {}", OrderStatus::NAMES.join(", ")))
        }
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> Self {
        statuses.0.join(",")
    }
}

/// Where a page of orders ended.
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
                placed_at: DateTime::from_timestamp_micros(micros.parse().ok()?)?,
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
