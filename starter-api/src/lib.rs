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
mod serve;
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
pub use serve::serve;
pub use state::{Limits, State};
pub use temporal::Temporal;

/// Everything the starter answers.
pub fn router(state: State) -> Router {
    let (operations, description) = operations().split_for_parts();
    let routes = operations
        .merge(openapi::pages(&description))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_that_way);
    guarded(routes, state.limits).with_state(state)
}

/// What is around every route, outermost last.
fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, limits: Limits) -> Router<S> {
    routes
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(limits.request_timeout, observe::request))
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
        .routes(routes!(orders::timeline::timeline))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::{Request, Response};
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn answer(routes: Router, limits: Limits) -> (Response<()>, String) {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let (head, body) = guarded(routes, limits).oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, 10_000).await.unwrap();
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_an_incident_and_tells_nothing_else() {
        #[expect(clippy::unreachable, reason = "the panic is what is tested")]
        async fn broken() {
            unreachable!("tok_secret")
        }
        let (head, body) = answer(Router::new().route("/", get(broken)), Limits::default()).await;
        assert_eq!(head.status(), 500);
        assert_eq!(head.headers()["content-type"], "application/problem+json");
        assert!(body.contains("incident") && !body.contains("tok_secret"), "{body}");
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_asked_to_come_again() {
        let routes = Router::new().route("/", get(std::future::pending::<()>));
        let limits = Limits { request_timeout: Duration::from_millis(20), ..Limits::default() };
        let (head, body) = answer(routes, limits).await;
        assert_eq!(head.status(), 503, "{body}");
        assert!(head.headers().contains_key("retry-after"));
    }
}
