//! `POST /v1/unsubscribe/{token}`: a customer switches off mails of a kind, without signing in.

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

/// Switches off the mails of the same kind as the mail with this token, for the customer who
/// received it.
///
/// The link is in the text of the mail, and in its header `List-Unsubscribe`, which mail programs
/// call with one click (RFC 8058). Possession of the link is the only authentication; the response
/// shows nothing about the customer. The body of the request is ignored.
#[utoipa::path(
    post, path = "/v1/unsubscribe/{token}", tag = "mail",
    params(("token" = String, Path, description = "The mail's own token, as its link has it")),
    responses(
        (status = 200, description = "They are switched off", body = String,
         content_type = "text/html"),
        (status = 404, description = "There is no mail with this token", body = Document,
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
