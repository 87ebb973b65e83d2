//! Data that belongs to several orders, one query for each kind, for GraphQL.

use domain::{Money, OrderId};
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::app::money::stored_money;
use crate::app::orders::OrderEvent;
use crate::app::orders::store::grouped::{ByOrder, by_order, uuids};
use crate::error::{OrProblem, Problem};

/// A stored amount. It is shown even if it is not valid.
#[derive(Clone, Debug)]
pub(crate) struct StoredAmount {
    pub(crate) amount: String,
    pub(crate) currency: String,
}

/// A charge of an order, with its refunds.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    /// The charge's id at the provider.
    pub(crate) provider_reference: String,
    pub(crate) state: String,
    pub(crate) captured: StoredAmount,
    pub(crate) refunded: StoredAmount,
}

/// A parcel.
#[derive(Clone, Debug)]
pub(crate) struct Shipment {
    /// The carrier's tracking number.
    pub(crate) tracking: String,
    pub(crate) pieces: i64,
    /// Whether it was cancelled before the carrier collected it.
    pub(crate) is_cancelled: bool,
}

/// One side of a journal entry.
#[derive(Clone, Debug)]
pub(crate) struct LedgerEntry {
    /// The transaction that it belongs to; debits equal credits in it.
    pub(crate) transaction_key: String,
    pub(crate) account: String,
    /// `debit` or `credit`.
    pub(crate) side: String,
    pub(crate) amount: StoredAmount,
}

impl From<Money> for StoredAmount {
    fn from(money: Money) -> Self {
        Self { amount: money.amount().to_string(), currency: money.currency().code().to_owned() }
    }
}

fn stored_amount(amount: Decimal, currency: &str) -> StoredAmount {
    stored_money(amount, currency).map_or_else(
        || StoredAmount { amount: amount.to_string(), currency: currency.to_owned() },
        StoredAmount::from,
    )
}

/// The first 500 events of each order.
pub(crate) async fn events(
    database: &PgPool,
    orders: &[OrderId],
) -> Result<ByOrder<OrderEvent>, Problem> {
    let rows = sqlx::query!(
        "select order_id, sequence, type as kind, version, data, occurred_at
             from orders.order_events where order_id = any($1) and sequence <= 500 order by order_id, sequence",
        &uuids(orders),
    )
    .fetch_all(database)
    .await
    .or_problem("reading orders' events")?;
    Ok(by_order(rows.into_iter().map(|row| {
        let (sequence, kind, version) = (row.sequence, row.kind, row.version);
        let (data, occurred_at) = (row.data, row.occurred_at);
        let event = OrderEvent { sequence, kind, version, data, occurred_at };
        (row.order_id, event)
    })))
}

/// The payments of each order.
pub(crate) async fn payments(
    database: &PgPool,
    orders: &[OrderId],
) -> Result<ByOrder<Payment>, Problem> {
    let rows = sqlx::query!(
        "select order_id, provider_reference, state, currency, captured, refunded
             from payments.charges where order_id = any($1) order by order_id, attempt",
        &uuids(orders),
    )
    .fetch_all(database)
    .await
    .or_problem("reading orders' payments")?;
    Ok(by_order(rows.into_iter().map(|row| {
        let payment = Payment {
            provider_reference: row.provider_reference,
            state: row.state,
            captured: stored_amount(row.captured, &row.currency),
            refunded: stored_amount(row.refunded, &row.currency),
        };
        (row.order_id, payment)
    })))
}

/// The parcels of each order.
pub(crate) async fn shipments(
    database: &PgPool,
    orders: &[OrderId],
) -> Result<ByOrder<Shipment>, Problem> {
    let rows = sqlx::query!(
        // Drafts never became parcels.
        r#"select order_id, tracking as "tracking!", pieces,
                  cancelled_at is not null as "is_cancelled!"
               from shipping.shipments
               where order_id = any($1) and tracking is not null order by shipment_key"#,
        &uuids(orders),
    )
    .fetch_all(database)
    .await
    .or_problem("reading orders' parcels")?;
    Ok(by_order(rows.into_iter().map(|row| {
        let (tracking, pieces) = (row.tracking, row.pieces);
        (row.order_id, Shipment { tracking, pieces, is_cancelled: row.is_cancelled })
    })))
}

/// The journal entries of each order.
pub(crate) async fn ledger_entries(
    database: &PgPool,
    orders: &[OrderId],
) -> Result<ByOrder<LedgerEntry>, Problem> {
    let rows = sqlx::query!(
        r#"select order_id as "order_id!", key, account, side, amount, currency
               from ledger.transactions join ledger.entries using (transaction_id)
               where order_id = any($1) order by transaction_id, line"#,
        &uuids(orders),
    )
    .fetch_all(database)
    .await
    .or_problem("reading orders' ledger entries")?;
    Ok(by_order(rows.into_iter().map(|row| {
        let entry = LedgerEntry {
            transaction_key: row.key,
            account: row.account,
            side: row.side,
            amount: stored_amount(row.amount, &row.currency),
        };
        (row.order_id, entry)
    })))
}
