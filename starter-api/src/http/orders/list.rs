//! `GET /v1/orders`: lists orders, newest first.

use axum::extract::State as Shared;
use axum::response::Response;
use domain::CustomerId;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::{Moment, SearchText};
use crate::app::orders::OrderResource;
use crate::app::orders::filter::{
    FulfilmentStatuses, ListOrders, OrderCursor, PaymentStatuses, Statuses,
};
use crate::app::orders::list;
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The customer; all customers if left out. A customer always sees only their own orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// One status, or several separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "processing,failed")]
    status: Option<Statuses>,
    /// One payment status, or several separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "paid,refunded")]
    payment_status: Option<PaymentStatuses>,
    /// One fulfilment status, or several separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "reserved")]
    fulfilment_status: Option<FulfilmentStatuses>,
    /// Whether it waits for a person's decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_attention: Option<bool>,
    /// Whether it is being unwound.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwinding: Option<bool>,
    /// Placed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime, example = "2026-01-01T00:00:00Z")]
    placed_from: Option<Moment>,
    /// Placed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime, example = "2026-02-01T00:00:00Z")]
    placed_before: Option<Moment>,
    /// The start of the order's id or customer, or a SKU, a discount code or a tracking number;
    /// case is ignored. The workflow's id, which is `order-` and the order's id, is found, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, min_length = 1, max_length = 100, example = "85123A")]
    q: Option<SearchText>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<OrderCursor>,
}

impl ListQuery {
    fn listing(&self) -> ListOrders {
        ListOrders {
            customer_id: self.customer_id.clone(),
            statuses: self.status.clone(),
            payment_statuses: self.payment_status.clone(),
            fulfilment_statuses: self.fulfilment_status.clone(),
            needs_attention: self.needs_attention,
            unwinding: self.unwinding,
            placed_from: self.placed_from.map(|Moment(from)| from),
            placed_before: self.placed_before.map(|Moment(before)| before),
            text: self.q.clone(),
            size: self.limit,
            after: self.cursor,
        }
    }
}

/// Lists orders, newest first. Each listed order meets every given condition.
///
/// A page may have fewer orders than `limit`, or none, and still a `next_cursor`; only a page
/// without one is the last. A filter by `payment_status` or `fulfilment_status`, and a search for a
/// SKU or for the start of very many ids, scans at most 5,000 orders per page.
#[utoipa::path(
    get, path = "/v1/orders", tag = "orders", security(("bearer" = ["orders:read"])),
    params(ListQuery),
    responses((status = 200, description = "A page of orders", body = Page<OrderResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn list(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = list::list(&state.app, &caller, &query.listing()).await?;
    page::respond(page, "/v1/orders", &query)
}
