//! The published contract of the events: a JSON Schema for each type, an AsyncAPI document, and the
//! check for breaking changes of released schemas.
//!
//! This module's test generates the files in `domain/events` from the types and fails when they
//! differ; `UPDATE_EVENTS=1 cargo test -p domain --features openapi` rewrites them. A release
//! copies its schemas to `domain/events/released`; from then on the test refuses breaking changes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use strum::IntoEnumIterator as _;

use crate::event::EventType;

/// The self-contained JSON Schema of an event's data.
#[must_use]
pub fn json_schema(event_type: EventType) -> Value {
    let (name, _) = event_type.data_schemas();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": event_type.cloud_event_type(),
        "description": event_type.meaning().trim(),
        "$ref": format!("#/$defs/{name}"),
        "$defs": schemas(std::iter::once(event_type), "#/$defs/"),
    })
}

/// The AsyncAPI 3 document: messages, envelope and channel.
#[must_use]
pub fn asyncapi() -> Value {
    let messages: Map<_, _> = EventType::iter().map(message).collect();
    let references: Map<_, _> = EventType::iter()
        .map(|one| {
            let reference = format!("#/components/messages/{}", one.cloud_event_type());
            (one.cloud_event_type(), json!({ "$ref": reference }))
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ordersaga events",
            "version": "1",
            "description": "What happens to orders, as CloudEvents 1.0 in binary mode: the \
                attributes are headers, the payload is the data alone. Each is written to the \
                outbox with its event; whatever delivers the outbox delivers each at least once, \
                and those of an order in their order. The id, which is the order's id and the \
                event's number within the order, tells a repeat.",
        },
        "defaultContentType": "application/json",
        "channels": { "orders": { "address": "ordersaga.order", "messages": references } },
        "operations": {
            "publishOrders": { "action": "send", "channel": { "$ref": "#/channels/orders" } },
        },
        "components": {
            "messages": messages,
            "schemas": schemas(EventType::iter(), "#/components/schemas/"),
        },
    })
}

fn message(event_type: EventType) -> (String, Value) {
    let (name, _) = event_type.data_schemas();
    let message = json!({
        "name": event_type.cloud_event_type(),
        "summary": event_type.meaning().trim(),
        "headers": {
            "type": "object",
            "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject"],
            "properties": {
                "ce_specversion": { "const": "1.0" },
                "ce_id": { "type": "string", "description": "`order_id:sequence`" },
                "ce_source": { "type": "string", "format": "uri-reference" },
                "ce_type": { "const": event_type.cloud_event_type() },
                "ce_time": { "type": "string", "format": "date-time" },
                "ce_subject": { "type": "string", "description": "The order's id" },
                "ce_sequence": { "type": "string", "description": "The event's number within the order, from 1" },
            },
        },
        "payload": { "$ref": format!("#/components/schemas/{name}") },
    });
    (event_type.cloud_event_type(), message)
}

/// The schemas of these events' data and of all types they refer to, by name.
fn schemas(events: impl Iterator<Item = EventType>, base: &str) -> Value {
    let mut all = BTreeMap::new();
    for (name, schema) in events.flat_map(|one| one.data_schemas().1) {
        // A schema that cannot be represented as JSON would show as null, and as drift.
        all.insert(name, serde_json::to_value(schema).unwrap_or_default());
    }
    let mut all = json!(all);
    rebase(&mut all, base);
    all
}

/// utoipa writes references for an OpenAPI document; these schemas are in another place.
fn rebase(schema: &mut Value, base: &str) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/components/schemas/")
            {
                *reference = format!("{base}{name}");
            }
            fields.values_mut().for_each(|field| rebase(field, base));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, base)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The changes in a new schema that would break a consumer of the old one, each as a sentence.
/// Empty if every message of the new schema has the same meaning under the old one.
#[must_use]
pub fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found
}

fn compare(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, schema) in old {
                let here = format!("{at}/{name}");
                match new.get(name) {
                    _ if name == "description" || name == "example" || name == "examples" => {}
                    None => found.push(format!("{here} is gone")),
                    Some(changed) => compare(&here, schema, changed, found),
                }
            }
        }
        // Existing items must stay; enum values and variants may be added.
        (Value::Array(old), Value::Array(new)) => {
            for item in old.iter().filter(|item| !new.contains(item)) {
                let is_variant_with_more = item.is_object()
                    && new.iter().any(|other| breaking_changes(item, other).is_empty());
                if !is_variant_with_more {
                    found.push(format!("{at} has lost {item}"));
                }
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(format!("{at} was {old} and is {new}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
    }

    fn files() -> Vec<(PathBuf, Value)> {
        let schema = |one: EventType| {
            (folder().join(format!("{}.schema.json", one.cloud_event_type())), json_schema(one))
        };
        let asyncapi = std::iter::once((folder().join("asyncapi.json"), asyncapi()));
        EventType::iter().map(schema).chain(asyncapi).collect()
    }

    #[test]
    fn what_is_published_is_what_the_types_say() {
        for (path, contract) in files() {
            let text = serde_json::to_string_pretty(&contract).unwrap() + "\n";
            if std::env::var_os("UPDATE_EVENTS").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let on_file = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                on_file == text,
                "{} differs from the types; see {} how to write it anew",
                path.display(),
                file!(),
            );
        }
    }

    #[test]
    fn no_released_schema_is_broken() {
        for event_type in EventType::iter() {
            let name = format!("{}.schema.json", event_type.cloud_event_type());
            let Ok(released) = fs::read(folder().join("released").join(&name)) else { continue };
            let released: Value = serde_json::from_slice(&released).unwrap();
            let breaking = breaking_changes(&released, &json_schema(event_type));
            assert!(breaking.is_empty(), "{name}: {breaking:?}; make a new version of the type");
        }
    }

    #[test]
    fn a_breaking_change_is_told_from_one_that_is_not() {
        let old = json_schema(EventType::OrderShipped);
        assert_eq!(breaking_changes(&old, &old), Vec::<String>::new());
        let with = |pointer: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(pointer).unwrap() = value;
            new
        };
        let mut more = old.clone();
        more.pointer_mut("/$defs/Parcelled/properties")
            .and_then(Value::as_object_mut)
            .unwrap()
            .insert("carrier".to_owned(), json!({ "type": "string" }));
        assert_eq!(breaking_changes(&old, &more), Vec::<String>::new());
        for broken in [
            with("/$defs/Parcelled/properties", json!({})),
            with("/$defs/Parcelled/properties/tracking/type", json!("integer")),
            with("/$defs/Parcelled/required", json!([])),
        ] {
            assert!(!breaking_changes(&old, &broken).is_empty(), "{broken}");
        }
    }
}
