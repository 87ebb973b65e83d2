//! Events that the payment provider sends.
//!
//! An event only says which object to look at, and when something happened to it. The shop queries
//! the object's state at the provider, and reads nothing else of an event, especially no customer
//! data.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::is_foreign_id;

/// The part of a Stripe event that the shop reads.
///
/// **Shape.** Each id can be stored in the database and sent back unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct ProviderEvent {
    /// The provider's id of the event.
    pub id: String,
    /// The provider's type of the event, such as `refund.failed`.
    pub event_type: String,
    /// What kind of object it is about, such as `refund`.
    pub object_kind: String,
    /// The object's id. Some objects have none.
    pub object_id: Option<String>,
    /// When it happened, by the provider's clock.
    pub happened_at: DateTime<Utc>,
    /// Whether it is about real money.
    pub is_live: bool,
    /// Whether it belongs to another account on whose behalf this one acts.
    pub is_of_another_account: bool,
}

/// The subject of an event, which decides how the shop handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A payment may have changed.
    Payment,
    /// A refund may have changed, or was made at the provider.
    Refund,
    /// A customer's bank disputes a payment.
    Dispute,
    /// Nothing that the shop keeps.
    Nothing,
}

impl Subject {
    /// All event types that the shop handles.
    pub const EVENT_TYPES: [&'static str; 15] = [
        "charge.dispute.closed",
        "charge.dispute.created",
        "charge.dispute.funds_reinstated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.refund.updated",
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "refund.created",
        "refund.failed",
        "refund.updated",
    ];

    /// The subject of an event. An object of a known kind counts whatever the event's type, except
    /// when a payment is opened, which moves no money.
    #[must_use]
    pub fn of(event_type: &str, object_kind: &str) -> Self {
        match object_kind {
            "payment_intent" if event_type != "payment_intent.created" => Self::Payment,
            "refund" => Self::Refund,
            "dispute" => Self::Dispute,
            _ => Self::Nothing,
        }
    }
}

/// An event as Stripe serialises it.
#[derive(Deserialize)]
struct Written {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    created: i64,
    livemode: bool,
    account: Option<String>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "object")]
    kind: String,
    id: Option<String>,
}

/// Why a document is not an event. The text repeats none of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEvent {
    /// An id that cannot be stored, or sent back.
    #[error("a name of the event is longer than 255 characters, or is no line of text")]
    Name,
    /// A timestamp that is out of range.
    #[error("the event's moment is out of range")]
    Moment,
}

impl TryFrom<Written> for ProviderEvent {
    type Error = NoEvent;

    fn try_from(written: Written) -> Result<Self, NoEvent> {
        let Written { id, event_type, created, livemode, account, data: Data { object } } = written;
        let names = [Some(&id), Some(&event_type), Some(&object.kind), object.id.as_ref()];
        if !names.into_iter().flatten().all(|name| is_foreign_id(name)) {
            return Err(NoEvent::Name);
        }
        Ok(Self {
            id,
            event_type,
            object_kind: object.kind,
            object_id: object.id,
            happened_at: moment(created).ok_or(NoEvent::Moment)?,
            is_live: livemode,
            is_of_another_account: account.is_some(),
        })
    }
}

/// The timestamp from Unix seconds, if every column of the database can hold it.
fn moment(seconds: i64) -> Option<DateTime<Utc>> {
    /// The end of the year 9999.
    const SECONDS_MAX: i64 = 253_402_300_799;
    let is_kept = (0..=SECONDS_MAX).contains(&seconds);
    DateTime::from_timestamp(seconds, 0).filter(|_moment| is_kept)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json;

    fn written() -> Value {
        json!({
            "id": "evt_1a", "object": "event", "api_version": "2026-02-25.clover",
            "type": "refund.failed", "created": 1_793_534_400, "livemode": false,
            "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
            "data": {"object": {
                "id": "re_1a", "object": "refund", "reason": "Ada Lovelace asked for it",
            }},
        })
    }

    fn read(event: &Value) -> serde_json::Result<ProviderEvent> {
        json::from_slice(event.to_string().as_bytes())
    }

    #[test]
    fn an_event_is_read_for_what_it_is_about_and_for_nothing_else() {
        let event = read(&written()).unwrap();
        assert_eq!(
            event,
            ProviderEvent {
                id: "evt_1a".to_owned(),
                event_type: "refund.failed".to_owned(),
                object_kind: "refund".to_owned(),
                object_id: Some("re_1a".to_owned()),
                happened_at: DateTime::from_timestamp(1_793_534_400, 0).unwrap(),
                is_live: false,
                is_of_another_account: false,
            }
        );
        let mut without_id = written();
        without_id["data"]["object"] = json!({"object": "balance"});
        assert_eq!(read(&without_id).unwrap().object_id, None);
        let mut of_another = written();
        of_another["account"] = json!("acct_1a");
        assert!(read(&of_another).unwrap().is_of_another_account);
    }

    #[test]
    fn what_cannot_be_kept_or_is_no_event_is_refused_and_not_repeated() {
        let long = "x".repeat(256);
        for (pointer, value) in [
            ("/id", json!("")),
            ("/id", json!("evt_\n")),
            ("/id", json!(long)),
            ("/id", json!(7)),
            ("/type", json!("a\u{0}")),
            ("/created", json!(-1)),
            ("/created", json!(253_402_300_800_i64)),
            ("/created", json!("1793534400")),
            ("/livemode", Value::Null),
            ("/data", json!([{"object": "refund"}])),
            ("/data/object/object", json!(long)),
            ("/data/object/id", json!(" re_1a")),
        ] {
            let mut event = written();
            *event.pointer_mut(pointer).unwrap() = value;
            let error = read(&event).unwrap_err().to_string();
            assert!(!error.contains("Ada") && !error.contains(&long), "{pointer}: {error}");
        }
    }

    #[test]
    fn the_kind_of_the_object_decides_and_a_payment_that_is_opened_says_nothing() {
        for (event_type, object_kind, subject) in [
            ("payment_intent.succeeded", "payment_intent", Subject::Payment),
            ("payment_intent.created", "payment_intent", Subject::Nothing),
            ("refund.created", "refund", Subject::Refund),
            ("charge.refund.updated", "refund", Subject::Refund),
            ("charge.refunded", "charge", Subject::Nothing),
            ("charge.dispute.closed", "dispute", Subject::Dispute),
            ("customer.created", "customer", Subject::Nothing),
        ] {
            assert_eq!(Subject::of(event_type, object_kind), subject, "{event_type}");
        }
        // Stripe lists events of twenty types at most.
        assert!(Subject::EVENT_TYPES.len() <= 20);
        assert!(Subject::EVENT_TYPES.is_sorted());
    }
}
