//! Webhook endpoints: whom the shop tells of events by HTTP.
//!
//! They are created and changed here, and told by the relay. A secret is drawn here, shown once, in
//! the answer to the request that it is drawn for, and cannot be read back: the starter's role has no
//! right to. So a request that is repeated is answered without it, and whoever has lost the first
//! answer has the secret rotated.

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

/// The most characters of a description.
const DESCRIPTION_MAX: usize = 200;

/// A webhook endpoint, and how it does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub(crate) struct EndpointResource {
    /// Its id.
    pub(crate) endpoint_id: Uuid,
    /// Where messages go.
    #[schema(example = "https://erp.example.org/events")]
    url: String,
    /// What it is, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the ERP")]
    description: Option<String>,
    /// The events that it hears of; all, if none is named.
    events: Vec<EventType>,
    /// Whether it is told anything.
    state: EndpointState,
    /// Why not, and since when; absent while it is enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<Disabled>,
    /// Since when it has taken nothing although it was asked to; absent while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<DateTime<Utc>>,
    /// What the last attempt ended with, while it takes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "it did not answer in time")]
    last_failure: Option<String>,
    /// The secrets that messages are signed by, the newest first; not the secrets themselves.
    secrets: Vec<SecretStanding>,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// Who created it, as the token named them.
    #[schema(example = "eve")]
    created_by: String,
}

/// Since when a secret counts, and until when.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SecretStanding {
    /// When it was drawn.
    created_at: DateTime<Utc>,
    /// Until when it counts, if a newer one has replaced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

/// Whether an endpoint is told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndpointState {
    /// It is.
    Enabled,
    /// It is not; its messages wait.
    Disabled,
}

/// Why an endpoint is told nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Disabled {
    /// The reason.
    because: DisabledBecause,
    /// Since when.
    at: DateTime<Utc>,
    /// Who has disabled it, as the token named them, if somebody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    by: Option<String>,
}

/// A reason for an endpoint to be disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DisabledBecause {
    /// An operator has decided so.
    ByOperator,
    /// It has answered 410: it wants no more messages.
    Gone,
    /// It has taken nothing for days.
    Failing,
}

/// An endpoint, with the secret that was drawn for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpointWithSecret)]
pub(crate) struct EndpointWithSecret {
    /// The endpoint.
    #[serde(flatten)]
    pub(crate) endpoint: EndpointResource,
    /// By what its receiver verifies messages. It is shown this once; a repeat of the request is
    /// answered without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_YW4gZXhhbXBsZSB0aGF0IGlzIG5vYm9keSdzIG93biE=")]
    pub(crate) secret: Option<String>,
}

/// The id that a caller wrote. Text that is no id names no endpoint.
fn parse_endpoint_id(text: &str) -> Result<Uuid, Problem> {
    let is_written_out = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_id| is_written_out).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(Kind::EndpointNotFound, "There is no webhook endpoint with this id.")
}

/// The endpoint of this id.
///
/// **Errors.** 404 if there is none.
pub(crate) async fn read(app: &App, endpoint_id: &str) -> Result<EndpointResource, Problem> {
    store::read(&app.database, parse_endpoint_id(endpoint_id)?).await?.ok_or_else(not_found)
}

/// The endpoint of this id, which is told what it is asked to be sent.
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
