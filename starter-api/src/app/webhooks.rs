//! The inbox of the payment provider's events: receiving them, and showing them to operators.
//!
//! An event is acknowledged only once it is stored, so that the provider retries until then.
//! Workers apply it by looking up the object. Of the body, only the reference to the object is
//! stored.

pub(crate) mod dismiss;
pub(crate) mod list;
pub(crate) mod receive;
pub(crate) mod retry;
pub(crate) mod signature;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use utoipa::ToSchema;

/// An event of the payment provider, with its status.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderEvent)]
pub(crate) struct EventResource {
    /// Its id at the provider.
    #[schema(example = "evt_1a")]
    pub(crate) event_id: String,
    /// The event type, as the provider names it.
    #[serde(rename = "type")]
    #[schema(example = "refund.failed")]
    pub(crate) event_type: String,
    /// The kind of object that it is about.
    #[schema(example = "refund")]
    pub(crate) object_kind: String,
    /// The object's id, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "re_1a")]
    pub(crate) object_id: Option<String>,
    /// Its status.
    pub(crate) status: EventStatus,
    /// When it happened, according to the provider.
    pub(crate) happened_at: DateTime<Utc>,
    /// When the shop received it.
    pub(crate) received_at: DateTime<Utc>,
    /// The number of attempts to apply it.
    #[schema(example = 4)]
    pub(crate) attempts: i32,
    /// When the next attempt is due, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_try_at: Option<DateTime<Utc>>,
    /// Why it is still open, according to the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "no payment of this name is on record yet")]
    pub(crate) last_error: Option<String>,
    /// Who dismissed it, as named by their token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    pub(crate) dismissed_by: Option<String>,
    /// The reason for dismissing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "a payment of our other shop")]
    pub(crate) dismissed_why: Option<String>,
}

/// The status of an event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum EventStatus {
    /// It waits for an attempt, or for its object to be recorded.
    #[default]
    Open,
    /// The object has been updated to the provider's state.
    Applied,
    /// It is not about anything that the shop keeps, or an operator has dismissed it.
    Ignored,
}

impl EventStatus {
    /// Its name in the database.
    fn name(self) -> &'static str {
        self.into()
    }
}

/// An event, as stored.
struct Row {
    event_id: String,
    event_type: String,
    object_kind: String,
    object_id: Option<String>,
    state: String,
    happened_at: DateTime<Utc>,
    received_at: DateTime<Utc>,
    attempts: i32,
    next_try_at: DateTime<Utc>,
    last_error: Option<String>,
    dismissed_by: Option<String>,
    dismissed_why: Option<String>,
}

impl From<Row> for EventResource {
    fn from(row: Row) -> Self {
        // A CHECK constraint allows no other values.
        let status = match row.state.as_str() {
            "applied" => EventStatus::Applied,
            "ignored" => EventStatus::Ignored,
            _ => EventStatus::Open,
        };
        Self {
            event_id: row.event_id,
            event_type: row.event_type,
            object_kind: row.object_kind,
            object_id: row.object_id,
            status,
            happened_at: row.happened_at,
            received_at: row.received_at,
            attempts: row.attempts,
            next_try_at: (status == EventStatus::Open).then_some(row.next_try_at),
            last_error: row.last_error,
            dismissed_by: row.dismissed_by,
            dismissed_why: row.dismissed_why,
        }
    }
}
