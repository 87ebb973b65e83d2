//! Stripe's events.

use serde_json::{Value, json};

use crate::answer::is_within;
use crate::params::Params;
use crate::proxy::now;

/// The API version of the events, which an endpoint sets independently.
const API_VERSION: &str = "2025-09-30.clover";

/// All events of this proxy, oldest first.
#[derive(Debug)]
pub(crate) struct Events {
    /// Makes ids unique across proxies.
    of: String,
    all: Vec<Value>,
}

impl Default for Events {
    fn default() -> Self {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self { of: format!("{:x}", nanos.unwrap_or_default().as_nanos()), all: Vec::new() }
    }
}

impl Events {
    /// A unique id.
    pub(crate) fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:04}", self.of, self.all.len())
    }

    pub(crate) fn add(&mut self, kind: &str, object: &Value) -> Value {
        let event = json!({
            "id": self.id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": now(),
            "data": { "object": object },
            "livemode": false,
            "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null },
            "type": kind,
        });
        self.all.push(event.clone());
        event
    }

    pub(crate) fn oldest_first(&self) -> &[Value] {
        &self.all
    }

    /// The number of events of this type.
    pub(crate) fn of_type(&self, kind: &str) -> usize {
        self.all.iter().filter(|event| event["type"] == kind).count()
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Value> {
        self.all.iter().find(|event| event["id"] == id)
    }

    /// The events for a list request, newest first.
    pub(crate) fn asked_for(&self, params: &Params) -> Vec<Value> {
        let mut types = params.list("types");
        types.extend(params.get("type"));
        let wanted = |event: &&Value| {
            (types.is_empty() || types.iter().any(|one| event["type"] == *one))
                && is_within(event, params)
        };
        self.all.iter().rev().filter(wanted).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_listed_newest_first_and_by_type() {
        let mut events = Events::default();
        for kind in ["a", "b", "c"] {
            events.add(kind, &json!({}));
        }
        let types = |params: &str| {
            let found = events.asked_for(&Params::parse(params.as_bytes()));
            found.iter().map(|event| event["type"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(types(""), ["c", "b", "a"]);
        assert_eq!(types("types[]=a&types[]=c"), ["c", "a"]);
        assert_eq!(types("created[lt]=5"), Vec::<Value>::new());
    }

    #[test]
    fn every_event_has_an_id_of_its_own() {
        let mut events = Events::default();
        let (first, second) = (events.add("a", &json!({})), events.add("a", &json!({})));
        assert_ne!(first["id"], second["id"]);
        assert_eq!(events.find(first["id"].as_str().unwrap()), Some(&first));
    }
}
