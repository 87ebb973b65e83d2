//! SQL for refunds.

use chrono::{DateTime, Utc};
use domain::event::{OrderEvent, RefundRequested};
use domain::refund::{Parts, RefundId, RefundLine};
use domain::{Fingerprint, Money, OrderId};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::types::Json;
use strum::EnumString;
use uuid::Uuid;

use crate::app::money::stored_money;
use crate::app::orders::place::IdempotencyKey;
use crate::app::orders::refund::RefundResource;
use crate::app::orders::store::grouped::{ByOrder, by_order, uuids};
use crate::error::{OrProblem, Problem};

/// A stored refund, with the key and the fingerprint that identify repeats.
#[derive(Clone, Debug)]
pub(crate) struct StoredRefund {
    pub(crate) resource: RefundResource,
    request: String,
    pub(crate) fingerprint: String,
}

impl StoredRefund {
    /// Whether this caller requested it under this key.
    pub(crate) fn is_of(&self, caller: &str, key: &IdempotencyKey) -> bool {
        self.resource.requested_by == caller && self.request == key.as_str()
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Requesting {
    /// It was recorded.
    Requested,
    /// The same request was recorded before.
    Repeated,
    /// The key was used for a different request.
    OtherRequest,
    /// The order is not completed, or was not paid.
    NotRefundable,
    /// Another refund is under way.
    UnderWay,
    /// Another refund was recorded or failed in the meantime.
    Changed,
    /// The amount is more than is left.
    TooMuch,
}

/// A computed refund.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) order_id: OrderId,
    /// The sum that earlier refunds claim.
    pub(crate) claimed: Money,
    pub(crate) parts: Parts,
    pub(crate) event: RefundRequested,
}

#[derive(Debug, thiserror::Error)]
#[error("refund {number} of order {order_id} cannot be read: {what}")]
struct Unreadable {
    order_id: OrderId,
    number: i32,
    what: &'static str,
}

#[derive(Debug, thiserror::Error)]
#[error("a request for a refund cannot become {0}")]
struct BadOutcome(String);

/// A refund, as stored.
struct Row {
    order_id: Uuid,
    number: i32,
    currency: String,
    amount: Decimal,
    goods: Decimal,
    goods_tax: Decimal,
    shipping: Decimal,
    shipping_tax: Decimal,
    lines: Json<Vec<RefundLine>>,
    reason: String,
    requested_by: String,
    request: String,
    fingerprint: String,
    state: String,
    failure: Option<String>,
    requested_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn read(self) -> Result<StoredRefund, &'static str> {
        let money = |amount| stored_money(amount, &self.currency).ok_or("an amount");
        let resource = RefundResource {
            order_id: OrderId::of(self.order_id),
            number: u32::try_from(self.number).map_err(|_negative| "its number")?,
            state: self.state.parse().map_err(|_unknown| "its state")?,
            amount: money(self.amount)?,
            parts: Parts {
                goods: money(self.goods)?,
                goods_tax: money(self.goods_tax)?,
                shipping: money(self.shipping)?,
                shipping_tax: money(self.shipping_tax)?,
            },
            lines: self.lines.0,
            reason: self.reason,
            requested_by: self.requested_by,
            requested_at: self.requested_at,
            updated_at: self.updated_at,
            failure: self.failure,
        };
        Ok(StoredRefund { resource, request: self.request, fingerprint: self.fingerprint })
    }
}

/// The order's refunds, oldest first.
pub(crate) async fn of(database: &PgPool, order_id: OrderId) -> Result<Vec<StoredRefund>, Problem> {
    Ok(of_each(database, &[order_id]).await?.remove(&order_id).unwrap_or_default())
}

/// The refunds of each order, oldest first.
pub(crate) async fn of_each(
    database: &PgPool,
    orders: &[OrderId],
) -> Result<ByOrder<StoredRefund>, Problem> {
    const DOING: &str = "reading orders' refunds";
    let rows = sqlx::query_as!(
        Row,
        r#"select order_id, number, currency, amount, goods, goods_tax, shipping, shipping_tax,
               lines as "lines: Json<Vec<RefundLine>>", reason, requested_by, request, fingerprint,
               state, failure, requested_at, updated_at
           from payments.refund_requests where order_id = any($1) order by order_id, number"#,
        &uuids(orders),
    )
    .fetch_all(database)
    .await
    .or_problem(DOING)?;
    let refunds = rows.into_iter().map(|row| {
        let (order, number) = (row.order_id, row.number);
        let read = row.read().map_err(|what| {
            let order_id = OrderId::of(order);
            Problem::internal(DOING, &Unreadable { order_id, number, what })
        })?;
        Ok((order, read))
    });
    Ok(by_order(refunds.collect::<Result<Vec<_>, Problem>>()?.into_iter()))
}

/// Records a refund, unless another one was recorded or failed since it was computed.
pub(crate) async fn request(
    database: &PgPool,
    wanted: &Wanted,
    key: &IdempotencyKey,
    fingerprint: &Fingerprint,
) -> Result<Requesting, Problem> {
    const DOING: &str = "putting a refund on record";
    let Wanted { order_id, claimed, parts, event } = wanted;
    let Parts { goods, goods_tax, shipping, shipping_tax } = *parts;
    let amounts = [goods, goods_tax, shipping, shipping_tax].map(Money::amount).to_vec();
    let number = i32::try_from(event.number).map_err(|error| Problem::internal(DOING, &error))?;
    let event = OrderEvent::RefundRequested(event.clone()).data();
    let event = event.map_err(|error| Problem::internal(DOING, &error))?;
    let outcome = sqlx::query_scalar!(
        r#"select outcome as "outcome!"
           from payments.request_refund($1, $2, $3, $4, $5, $6, $7)"#,
        order_id.uuid(),
        number,
        claimed.amount(),
        key.as_str(),
        fingerprint.as_str(),
        &amounts,
        event,
    )
    .fetch_one(database)
    .await
    .or_problem(DOING)?;
    outcome.parse().map_err(|_unknown| Problem::internal(DOING, &BadOutcome(outcome)))
}

/// The order's refund that is under way, if there is one.
pub(crate) async fn under_way(
    database: &PgPool,
    order_id: OrderId,
) -> Result<Option<RefundId>, Problem> {
    let number = sqlx::query_scalar!(
        "select number from payments.refund_requests
         where order_id = $1 and state in ('requested', 'pending')",
        order_id.uuid(),
    )
    .fetch_optional(database)
    .await
    .or_problem("looking for a refund that is under way")?;
    let number = number.and_then(|number| u32::try_from(number).ok());
    Ok(number.map(|number| RefundId { order_id, number }))
}
