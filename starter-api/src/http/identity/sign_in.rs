//! `POST /v1/sessions`: signs a customer in.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::HeaderName;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::identity::NO_STORE;
use crate::http::problem::{Document, WriteProblems};
use crate::identity::IssuedToken;

/// A customer's credentials.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// The registered e-mail address.
    #[schema(example = "ada@example.org")]
    pub email: String,
    /// The password.
    #[schema(example = "three words will do")]
    pub password: String,
}

/// Signs a customer in.
///
/// An unknown address and a wrong password get the same response, after the same time. After five
/// wrong passwords in a row for one address, sign-in for it is delayed, from 15 seconds up to 15
/// minutes. Until then even the right password is refused.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "identity",
    request_body(content = SignIn, description = "The address and the password"),
    responses(
        (status = 200, description = "A token for this customer's own orders",
         body = IssuedToken),
        (status = 401, description = "There is no customer with this address and password",
         body = Document, content_type = "application/problem+json"),
        (status = 404, description = "This shop's customers sign in with another issuer", body = Document,
         content_type = "application/problem+json"),
        WriteProblems,
    ),
)]
pub(crate) async fn sign_in(
    Shared(state): Shared<State>,
    Body(request): Body<SignIn>,
) -> Result<([(HeaderName, &'static str); 1], Json<IssuedToken>), Problem> {
    let SignIn { email, password } = request;
    let token = state.identity.own_issuer()?.sign_in(&email, password).await?;
    Ok((NO_STORE, Json(token)))
}
