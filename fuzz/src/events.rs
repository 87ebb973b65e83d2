//! The events of an order, as the database keeps them.

use chrono::{DateTime, Utc};
use domain::OrderState;
use domain::event::OrderEvent;
use serde::Deserialize;
use serde_json::Value;

/// An event on record.
#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "type")]
    kind: String,
    version: i16,
    data: Value,
    occurred_at: DateTime<Utc>,
}

/// A JSON array of events. Each that is known is read back from what is written of it, and the
/// state that comes of them can be put on record.
pub(crate) fn events(json: &[u8]) {
    let Ok(events) = serde_json::from_slice::<Vec<Recorded>>(json) else { return };
    let mut state = OrderState::placed();
    for Recorded { kind, version, data, occurred_at } in events {
        let Ok(event) = OrderEvent::read(&kind, version, &data) else { continue };
        assert_eq!(event.event_type().name(), kind);
        let written = event.data().ok();
        let again = written.and_then(|data| OrderEvent::read(&kind, version, &data).ok());
        assert_eq!(again.as_ref(), Some(&event));
        state = state.apply(&event, occurred_at);
    }
    let record = serde_json::to_value(&state).ok();
    let again = record.and_then(|record| serde_json::from_value::<OrderState>(record).ok());
    assert_eq!(again, Some(state));
}
