//! Sends one request a thousand times concurrently.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::ChaosError;
use super::records::Records;
use crate::latency::Took;
use crate::ordersaga::{Answer, ApiError, Once, Ordersaga};
use crate::screen::{heading, say};

/// Whether all answers agree and there is one order: first with one body, then with two.
pub(super) async fn run(
    shop: &Ordersaga,
    records: &Records,
    times: u32,
) -> Result<bool, ChaosError> {
    heading(format_args!("one key, {times} times at once"))?;
    let alike = rush(shop, records, times, &[6]).await?;
    let differing = rush(shop, records, times, &[6, 12]).await?;
    Ok(alike && differing)
}

/// The answers to requests for this quantity.
type Answers = Vec<(u32, Result<Answer, ApiError>)>;

async fn rush(
    shop: &Ordersaga,
    records: &Records,
    times: u32,
    quantities: &[u32],
) -> Result<bool, ChaosError> {
    let known = records.statuses().await?;
    let key = format!("same-{:x}-{}", known.len(), quantities.len());
    let (mut sent, began) = (JoinSet::new(), Instant::now());
    for (quantity, _) in quantities.iter().cycle().zip(0..times) {
        let (shop, request, quantity) = (shop.clone(), order(&key, *quantity), *quantity);
        sent.spawn(async move { (quantity, shop.once(&request).await) });
    }
    let answers = sent.join_all().await;
    let took = began.elapsed();
    settled(shop, &answers).await?;
    let made = records.statuses().await?.len().saturating_sub(known.len());
    tell(quantities.len(), &answers, made, took)
}

fn order(key: &str, quantity: u32) -> Once {
    let body = json!({
        "customer_id": "17850",
        "lines": [{ "sku": "85123A", "quantity": quantity }],
        "ship_to": { "country": "GB" },
        "payment_token": "tok_visa",
    });
    Once {
        what: "placing an order",
        method: Method::POST,
        path: "/v1/orders".to_owned(),
        key: Some(key.to_owned()),
        body: Some(body.to_string()),
    }
}

/// An order is recorded a moment after it is accepted, so waits for its end.
async fn settled(shop: &Ordersaga, answers: &Answers) -> Result<(), ChaosError> {
    for order in orders(answers) {
        let began = Instant::now();
        while !shop.show(&order).await?.has_ended() && began.elapsed() < SETTLES_WITHIN {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
    Ok(())
}

const SETTLES_WITHIN: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

fn orders(answers: &Answers) -> BTreeSet<String> {
    let answers = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let ids = answers.filter_map(|answer| answer.body.get("order_id").and_then(Value::as_str));
    ids.map(ToOwned::to_owned).collect()
}

fn tell(bodies: usize, answers: &Answers, made: usize, took: Duration) -> Result<bool, ChaosError> {
    let mut counted = BTreeMap::<String, u32>::new();
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let (mut firsts, mut strange) = (0_u32, 0_u32);
    for (quantity, answer) in answers {
        let told = match answer {
            Ok(Answer { status: StatusCode::CREATED, replayed, .. }) => {
                accepted.insert(*quantity);
                firsts = firsts.saturating_add(u32::from(!replayed));
                if *replayed { "201 again".to_owned() } else { "201".to_owned() }
            }
            Ok(Answer { status: StatusCode::UNPROCESSABLE_ENTITY, .. }) => {
                refused.insert(*quantity);
                "422 another body".to_owned()
            }
            Ok(other) => {
                strange = strange.saturating_add(1);
                format!("{} {}", other.status, other.body.get("detail").unwrap_or(&Value::Null))
            }
            Err(error) => {
                strange = strange.saturating_add(1);
                error.to_string()
            }
        };
        let count = counted.entry(told).or_default();
        *count = count.saturating_add(1);
    }
    let one_body = accepted.len() == 1 && refused.len() == bodies.saturating_sub(1);
    let orders = orders(answers).len();
    let held = one_body
        && accepted.is_disjoint(&refused)
        && (firsts, strange) == (1, 0)
        && (orders, made) == (1, 1);
    let told = counted.iter().map(|(told, count)| format!("{count} × {told}"));
    say(format_args!(
        "{} {bodies} {}: {made} order, {} named in {} answers, within {}: {}",
        if held { "✔" } else { "✘" },
        if bodies == 1 { "body" } else { "bodies" },
        orders,
        answers.len(),
        Took(took),
        told.collect::<Vec<_>>().join(", "),
    ))?;
    Ok(held)
}
