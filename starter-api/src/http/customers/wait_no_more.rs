//! `DELETE /v1/customers/{customer_id}/waits/{sku}`: a customer no longer waits for an article.

use axum::Json;
use axum::extract::State as Shared;
use domain::Sku;

use crate::app::customers::mail::{self, MailPreferences};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Ends a customer's wait for an article. A notification that is not sent yet is withdrawn.
#[utoipa::path(
    delete, path = "/v1/customers/{customer_id}/waits/{sku}", tag = "customers",
    security(("bearer" = ["customers:write"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850"),
           ("sku" = Sku, Path, description = "The article's number", example = "85123A")),
    responses(
        (status = 200, description = "They do not wait for it", body = MailPreferences),
        (status = 404, description = "There is no such customer or article", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn wait_no_more(
    Authorized { caller, .. }: Authorized<scope::WriteCustomers>,
    Shared(state): Shared<State>,
    Path((customer_id, sku)): Path<(String, String)>,
) -> Result<Json<MailPreferences>, Problem> {
    mail::wait_no_more(&state.app, &caller, &customer_id, &sku).await.map(Json)
}
