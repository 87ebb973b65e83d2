//! `GET /.well-known/openid-configuration`: discovery of the shop's own issuer.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};
use strum::IntoEnumIterator;

use crate::error::Problem;
use crate::http::State;
use crate::http::problem::{Document, ReadProblems};
use crate::identity::scope::Scope;

/// Describes the shop's own issuer, as RFC 8414 and `OpenID` Connect Discovery define.
#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "identity",
    responses(
        (status = 200, description = "The issuer's metadata", body = Object),
        (status = 404, description = "This shop's tokens come from another issuer",
         body = Document, content_type = "application/problem+json"),
        ReadProblems,
    ),
)]
pub(crate) async fn discovery(Shared(state): Shared<State>) -> Result<Json<Value>, Problem> {
    let issuer = state.identity.own_issuer()?.url();
    let base = issuer.trim_end_matches('/');
    Ok(Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "token_endpoint": format!("{base}/oauth/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": Scope::iter().map(Scope::as_str).collect::<Vec<_>>(),
        // Required of an OpenID provider, although there is no browser sign-in here.
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })))
}
