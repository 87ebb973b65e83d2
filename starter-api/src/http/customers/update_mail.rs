//! `PUT /v1/customers/{customer_id}/mail`: changes what a customer wants of the shop's mails.

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

/// What a customer wants of the shop's mails. A field that is left out is deleted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailWishes)]
pub(crate) struct PreferencesRequest {
    /// Where mails go, for a customer who is not registered, or whose mails go elsewhere. Only the
    /// shop's own programs say so; what they have said stays when a customer leaves it out.
    #[schema(max_length = 254, example = "ada@example.org")]
    pub email: Option<String>,
    /// The locale that mails are written in, such as `de` or `de-AT`.
    #[schema(example = "de")]
    pub locale: Option<String>,
    /// Mails that are not sent: `shipped`, `delivered` and `back-in-stock` can be among them.
    #[serde(default)]
    #[schema(max_items = 9)]
    pub switched_off: Vec<MailTemplate>,
}

/// Changes what a customer wants of the shop's mails. A customer changes only their own.
#[utoipa::path(
    put, path = "/v1/customers/{customer_id}/mail", tag = "customers",
    security(("bearer" = ["customers:write"])),
    params(("customer_id" = domain::CustomerId, Path, description = "The customer", example = "17850")),
    request_body(content = PreferencesRequest, description = "What they want"),
    responses(
        (status = 200, description = "What they want now", body = MailPreferences),
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
