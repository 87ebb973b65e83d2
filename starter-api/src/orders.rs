//! Orders: one file per operation, and the order itself as every one of them answers it.

/// Reads orders as [`Row`]s; every query of them has the same columns.
macro_rules! orders_where {
    ($($condition:literal)+, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select order_id, customer_id, placed_at, request_hash, currency,
                   subtotal, discount, shipping, tax, total,
                   discount_code, country, address_id,
                   lines as "lines: Json<Vec<OrderLine>>",
                   terms as "terms: Json<Terms>",
                   status_data as "status: Json<OrderStatus>"
               from orders.orders "# $(+ $condition)+,
            $($argument),+
        )
    };
}

pub(crate) mod attention;
pub(crate) mod cancel;
pub(crate) mod events;
pub(crate) mod list;
pub(crate) mod place;
pub(crate) mod request;
pub(crate) mod resolve;
pub(crate) mod show;
pub(crate) mod timeline;
pub(crate) mod watch;

use chrono::{DateTime, Utc};
use domain::{
    CountryCode, CustomerId, Destination, DiscountCode, Order, OrderId, OrderLine, OrderStatus,
    Terms, Totals,
};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::catalogue::money;
use crate::identity::access::Caller;
use crate::problem::{OrProblem, Problem};
use crate::state::State;

/// The longest cancel window: a month. Whoever waits longer does not want the goods yet.
pub(crate) const CANCEL_WINDOW_SECONDS_MAX: u32 = 2_592_000;

/// The longest patience with a party: a week.
pub(crate) const PATIENCE_SECONDS_MAX: u32 = 604_800;

/// An order, as its customer and the shop see it.
///
/// **Shape.** The status's own fields stand beside it, such as
/// `{"status":"shipped","tracking":"…"}`. The payment token is not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderResource {
    /// Its name everywhere.
    pub(crate) order_id: OrderId,
    /// Who ordered.
    pub(crate) customer_id: CustomerId,
    /// When the shop took it in.
    pub(crate) placed_at: DateTime<Utc>,
    /// Where it stands.
    #[serde(flatten)]
    pub(crate) status: OrderStatus,
    /// What was bought, at the prices of that moment.
    pub(crate) lines: Vec<OrderLine>,
    /// What it comes to.
    pub(crate) totals: Totals,
    /// The discount code used, if any.
    pub(crate) discount_code: Option<DiscountCode>,
    /// Where it goes.
    pub(crate) ship_to: Destination,
    /// What was agreed on beyond the goods.
    terms: Terms,
}

impl OrderResource {
    /// The order as it was taken in, standing where it is said to stand.
    pub(crate) fn at(order: Order, status: OrderStatus) -> Self {
        Self {
            order_id: order.order_id,
            customer_id: order.customer_id,
            placed_at: order.placed_at,
            status,
            lines: order.lines,
            totals: order.totals,
            discount_code: order.discount_code,
            ship_to: order.ship_to,
            terms: order.terms,
        }
    }

    /// The same order, standing elsewhere.
    fn standing(self, status: OrderStatus) -> Self {
        Self { status, ..self }
    }

    /// Whether the customer can be told: paid, or not going to be.
    const fn is_decided(&self) -> bool {
        match self.status {
            OrderStatus::Processing | OrderStatus::Reserved | OrderStatus::Unwinding => false,
            OrderStatus::Paid
            | OrderStatus::Posted
            | OrderStatus::Shipped { .. }
            | OrderStatus::Cancelled { .. }
            | OrderStatus::Rejected { .. }
            | OrderStatus::Stuck { .. }
            | OrderStatus::Failed { .. } => true,
        }
    }
}

/// An order that is known, and what tells whether a request is the one that made it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) resource: OrderResource,
    /// As hexadecimal text, wherever it comes from.
    pub(crate) request_hash: String,
}

/// The order as the database has it.
#[derive(Debug)]
struct Row {
    order_id: Uuid,
    customer_id: String,
    placed_at: DateTime<Utc>,
    request_hash: String,
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
}

#[derive(Debug, thiserror::Error)]
#[error("order {0} is not usable as the database has it")]
struct BadOrder(Uuid);

impl TryFrom<Row> for Known {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let order_id = row.order_id;
        known(row).ok_or_else(|| Problem::internal("reading an order", &BadOrder(order_id)))
    }
}

fn known(row: Row) -> Option<Known> {
    let money = |amount| money(amount, &row.currency);
    let discount_code = match row.discount_code {
        None => None,
        Some(code) => Some(DiscountCode::parse(code).ok()?),
    };
    let resource = OrderResource {
        order_id: OrderId::of(row.order_id),
        customer_id: CustomerId::parse(row.customer_id).ok()?,
        placed_at: row.placed_at,
        status: row.status.0,
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
            address_id: row.address_id.map(domain::AddressId::of),
        },
        terms: row.terms.0,
    };
    Some(Known { resource, request_hash: row.request_hash })
}

/// The order by this text in a path. Text that is no id names no order.
pub(crate) fn id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map(OrderId::of).map_err(|_no_uuid| Problem::order_not_found())
}

/// The order as its record has it.
async fn recorded(state: &State, order_id: OrderId) -> Result<Option<Known>, Problem> {
    let row = orders_where!("where order_id = $1", order_id.uuid())
        .fetch_optional(&state.database)
        .await
        .or_problem("reading an order")?;
    row.map(Known::try_from).transpose()
}

/// The order as its workflow was started with it. Nothing has been done for an order that is
/// not on record yet.
async fn accepted(state: &State, order_id: OrderId) -> Result<Option<Known>, Problem> {
    let order = state.temporal.order_of(order_id).await?;
    Ok(order.map(|order| Known {
        request_hash: order.request_hash.as_str().to_owned(),
        resource: OrderResource::at(order, OrderStatus::Processing),
    }))
}

/// The order that a request is about, if it is the caller's to see. Another customer's order is
/// no order: that there is one is nobody's business either.
pub(crate) async fn visible(
    state: &State,
    caller: &Caller,
    order_id: OrderId,
) -> Result<Known, Problem> {
    let known = find(state, order_id).await?;
    let own = known.filter(|known| caller.sees(&known.resource.customer_id));
    own.ok_or_else(Problem::order_not_found)
}

/// The order, wherever it is known. The record comes first: it outlives the workflow.
async fn find(state: &State, order_id: OrderId) -> Result<Option<Known>, Problem> {
    match recorded(state, order_id).await? {
        Some(known) => Ok(Some(known)),
        None => accepted(state, order_id).await,
    }
}
