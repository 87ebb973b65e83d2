//! `POST /v1/mail/{notification_id}/retry`: sends a parked mail again.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::mail::{self, Notification};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Sends a parked mail again within some seconds. If the outcome of the first attempt is unknown,
/// the customer may get it twice.
#[utoipa::path(
    post, path = "/v1/mail/{notification_id}/retry", tag = "mail",
    security(("bearer" = ["mail:operate"])),
    params(("notification_id" = String, Path, description = "Its number, as listed")),
    responses(
        (status = 200, description = "It is sent, within some seconds", body = Notification),
        (status = 404, description = "No mail of this number is parked", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn retry_notification(
    Authorized { caller, .. }: Authorized<scope::OperateMail>,
    Shared(state): Shared<State>,
    Path(notification_id): Path<String>,
) -> Result<Json<Notification>, Problem> {
    mail::retry(&state.app, &caller, &notification_id).await.map(Json)
}
