//! Orders over gRPC: the contract is `proto/ordersaga/v1/orders.proto`, the rules are those of
//! HTTP, because it is the same functions that are called.

mod errors;
mod messages;

use std::pin::Pin;

use axum::Router;
use axum::http::{Extensions, HeaderMap};
use domain::OrderId;
use futures::{Stream, StreamExt};
use ordersaga_grpc::v1::order_service_server::{OrderService, OrderServiceServer};
use ordersaga_grpc::v1::{
    CancelOrderRequest, CancelOrderResponse, DESCRIPTOR, GetOrderRequest, GetOrderResponse,
    PlaceOrderRequest, PlaceOrderResponse, WatchOrderRequest, WatchOrderResponse,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::extract;
use crate::identity::access::{Caller, Scope};
use crate::orders;
use crate::orders::cancel::{CancelOrder, call_off};
use crate::orders::place::take_in;
use crate::orders::watch::Watch;
use crate::problem::{Kind, Problem};
use crate::state::State;

/// The gRPC services, beside the routes of HTTP: orders, health, and the contract itself.
pub(crate) fn routes(state: &State) -> Router {
    let bytes_max = state.limits.body_bytes_max;
    let orders = OrderServiceServer::new(Orders(state.clone()));
    let orders = orders.max_decoding_message_size(bytes_max);
    let (health, health_service) = tonic_health::server::health_reporter();
    let leaving = state.leaving.clone();
    tokio::spawn(async move {
        health.set_serving::<OrderServiceServer<Orders>>().await;
        leaving.cancelled().await;
        health.set_not_serving::<OrderServiceServer<Orders>>().await;
    });
    let mut routes = Routes::from(Router::new()).add_service(orders).add_service(health_service);
    let contract = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Some tools still ask in the words of the draft.
    match (contract().build_v1(), contract().build_v1alpha()) {
        (Ok(now), Ok(before)) => routes = routes.add_service(now).add_service(before),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the gRPC contract cannot be asked for");
        }
    }
    routes.into_axum_router()
}

#[derive(Clone)]
struct Orders(State);

impl Orders {
    /// Whoever asks, if they may do this.
    async fn caller(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, Problem> {
        let caller = self.0.identity.caller(headers).await?;
        caller.needs(scope)?;
        Ok(caller)
    }
}

/// The request's headers and its message.
fn opened<T>(request: Request<T>) -> (HeaderMap, T) {
    let (metadata, _extensions, message): (_, Extensions, _) = request.into_parts();
    (metadata.into_headers(), message)
}

#[tonic::async_trait]
impl OrderService for Orders {
    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let (headers, message) = opened(request);
        let caller = self.caller(&headers, Scope::PlaceOrders).await?;
        let key = message.idempotency_key.clone().map(|key| {
            extract::idempotency_key(&key).ok_or_else(|| {
                let told = "idempotency_key is 1 to 255 visible ASCII characters.";
                Problem::new(Kind::MalformedRequest, told)
            })
        });
        let wait = message.wait.as_ref().map(|wait| u32::try_from(wait.seconds).unwrap_or(0));
        let written = messages::written(message);
        let placed = take_in(&self.0, &caller, key.transpose()?, wait, &written).await?;
        let (order, replayed) = (Some(messages::order(placed.resource)), placed.replayed);
        Ok(Response::new(PlaceOrderResponse { order, replayed }))
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let (headers, message) = opened(request);
        let caller = self.caller(&headers, Scope::ReadOrders).await?;
        let known = orders::visible(&self.0, &caller, orders::id(&message.order_id)?).await?;
        Ok(Response::new(GetOrderResponse { order: Some(messages::order(known.resource)) }))
    }

    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let (headers, message) = opened(request);
        let caller = self.caller(&headers, Scope::ReadOrders).await?;
        let order_id: OrderId = orders::id(&message.order_id)?;
        let seen = message.after_sequence.max(0);
        let watch = Watch::open(&self.0, &caller, order_id, seen).await?;
        let Some(watch) = watch else {
            return Ok(Response::new(Box::pin(futures::stream::empty())));
        };
        let events = watch.events();
        let events = events.map(|event| event.map(messages::event).map_err(Status::from));
        Ok(Response::new(Box::pin(events)))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let (headers, message) = opened(request);
        let caller = self.caller(&headers, Scope::CancelOrders).await?;
        let CancelOrderRequest { order_id, reason, dry_run } = message;
        let wish = CancelOrder { reason };
        let answer = call_off(&self.0, &caller, &order_id, &wish, dry_run).await?;
        Ok(Response::new(messages::cancelled(answer)))
    }
}
