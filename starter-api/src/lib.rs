//! The HTTP starter: takes orders in and answers about them.
//!
//! It prices an order, starts its workflow and reads what became of it. It writes no order state
//! and moves no money: what it writes at all is the address that a parcel goes to. Each operation
//! has a file of its own.

mod basket;
mod catalogue;
mod config;
mod extract;
mod ledger;
mod observe;
mod openapi;
mod ops;
mod orders;
mod paging;
mod problem;
mod products;
mod quotes;
mod rules;
mod state;
mod temporal;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use config::{Config, LogFormat};
pub use problem::{Kind, Problem};
pub use state::{Limits, State};
pub use temporal::Temporal;

/// Everything the starter answers.
pub fn router(state: State) -> Router {
    let (operations, description) = operations().split_for_parts();
    operations
        .merge(openapi::pages(&description))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_that_way)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(DefaultBodyLimit::max(state.limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(state.limits.request_timeout, observe::request))
        .with_state(state)
}

/// The description of the API, as `/openapi.json` has it.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    operations().into_openapi()
}

fn operations() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::Preface::openapi())
        .routes(routes!(orders::place::place, orders::list::list))
        .routes(routes!(orders::show::show))
        .routes(routes!(orders::events::list))
        .routes(routes!(orders::cancel::cancel))
        .routes(routes!(quotes::price))
        .routes(routes!(products::list::list))
        .routes(routes!(products::show::show))
        .routes(routes!(ledger::balance::balance))
        .routes(routes!(ledger::transactions::list))
        .routes(routes!(ledger::validate::validate))
        .routes(routes!(ops::health::health))
        .routes(routes!(ops::ready::ready))
        .routes(routes!(ops::metrics::metrics))
}

async fn nowhere() -> Problem {
    Problem::new(Kind::RouteNotFound, "There is nothing at this path. See /docs.")
}

async fn not_that_way() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "The Allow header names the methods of this path.")
}
