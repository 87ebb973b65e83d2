//! `POST /v1/unsubscribe/{token}`: a customer switches mails of a kind off, without signing in.

use axum::extract::State as Shared;
use axum::response::Html;

use crate::app::mail;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{Document, ReadProblems};

const DONE: &str = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
    <title>Switched off</title></head>\n\
    <body><p>You will get no more mails of this kind.</p></body>\n</html>\n";

/// Switches off the mails of the kind of one, for the customer who has got it.
///
/// The link is in the mail: its text, and its header `List-Unsubscribe`, which mail programs follow
/// with one click (RFC 8058). Whoever has the mail may do this; it shows nothing of the customer.
/// What is sent with it is not read.
#[utoipa::path(
    post, path = "/v1/unsubscribe/{token}", tag = "mail",
    params(("token" = String, Path, description = "The mail's own token, as its link has it")),
    responses(
        (status = 200, description = "They are switched off", body = String,
         content_type = "text/html"),
        (status = 404, description = "No mail has this token", body = Document,
         content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn unsubscribe(
    Shared(state): Shared<State>,
    Path(token): Path<String>,
) -> Result<Html<&'static str>, Problem> {
    mail::unsubscribe(&state.app, &token).await?;
    Ok(Html(DONE))
}
