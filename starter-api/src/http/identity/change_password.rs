//! `PUT /v1/customers/{customer_id}/password`: changes a customer's password.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::CustomerId;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// The current password, and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The current password.
    #[schema(example = "three words will do")]
    pub present_password: String,
    /// Anything hard to guess. Only a hash of it is stored.
    #[schema(min_length = 12, max_length = 256, example = "three others do as well")]
    pub new_password: String,
}

/// Changes the caller's own password.
///
/// The current password is required as well, because a stolen token must not be enough. Tokens
/// issued before stay valid until they expire, after 15 minutes at most by default; a new token
/// requires the new password.
#[utoipa::path(
    put, path = "/v1/customers/{customer_id}/password", tag = "identity",
    security(("bearer" = ["password:change"])),
    params(("customer_id" = CustomerId, Path, description = "The customer", example = "17850")),
    request_body(content = PasswordChange, description = "The present password, and the new one"),
    responses(
        (status = 204, description = "The new password is valid from now on"),
        (status = 404, description = "The caller is another customer; or this shop's customers \
                                      have their passwords elsewhere", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn change_password(
    Authorized { caller, .. }: Authorized<scope::ChangePassword>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    Body(request): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let issuer = state.identity.own_issuer()?;
    let own = caller.customer().filter(|own| own.as_str() == customer_id);
    let own = own.ok_or_else(Problem::customer_not_found)?;
    let PasswordChange { present_password, new_password } = request;
    issuer.change_password(own, present_password, new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
