//! `POST /v1/sessions`: a customer shows who they are.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderName, header};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::extract::Body;
use crate::identity::access::Role;
use crate::identity::attempts::Attempt;
use crate::identity::embedded::IssuedToken;
use crate::identity::register::email;
use crate::problem::{Document, OrProblem, Problem, WriteProblems};
use crate::state::State;

/// What a customer signs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// As it was registered.
    #[schema(example = "ada@example.org")]
    pub email: String,
    /// As it was registered.
    #[schema(example = "three words will do")]
    pub password: String,
}

/// A token is nobody else's to keep.
pub(super) const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Signs a customer in.
///
/// An unknown address and a wrong password are answered the same, and take as long. After five
/// wrong ones in a row for one address the next has to wait, 15 seconds at first and 15 minutes
/// at most; until then the right one is refused as well.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "identity",
    request_body(content = SignIn, description = "The address and the password"),
    responses(
        (status = 200, description = "A token for this customer's own orders",
         body = IssuedToken),
        (status = 401, description = "There is no customer of this address and password",
         body = Document, content_type = "application/problem+json"),
        (status = 404, description = "This shop's customers sign in elsewhere", body = Document,
         content_type = "application/problem+json"),
        WriteProblems,
    ),
)]
pub(crate) async fn sign_in(
    Shared(state): Shared<State>,
    Body(shown): Body<SignIn>,
) -> Result<([(HeaderName, &'static str); 1], Json<IssuedToken>), Problem> {
    let issuer = state.identity.own_issuer()?;
    let email = email(&shown.email).unwrap_or_default();
    // What is no address is counted as it was typed.
    let account = if email.is_empty() { &shown.email } else { &email };
    let attempt = Attempt::count(issuer.database(), account).await?;
    let login = sqlx::query!(
        "select customer_id, password_hash from identity.logins where email = $1",
        email,
    )
    .fetch_optional(issuer.database())
    .await
    .or_problem("looking up a customer")?;
    let (customer, hash) = login.map(|login| (login.customer_id, login.password_hash)).unzip();
    let same = issuer.passwords.are_the_same(shown.password, hash).await?;
    let customer = customer.filter(|_customer| same).ok_or_else(Problem::sign_in_failed)?;
    attempt.forgive().await?;
    let token = issuer.issue(&customer, Role::Customer, |_every_scope| true).await?;
    Ok((NO_STORE, Json(token)))
}
