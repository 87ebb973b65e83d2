//! Fuzzing entry points of gRPC.

use domain::Fingerprint;
use ordersaga_grpc::v1::PlaceOrderRequest;
use prost::Message as _;
use serde_json::{Value, json};

use crate::app::orders::place::command::PlaceOrder;
use crate::error::Breach;
use crate::grpc::messages::order_input;
use crate::identity::fuzzing::caller_of_the_shop;

/// An encoded `PlaceOrderRequest`: the same request as HTTP's JSON, and the fingerprint of the
/// order or the rules that it breaks.
pub(crate) fn order(bytes: &[u8]) -> Option<(Value, Result<Fingerprint, Vec<Breach>>)> {
    let message = PlaceOrderRequest::decode(bytes).ok()?;
    let again = PlaceOrderRequest::decode(message.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&message));
    let order = PlaceOrder::check(&caller_of_the_shop()?, &order_input(&message));
    let order = order
        .map(|order| order.fingerprint())
        .map_err(|problem| problem.details().breaches.clone());
    Some((json_of(&message), order))
}

fn json_of(order: &PlaceOrderRequest) -> Value {
    let ship_to = order.ship_to.clone().unwrap_or_default();
    let lines = order.lines.iter();
    let lines = lines.map(|line| json!({ "sku": line.sku, "quantity": line.quantity }));
    let total = order.expected_total.as_ref();
    let total = total.map(|it| json!({ "amount": it.amount, "currency": it.currency }));
    json!({
        "customer_id": Some(&order.customer_id).filter(|id| !id.is_empty()),
        "lines": lines.collect::<Vec<_>>(),
        "ship_to": {
            "country": ship_to.country, "name": ship_to.name, "line1": ship_to.line1,
            "line2": ship_to.line2, "city": ship_to.city, "postal_code": ship_to.postal_code,
        },
        "payment_token": order.payment_token,
        "discount_code": order.discount_code,
        "expected_total": total,
        "cancel_window_seconds": order.cancel_window_seconds,
        "patience_seconds": order.patience_seconds,
        "payment_retry_seconds": order.payment_retry_seconds,
        "customer_ip": order.customer_ip,
    })
}
