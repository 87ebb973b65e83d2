//! Protobuf's JSON of Temporal's messages as tools write it: the names of enums' values, payloads.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::NotAHistory;

/// The message that a payload is.
const PAYLOAD: &str = "temporal.api.common.v1.Payload";

/// Gives every enum's value its full name, which older tools leave the beginning of out:
/// `WorkflowTaskStarted` is `EVENT_TYPE_WORKFLOW_TASK_STARTED`. What is no name even so is left.
///
/// **Errors.** Payloads that are decoded.
pub(super) fn in_full(value: &mut Value, kind: &MessageDescriptor) -> Result<(), NotAHistory> {
    if kind.full_name() == PAYLOAD && !is_payload(value) {
        return Err(NotAHistory::DecodedPayloads);
    }
    // Some messages are a text in JSON.
    let Value::Object(fields) = value else { return Ok(()) };
    for (name, value) in fields {
        let Some(field) = kind.get_field_by_json_name(name) else { continue };
        let (kind, values) = values_of(value, &field);
        for value in values {
            if let Some(kind) = kind.as_message() {
                in_full(value, kind)?;
            } else if let (Some(known), Value::String(name)) = (kind.as_enum(), value) {
                in_full_name(name, known);
            }
        }
    }
    Ok(())
}

/// Each value of a field, which may have many, and what each is.
fn values_of<'a>(value: &'a mut Value, field: &FieldDescriptor) -> (Kind, Vec<&'a mut Value>) {
    let kind = field.kind();
    if field.is_list() && value.is_array() {
        let items = value.as_array_mut();
        return (kind, items.map(|items| items.iter_mut().collect()).unwrap_or_default());
    }
    if field.is_map() && value.is_object() {
        let of_one = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
        let entries = value.as_object_mut();
        let values = entries.map(|entries| entries.values_mut().collect()).unwrap_or_default();
        return (of_one.unwrap_or(kind), values);
    }
    (kind, vec![value])
}

/// As tools write one. Those that decode it for people write what is in it in its place.
fn is_payload(value: &Value) -> bool {
    let Value::Object(fields) = value else { return value.is_null() };
    let has_any = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    fields.get("data").is_none_or(Value::is_string)
        && (fields.is_empty() || has_any(&["metadata", "data", "externalPayloads"]))
}

fn in_full_name(name: &mut String, known: &EnumDescriptor) {
    if known.get_value_by_name(name).is_none() {
        let full = format!("{}_{}", in_capitals(known.name()), in_capitals(name));
        if known.get_value_by_name(&full).is_some() {
            *name = full;
        }
    }
}

/// `EventType` as `EVENT_TYPE`.
fn in_capitals(name: &str) -> String {
    let mut capitals = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !capitals.is_empty() {
            capitals.push('_');
        }
        capitals.push(letter.to_ascii_uppercase());
    }
    capitals
}
