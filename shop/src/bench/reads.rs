//! How many reads a second the starter answers, beside the bare handler that does the least.

use std::time::Duration;

use futures::future::try_join_all;
use reqwest::Client;
use rust_decimal::Decimal;
use tokio::time::Instant;

use super::contender::{Arena, Contender};
use super::report::median;
use super::{BenchError, bare};
use crate::latency::{per_second, ratio, rounded};
use crate::ordersaga::ApiError;
use crate::screen::{heading, say};

/// The starter answers at least this share of what a bare handler answers.
const SHARE: Decimal = Decimal::from_parts(7, 0, 0, false, 1);

/// How many clients ask at once; each asks again as soon as it is answered.
const AT_ONCE: usize = 16;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

/// The same thing, asked of both.
struct Read {
    name: &'static str,
    bare: String,
    starter: String,
    /// Whether everybody may see it. Then no token is sent, as a visitor's browser sends none.
    is_public: bool,
}

/// Measures and shows both reads, in turns: what slows the machine for a while slows both.
pub(super) async fn measured(arena: &Arena) -> Result<(), BenchError> {
    let (_bare, url) = bare::started().await?;
    let workflow_id = arena.start(Contender::Order).await?;
    arena.wait(Contender::Order, &workflow_id).await?;
    let order_id = workflow_id.trim_start_matches("order-");
    let sku = arena.orders.first().and_then(|(order, _)| order.lines.first());
    let sku = sku.map_or("85123A", |line| line.sku.as_str());
    heading(format_args!("reads per second, {AT_ONCE} at once: medians of {ROUNDS} rounds"))?;
    for read in [
        Read {
            name: "GET /v1/orders/{id}",
            bare: format!("{url}/orders/{order_id}"),
            starter: format!("/v1/orders/{order_id}"),
            is_public: false,
        },
        Read {
            name: "GET /v1/products/{sku}",
            bare: format!("{url}/products/{sku}"),
            starter: format!("/v1/products/{sku}"),
            is_public: true,
        },
    ] {
        read.compared(arena).await?;
    }
    Ok(())
}

impl Read {
    async fn compared(&self, arena: &Arena) -> Result<(), BenchError> {
        let mut rounds = Vec::with_capacity(ROUNDS);
        // The first round warms both up and does not count.
        for round in 0..=ROUNDS {
            let bare = answered(&self.bare, None).await?;
            let (url, token) = arena.shop.address_of(&self.starter).await?;
            let token = (!self.is_public).then_some(token.as_str());
            let starter = answered(&url, token).await?;
            if round > 0 {
                rounds.push((bare, starter));
            }
        }
        let rate = |counts: &mut dyn Iterator<Item = u64>| {
            rounded(median(counts.map(|count| per_second(count, ROUND))), 0)
        };
        let bare = rate(&mut rounds.iter().map(|(bare, _)| *bare));
        let starter = rate(&mut rounds.iter().map(|(_, starter)| *starter));
        let share = median(rounds.iter().map(|(bare, starter)| ratio(*starter, *bare)));
        let reached = if share >= SHARE { "reached" } else { "NOT reached" };
        say(format_args!(
            "{:<24} bare {bare:>6}  starter {starter:>6}  share {share:.2}   target ≥ {SHARE} {reached}",
            self.name
        ))?;
        Ok(())
    }
}

/// How many answers there were in a round.
async fn answered(url: &str, token: Option<&str>) -> Result<u64, BenchError> {
    let client = runtime::http::client_builder().build().map_err(ApiError::Client)?;
    let until = Instant::now().checked_add(ROUND).unwrap_or_else(Instant::now);
    let token = token.map(str::to_owned);
    // Tasks of their own: on a single one, the clients would be what is slow.
    let clients = (0..AT_ONCE).map(|_| {
        tokio::spawn(answered_to_one(client.clone(), url.to_owned(), token.clone(), until))
    });
    let answers = try_join_all(clients).await.map_err(std::io::Error::from)?;
    answers.into_iter().sum()
}

/// How many answers a client gets that asks again as soon as it is answered.
async fn answered_to_one(
    client: Client,
    url: String,
    token: Option<String>,
    until: Instant,
) -> Result<u64, BenchError> {
    let mut answers = 0_u64;
    while Instant::now() < until {
        let request = client.get(&url);
        let request = match &token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        // Read to its end, so that the connection is used again.
        answer.map_err(BenchError::Reading)?.bytes().await.map_err(BenchError::Reading)?;
        answers = answers.saturating_add(1);
    }
    Ok(answers)
}
