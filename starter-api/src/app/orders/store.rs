//! Every SQL statement about orders.

pub(crate) mod invoices;
pub(crate) mod launches;
pub(crate) mod refund_launches;
pub(crate) mod refunds;
pub(crate) mod related;

use chrono::{DateTime, Utc};
use domain::screening::Network;
use domain::{
    AddressId, Attention, CountryCode, CustomerId, Destination, DiscountCode, Fingerprint, Money,
    Order, OrderId, OrderLine, OrderState, OrderStatus, PaymentToken, Terms, Totals,
};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use uuid::Uuid;

use crate::app::input::SearchText;
use crate::app::money::stored_money;
use crate::app::orders::filter::{FulfilmentStatuses, ListOrders, PaymentStatuses, Statuses};
use crate::app::orders::place::command::Recipient;
use crate::app::orders::{CustomerAction, OrderEvent, OrderResource, StoredOrder};
use crate::error::{OrProblem, Problem};

/// Orders that were cancelled before anything was done for them. Of the others, the worker counts
/// the end under the same name.
pub(crate) const ORDERS_ENDED: &str = "ordersaga_orders_ended_total";

/// Reads orders as [`Row`]s; every query of them has the same columns.
macro_rules! orders_where {
    ($($condition:literal)+, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
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

/// A page of the orders that `$whose` selects, which has the customer as `$1`.
macro_rules! page_of {
    ($whose:literal, $customer:expr, $listing:expr) => {
        orders_where!(
            $whose
            "and placed_at <= coalesce($2, 'infinity'::timestamptz)
             and (placed_at < coalesce($2, 'infinity'::timestamptz) or order_id > $3)
             and placed_at >= coalesce($5, '-infinity'::timestamptz)
             and placed_at < coalesce($6, 'infinity'::timestamptz)
             and ($7::text[] is null or status = any($7))
             and ($8::text is null
                  or starts_with(order_id::text, lower($8))
                  or starts_with(lower(customer_id), lower($8))
                  or lower(discount_code) = lower($8)
                  or lower(tracking) = lower($8)
                  or exists (select from jsonb_array_elements(lines) as line
                             where lower(line ->> 'sku') = lower($8)))
             and ($9::text[] is null or payment_status = any($9))
             and ($10::text[] is null or fulfilment_status = any($10))
             and ($11::boolean is null or (attention is not null) = $11)
             and ($12::boolean is null or (ending is not null) = $12)
             order by placed_at desc, order_id
             limit $4",
            $customer,
            $listing.after.map(|after| after.placed_at),
            $listing.after.map(|after| after.order_id),
            $listing.size.to_read(),
            $listing.placed_from,
            $listing.placed_before,
            $listing.statuses.as_ref().map(Statuses::as_slice),
            $listing.text.as_ref().map(SearchText::as_str),
            $listing.payment_statuses.as_ref().map(PaymentStatuses::as_slice),
            $listing.fulfilment_statuses.as_ref().map(FulfilmentStatuses::as_slice),
            $listing.needs_attention,
            $listing.unwinding,
        )
    };
}

/// The order as the database has it.
#[derive(Debug)]
struct Row {
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
#[error("order {0} is not usable as the database has it")]
struct BadOrder(Uuid);

impl TryFrom<Row> for StoredOrder {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let order_id = row.order_id;
        stored_order(row).ok_or_else(|| Problem::internal("reading an order", &BadOrder(order_id)))
    }
}

fn stored_order(row: Row) -> Option<StoredOrder> {
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

/// The order from its record.
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

/// The orders of a page, and one more if there is a next page: those of the customer, or of all.
pub(crate) async fn page(
    database: &PgPool,
    customer: Option<&CustomerId>,
    listing: &ListOrders,
) -> Result<Vec<OrderResource>, Problem> {
    // Two queries, because one that leaves the customer open would be planned for neither.
    let rows = match customer {
        Some(customer) => {
            page_of!("where customer_id = $1 ", customer.as_str(), listing)
                .fetch_all(database)
                .await
        }
        None => {
            page_of!("where $1::text is null ", None::<&str>, listing).fetch_all(database).await
        }
    };
    let rows = rows.or_problem("listing orders")?;
    rows.into_iter().map(|row| StoredOrder::try_from(row).map(|stored| stored.resource)).collect()
}

/// The order's events after this number, in order, at most so many.
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

/// How far an order is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// The number of the last event.
    pub(crate) version: i32,
    /// Whether nothing more will happen.
    pub(crate) is_over: bool,
}

/// How far the order is; one row by its key.
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

/// What the customer has paid and not been refunded; `None` if that is nothing.
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

/// Puts an order on record, with its payment method, its address, the network that it came from and
/// the row that has it launched, in one transaction; whether this call did.
///
/// **Repeats.** The first one counts.
pub(crate) async fn place(
    database: &PgPool,
    order: &Order,
    fingerprint: &Fingerprint,
    recipient: Option<&Recipient>,
    network: Option<&Network>,
    launch_after: PgInterval,
) -> Result<bool, Problem> {
    const DOING: &str = "putting an order on record";
    let event = serde_json::to_value(order.placed());
    let event = event.map_err(|error| Problem::internal(DOING, &error))?;
    sqlx::query_scalar!(
        r#"
        with placed as materialized (
            select is_new from orders.place($1, $2, $3, $4, $5, $6)
        ), kept as (
            insert into fraud.origins (order_id, network)
            select $1, $7::text::cidr from placed where is_new and $7::text is not null
        )
        select is_new as "is_new!" from placed
        "#,
        order.order_id.uuid(),
        fingerprint.as_str(),
        event,
        order.payment_token.as_str(),
        recipient.map(Recipient::to_json),
        launch_after,
        network.map(Network::as_str),
    )
    .fetch_one(database)
    .await
    .or_problem(DOING)
}

/// What became of a request to replace a declined payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Replacing {
    /// The new method is on record.
    Replaced,
    /// It was on record, by the same request.
    Repeated,
    /// Another method came under the same key.
    OtherRequest,
    /// The order waits for no payment.
    NotWaiting,
    /// The time in which it waited for one is over.
    TooLate,
}

#[derive(Debug, thiserror::Error)]
#[error("a payment's replacement came to `{0}`")]
struct BadOutcome(String);

/// Puts another payment method on record in the place of the order's declined payment, if that may
/// still be replaced; what became of that, and which attempt uses the method.
///
/// **Repeats.** Under the same key, the first one counts.
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

/// Cancels the order, if it waits to be launched and nothing has been done for it; whether it did.
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
