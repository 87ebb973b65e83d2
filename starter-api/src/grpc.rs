//! The gRPC API. The contract is `proto/ordersaga/v1/orders.proto`; the rules are those of HTTP,
//! because both call the same functions of `app`.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod messages;
mod status;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::Extensions;
use futures::{Stream, StreamExt};
use ordersaga_grpc::v1::order_service_server::{OrderService, OrderServiceServer};
use ordersaga_grpc::v1::{
    CancelOrderRequest, CancelOrderResponse, DESCRIPTOR, GetOrderRequest, GetOrderResponse,
    PayOrderRequest, PayOrderResponse, PlaceOrderRequest, PlaceOrderResponse, RequestRefundRequest,
    RequestRefundResponse, WatchOrderRequest, WatchOrderResponse,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::app::orders;
use crate::app::orders::cancel::{self, CancelOrder};
use crate::app::orders::pay::{self, PayOrder};
use crate::app::orders::place::command::PlaceOrder;
use crate::app::orders::place::{self, IdempotencyKey, Wait};
use crate::app::orders::refund::{self, RefundOrder};
use crate::app::orders::watch::Watch;
use crate::app::turn::Turn;
use crate::error::{Kind, Problem};
use crate::identity::scope::{self, HasScope};
use crate::identity::{Caller, Identity};

/// The gRPC services, mounted beside the HTTP routes: orders, health, and reflection.
pub(crate) fn routes<S>(app: &Arc<App>, identity: &Identity, bytes_max: usize) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let orders = Orders { app: Arc::clone(app), identity: identity.clone() };
    let orders = OrderServiceServer::new(orders);
    let orders = orders.max_decoding_message_size(bytes_max);
    let (health, health_service) = tonic_health::server::health_reporter();
    let leaving = app.leaving.clone();
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
    // Some tools still use the draft version of the reflection protocol.
    match (contract().build_v1(), contract().build_v1alpha()) {
        (Ok(now), Ok(before)) => routes = routes.add_service(now).add_service(before),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the gRPC contract cannot be asked for");
        }
    }
    routes.into_axum_router().with_state(())
}

#[derive(Clone)]
struct Orders {
    app: Arc<App>,
    identity: Identity,
}

impl Orders {
    /// The authenticated caller of a request, with the scope `S`, and the request's message.
    async fn open<S: HasScope, T>(&self, request: Request<T>) -> Result<(Caller, T), Problem> {
        let (metadata, _extensions, message): (_, Extensions, _) = request.into_parts();
        let authorized = self.identity.authorize::<S>(&metadata.into_headers()).await?;
        Ok((authorized.caller, message))
    }
}

#[tonic::async_trait]
impl OrderService for Orders {
    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let turn = turn_of(&request);
        let (caller, message) = self.open::<scope::PlaceOrders, _>(request).await?;
        let key = idempotency_key(message.idempotency_key.as_deref())?;
        let wait = wait(message.wait.as_ref(), turn);
        let command = PlaceOrder::check(&caller, &messages::order_input(&message))?;
        let placed = place::place(&self.app, &caller, &command, key.as_ref(), wait).await?;
        let (order, replayed) = (Some(messages::order(placed.resource)), placed.replayed);
        Ok(Response::new(PlaceOrderResponse { order, replayed }))
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let (caller, message) = self.open::<scope::ReadOrders, _>(request).await?;
        let order_id = orders::parse_id(&message.order_id)?;
        let order = orders::read::read(&self.app, &caller, order_id).await?;
        let refunds = refund::of(&self.app, &order).await?;
        let refunds = refunds.into_iter().map(messages::refund).collect();
        Ok(Response::new(GetOrderResponse { order: Some(messages::order(order)), refunds }))
    }

    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let turn = turn_of(&request);
        let (caller, message) = self.open::<scope::ReadOrders, _>(request).await?;
        let order_id = orders::parse_id(&message.order_id)?;
        let seen = message.after_sequence.max(0);
        let watch = Watch::open(&self.app, &caller, &turn, order_id, seen).await?;
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
        let (caller, message) = self.open::<scope::CancelOrders, _>(request).await?;
        let command = CancelOrder::check(&message.order_id, &message.reason)?;
        let response = if message.dry_run {
            messages::cancel_preview(&cancel::preview(&self.app, &caller, &command).await?)
        } else {
            messages::cancelled(&cancel::cancel(&self.app, &caller, command).await?)
        };
        Ok(Response::new(response))
    }

    async fn pay_order(
        &self,
        request: Request<PayOrderRequest>,
    ) -> Result<Response<PayOrderResponse>, Status> {
        let turn = turn_of(&request);
        let (caller, message) = self.open::<scope::PlaceOrders, _>(request).await?;
        let key = idempotency_key(message.idempotency_key.as_deref())?;
        let wait = wait(message.wait.as_ref(), turn);
        let command = PayOrder::check(&message.order_id, &message.payment_token)?;
        let paid = pay::pay(&self.app, &caller, command, key.as_ref(), wait).await?;
        let (order, replayed) = (Some(messages::order(paid.resource)), paid.replayed);
        Ok(Response::new(PayOrderResponse { order, replayed }))
    }

    async fn request_refund(
        &self,
        request: Request<RequestRefundRequest>,
    ) -> Result<Response<RequestRefundResponse>, Status> {
        let (caller, message) = self.open::<scope::RefundPayments, _>(request).await?;
        let key = key_as_written(&message.idempotency_key)?;
        let command = RefundOrder::check(&message.order_id, &messages::refund_input(&message))?;
        let refunded = refund::refund(&self.app, &caller, &command, &key).await?;
        let (refund, replayed) = (Some(messages::refund(refunded.resource)), refunded.replayed);
        Ok(Response::new(RequestRefundResponse { refund, replayed }))
    }
}

fn turn_of<T>(request: &Request<T>) -> Turn {
    request.extensions().get().cloned().unwrap_or_default()
}

fn idempotency_key(written: Option<&str>) -> Result<Option<IdempotencyKey>, Problem> {
    written.map(key_as_written).transpose()
}

fn key_as_written(written: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::parse(written).ok_or_else(|| {
        let detail = "idempotency_key is 1 to 255 visible ASCII characters.";
        Problem::new(Kind::MalformedRequest, detail)
    })
}

fn wait(written: Option<&prost_types::Duration>, turn: Turn) -> Option<Wait> {
    written.map(|wait| {
        let seconds = u32::try_from(wait.seconds.max(0)).unwrap_or(u32::MAX);
        Wait { seconds, turn }
    })
}
