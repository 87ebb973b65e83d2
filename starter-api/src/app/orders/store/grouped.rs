//! Rows of several orders from one query, grouped by order.

use std::collections::HashMap;

use domain::OrderId;
use uuid::Uuid;

/// Rows grouped by order, in the order of the query.
pub(crate) type ByOrder<T> = HashMap<OrderId, Vec<T>>;

pub(super) fn uuids(orders: &[OrderId]) -> Vec<Uuid> {
    orders.iter().map(|order| order.uuid()).collect()
}

pub(super) fn by_order<T>(read: impl Iterator<Item = (Uuid, T)>) -> ByOrder<T> {
    read.fold(HashMap::new(), |mut all: ByOrder<T>, (order, one)| {
        all.entry(OrderId::of(order)).or_default().push(one);
        all
    })
}
