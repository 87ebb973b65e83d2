//! What the payment provider tells by itself: its events are taken in and shown to operators.
//!
//! An event is answered once it is kept, and not before, so that the provider sends it again until
//! it is. Workers apply it. Nothing of its body is kept but what it is about.

pub(crate) mod dismiss;
pub(crate) mod list;
pub(crate) mod receive;
pub(crate) mod retry;
pub(crate) mod signature;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use utoipa::ToSchema;

/// An event of the payment provider, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderEvent)]
pub(crate) struct EventResource {
    /// The provider's own name for it.
    #[schema(example = "evt_1a")]
    pub(crate) event_id: String,
    /// What the provider says happened.
    #[serde(rename = "type")]
    #[schema(example = "refund.failed")]
    pub(crate) event_type: String,
    /// What kind of object it is about.
    #[schema(example = "refund")]
    pub(crate) object_kind: String,
    /// The object's id, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "re_1a")]
    pub(crate) object_id: Option<String>,
    /// What became of it.
    pub(crate) status: EventStatus,
    /// When it happened, by the provider's clock.
    pub(crate) happened_at: DateTime<Utc>,
    /// When the shop learned of it.
    pub(crate) received_at: DateTime<Utc>,
    /// How often a worker has looked at it.
    #[schema(example = 4)]
    pub(crate) attempts: i32,
    /// When a worker looks at it next, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_try_at: Option<DateTime<Utc>>,
    /// Why it is still open, as far as a worker has found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "no payment of this name is on record yet")]
    pub(crate) last_error: Option<String>,
    /// Who has decided that nothing is to be done about it, as the token named them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    pub(crate) dismissed_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "a payment of our other shop")]
    pub(crate) dismissed_why: Option<String>,
}

/// What became of an event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum EventStatus {
    /// It waits: to be looked at, or for what it is about.
    #[default]
    Open,
    /// What it is about is as the provider has it.
    Applied,
    /// It is about nothing that the shop keeps, or somebody has dismissed it.
    Ignored,
}

impl EventStatus {
    /// As the database writes it.
    fn name(self) -> &'static str {
        self.into()
    }
}

/// An event as the database has it.
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
        // A check of the table lets no others in.
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
