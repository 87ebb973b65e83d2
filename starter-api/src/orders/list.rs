//! `GET /v1/orders`: a customer's orders, or all of them, newest first.

use axum::extract::State as Shared;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{CustomerId, OrderLine, OrderStatus, Terms};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::extract::Query;
use crate::orders::{Known, OrderResource, Row};
use crate::paging::{Page, PageSize};
use crate::problem::{OrProblem, Problem, ReadProblems};
use crate::state::State;

/// Which orders to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Whose; without it, everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing)]
    #[param(value_type = Option<String>)]
    cursor: Option<After>,
}

/// The last order of the page before.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct After {
    placed_at: DateTime<Utc>,
    order_id: Uuid,
}

impl TryFrom<String> for After {
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

fn cursor_after(order: &OrderResource) -> String {
    format!("{}_{}", order.placed_at.timestamp_micros(), order.order_id)
}

/// Lists orders, newest first.
///
/// An order appears here once it is on record, some milliseconds after it was accepted.
#[utoipa::path(
    get, path = "/v1/orders", tag = "orders",
    params(Listing),
    responses((status = 200, description = "A page of orders", body = Page<OrderResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              ReadProblems),
)]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let rows = match &listing.customer_id {
        Some(customer) => of_customer(&state, customer, &listing).await,
        None => of_everybody(&state, &listing).await,
    };
    let rows = rows.or_problem("listing orders")?;
    let orders = rows
        .into_iter()
        .map(|row| Known::try_from(row).map(|known| known.resource))
        .collect::<Result<Vec<_>, _>>()?;
    Page::of(orders, listing.limit, cursor_after).answer("/v1/orders", &listing)
}

async fn of_customer(
    state: &State,
    customer: &CustomerId,
    listing: &Listing,
) -> sqlx::Result<Vec<Row>> {
    orders_where!(
        "where customer_id = $1
           and placed_at <= coalesce($2, 'infinity'::timestamptz)
           and (placed_at < coalesce($2, 'infinity'::timestamptz) or order_id > $3)
         order by placed_at desc, order_id
         limit $4",
        customer.as_str(),
        listing.cursor.map(|after| after.placed_at),
        listing.cursor.map(|after| after.order_id),
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
}

async fn of_everybody(state: &State, listing: &Listing) -> sqlx::Result<Vec<Row>> {
    orders_where!(
        "where placed_at <= coalesce($1, 'infinity'::timestamptz)
           and (placed_at < coalesce($1, 'infinity'::timestamptz) or order_id > $2)
         order by placed_at desc, order_id
         limit $3",
        listing.cursor.map(|after| after.placed_at),
        listing.cursor.map(|after| after.order_id),
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
}
