//! Handlers without their types (type erasure), so that routing code is compiled once.
//!
//! The routing code of axum and tower is generic over the handler. With the handlers' own types it
//! would be compiled for each of them, and the compiler would check several times for each that its
//! future is `Send`. That took a sixth of this crate's build time.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::MethodRouter;
use futures::future::BoxFuture;

use super::State;

/// Routes of one path, one for each handler, with their part of the API's description. Takes the
/// paths of functions with `#[utoipa::path]`, as `utoipa_axum::routes!` does.
macro_rules! routes {
    ($($handler:path),+ $(,)?) => {{
        let mut schemas = Vec::new();
        let mut paths = utoipa::openapi::Paths::new();
        let mut router = $crate::http::erased::Router::new();
        $(
            let (path, operation, methods) =
                utoipa_axum::routes!(@resolve_types $handler : schemas);
            for method in &methods {
                let filter = utoipa_axum::PathItemExt::to_method_filter(method);
                router = router.on(filter, $crate::http::erased::Erased::from($handler));
            }
            paths.add_path_operation(&path, methods, operation);
        )+
        (schemas, paths, router)
    }};
}
pub(super) use routes;

pub(super) type Router = MethodRouter<State, Infallible>;

type Call = dyn Fn(Request, State) -> BoxFuture<'static, Response> + Send + Sync;

/// A handler, behind a pointer instead of its own type.
#[derive(Clone)]
pub(super) struct Erased(Arc<Call>);

impl Erased {
    pub(super) fn from<T, H>(handler: H) -> Self
    where
        H: Handler<T, State, Future = BoxFuture<'static, Response>>,
    {
        Self(Arc::new(move |request, state| handler.clone().call(request, state)))
    }
}

impl Handler<(), State> for Erased {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, state: State) -> Self::Future {
        (self.0)(request, state)
    }
}
