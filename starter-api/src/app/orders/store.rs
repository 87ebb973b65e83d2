//! Every SQL statement about orders.

pub(crate) mod grouped;
pub(crate) mod invoices;
pub(crate) mod launches;
pub(crate) mod pages;
pub(crate) mod refund_launches;
pub(crate) mod refunds;
#[cfg(feature = "graphql")]
pub(crate) mod related;
mod search;

use chrono::{DateTime, Utc};
use domain::{
    AddressId, Attention, CountryCode, CustomerId, Destination, DiscountCode, Money, OrderId,
    OrderLine, OrderState, OrderStatus, PaymentToken, Terms, Totals,
};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;
use workflows::order::Resolution;

use crate::app::money::stored_money;
use crate::app::orders::placer::Placement;
use crate::app::orders::{CustomerAction, OrderEvent, OrderResource, StoredOrder};
use crate::app::reads::KeyedRow;
use crate::error::{OrProblem, Problem};

/// Counter of orders that were cancelled before their launch. The worker counts all other endings
/// under the same name.
pub(crate) const ORDERS_ENDED: &str = "ordersaga_orders_ended_total";

/// Reads orders as [`OrderRow`]s: every query selects the same columns.
macro_rules! orders_where {
    ($($condition:literal)+, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            OrderRow,
            r#"select order_id, customer_id, placed_at, fingerprint, currency,
                   subtotal, discount, shipping, tax, total,
                   discount_code, country, address_id,
                   lines as "lines: Json<Vec<OrderLine>>",
                   terms as "terms: Json<Terms>",
                   status_data as "status: Json<OrderStatus>",
                   payment_status, fulfilment_status, ending is not null as "unwinding!",
                   attention as "attention: Json<Attention>", tracking,
                   case when status = 'processing' and ending is null
                           and payment_status in ('awaiting-customer', 'declined') then (
                       select case
                           when charge.state = 'awaiting-customer'
                               and charge.approvable_until > now()
                           then jsonb_build_object('kind',
                               case when starts_with(charge.approval_url, 'payto:')
                                   then 'transfer-money' else 'approve-payment' end,
                               'url', charge.approval_url, 'until', charge.approvable_until)
                           when charge.state = 'declined' and charge.replaced_at is null
                               and charge.replaceable_until > now()
                           then jsonb_build_object('kind', 'replace-payment',
                               'until', charge.replaceable_until)
                       end
                       from payments.charges as charge
                       where charge.order_id = orders.order_id
                       order by charge.attempt desc limit 1
                   ) end as "customer_action?: Json<CustomerAction>"
               from orders.orders "# $(+ $condition)+,
            $($argument),+
        )
    };
}
use orders_where;

/// An order, as stored.
#[derive(Clone, Debug)]
pub(crate) struct OrderRow {
    order_id: Uuid,
    customer_id: String,
    placed_at: DateTime<Utc>,
    fingerprint: String,
    currency: String,
    subtotal: Decimal,
    discount: Decimal,
    shipping: Decimal,
    tax: Decimal,
    total: Decimal,
    discount_code: Option<String>,
    country: String,
    address_id: Option<Uuid>,
    lines: Json<Vec<OrderLine>>,
    terms: Json<Terms>,
    status: Json<OrderStatus>,
    payment_status: String,
    fulfilment_status: String,
    unwinding: bool,
    attention: Option<Json<Attention>>,
    tracking: Option<String>,
    customer_action: Option<Json<CustomerAction>>,
}

#[derive(Debug, thiserror::Error)]
#[error("order {0} is not valid as stored")]
struct BadOrder(Uuid);

impl TryFrom<OrderRow> for StoredOrder {
    type Error = Problem;

    fn try_from(row: OrderRow) -> Result<Self, Problem> {
        let order_id = row.order_id;
        stored_order(row).ok_or_else(|| Problem::internal("reading an order", &BadOrder(order_id)))
    }
}

fn stored_order(row: OrderRow) -> Option<StoredOrder> {
    let money = |amount| stored_money(amount, &row.currency);
    let discount_code = match row.discount_code {
        None => None,
        Some(code) => Some(DiscountCode::parse(code).ok()?),
    };
    let resource = OrderResource {
        order_id: OrderId::of(row.order_id),
        customer_id: CustomerId::parse(row.customer_id).ok()?,
        placed_at: row.placed_at,
        state: OrderState {
            status: row.status.0,
            payment_status: row.payment_status.parse().ok()?,
            fulfilment_status: row.fulfilment_status.parse().ok()?,
            unwinding: row.unwinding,
            needs_attention: row.attention.map(|attention| attention.0),
            tracking: row.tracking,
        },
        customer_action: row.customer_action.map(|action| action.0),
        disputes: Vec::new(),
        lines: row.lines.0,
        totals: Totals {
            subtotal: money(row.subtotal)?,
            discount: money(row.discount)?,
            shipping: money(row.shipping)?,
            tax: money(row.tax)?,
            total: money(row.total)?,
        },
        discount_code,
        ship_to: Destination {
            country: CountryCode::parse(&row.country).ok()?,
            address_id: row.address_id.map(AddressId::of),
        },
        terms: row.terms.0,
    };
    Some(StoredOrder { resource, fingerprint: row.fingerprint })
}

impl KeyedRow for OrderRow {
    type Key = Uuid;

    fn key(&self) -> Uuid {
        self.order_id
    }

    async fn with_keys(database: &PgPool, ids: &[Uuid]) -> Result<Vec<Self>, sqlx::Error> {
        orders_where!("where order_id = any ($1)", ids).fetch_all(database).await
    }
}

/// Reads an order.
pub(crate) async fn find(
    database: &PgPool,
    order_id: OrderId,
) -> Result<Option<StoredOrder>, Problem> {
    let row = orders_where!("where order_id = $1", order_id.uuid())
        .fetch_optional(database)
        .await
        .or_problem("reading an order")?;
    row.map(StoredOrder::try_from).transpose()
}

/// At most so many of the order's events after this number, in order.
pub(crate) async fn events_after(
    database: &PgPool,
    order_id: OrderId,
    sequence: i32,
    most: i64,
) -> Result<Vec<OrderEvent>, Problem> {
    sqlx::query_as!(
        OrderEvent,
        r#"select sequence, type as kind, version, data, occurred_at from orders.order_events
           where order_id = $1 and sequence > $2
           order by sequence limit $3"#,
        order_id.uuid(),
        sequence,
        most,
    )
    .fetch_all(database)
    .await
    .or_problem("listing an order's events")
}

/// Whether the order has recorded this very decision: by the same person with the same reason.
pub(crate) async fn is_decided(
    database: &PgPool,
    order_id: OrderId,
    Resolution { step, occurrence, decision, by, why }: &Resolution,
) -> Result<bool, Problem> {
    sqlx::query_scalar!(
        r#"select exists (
               select from orders.order_events
               where order_id = $1 and type = 'order.attention-resolved'
                   and data @> jsonb_build_object(
                       'step', $2::text, 'occurrence', $3::bigint, 'decision', $4::text,
                       'by', $5::text, 'why', $6::text
                   )
           ) as "is_decided!""#,
        order_id.uuid(),
        step,
        i64::from(*occurrence),
        decision.to_string(),
        by,
        why,
    )
    .fetch_one(database)
    .await
    .or_problem("looking for a decision on record")
}

/// How far an order has progressed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The number of the last event.
    pub(crate) version: i32,
    /// Whether no more events will follow.
    pub(crate) is_over: bool,
}

/// How far the order has progressed; reads one row by its primary key.
pub(crate) async fn progress(database: &PgPool, order_id: OrderId) -> Result<Progress, Problem> {
    let progress = sqlx::query_as!(
        Progress,
        r#"select version, orders.is_terminal(status) as "is_over!"
           from orders.orders where order_id = $1"#,
        order_id.uuid(),
    )
    .fetch_optional(database)
    .await
    .or_problem("watching an order")?;
    Ok(progress.unwrap_or_default())
}

#[derive(Debug, thiserror::Error)]
#[error("the charge of order {0} is not a valid amount")]
struct BadCharge(OrderId);

/// What the customer has paid minus what was refunded; `None` if that is zero.
pub(crate) async fn paid(database: &PgPool, order_id: OrderId) -> Result<Option<Money>, Problem> {
    const DOING: &str = "reading what was paid for an order";
    let charge = sqlx::query!(
        r#"select captured - refunded as "paid!", currency from payments.charges
           where order_id = $1 and captured > refunded"#,
        order_id.uuid(),
    )
    .fetch_optional(database)
    .await
    .or_problem(DOING)?;
    let Some(charge) = charge else { return Ok(None) };
    let paid = stored_money(charge.paid, &charge.currency);
    paid.map(Some).ok_or_else(|| Problem::internal(DOING, &BadCharge(order_id)))
}

/// Records orders, each with its payment method, its address, its customer's network and its launch
/// row, in one transaction; returns whether each is new.
///
/// **Repeats.** Idempotent: the first call counts.
pub(crate) async fn place(
    database: &PgPool,
    placements: &[Placement],
) -> Result<Vec<bool>, sqlx::Error> {
    let count = placements.len();
    let (mut ids, mut fingerprints) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut events, mut methods) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut recipients, mut networks) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut launch_after = Vec::with_capacity(count);
    for placement in placements {
        let order = &placement.order;
        let event = serde_json::to_string(&order.placed());
        let recipient = placement.recipient.as_ref().map(super::place::command::Recipient::to_json);
        ids.push(order.order_id.uuid());
        fingerprints.push(placement.fingerprint.as_str().to_owned());
        events.push(event.map_err(|error| sqlx::Error::Encode(error.into()))?);
        methods.push(order.payment_token.as_str().to_owned());
        recipients.push(recipient.map(|recipient| recipient.to_string()));
        networks.push(placement.network.as_ref().map(|network| network.as_str().to_owned()));
        launch_after.push(placement.launch_after);
    }
    sqlx::query_scalar!(
        r#"
        with placed as materialized (
            select number, is_new
            from orders.place_many($1, $2, $3::text[]::jsonb[], $4, $5::text[]::jsonb[], $6)
        ), kept as (
            insert into fraud.origins (order_id, network)
            select ($1::uuid[])[number], ($7::text[])[number]::cidr
            from placed where is_new and ($7::text[])[number] is not null
        )
        select is_new as "is_new!" from placed order by number
        "#,
        &ids,
        &fingerprints,
        &events,
        &methods,
        recipients.as_slice() as _,
        &launch_after,
        networks.as_slice() as _,
    )
    .fetch_all(database)
    .await
}

/// The outcome of replacing a declined payment method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Replacing {
    /// The new method was recorded.
    Replaced,
    /// It was recorded before, by the same request.
    Repeated,
    /// The key was used for another method.
    OtherRequest,
    /// The order does not wait for a payment.
    NotWaiting,
    /// The time for a replacement is over.
    TooLate,
}

#[derive(Debug, thiserror::Error)]
#[error("a payment's replacement came to `{0}`")]
struct BadOutcome(String);

/// Records another payment method in place of the order's declined one, if it may still be
/// replaced; returns the outcome, and which attempt uses the method.
///
/// **Repeats.** Idempotent: under the same key, the first method counts.
pub(crate) async fn replace_method(
    database: &PgPool,
    order_id: OrderId,
    token: &PaymentToken,
    key: Option<&str>,
) -> Result<(Replacing, u32), Problem> {
    const DOING: &str = "replacing an order's payment";
    let row = sqlx::query!(
        r#"select outcome as "outcome!", attempt as "attempt?"
           from payments.replace_method($1, $2, $3)"#,
        order_id.uuid(),
        token.as_str(),
        key,
    )
    .fetch_one(database)
    .await
    .or_problem(DOING)?;
    let attempt = row.attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or_default();
    let outcome = row.outcome.parse::<Replacing>();
    let outcome = outcome.map_err(|_unknown| Problem::internal(DOING, &BadOutcome(row.outcome)))?;
    Ok((outcome, attempt))
}

/// Cancels the order if it has not been launched; returns whether it did.
pub(crate) async fn cancel_before_launch(
    database: &PgPool,
    order_id: OrderId,
    reason: &str,
) -> Result<bool, Problem> {
    let is_cancelled = sqlx::query_scalar!(
        r#"select orders.cancel_before_launch($1, $2) as "cancelled!""#,
        order_id.uuid(),
        reason,
    )
    .fetch_one(database)
    .await
    .or_problem("cancelling an order before its launch")?;
    if is_cancelled {
        metrics::counter!(ORDERS_ENDED, "status" => "cancelled").increment(1);
    }
    Ok(is_cancelled)
}
