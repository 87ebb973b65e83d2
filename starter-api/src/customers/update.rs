//! `PUT /v1/customers/{customer_id}`: what the shop is to call them.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::customers::{self, CustomerResource};
use crate::extract::{Body, Path};
use crate::identity::access::{May, scope};
use crate::problem::{Document, Guarded, OrProblem, Problem, WriteProblems};
use crate::rules::{Rules, line_of_text};
use crate::state::State;

/// What can be changed of a customer. What is left out is forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Particulars {
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
    request_body(content = Particulars, description = "What is to be known of the customer"),
    responses(
        (status = 200, description = "The customer as they are now", body = CustomerResource),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn update(
    May { caller, .. }: May<scope::WriteCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    Body(written): Body<Particulars>,
) -> Result<Json<CustomerResource>, Problem> {
    let customer_id = customers::visible(&caller, &customer_id)?;
    let mut rules = Rules::default();
    let mut line = |pointer: &str, text: &Option<String>, most| {
        rules.check_given(pointer, text.as_deref().map(|text| line_of_text(text, most)))
    };
    let (name, phone) = (line("/name", &written.name, 200), line("/phone", &written.phone, 40));
    rules.kept(Some(()))?;
    let customer = sqlx::query_as!(
        CustomerResource,
        "insert into customers.customers as known (customer_id, name, phone) values ($1, $2, $3)
         on conflict (customer_id) do update
         set name = excluded.name, phone = excluded.phone, updated_at = now()
         returning customer_id, email, name, phone, created_at",
        customer_id.as_str(),
        name,
        phone,
    )
    .fetch_one(&state.database)
    .await
    .or_problem("changing a customer")?;
    Ok(Json(customer))
}
