//! What belongs to several orders, read at once.

use std::collections::HashMap;
use std::hash::Hash;

use async_graphql::Error;
use async_graphql::dataloader::Loader;
use chrono::SecondsFormat;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::graphql::order::{GraphEntry, GraphEvent, GraphMoney, GraphPayment, GraphShipment};
use crate::graphql::told;
use crate::orders::events::OrderEvent;
use crate::orders::timeline::Line;
use crate::problem::OrProblem;

/// Reads for one question, each kind of thing once for all orders that ask for it.
pub(crate) struct Reader(pub(crate) PgPool);

/// The events of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventsOf(pub(crate) Uuid);

/// The payments of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PaymentsOf(pub(crate) Uuid);

/// The parcels of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ShipmentsOf(pub(crate) Uuid);

/// The ledger entries of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LedgerOf(pub(crate) Uuid);

/// What was read, by the order that it belongs to, in the order in which it was read.
fn by_order<K: Hash + Eq, T>(read: impl Iterator<Item = (K, T)>) -> HashMap<K, Vec<T>> {
    read.fold(HashMap::new(), |mut all, (order, one)| {
        all.entry(order).or_insert_with(Vec::new).push(one);
        all
    })
}

fn money(amount: Decimal, currency: &str) -> GraphMoney {
    let known = crate::catalogue::money(amount, currency).map(GraphMoney::from);
    known
        .unwrap_or_else(|| GraphMoney { amount: amount.to_string(), currency: currency.to_owned() })
}

impl Loader<EventsOf> for Reader {
    type Value = Vec<GraphEvent>;
    type Error = Error;

    async fn load(&self, keys: &[EventsOf]) -> Result<HashMap<EventsOf, Self::Value>, Error> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = sqlx::query!(
            "select order_id, sequence, type as kind, data, occurred_at from orders.order_events
             where order_id = any($1) and sequence <= 500 order by order_id, sequence",
            &ids,
        )
        .fetch_all(&self.0)
        .await
        .or_problem("reading orders' events")
        .map_err(|problem| told(&problem))?;
        Ok(by_order(rows.into_iter().map(|row| {
            let (kind, occurred_at) = (row.kind, row.occurred_at);
            let event = OrderEvent { sequence: row.sequence, kind, data: row.data, occurred_at };
            let text = Line::of(&event).text;
            let occurred_at = occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true);
            let sequence = event.sequence;
            (EventsOf(row.order_id), GraphEvent { sequence, kind: event.kind, text, occurred_at })
        })))
    }
}

impl Loader<PaymentsOf> for Reader {
    type Value = Vec<GraphPayment>;
    type Error = Error;

    async fn load(&self, keys: &[PaymentsOf]) -> Result<HashMap<PaymentsOf, Self::Value>, Error> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = sqlx::query!(
            "select order_id, provider_reference, currency, captured, refunded
             from payments.charges where order_id = any($1) order by charge_key",
            &ids,
        )
        .fetch_all(&self.0)
        .await
        .or_problem("reading orders' payments")
        .map_err(|problem| told(&problem))?;
        Ok(by_order(rows.into_iter().map(|row| {
            let payment = GraphPayment {
                provider_reference: row.provider_reference,
                captured: money(row.captured, &row.currency),
                refunded: money(row.refunded, &row.currency),
            };
            (PaymentsOf(row.order_id), payment)
        })))
    }
}

impl Loader<ShipmentsOf> for Reader {
    type Value = Vec<GraphShipment>;
    type Error = Error;

    async fn load(&self, keys: &[ShipmentsOf]) -> Result<HashMap<ShipmentsOf, Self::Value>, Error> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = sqlx::query!(
            r#"select order_id, tracking, pieces, cancelled_at is not null as "is_cancelled!"
               from shipping.shipments where order_id = any($1) order by shipment_key"#,
            &ids,
        )
        .fetch_all(&self.0)
        .await
        .or_problem("reading orders' parcels")
        .map_err(|problem| told(&problem))?;
        Ok(by_order(rows.into_iter().map(|row| {
            let (tracking, pieces) = (row.tracking, row.pieces);
            let shipment = GraphShipment { tracking, pieces, is_cancelled: row.is_cancelled };
            (ShipmentsOf(row.order_id), shipment)
        })))
    }
}

impl Loader<LedgerOf> for Reader {
    type Value = Vec<GraphEntry>;
    type Error = Error;

    async fn load(&self, keys: &[LedgerOf]) -> Result<HashMap<LedgerOf, Self::Value>, Error> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let rows = sqlx::query!(
            r#"select order_id as "order_id!", key, account, side, amount, currency
               from ledger.transactions join ledger.entries using (transaction_id)
               where order_id = any($1) order by transaction_id, line"#,
            &ids,
        )
        .fetch_all(&self.0)
        .await
        .or_problem("reading orders' ledger entries")
        .map_err(|problem| told(&problem))?;
        Ok(by_order(rows.into_iter().map(|row| {
            let entry = GraphEntry {
                transaction_key: row.key,
                account: row.account,
                side: row.side,
                amount: money(row.amount, &row.currency),
            };
            (LedgerOf(row.order_id), entry)
        })))
    }
}
