//! `GET /v1/customers/{customer_id}`: shows a customer.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::app::customers::{self, CustomerResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::conditional;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows a customer. A customer sees only themself.
#[utoipa::path(
    get, path = "/v1/customers/{customer_id}", tag = "customers",
    security(("bearer" = ["customers:read"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850"),
           ("If-None-Match" = Option<String>, Header,
            description = "The `ETag` of the caller's copy")),
    responses(
        (status = 200, description = "The customer", body = CustomerResource,
         headers(("ETag" = String, description = "Identifies this version of the response"))),
        (status = 304, description = "The caller's copy is current"),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn show(
    Authorized { caller, .. }: Authorized<scope::ReadCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let customer = customers::read::read(&state.app, &caller, &customer_id).await?;
    conditional::respond(&headers, &customer)
}
