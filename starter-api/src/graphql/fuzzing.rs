//! Fuzzing entry points of GraphQL.

use async_graphql::Request;
use futures::executor::block_on;

use crate::graphql::GraphqlSchema;
use crate::graphql::size::{self, TEXT_BYTES_MAX};

thread_local! {
    static SCHEMA: GraphqlSchema = GraphqlSchema::new();
}

/// A query is either refused for its size, or validated within its limits, as far as that is
/// possible without a database.
pub fn query(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(document) = size::parse(text) else { return };
    assert!(text.len() <= TEXT_BYTES_MAX);
    assert!(document.operations.iter().next().is_some());
    let mut request = Request::new(text);
    request.set_parsed_query(document);
    // There is no caller and no database, so every field that asks for an order is an error.
    let answer = SCHEMA.with(|schema| block_on(schema.schema.execute(request)));
    assert!(serde_json::to_vec(&answer).is_ok());
}
