//! `POST /v1/customers`: registers a customer.

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

/// The new customer's credentials.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// The e-mail address to sign in with. Case is ignored.
    #[schema(min_length = 3, max_length = 254, example = "ada@example.org")]
    pub email: String,
    /// Anything hard to guess. Only a hash of it is stored.
    #[schema(min_length = 12, max_length = 256, example = "three words will do")]
    pub password: String,
}

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registered {
    /// The customer's id.
    customer_id: CustomerId,
}

/// Registers a customer.
///
/// The customer signs in with `POST /v1/sessions` afterwards.
#[utoipa::path(
    post, path = "/v1/customers", tag = "identity",
    request_body(content = Registration, description = "The new customer's credentials"),
    responses(
        (status = 201, description = "The customer is registered", body = Registered),
        (status = 404, description = "This shop's customers register with another issuer", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "There is a customer with this address", body = Document,
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
