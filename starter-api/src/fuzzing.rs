//! What the fuzz targets of `fuzz/` call: the readers of whatever callers send, most of which are
//! nobody else's. Exists only with `--cfg fuzzing`.
//!
//! Each function takes any bytes, and panics where a reader breaks its promise.

pub use crate::graphql::fuzzing::query as graphql_query;
pub use crate::http::fuzzing::{
    grpc_message, headers, order_body, other_body, query_string, quote_body, short_text, webhook,
};
pub use crate::identity::fuzzing::{authorization, claims, key_set, setting};
