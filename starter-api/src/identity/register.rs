//! `POST /v1/customers`: become a customer.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::CustomerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::extract::Body;
use crate::problem::{Document, Kind, OrProblem, Problem, WriteProblems};
use crate::rules::Rules;
use crate::state::State;

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
    const DOING: &str = "registering a customer";
    let issuer = state.identity.own_issuer()?;
    let mut rules = Rules::default();
    let email = rules.check("/email", email(&registration.email));
    rules.check("/password", fit(&registration.password));
    let email = rules.kept(email)?;

    let hash = issuer.passwords.hash(registration.password).await?;
    let customer_id = CustomerId::parse(Uuid::now_v7().to_string())
        .map_err(|error| Problem::internal(DOING, &error))?;
    let entered = sqlx::query!(
        "with login as (
             insert into identity.logins (customer_id, email, password_hash) values ($1, $2, $3)
             on conflict (email) do nothing
             returning customer_id, email
         )
         insert into customers.customers (customer_id, email)
         select customer_id, email from login
         on conflict (customer_id) do update set email = excluded.email",
        customer_id.as_str(),
        email,
        hash,
    )
    .execute(issuer.database())
    .await
    .or_problem(DOING)?;
    if entered.rows_affected() == 0 {
        return Err(Problem::new(
            Kind::EmailTaken,
            "There is a customer of this e-mail address. Sign in with POST /v1/sessions.",
        ));
    }
    Ok((StatusCode::CREATED, Json(Registered { customer_id })))
}

/// The address as it is compared. Whether it can be reached, only a letter would tell.
pub(super) fn email(written: &str) -> Result<String, &'static str> {
    let email = written.trim().to_lowercase();
    let shaped = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let plain = !email.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    if shaped && plain && email.len() <= 254 {
        Ok(email)
    } else {
        Err("an e-mail address of at most 254 characters, such as ada@example.org")
    }
}

pub(super) fn fit(password: &str) -> Result<(), &'static str> {
    let fits = password.chars().count() >= 12 && password.len() <= 256;
    fits.then_some(()).ok_or("a password of 12 characters or more, at most 256 bytes")
}
