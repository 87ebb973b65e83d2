//! How many orders a second one article takes, beside orders that are each for another article.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::BenchError;
use super::contender::{Arena, Contender, Spoiled};
use crate::latency::{per_second, ratio, rounded};
use crate::ordersaga::PlaceOrder;
use crate::retail::RetailLine;
use crate::screen::{heading, say};

/// Has so many clients order one piece of another article each, and then of the same one.
pub(super) async fn measured(
    arena: &Arena,
    clients: usize,
    count: usize,
) -> Result<(), BenchError> {
    let lines = arena.orders.iter().flat_map(|(asked, _)| &asked.lines);
    let articles = lines.map(|line| line.sku.as_str()).collect::<BTreeSet<_>>();
    let articles = articles.into_iter().collect::<Vec<_>>();
    say(format_args!("{count} orders of one line for different articles, and for the same one"))?;
    let different = took(arena, clients, count, &articles).await?;
    let same = took(arena, clients, count, articles.get(..1).unwrap_or_default()).await?;
    heading("a popular article: orders of one line that were finished per second")?;
    let finished = u64::try_from(count).unwrap_or(u64::MAX);
    for (name, took) in [("for different articles", different), ("for the same", same)] {
        let rate = rounded(per_second(finished, took), 1);
        say(format_args!("  {name:<24}{rate:>10}"))?;
    }
    let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let share = rounded(ratio(micros(different), micros(same)), 2);
    say(format_args!("  {:<24}{share:>10}", "ratio"))?;
    Ok(())
}

async fn took(
    arena: &Arena,
    clients: usize,
    count: usize,
    articles: &[&str],
) -> Result<Duration, Spoiled> {
    let began = Instant::now();
    let orders = (0..count).zip(articles.iter().cycle());
    let lives = orders.map(|(number, sku)| {
        live(arena, format!("popular-{}-{}-{number}", arena.run, articles.len()), sku)
    });
    stream::iter(lives).buffer_unordered(clients).try_collect::<()>().await?;
    Ok(began.elapsed())
}

/// An order from its placing to its end.
async fn live(arena: &Arena, key: String, sku: &str) -> Result<(), Spoiled> {
    let Some((any, _)) = arena.orders.first() else { return Ok(()) };
    let lines = vec![RetailLine { sku: sku.to_owned(), quantity: 1 }];
    let request = PlaceOrder { lines, ..any.clone() };
    let placed = Box::pin(arena.shop.place(&key, &request)).await?;
    arena.wait(Contender::Order, &format!("order-{}", placed.answer.id)).await
}
