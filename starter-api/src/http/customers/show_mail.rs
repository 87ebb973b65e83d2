//! `GET /v1/customers/{customer_id}/mail`: shows a customer's mail preferences.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::customers::mail::{self, MailPreferences};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Shows a customer's mail preferences, and which articles they wait for. A customer sees only
/// their own. By default, all mails are sent.
#[utoipa::path(
    get, path = "/v1/customers/{customer_id}/mail", tag = "customers",
    security(("bearer" = ["customers:read"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850")),
    responses(
        (status = 200, description = "The mail preferences", body = MailPreferences),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn show_mail(
    Authorized { caller, .. }: Authorized<scope::ReadCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
) -> Result<Json<MailPreferences>, Problem> {
    mail::read(&state.app, &caller, &customer_id).await.map(Json)
}
