//! `PUT /v1/customers/{customer_id}`: what the shop is to call them.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::customers::{self, CustomerResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// What can be changed of a customer. What is left out is forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Particulars)]
pub(crate) struct CustomerRequest {
    /// What to call them.
    #[schema(min_length = 1, max_length = 200, example = "Ada Example")]
    pub name: Option<String>,
    /// Where the carrier may call.
    #[schema(min_length = 1, max_length = 40, example = "+44 20 7946 0000")]
    pub phone: Option<String>,
}

/// Changes what is known of a customer; a customer changes themself alone.
///
/// Whoever has a token of an identity provider, or is brought by the shop's backend, becomes
/// known by this.
#[utoipa::path(
    put, path = "/v1/customers/{customer_id}", tag = "customers",
    security(("bearer" = ["customers:write"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850")),
    request_body(content = CustomerRequest, description = "What is to be known of the customer"),
    responses(
        (status = 200, description = "The customer as they are now", body = CustomerResource),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn update(
    Authorized { caller, .. }: Authorized<scope::WriteCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    Body(request): Body<CustomerRequest>,
) -> Result<Json<CustomerResource>, Problem> {
    let CustomerRequest { name, phone } = request;
    customers::update::update(&state.app, &caller, &customer_id, name.as_deref(), phone.as_deref())
        .await
        .map(Json)
}
