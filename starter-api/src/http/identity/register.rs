//! `POST /v1/customers`: become a customer.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::CustomerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::problem::{Document, WriteProblems};

/// Who wants to be a customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// By which the customer signs in. Large and small letters are the same.
    #[schema(min_length = 3, max_length = 254, example = "ada@example.org")]
    pub email: String,
    /// Anything hard to guess. Kept as a hash alone.
    #[schema(min_length = 12, max_length = 256, example = "three words will do")]
    pub password: String,
}

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registered {
    /// The customer's name everywhere else.
    customer_id: CustomerId,
}

/// Registers a customer.
///
/// The customer signs in with `POST /v1/sessions` afterwards.
#[utoipa::path(
    post, path = "/v1/customers", tag = "identity",
    request_body(content = Registration, description = "Who it is to be"),
    responses(
        (status = 201, description = "The customer is known from now on", body = Registered),
        (status = 404, description = "This shop's customers register elsewhere", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "There is a customer of this address", body = Document,
         content_type = "application/problem+json"),
        WriteProblems,
    ),
)]
pub(crate) async fn register(
    Shared(state): Shared<State>,
    Body(registration): Body<Registration>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let Registration { email, password } = registration;
    let customer_id = state.identity.own_issuer()?.register(&email, password).await?;
    Ok((StatusCode::CREATED, Json(Registered { customer_id })))
}
