//! `GET /v1/customers/{customer_id}`: what does the shop know of them?

use axum::Json;
use axum::extract::State as Shared;

use crate::customers::{self, CustomerResource, nobody};
use crate::extract::Path;
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// Shows a customer; to a customer, themself alone.
#[utoipa::path(
    get, path = "/v1/customers/{customer_id}", tag = "customers",
    security(("bearer" = ["customers:read"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850")),
    responses(
        (status = 200, description = "The customer", body = CustomerResource),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    May { caller, .. }: May<scope::ReadCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
) -> Result<Json<CustomerResource>, Problem> {
    let customer_id = customers::visible(&caller, &customer_id)?;
    let customer = sqlx::query_as!(
        CustomerResource,
        "select customer_id, email, name, phone, created_at
         from customers.customers where customer_id = $1",
        customer_id.as_str(),
    )
    .fetch_optional(&state.database)
    .await
    .or_problem("reading a customer")?;
    customer.map(Json).ok_or_else(nobody)
}
