//! `GET /v1/unsubscribe/{token}`: the page on which a customer switches off mails of a kind.

use axum::response::Html;

use crate::http::problem::ReadProblems;

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
    <title>Switch mails off</title></head>\n\
    <body><form method=\"post\"><p>Do you want no more mails of this kind?</p>\
    <p><button>Switch them off</button></p></form></body>\n</html>\n";

/// Shows a page with a button that switches the mails off. Opening it changes nothing, because link
/// scanners open every link of a mail.
#[utoipa::path(
    get, path = "/v1/unsubscribe/{token}", tag = "mail",
    params(("token" = String, Path, description = "The mail's own token, as its link has it")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"),
              ReadProblems),
)]
pub(crate) async fn unsubscribe_page() -> Html<&'static str> {
    Html(PAGE)
}
