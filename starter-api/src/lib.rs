//! The starter: takes orders and answers about them, over HTTP, gRPC and GraphQL.
//!
//! It prices an order, puts it on record by the one function that it may call for that, starts its
//! workflow and reads what became of it. It writes no order state otherwise and moves no money; its
//! role in Postgres has no right to.
//!
//! Each module may use those above it and none below:
//!
//! - `error`: how the starter refuses, in every protocol's stead;
//! - `shares`: what each of several callers has of something scarce;
//! - `identity`: who calls, and what they may do;
//! - `temporal`: the connection to the order engine;
//! - `app`: the commands and queries, the same for every protocol;
//! - `grpc`, `graphql`: two ways to call them;
//! - `http`: the third, which carries the other two on the same port.

mod app;
mod config;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
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
pub use http::{Limits, ProxyHeader, State, description, graphql_schema, router};
pub use identity::{
    Client, EmbeddedSettings, ExternalIssuer, Identity, InvalidClient, REFETCH_PAUSE, http_client,
    is_safe,
};
pub use serve::{serve, serve_ops};
pub use temporal::Temporal;
