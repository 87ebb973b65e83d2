//! Example requests and responses of each operation.
//!
//! `examples.json` tells one story: a customer's order from the basket to its cancellation, with
//! the operators' calls around it. The tests send every request of it to the running router.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder};
use utoipa::openapi::{Content, RefOr};

const STORY: &str = include_str!("../../../examples.json");

/// Examples, by the operation's name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Examples {
    /// Examples of parameters that mean the same in every operation.
    parameters: BTreeMap<String, Value>,
    operations: BTreeMap<String, Exchange>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Exchange {
    parameters: BTreeMap<String, Value>,
    request: Option<Value>,
    /// By status code.
    answers: BTreeMap<String, Value>,
}

impl Examples {
    /// If the file cannot be parsed, the description has no examples, which a test detects.
    pub(super) fn read() -> Self {
        serde_json::from_str(STORY).unwrap_or_default()
    }

    /// Adds this operation's examples to its description.
    pub(super) fn show(&self, name: &str, operation: &mut Operation) {
        let nothing = Exchange::default();
        let exchange = self.operations.get(name).unwrap_or(&nothing);
        for parameter in operation.parameters.iter_mut().flatten() {
            let RefOr::T(described) = parameter else { continue };
            let name = described.name.as_str();
            let own = exchange.parameters.get(name).or_else(|| self.parameters.get(name));
            if let Some(example) = own {
                let builder = ParameterBuilder::from(described.clone());
                *described = builder.example(Some(example.clone())).build();
            }
        }
        let body = &mut operation.request_body;
        if let (Some(RefOr::T(body)), Some(request)) = (body, &exchange.request) {
            exemplify(body.content.values_mut(), request);
        }
        for (status, answer) in &exchange.answers {
            if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
                exemplify(response.content.get_mut(JSON).into_iter(), answer);
            }
        }
    }
}

const JSON: &str = "application/json";

fn exemplify<'a>(contents: impl Iterator<Item = &'a mut RefOr<Content>>, example: &Value) {
    for content in contents {
        if let RefOr::T(content) = content {
            content.example = Some(example.clone());
        }
    }
}
