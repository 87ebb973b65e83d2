//! The starter: accepts orders and serves queries, over HTTP, gRPC and GraphQL.
//!
//! It prices an order, records it through the one database function that it may call for that,
//! starts its workflow and reads the results. It changes no other order state and moves no money;
//! its role in Postgres has no right to.
//!
//! Each module may use those above it in this list and none below:
//!
//! - `error`: the error type, independent of protocols;
//! - `shares`: limits of scarce resources, in total and per caller;
//! - `identity`: authentication and authorisation;
//! - `temporal`: the client of the order engine;
//! - `app`: commands and queries, independent of protocols;
//! - `grpc`, `graphql`: two protocols for them;
//! - `http`: the third, which carries the other two on the same port.

mod app;
mod config;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(feature = "graphql")]
mod graphql;
mod grpc;
mod http;
mod identity;
pub mod serve;
mod shares;
mod temporal;

pub use app::webhooks::signature::{InvalidWebhooks, StripeMode, StripeWebhooks};
pub use config::ServeArgs;
pub use error::{Kind, Problem};
#[cfg(feature = "graphql")]
pub use http::graphql_schema;
pub use http::{Limits, ProxyHeader, State, description, router};
pub use identity::{
    Client, EmbeddedSettings, ExternalIssuer, Identity, InvalidClient, REFETCH_PAUSE, http_client,
    is_safe,
};
pub use serve::{serve, serve_ops};
pub use temporal::Temporal;
