//! Entry points for the fuzz targets in `fuzz/`: the parsers of everything that callers send.
//! Exists only with `--cfg fuzzing`.
//!
//! Each function accepts any bytes, and panics if an invariant of the parser is violated.

pub use crate::graphql::fuzzing::query as graphql_query;
pub use crate::http::fuzzing::{
    grpc_message, headers, order_body, other_body, query_string, quote_body, short_text, webhook,
};
pub use crate::identity::fuzzing::{authorization, claims, key_set, setting};
