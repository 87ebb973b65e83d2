//! Webhook endpoints: URLs to which the shop sends events.
//!
//! Endpoints are managed here, and the relay delivers to them. A secret is generated here and shown
//! once, in the response to the request that created it; the starter's database role has no right
//! to read it back. So a repeated request is answered without it, and a client that lost the first
//! response rotates the secret.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod deliveries;
pub(crate) mod list;
pub(crate) mod redeliver;
pub(crate) mod remove;
pub(crate) mod rotate;
mod secret;
mod store;
pub(crate) mod try_out;

use chrono::{DateTime, Utc};
use domain::event::EventType;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::error::{Kind, Problem};

/// The maximum length of a description, in characters.
const DESCRIPTION_MAX: usize = 200;

/// A webhook endpoint and its delivery state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub(crate) struct EndpointResource {
    /// Its id.
    pub(crate) endpoint_id: Uuid,
    /// The URL that messages are sent to.
    #[schema(example = "https://erp.example.org/events")]
    url: String,
    /// A description for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the ERP")]
    description: Option<String>,
    /// The events that are sent to it; all, if empty.
    events: Vec<EventType>,
    /// Whether messages are sent to it.
    state: EndpointState,
    /// Why and since when it is disabled; absent while it is enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<Disabled>,
    /// Since when every delivery has failed; absent while deliveries succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<DateTime<Utc>>,
    /// The result of the last attempt, while deliveries fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "it did not answer in time")]
    last_failure: Option<String>,
    /// The secrets that messages are signed with, newest first, without the secrets themselves.
    secrets: Vec<SecretStanding>,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// Who created it, as the token named them.
    #[schema(example = "eve")]
    created_by: String,
}

/// The validity of a signing secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SecretStanding {
    /// When it was created.
    created_at: DateTime<Utc>,
    /// When it expires, if a newer one has replaced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

/// Whether messages are sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndpointState {
    /// Messages are sent.
    Enabled,
    /// No messages are sent; they wait.
    Disabled,
}

/// Why an endpoint is disabled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Disabled {
    /// The reason.
    because: DisabledBecause,
    /// Since when.
    at: DateTime<Utc>,
    /// Who has disabled it, as named by their token, if a person has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    by: Option<String>,
}

/// The reason why an endpoint is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DisabledBecause {
    /// An operator has disabled it.
    ByOperator,
    /// It has answered 410 Gone: it wants no more messages.
    Gone,
    /// All deliveries have failed for days.
    Failing,
}

/// An endpoint, with its new secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpointWithSecret)]
pub(crate) struct EndpointWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    pub(crate) endpoint: EndpointResource,
    /// The secret with which the receiver verifies messages. It is shown only once; a repeat of the
    /// request is answered without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_YW4gZXhhbXBsZSB0aGF0IGlzIG5vYm9keSdzIG93biE=")]
    pub(crate) secret: Option<String>,
}

/// Parses an endpoint's id. Text that is not an id is answered like an unknown endpoint.
fn parse_endpoint_id(text: &str) -> Result<Uuid, Problem> {
    let is_written_out = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_id| is_written_out).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(Kind::EndpointNotFound, "There is no webhook endpoint with this id.")
}

/// The endpoint with this id.
///
/// **Errors.** 404 if there is none.
pub(crate) async fn read(app: &App, endpoint_id: &str) -> Result<EndpointResource, Problem> {
    store::read(&app.database, parse_endpoint_id(endpoint_id)?).await?.ok_or_else(not_found)
}

/// The endpoint with this id, which must be enabled.
///
/// **Errors.** 404 if there is none; 409 if it is disabled.
async fn read_enabled(app: &App, endpoint_id: &str) -> Result<EndpointResource, Problem> {
    let endpoint = read(app, endpoint_id).await?;
    match endpoint.state {
        EndpointState::Enabled => Ok(endpoint),
        EndpointState::Disabled => Err(Problem::new(
            Kind::EndpointDisabled,
            "The endpoint is disabled: enable it, with PATCH, before it is sent anything.",
        )),
    }
}
