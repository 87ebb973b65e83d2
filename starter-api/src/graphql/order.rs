//! An order in GraphQL.

use async_graphql::dataloader::DataLoader;
use async_graphql::{ComplexObject, Context, Error, ID, SimpleObject};
use chrono::SecondsFormat;
use domain::OrderId;

use crate::app::orders::OrderResource;
use crate::graphql::error::graphql_error;
use crate::graphql::loads::{EventsOf, LedgerOf, PaymentsOf, Reader, RefundsOf, ShipmentsOf};
use crate::graphql::types::{
    GraphAttention, GraphCustomerAction, GraphEntry, GraphEvent, GraphMoney, GraphPayment,
    GraphRefund, GraphShipment,
};
use crate::identity::Caller;
use crate::identity::scope::Scope;

/// A page of orders. It may have fewer orders than requested, or none, while there is a next page.
#[derive(SimpleObject)]
pub(crate) struct OrderPage {
    /// The orders of the page.
    pub(crate) items: Vec<GraphOrder>,
    /// The cursor of the next page; absent on the last page.
    pub(crate) next_cursor: Option<String>,
}

/// An order.
#[derive(SimpleObject)]
#[graphql(complex, name = "Order")]
pub(crate) struct GraphOrder {
    #[graphql(skip)]
    order_id: OrderId,
    /// The order's id.
    id: ID,
    /// The customer.
    customer_id: String,
    /// When it was placed, as RFC 3339.
    placed_at: String,
    /// Whether it is still being worked on, and how it ended.
    status: &'static str,
    /// Who has the customer's money.
    payment_status: &'static str,
    /// Where the goods are.
    fulfilment_status: &'static str,
    /// Whether it is being unwound.
    unwinding: bool,
    /// What waits for a person's decision, if anything does.
    needs_attention: Option<GraphAttention>,
    /// The carrier's tracking number, once the parcel was handed over.
    tracking: Option<String>,
    /// What the customer has to do before the order continues, if anything.
    customer_action: Option<GraphCustomerAction>,
    #[graphql(skip)]
    bought: Vec<GraphLine>,
    /// The price of the goods.
    subtotal: GraphMoney,
    /// The discount.
    discount: GraphMoney,
    /// The shipping fee.
    shipping: GraphMoney,
    /// The tax.
    tax: GraphMoney,
    /// The total that the customer pays.
    total: GraphMoney,
    /// The destination country.
    country: String,
}

/// One article of an order.
#[derive(Clone, SimpleObject)]
#[graphql(name = "OrderLine")]
pub(crate) struct GraphLine {
    /// The article.
    sku: String,
    /// The number of pieces.
    quantity: u32,
    /// The price of one piece.
    unit_price: GraphMoney,
    /// The price of all pieces.
    line_total: GraphMoney,
}

/// The complexity of a list within an order is its typical length.
#[ComplexObject]
impl GraphOrder {
    /// What was bought, at the prices at that time.
    #[graphql(complexity = "10 + 10 * child_complexity")]
    async fn lines(&self) -> &[GraphLine] {
        &self.bought
    }

    /// Its events, oldest first, at most 500.
    #[graphql(complexity = "10 + 10 * child_complexity")]
    async fn events(&self, ctx: &Context<'_>) -> Result<Vec<GraphEvent>, Error> {
        let reader = ctx.data::<DataLoader<Reader>>()?;
        Ok(reader.load_one(EventsOf(self.order_id)).await?.unwrap_or_default())
    }

    /// Its payments, with what was refunded of them.
    #[graphql(complexity = "10 + 2 * child_complexity")]
    async fn payments(&self, ctx: &Context<'_>) -> Result<Vec<GraphPayment>, Error> {
        let reader = ctx.data::<DataLoader<Reader>>()?;
        Ok(reader.load_one(PaymentsOf(self.order_id)).await?.unwrap_or_default())
    }

    /// Its refunds after completion, oldest first.
    #[graphql(complexity = "10 + 2 * child_complexity")]
    async fn refunds(&self, ctx: &Context<'_>) -> Result<Vec<GraphRefund>, Error> {
        let reader = ctx.data::<DataLoader<Reader>>()?;
        Ok(reader.load_one(RefundsOf(self.order_id)).await?.unwrap_or_default())
    }

    /// Its parcels.
    #[graphql(complexity = "10 + 2 * child_complexity")]
    async fn shipments(&self, ctx: &Context<'_>) -> Result<Vec<GraphShipment>, Error> {
        let reader = ctx.data::<DataLoader<Reader>>()?;
        Ok(reader.load_one(ShipmentsOf(self.order_id)).await?.unwrap_or_default())
    }

    /// Its journal entries; only for callers who may read the ledger.
    #[graphql(complexity = "10 + 10 * child_complexity")]
    async fn ledger_entries(&self, ctx: &Context<'_>) -> Result<Vec<GraphEntry>, Error> {
        let allowed = ctx.data::<Caller>()?.require(Scope::ReadLedger);
        allowed.map_err(|problem| graphql_error(&problem))?;
        let reader = ctx.data::<DataLoader<Reader>>()?;
        Ok(reader.load_one(LedgerOf(self.order_id)).await?.unwrap_or_default())
    }
}

impl From<OrderResource> for GraphOrder {
    fn from(order: OrderResource) -> Self {
        let lines = order.lines.iter().map(|line| GraphLine {
            sku: line.sku.to_string(),
            quantity: line.quantity.pieces(),
            unit_price: line.unit_price.into(),
            line_total: line.line_total.into(),
        });
        Self {
            order_id: order.order_id,
            id: ID(order.order_id.to_string()),
            customer_id: order.customer_id.to_string(),
            placed_at: order.placed_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            status: order.state.status.name(),
            payment_status: order.state.payment_status.name(),
            fulfilment_status: order.state.fulfilment_status.name(),
            unwinding: order.state.unwinding,
            needs_attention: order.state.needs_attention.map(Into::into),
            tracking: order.state.tracking,
            customer_action: order.customer_action.map(Into::into),
            bought: lines.collect(),
            subtotal: order.totals.subtotal.into(),
            discount: order.totals.discount.into(),
            shipping: order.totals.shipping.into(),
            tax: order.totals.tax.into(),
            total: order.totals.total.into(),
            country: order.ship_to.country.to_string(),
        }
    }
}
