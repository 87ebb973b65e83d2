//! Normalises protobuf JSON of Temporal's messages as tools write it: names of enum values,
//! payloads.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::NotAHistory;

/// The message type of a payload.
const PAYLOAD: &str = "temporal.api.common.v1.Payload";

/// Gives every enum value its full name, whose prefix older tools omit: `WorkflowTaskStarted`
/// becomes `EVENT_TYPE_WORKFLOW_TASK_STARTED`. Unknown names are left unchanged.
///
/// **Errors.** Payloads decoded for display.
pub(super) fn in_full(value: &mut Value, kind: &MessageDescriptor) -> Result<(), NotAHistory> {
    if kind.full_name() == PAYLOAD && !is_payload(value) {
        return Err(NotAHistory::DecodedPayloads);
    }
    // Some messages are a string in JSON.
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

/// All values of a field, which may be repeated, and their type.
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

/// The raw form of a payload. Tools that decode payloads write the content in its place.
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

/// Converts `EventType` to `EVENT_TYPE`.
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
