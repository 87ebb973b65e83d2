//! `POST /oauth/token`: issues a token to a program or a staff member (RFC 6749, 4.4).
//!
//! Errors have the form of RFC 6749 instead of problem documents, because OAuth clients expect
//! that.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headers::authorization::Basic;
use headers::{Authorization, HeaderMapExt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Problem;
use crate::http::State;
use crate::http::identity::NO_STORE;
use crate::http::problem::Document;
use crate::identity::IssuedToken;
use crate::identity::scope::{Scope, parse_scopes};

/// The request for a token, as a form.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    /// `client_credentials`.
    #[schema(example = "client_credentials")]
    pub grant_type: Option<String>,
    /// The client's id, unless it is sent as HTTP Basic.
    pub client_id: Option<String>,
    /// The client's secret, unless it is sent as HTTP Basic.
    pub client_secret: Option<String>,
    /// The scopes to request, out of those of the role; all if left out.
    #[schema(example = "orders:read")]
    pub scope: Option<String>,
}

/// Why no token is issued, as defined by RFC 6749.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenRefused {
    /// The error code.
    #[schema(example = "invalid_client")]
    error: &'static str,
    /// What to do about it.
    error_description: &'static str,
}

/// Issues a token to a client.
///
/// The client sends its id and secret as HTTP Basic, form-encoded or raw, or in the form.
#[utoipa::path(
    post, path = "/oauth/token", tag = "identity",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded",
                 description = "The grant, and which scopes the token is to allow"),
    responses(
        (status = 200, description = "A token for the client's scopes", body = IssuedToken),
        (status = 400, description = "The request is not valid", body = TokenRefused),
        (status = 401, description = "There is no client with this id and secret",
         body = TokenRefused),
        (status = 404, description = "This shop's tokens come from another issuer",
         body = Document, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Document,
         content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn token(
    Shared(state): Shared<State>,
    headers: HeaderMap,
    form: Bytes,
) -> Result<Response, Problem> {
    let issuer = state.identity.own_issuer()?;
    let Credentials { readings, scopes } = match read(&headers, &form) {
        Ok(credentials) => credentials,
        Err(refused) => return Ok(refused.into_response()),
    };
    let mut known = None;
    for (client_id, secret) in readings {
        if let Some(role) = issuer.client(&client_id, &secret).await? {
            known = Some((client_id, role));
            break;
        }
    }
    let Some((client_id, role)) = known else { return Ok(NO_SUCH_CLIENT.into_response()) };
    let allows = |scope| scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope));
    if !role.scopes().iter().any(|scope| allows(*scope)) {
        return Ok(NO_SUCH_SCOPE.into_response());
    }
    let token = issuer.issue(&client_id, role, allows).await?;
    Ok((NO_STORE, Json(token)).into_response())
}

/// A client's credentials, and the scopes that it requests.
struct Credentials {
    /// Id and secret, in each possible interpretation.
    readings: Vec<(String, String)>,
    scopes: Option<BTreeSet<Scope>>,
}

fn read(headers: &HeaderMap, form: &[u8]) -> Result<Credentials, TokenRefused> {
    let request: TokenRequest =
        serde_urlencoded::from_bytes(form).map_err(|_unreadable| NOT_A_FORM)?;
    match request.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(NO_SUCH_GRANT),
        None => return Err(NOT_A_FORM),
    }
    let sent = match headers.typed_get::<Authorization<Basic>>() {
        // More than one way of authenticating is an error (RFC 6749, 2.3).
        Some(_) if request.client_secret.is_some() => return Err(NOT_A_FORM),
        Some(basic) => Some(readings(basic.username(), basic.password())),
        None => request.client_id.zip(request.client_secret).map(|sent| vec![sent]),
    };
    let scopes = request.scope.as_deref().map(parse_scopes);
    Ok(Credentials { readings: sent.ok_or(NO_SUCH_CLIENT)?, scopes })
}

/// The number of possible interpretations of a client's id and secret.
#[cfg(fuzzing)]
pub(in crate::http) fn readings_of(headers: &HeaderMap, form: &[u8]) -> Option<usize> {
    read(headers, form).ok().map(|credentials| credentials.readings.len())
}

/// Id and secret of HTTP Basic: form-encoded, as RFC 6749 (2.3.1) requires, or raw, as many
/// programs send them.
fn readings(username: &str, password: &str) -> Vec<(String, String)> {
    let as_sent = (username.to_owned(), password.to_owned());
    let decoded = form_decoded(username).zip(form_decoded(password));
    let decoded = decoded.filter(|decoded| *decoded != as_sent);
    decoded.into_iter().chain([as_sent]).collect()
}

fn form_decoded(text: &str) -> Option<String> {
    let form = format!("text={text}");
    let fields = serde_urlencoded::from_str::<Vec<(String, String)>>(&form).ok()?;
    match <[_; 1]>::try_from(fields) {
        Ok([(_name, text)]) => Some(text),
        Err(_several) => None,
    }
}

const NOT_A_FORM: TokenRefused = TokenRefused {
    error: "invalid_request",
    error_description: "Send grant_type=client_credentials as a form, and the client's secret once",
};
const NO_SUCH_GRANT: TokenRefused = TokenRefused {
    error: "unsupported_grant_type",
    error_description: "The grant is client_credentials; customers sign in with POST /v1/sessions",
};
const NO_SUCH_CLIENT: TokenRefused = TokenRefused {
    error: "invalid_client",
    error_description: "There is no client with this id and secret",
};
const NO_SUCH_SCOPE: TokenRefused = TokenRefused {
    error: "invalid_scope",
    error_description: "The client has none of the scopes that it asks for",
};

impl IntoResponse for TokenRefused {
    fn into_response(self) -> Response {
        if self.error == NO_SUCH_CLIENT.error {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"ordersaga\", charset=\"UTF-8\"")];
            return (StatusCode::UNAUTHORIZED, NO_STORE, ask, Json(self)).into_response();
        }
        (StatusCode::BAD_REQUEST, NO_STORE, Json(self)).into_response()
    }
}
