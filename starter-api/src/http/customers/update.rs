//! `PUT /v1/customers/{customer_id}`: changes a customer.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::customers::{self, CustomerResource};
use crate::error::Problem;
use crate::http::State;
use crate::http::conditional;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// The changeable fields of a customer. An omitted field is deleted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Particulars)]
pub(crate) struct CustomerRequest {
    /// Their name.
    #[schema(min_length = 1, max_length = 200, example = "Ada Example")]
    pub name: Option<String>,
    /// A telephone number for the carrier.
    #[schema(min_length = 1, max_length = 40, example = "+44 20 7946 0000")]
    pub phone: Option<String>,
}

/// Changes a customer's particulars. A customer changes only their own.
///
/// A customer who signs in with an identity provider, or whom the shop's backend registers, is
/// created by this.
#[utoipa::path(
    put, path = "/v1/customers/{customer_id}", tag = "customers",
    security(("bearer" = ["customers:write"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850"),
           ("If-Match" = Option<String>, Header,
            description = "The `ETag` of the version to change"),
           ("If-None-Match" = Option<String>, Header, example = "*",
            description = "`*`: only if the customer is not known yet")),
    request_body(content = CustomerRequest, description = "The customer's particulars"),
    responses(
        (status = 200, description = "The customer as they are now", body = CustomerResource,
         headers(("ETag" = String, description = "Identifies this version of the response"))),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        (status = 412, description = "The precondition does not hold",
         body = Document, content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn update(
    Authorized { caller, .. }: Authorized<scope::WriteCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    headers: HeaderMap,
    Body(request): Body<CustomerRequest>,
) -> Result<Response, Problem> {
    let CustomerRequest { name, phone } = request;
    let (name, phone) = (name.as_deref(), phone.as_deref());
    let consent = |present: Option<&CustomerResource>| conditional::allows(&headers, present);
    let changed =
        customers::update::update(&state.app, &caller, &customer_id, name, phone, consent).await?;
    conditional::changed(&changed)
}
