//! `GET /v1/customers`: whom does the shop know?

use axum::extract::State as Shared;
use axum::response::Response;
use domain::CustomerId;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::customers::CustomerResource;
use crate::extract::Query;
use crate::identity::access::{May, scope};
use crate::paging::{Page, PageSize};
use crate::problem::{Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// Which customers to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<CustomerId>,
}

/// Lists customers in the order of their ids; to a customer, themself alone.
#[utoipa::path(
    get, path = "/v1/customers", tag = "customers", security(("bearer" = ["customers:read"])),
    params(Listing),
    responses((status = 200, description = "A page of customers", body = Page<CustomerResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              Guarded, ReadProblems),
)]
pub(crate) async fn list(
    May { caller, .. }: May<scope::ReadCustomers>,
    Shared(state): Shared<State>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let customers = sqlx::query_as!(
        CustomerResource,
        "select customer_id, email, name, phone, created_at from customers.customers
         where customer_id > coalesce($1, '') and ($2::text is null or customer_id = $2)
         order by customer_id limit $3",
        listing.cursor.as_ref().map(CustomerId::as_str),
        caller.customer().map(CustomerId::as_str),
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
    .or_problem("listing customers")?;
    Page::of(customers, listing.limit, |customer| customer.customer_id.clone())
        .answer("/v1/customers", &listing)
}
