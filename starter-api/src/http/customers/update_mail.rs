//! `PUT /v1/customers/{customer_id}/mail`: changes a customer's mail preferences.

use axum::Json;
use axum::extract::State as Shared;
use domain::MailTemplate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::customers::mail::{self, MailPreferences, PreferencesInput};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A customer's mail preferences. An omitted field is deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailWishes)]
pub(crate) struct PreferencesRequest {
    /// The address for mails, if it is not the one the customer registered with. Only the shop's
    /// own programs may set it; it is kept if a customer omits it.
    #[schema(max_length = 254, example = "ada@example.org")]
    pub email: Option<String>,
    /// The locale of mails, such as `de` or `de-AT`.
    #[schema(example = "de")]
    pub locale: Option<String>,
    /// Mails that are not sent: any of `shipped`, `delivered` and `back-in-stock`.
    #[serde(default)]
    #[schema(max_items = 9)]
    pub switched_off: Vec<MailTemplate>,
}

/// Changes a customer's mail preferences. A customer changes only their own.
#[utoipa::path(
    put, path = "/v1/customers/{customer_id}/mail", tag = "customers",
    security(("bearer" = ["customers:write"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850")),
    request_body(content = PreferencesRequest, description = "The mail preferences"),
    responses(
        (status = 200, description = "The mail preferences now", body = MailPreferences),
        (status = 404, description = "There is no such customer", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn update_mail(
    Authorized { caller, .. }: Authorized<scope::WriteCustomers>,
    Shared(state): Shared<State>,
    Path(customer_id): Path<String>,
    Body(request): Body<PreferencesRequest>,
) -> Result<Json<MailPreferences>, Problem> {
    let input = PreferencesInput {
        email: request.email.as_deref(),
        locale: request.locale.as_deref(),
        switched_off: &request.switched_off,
    };
    mail::update(&state.app, &caller, &customer_id, input).await.map(Json)
}
