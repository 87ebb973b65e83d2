//! The HTTP API: routes, middleware, and the encoding of requests and responses.
//!
//! One file per operation. A handler reads its request, calls `app`, and writes the result.

mod attention;
mod conditional;
mod customers;
mod disputes;
mod endpoints;
mod erased;
mod extract;
mod forwarded;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(feature = "graphql")]
mod graphql;
mod identity;
mod ledger;
mod line;
mod mail;
mod observe;
mod openapi;
mod ops;
mod orders;
mod page;
mod parties;
mod problem;
mod products;
mod queues;
mod quotes;
mod rate_limit;
mod receive;
mod reconciliation;
mod relay;
mod screening;
mod state;
mod stock;
mod webhooks;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::get;
use axum::{Router, middleware};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use forwarded::ProxyHeader;
pub(crate) use ops::metrics::POOL;
pub(crate) use rate_limit::block_of;
pub(crate) use state::{
    BURST_PER_SECOND, RATE_PER_ADDRESS, RATE_PER_TOKEN, REGISTRATIONS_PER_ADDRESS,
};
pub use state::{Limits, State};

use crate::error::{Kind, Problem};
#[cfg(feature = "graphql")]
use crate::graphql::GraphqlSchema;
use crate::grpc;
use erased::routes;

/// The routes of every protocol: HTTP also carries gRPC and GraphQL.
pub fn router(state: State) -> Router {
    let (operations, description) = operations().split_for_parts();
    let routes = operations
        .merge(openapi::pages(&description))
        .merge(grpc::routes(&state.app, &state.identity, state.limits.body_bytes_max))
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed);
    with_layers(routes, &state).with_state(state)
}

/// The routes for operators, load balancers and Prometheus, on a listener of their own without
/// limits.
pub(crate) fn ops_router(state: State) -> Router {
    Router::new()
        .route("/health", get(ops::health::health))
        .route("/ready", get(ops::ready::ready))
        .route("/metrics", get(ops::metrics::metrics))
        .fallback(route_not_found)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .with_state(state)
}

/// The middleware of every route, outermost first. It is one layer, because each layer is boxed and
/// cloned for every request.
fn with_layers<S: Clone + Send + Sync + 'static>(routes: Router<S>, state: &State) -> Router<S> {
    let (gate, limits) = (state.gate.clone(), state.limits);
    routes.layer(
        ServiceBuilder::new()
            .layer(middleware::from_fn(observe::request))
            .option_layer(cors(&state.cors_origins))
            .layer(middleware::from_fn_with_state(gate, rate_limit::admit))
            .layer(DefaultBodyLimit::max(limits.body_bytes_max))
            .layer(CatchPanicLayer::custom(observe::panicked)),
    )
}

/// The CORS policy for pages of the allowed origins. Without an allowed origin no CORS header is
/// sent, so browsers block all cross-origin calls.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let named = |names: &[&'static str]| -> Vec<_> {
        names.iter().copied().map(HeaderName::from_static).collect()
    };
    let mut sent = vec![header::AUTHORIZATION, header::CONTENT_TYPE];
    sent.extend([header::IF_MATCH, header::IF_NONE_MATCH]);
    sent.extend(named(&[
        "idempotency-key",
        "last-event-id",
        "prefer",
        "traceparent",
        "x-request-id",
    ]));
    let mut read = vec![header::ETAG, header::LINK, header::LOCATION, header::RETRY_AFTER];
    read.extend(named(&["idempotency-replayed", "preference-applied", "ratelimit"]));
    read.extend(named(&["ratelimit-policy", "x-request-id"]));
    let allowed = CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(sent)
        .expose_headers(read);
    Some(allowed)
}

/// The GraphQL schema, as SDL.
#[cfg(feature = "graphql")]
#[must_use]
pub fn graphql_schema() -> String {
    GraphqlSchema::new().sdl()
}

/// The API's `OpenAPI` description, as served at `/openapi.json`.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    operations().into_openapi()
}

fn operations() -> OpenApiRouter<State> {
    let operations = every_operation();
    #[cfg(feature = "graphql")]
    let operations = operations.routes(routes!(graphql::ask));
    openapi::named(operations)
}

fn every_operation() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::Preface::openapi())
        .routes(routes!(orders::place::place, orders::list::list))
        .routes(routes!(orders::show::show))
        .routes(routes!(orders::events::events))
        .routes(routes!(orders::timeline::timeline))
        .routes(routes!(orders::cancel::cancel))
        .routes(routes!(orders::pay::pay))
        .routes(routes!(orders::deliver::deliver))
        .routes(routes!(orders::refund::refund, orders::refunds::refunds))
        .routes(routes!(orders::invoice::invoice))
        .routes(routes!(orders::invoices::invoices))
        .routes(routes!(quotes::price))
        .routes(routes!(orders::resolve::resolve))
        .routes(routes!(attention::list::attention))
        .routes(routes!(attention::resolve::resolve_all))
        .routes(routes!(disputes::list::list))
        .routes(routes!(screening::review::review))
        .routes(routes!(screening::reviews::reviews))
        .routes(routes!(screening::entries::entries, screening::add::add_entry))
        .routes(routes!(screening::remove::remove_entry))
        .routes(routes!(
            screening::rule_sets::list::rule_sets,
            screening::rule_sets::add::add_rule_set
        ))
        .routes(routes!(screening::rule_sets::show::rule_set))
        .routes(routes!(screening::rule_sets::trial::trial))
        .routes(routes!(screening::rule_sets::activate::activate_rule_set))
        .routes(routes!(queues::list::list))
        .routes(routes!(queues::pause::pause))
        .routes(routes!(queues::resume::resume))
        .routes(routes!(parties::list::parties))
        .routes(routes!(parties::stop::stop_party))
        .routes(routes!(parties::resume::resume_party))
        .routes(routes!(products::list::list, products::create::create))
        .routes(routes!(products::show::show, products::update::update))
        .routes(routes!(stock::list::list))
        .routes(routes!(stock::shift::shift))
        .routes(routes!(ledger::balance::balance))
        .routes(routes!(ledger::transactions::list))
        .routes(routes!(ledger::validate::validate))
        .routes(routes!(reconciliation::list::differences))
        .routes(routes!(reconciliation::settle::settle_difference))
        .routes(routes!(identity::register::register, customers::list::list))
        .routes(routes!(customers::show::show, customers::update::update))
        .routes(routes!(customers::show_mail::show_mail, customers::update_mail::update_mail))
        .routes(routes!(customers::wait_for::wait_for, customers::wait_no_more::wait_no_more))
        .routes(routes!(identity::change_password::change_password))
        .routes(routes!(identity::sign_in::sign_in))
        .routes(routes!(identity::token::token))
        .routes(routes!(identity::keys::keys))
        .routes(routes!(identity::discovery::discovery))
        .routes(routes!(mail::list::notifications))
        .routes(routes!(mail::retry::retry_notification))
        .routes(routes!(mail::skip::skip_notification))
        .routes(routes!(mail::unsubscribe_page::unsubscribe_page, mail::unsubscribe::unsubscribe))
        .routes(routes!(webhooks::stripe::stripe))
        .routes(routes!(webhooks::list::provider_events))
        .routes(routes!(webhooks::retry::retry_event))
        .routes(routes!(webhooks::dismiss::dismiss_event))
        .merge(operations_of_endpoints())
        .merge(operations_of_sinks())
        .routes(routes!(ops::health::health))
        .routes(routes!(ops::ready::ready))
        .routes(routes!(ops::metrics::metrics))
}

fn operations_of_sinks() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(relay::list::sinks))
        .routes(routes!(relay::parked::parked))
        .routes(routes!(relay::pause::pause_sink))
        .routes(routes!(relay::resume::resume_sink))
        .routes(routes!(relay::replay::replay_parked))
        .routes(routes!(relay::skip::skip_parked))
        .routes(routes!(relay::remove::remove_sink))
}

fn operations_of_endpoints() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(endpoints::list::endpoints, endpoints::create::create_endpoint))
        .routes(routes!(
            endpoints::show::endpoint,
            endpoints::change::change_endpoint,
            endpoints::remove::remove_endpoint
        ))
        .routes(routes!(endpoints::rotate::rotate_secret))
        .routes(routes!(endpoints::deliveries::deliveries))
        .routes(routes!(endpoints::redeliver::redeliver))
        .routes(routes!(endpoints::try_out::try_out_endpoint))
}

async fn route_not_found() -> Problem {
    Problem::new(Kind::RouteNotFound, "There is nothing at this path. See /docs.")
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "The Allow header names the methods of this path.")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::task::Poll;
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::extract::ConnectInfo;
    use axum::http::{Request, Response};
    use axum::routing::{post, put};
    use futures::poll;
    use tower::ServiceExt;

    use super::*;
    use crate::http::rate_limit::SECRETS_PER_ADDRESS;
    use crate::identity::{EmbeddedSettings, Identity};
    use crate::temporal::Temporal;

    fn state(limits: Limits) -> State {
        let database = sqlx::PgPool::connect_lazy("postgres://127.0.0.1:9/nothing").unwrap();
        let settings = EmbeddedSettings {
            issuer: "http://shop.example".to_owned(),
            audience: "ordersaga".to_owned(),
            token_lifetime: Duration::from_mins(15),
            clients: None,
        };
        let identity = Identity::embedded(database.clone(), settings);
        State::new(database, Temporal::from_env().unwrap(), identity, limits)
    }

    async fn answer(routes: Router, limits: Limits) -> (Response<()>, String) {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let (head, body) =
            with_layers(routes, &state(limits)).oneshot(request).await.unwrap().into_parts();
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

    #[tokio::test]
    async fn what_is_more_than_can_be_done_at_once_is_refused_at_once() {
        let routes = Router::new().route("/", get(std::future::pending::<()>));
        let limits = Limits { requests_max: 1, ..Limits::default() };
        let routes = with_layers(routes, &state(limits));
        let request = || Request::get("/").body(Body::empty()).unwrap();
        let first = tokio::spawn(routes.clone().oneshot(request()));
        tokio::task::yield_now().await;
        let second = routes.oneshot(request()).await.unwrap();
        assert_eq!(second.status(), 503);
        assert_eq!(second.headers()["content-type"], "application/problem+json");
        assert_eq!(second.headers()["retry-after"], "2");
        assert!(!first.is_finished());
        first.abort();
    }

    #[tokio::test]
    async fn one_address_has_only_so_many_passwords_checked_at_once() {
        let checked = std::future::pending::<()>;
        let routes = Router::new()
            .route("/v1/sessions", post(checked))
            .route("/v1/customers/{customer_id}/password", put(checked))
            .route("/", get(|| async { "free" }));
        let routes = with_layers(routes, &state(Limits::default()));
        let ask = |method: Method, path: &str, address: &str| {
            let peer = ConnectInfo(address.parse::<SocketAddr>().unwrap());
            let request = Request::builder().method(method).uri(path).extension(peer);
            Box::pin(routes.clone().oneshot(request.body(Body::empty()).unwrap()))
        };
        let (here, there) = ("192.0.2.1:5000", "192.0.2.2:5000");
        let mut asked: Vec<_> = (0..SECRETS_PER_ADDRESS)
            .map(|_request| ask(Method::POST, "/v1/sessions", here))
            .collect();
        for request in &mut asked {
            assert!(poll!(request).is_pending());
        }
        for (method, path) in
            [(Method::POST, "/v1/sessions"), (Method::PUT, "/v1/customers/ada/password")]
        {
            let answer = poll!(ask(method, path, here));
            assert!(matches!(answer, Poll::Ready(Ok(refused)) if refused.status() == 503));
        }
        let answer = poll!(ask(Method::GET, "/", here));
        assert!(matches!(answer, Poll::Ready(Ok(free)) if free.status() == 200));
        assert!(poll!(ask(Method::POST, "/v1/sessions", there)).is_pending());
    }
}
