//! `PUT /v1/customers/{customer_id}/password`: a customer takes another password.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::CustomerId;
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::customers::nobody;
use crate::extract::{Body, Path};
use crate::identity::access::{May, scope};
use crate::identity::attempts::Attempt;
use crate::identity::register::fit;
use crate::problem::{Breach, Document, Guarded, OrProblem, Problem, WriteProblems};
use crate::rules::Rules;
use crate::state::State;

/// The password of now, and the one in its place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The one that counts now.
    #[schema(example = "three words will do")]
    pub present_password: String,
    /// Anything hard to guess. Kept as a hash alone.
    #[schema(min_length = 12, max_length = 256, example = "three others do as well")]
    pub new_password: String,
}

/// Changes the caller's own password.
///
/// Takes the present one too, because a token that was left lying about must not be enough. A
/// token from before counts until its time is over, 15 minutes at most by default; from now on
/// only the new password gets another.
#[utoipa::path(
    put, path = "/v1/customers/{customer_id}/password", tag = "identity",
    security(("bearer" = ["password:change"])),
    params(("customer_id" = CustomerId, Path, description = "The customer", example = "17850")),
    request_body(content = PasswordChange, description = "The password that counts, and the one that is to"),
    responses(
        (status = 204, description = "The new password counts from now on"),
        (status = 404, description = "The caller is no such customer; or this shop's customers \
                                      have their passwords elsewhere", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn change_password(
    May { caller, .. }: May<scope::ChangePassword>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    Body(written): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    const DOING: &str = "changing a password";
    let issuer = state.identity.own_issuer()?;
    let own = caller.customer().filter(|own| own.as_str() == customer_id).ok_or_else(nobody)?;
    let mut rules = Rules::default();
    let fits = rules.check("/new_password", fit(&written.new_password));
    rules.kept(fits)?;
    let (email, present_hash) = login(issuer.database(), own).await?;

    let attempt = Attempt::count(issuer.database(), &email).await?;
    let passwords = &issuer.passwords;
    if !passwords.are_the_same(written.present_password, Some(present_hash.clone())).await? {
        return Err(wrong());
    }
    attempt.forgive().await?;
    let hash = passwords.hash(written.new_password).await?;
    // Of two changes at once, one finds its present password gone.
    let changed = sqlx::query!(
        "update identity.logins set password_hash = $3
         where customer_id = $1 and password_hash = $2",
        own.as_str(),
        present_hash,
        hash,
    )
    .execute(issuer.database())
    .await
    .or_problem(DOING)?;
    if changed.rows_affected() == 0 {
        return Err(wrong());
    }
    tracing::info!(customer = own.as_str(), "a customer has changed their password");
    Ok(StatusCode::NO_CONTENT)
}

async fn login(database: &PgPool, customer: &CustomerId) -> Result<(String, String), Problem> {
    let login = sqlx::query!(
        "select email, password_hash from identity.logins where customer_id = $1",
        customer.as_str(),
    )
    .fetch_optional(database)
    .await
    .or_problem("looking up a customer")?;
    login.map(|login| (login.email, login.password_hash)).ok_or_else(nobody)
}

fn wrong() -> Problem {
    Problem::invalid(vec![Breach {
        pointer: "/present_password".to_owned(),
        detail: "this is not the present password".to_owned(),
    }])
}
