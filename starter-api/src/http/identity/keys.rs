//! `GET /.well-known/jwks.json`: the public keys that verify this shop's tokens.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::jwk::JwkSet;

use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{Document, ReadProblems};

/// Returns the public keys of the shop's own issuer as a JWK set (RFC 7517).
///
/// Fetch them again when a token has an unknown key id. A key is published for one day longer than
/// it signs.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "identity",
    responses(
        (status = 200, description = "A JWK set", body = Object),
        (status = 404, description = "This shop's tokens come from another issuer",
         body = Document, content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn keys(Shared(state): Shared<State>) -> Result<Response, Problem> {
    let keys = state.identity.own_issuer()?.public_keys().await?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=300")], Json(JwkSet { keys })).into_response())
}
