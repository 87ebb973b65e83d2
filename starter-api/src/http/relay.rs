//! The relay over HTTP, one file per operation.

pub(crate) mod list;
pub(crate) mod parked;
pub(crate) mod pause;
pub(crate) mod remove;
pub(crate) mod replay;
pub(crate) mod resume;
pub(crate) mod skip;

use serde::Deserialize;
use utoipa::ToSchema;

/// The reason for an operation on a sink.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WhyTheSink)]
pub(crate) struct WhyRequest {
    /// The reason, kept on record and shown to other operators. Do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "the warehouse imports its backup")]
    pub why: String,
}
