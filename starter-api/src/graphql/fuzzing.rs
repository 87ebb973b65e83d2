//! What fuzz targets call of GraphQL.

use async_graphql::Request;
use futures::executor::block_on;

use crate::graphql::GraphqlSchema;
use crate::graphql::size::{self, TEXT_BYTES_MAX};

thread_local! {
    static SCHEMA: GraphqlSchema = GraphqlSchema::new();
}

/// A query: it is small enough to be looked at, or refused; and it is looked at within its limits,
/// as far as that goes without a database.
pub fn query(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(document) = size::parse(text) else { return };
    assert!(text.len() <= TEXT_BYTES_MAX);
    assert!(document.operations.iter().next().is_some());
    let mut request = Request::new(text);
    request.set_parsed_query(document);
    // There is no caller and no shop behind it, so whatever asks for an order is an error.
    let answer = SCHEMA.with(|schema| block_on(schema.schema.execute(request)));
    assert!(serde_json::to_vec(&answer).is_ok());
}
