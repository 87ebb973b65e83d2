//! Reads per second of the starter, compared with a bare handler that does the minimum.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use rust_decimal::Decimal;

use super::contender::{Arena, Contender, Spoiled};
use super::report::median;
use super::wire::{Counted, Request, WireError, as_fast_as_answered};
use super::{BenchError, bare};
use crate::latency::{Took, per_second, ratio, rounded};
use crate::screen::{heading, say};

/// The target: the starter's share of a bare handler's throughput.
const SHARE: Decimal = Decimal::from_parts(75, 0, 0, false, 2);

/// Concurrent clients; each sends its next request as soon as it is answered.
const AT_ONCE: usize = 16;

/// The number of different orders, and articles, requested in rotation.
const DIFFERENT: usize = 64;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);

/// The same resources at both servers, by URL.
struct Read {
    name: &'static str,
    bare: Vec<String>,
    starter: Vec<String>,
}

/// Measures and prints both kinds of read, alternating, so that a temporary slowdown affects both
/// servers.
///
/// Both get a token, which only the starter checks.
pub(super) async fn measured(arena: &Arena, when: &str) -> Result<(), BenchError> {
    let (_bare, bare) = bare::started().await?;
    let (starter, _token) = arena.shop.address_of("").await?;
    let ids = orders(arena).await?;
    let lines = arena.orders.iter().flat_map(|(order, _)| &order.lines);
    let skus = lines.map(|line| line.sku.as_str()).collect::<BTreeSet<_>>();
    let skus = skus.into_iter().take(DIFFERENT).collect::<Vec<_>>();
    heading(format_args!(
        "reads per second {when}, {AT_ONCE} at once, {DIFFERENT} different in turns: medians of \
         {ROUNDS} rounds"
    ))?;
    let urls = |server: &str, path: &str, all: &[&str]| {
        all.iter().map(|one| format!("{server}{path}/{one}")).collect::<Vec<_>>()
    };
    for (name, path, all) in [
        ("GET /v1/orders/{id}", "/orders", ids.iter().map(String::as_str).collect::<Vec<_>>()),
        ("GET /v1/products/{sku}", "/products", skus),
    ] {
        let starter = urls(&starter, &format!("/v1{path}"), &all);
        let read = Read { name, bare: urls(&bare, path, &all), starter };
        read.compared(arena).await?;
    }
    Ok(())
}

/// The ids of ended orders.
async fn orders(arena: &Arena) -> Result<Vec<String>, Spoiled> {
    let lives = stream::iter(0..DIFFERENT).map(|_number| async {
        let workflow_id = arena.start(Contender::Order).await?;
        arena.wait(Contender::Order, &workflow_id).await?;
        Ok(workflow_id.trim_start_matches("order-").to_owned())
    });
    lives.buffer_unordered(AT_ONCE).try_collect().await
}

impl Read {
    async fn compared(&self, arena: &Arena) -> Result<(), BenchError> {
        let (mut bare, mut starter) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        // The first round is a warm-up and does not count.
        for round in 0..=ROUNDS {
            let (_url, token) = arena.shop.address_of("").await?;
            let (of_bare, of_starter) = (asked(&self.bare, &token)?, asked(&self.starter, &token)?);
            let of_bare = as_fast_as_answered(of_bare, AT_ONCE, ROUND).await?;
            let of_starter = as_fast_as_answered(of_starter, AT_ONCE, ROUND).await?;
            if round > 0 {
                bare.push(of_bare);
                starter.push(of_starter);
            }
        }
        say(self.name)?;
        told("bare", &bare)?;
        told("starter", &starter)?;
        let pairs = starter.iter().zip(&bare);
        let shares = pairs.map(|(starter, bare)| ratio(starter.answers, bare.answers));
        let share = median(shares);
        let reached = if share >= SHARE { "reached" } else { "NOT reached" };
        say(format_args!("  {:<10}{share:>10.2}   target ≥ {SHARE} {reached}", "share"))?;
        Ok(())
    }
}

fn asked(urls: &[String], token: &str) -> Result<Vec<Request>, WireError> {
    let authorization = format!("Bearer {token}");
    let fields = [("authorization", authorization.as_str())];
    urls.iter().map(|url| Request::new("GET", url, &fields, &[])).collect()
}

fn told(who: &str, rounds: &[Counted]) -> Result<(), BenchError> {
    let rate = median(rounds.iter().map(|one| per_second(one.answers, ROUND)));
    let took = |took: fn(&Counted) -> Took| median(rounds.iter().map(took));
    let (p50, p99) = (took(|one| one.took.p50()), took(|one| one.took.p99()));
    say(format_args!("  {who:<10}{:>10}   p50 {p50}, p99 {p99}", rounded(rate, 0)))?;
    Ok(())
}
