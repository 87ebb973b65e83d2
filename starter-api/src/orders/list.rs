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
use crate::identity::access::{Caller, May, scope};
use crate::orders::{Known, OrderResource, Row};
use crate::paging::{Page, PageSize};
use crate::problem::{Guarded, OrProblem, Problem, ReadProblems};
use crate::rules::Wanted;
use crate::state::State;

/// Which orders to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Whose; without it, everybody's. A customer sees their own in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Where they stand: one status, or several with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "stuck,unwinding")]
    status: Option<Statuses>,
    /// Taken in at this moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(example = "2026-01-01T00:00:00Z")]
    placed_from: Option<DateTime<Utc>>,
    /// Taken in before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(example = "2026-02-01T00:00:00Z")]
    placed_before: Option<DateTime<Utc>>,
    /// What an order's id or customer begins with, or an article's number, a discount code or a
    /// tracking number of it; whatever its case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, min_length = 1, max_length = 100, example = "85123A")]
    q: Option<Wanted>,
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<After>,
}

impl Listing {
    /// The same wishes, as another protocol brings them.
    pub(crate) fn asking(
        customer_id: Option<CustomerId>,
        status: Option<String>,
        q: Option<String>,
        limit: u16,
        cursor: Option<String>,
    ) -> Result<Self, String> {
        Ok(Self {
            customer_id,
            status: status.map(Statuses::try_from).transpose()?,
            placed_from: None,
            placed_before: None,
            q: q.map(Wanted::try_from).transpose()?,
            limit: PageSize::try_from(limit)?,
            cursor: cursor.map(After::try_from).transpose()?,
        })
    }
}

/// The names of statuses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Statuses(Vec<String>);

impl Statuses {
    fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<String> for Statuses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let names: Vec<_> = text.split(',').map(str::to_owned).collect();
        if names.iter().all(|name| OrderStatus::NAMES.contains(&name.as_str())) {
            Ok(Self(names))
        } else {
            Err(format!("the statuses are {}", OrderStatus::NAMES.join(", ")))
        }
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> Self {
        statuses.0.join(",")
    }
}

/// The last order of the page before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl From<After> for String {
    fn from(After { placed_at, order_id }: After) -> Self {
        format!("{}_{order_id}", placed_at.timestamp_micros())
    }
}

fn cursor_after(order: &OrderResource) -> String {
    After { placed_at: order.placed_at, order_id: order.order_id.uuid() }.into()
}

/// Lists orders, newest first. What is asked for is asked together: each order listed has all
/// of it.
///
/// A status or a text is looked for order by order, from the newest: on a long record, name a
/// customer or a time as well.
///
/// An order appears here once it is on record, some milliseconds after it was accepted.
#[utoipa::path(
    get, path = "/v1/orders", tag = "orders", security(("bearer" = ["orders:read"])),
    params(Listing),
    responses((status = 200, description = "A page of orders", body = Page<OrderResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              Guarded, ReadProblems),
)]
pub(crate) async fn list(
    May { caller, .. }: May<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    page(&state, &caller, &listing).await?.answer("/v1/orders", &listing)
}

/// A page of the orders that the caller may see; the same for every protocol.
pub(crate) async fn page(
    state: &State,
    caller: &Caller,
    listing: &Listing,
) -> Result<Page<OrderResource>, Problem> {
    let rows = match (caller.customer(), &listing.customer_id) {
        // Another's orders are none: that there are any is nobody's business either.
        (Some(own), Some(asked)) if own != asked => Ok(Vec::new()),
        (Some(customer), _) | (None, Some(customer)) => of_customer(state, customer, listing).await,
        (None, None) => of_everybody(state, listing).await,
    };
    let rows = rows.or_problem("listing orders")?;
    let orders = rows
        .into_iter()
        .map(|row| Known::try_from(row).map(|known| known.resource))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(orders, listing.limit, cursor_after))
}

/// A page of the orders that `$whose` picks, which has the customer as `$1`.
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
             order by placed_at desc, order_id
             limit $4",
            $customer,
            $listing.cursor.map(|after| after.placed_at),
            $listing.cursor.map(|after| after.order_id),
            $listing.limit.to_read(),
            $listing.placed_from,
            $listing.placed_before,
            $listing.status.as_ref().map(Statuses::as_slice),
            $listing.q.as_ref().map(Wanted::as_str),
        )
    };
}

// Two queries, because one that leaves the customer open would be planned for neither.

async fn of_customer(
    state: &State,
    customer: &CustomerId,
    listing: &Listing,
) -> sqlx::Result<Vec<Row>> {
    page_of!("where customer_id = $1 ", customer.as_str(), listing).fetch_all(&state.database).await
}

async fn of_everybody(state: &State, listing: &Listing) -> sqlx::Result<Vec<Row>> {
    page_of!("where $1::text is null ", None::<&str>, listing).fetch_all(&state.database).await
}
