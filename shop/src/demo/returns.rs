//! Partial refunds of completed orders.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::{DemoError, LOOK_PAUSE};
use crate::ordersaga::Ordersaga;

/// The two refunds of an order, in the catalogue's currency.
const PARTS: [&str; 2] = ["1.00", "0.50"];

/// Their sum in the currency's smallest units.
pub(super) const UNITS: u64 = 150;

/// The currency of the catalogue.
const CURRENCY: &str = "GBP";

/// A refund in the API.
#[derive(Deserialize)]
struct Refund {
    number: u32,
    state: String,
}

/// Makes two partial refunds, sending each request twice.
pub(super) async fn give_back_in_parts(
    shop: &Ordersaga,
    order_id: &str,
    patience: Duration,
) -> Result<(), DemoError> {
    let path = format!("/v1/orders/{order_id}/refunds");
    for amount in PARTS {
        let body = json!({
            "amount": { "amount": amount, "currency": CURRENCY }, "reason": "a part came broken",
        });
        let key = format!("refund-{amount}");
        let first: Refund = shop.post("giving money back", &path, &key, &body).await?;
        let again: Refund = shop.post("giving money back", &path, &key, &body).await?;
        if first.number != again.number {
            let state = format!("asked for twice, as {} and {}", first.number, again.number);
            return Err(DemoError::NotReturned { number: first.number, state });
        }
        until_returned(shop, &path, first.number, patience).await?;
    }
    Ok(())
}

async fn until_returned(
    shop: &Ordersaga,
    path: &str,
    number: u32,
    patience: Duration,
) -> Result<(), DemoError> {
    let began = Instant::now();
    loop {
        let refunds: Vec<Refund> = shop.get("asking for an order's refunds", path).await?;
        let found = refunds.into_iter().find(|refund| refund.number == number);
        let state = found.map_or_else(|| "not there".to_owned(), |refund| refund.state);
        let is_under_way = matches!(state.as_str(), "requested" | "pending");
        if state == "succeeded" {
            return Ok(());
        }
        if !is_under_way || began.elapsed() > patience {
            return Err(DemoError::NotReturned { number, state });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
