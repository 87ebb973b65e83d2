//! `POST /v1/mail/{notification_id}/skip`: gives up a mail.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::mail::{self, Notification};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// Why the mail is not sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SkipTheMail)]
pub(crate) struct SkipRequest {
    /// The reason, shown to other operators. Do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "told by telephone")]
    pub why: String,
}

/// Gives up a mail that is parked or queued. Later mails of its order are sent.
#[utoipa::path(
    post, path = "/v1/mail/{notification_id}/skip", tag = "mail",
    security(("bearer" = ["mail:operate"])),
    params(("notification_id" = String, Path, description = "Its number, as listed")),
    request_body(content = SkipRequest, description = "Why it is not sent"),
    responses(
        (status = 200, description = "The mail, with who has given it up", body = Notification),
        (status = 404, description = "No mail of this number is parked or still to be sent",
         body = Document, content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn skip_notification(
    Authorized { caller, .. }: Authorized<scope::OperateMail>,
    Shared(state): Shared<State>,
    Path(notification_id): Path<String>,
    Body(request): Body<SkipRequest>,
) -> Result<Json<Notification>, Problem> {
    mail::skip(&state.app, &caller, &notification_id, &request.why).await.map(Json)
}
