//! Contention: throughput of orders that share an article or a customer, compared with orders that
//! share neither.
//!
//! An article is one row of the stock, which each order updates twice: on reservation and on
//! shipment. The maximum update rate of such a row is measured separately: it is the upper bound
//! for orders of one article.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use rust_decimal::Decimal;
use tokio::time::Instant;

use super::contender::{Arena, Contender, Spoiled};
use super::database::Database;
use super::{Bench, BenchError};
use crate::latency::{per_second, ratio, rounded};
use crate::ordersaga::PlaceOrder;
use crate::retail::RetailLine;
use crate::screen::{heading, say};

/// How long updates of a stock row are measured.
const ROW_MEASURED: Duration = Duration::from_secs(3);

/// The number of connections that update it.
const ROW_CONNECTIONS: u32 = 8;

/// How often a completed order updates each of its articles' rows.
const CHANGES_PER_ORDER: u64 = 2;

/// What orders have in common.
#[derive(Clone, Copy, Debug)]
enum Shared {
    Nothing,
    Article,
    Customer,
}

impl Shared {
    const ALL: [Self; 3] = [Self::Nothing, Self::Article, Self::Customer];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing in common",
            Self::Article => "the same article",
            Self::Customer => "the same customer",
        }
    }
}

/// Places orders of one piece with concurrent clients, first with nothing and then with one thing
/// in common, and prints the throughput.
pub(super) async fn measured(arena: &Arena, bench: &Bench) -> Result<(), BenchError> {
    let (clients, count) = (bench.at_once, bench.burst);
    say(format_args!(
        "{count} orders of one line: for different articles and customers, then for one"
    ))?;
    let mut took = Vec::with_capacity(Shared::ALL.len());
    for shared in Shared::ALL {
        let orders = orders(arena, shared);
        took.push((shared, carried_out(arena, shared, clients, count, &orders).await?));
    }
    heading("hot spots: orders of one line, finished per second")?;
    let finished = u64::try_from(count).unwrap_or(u64::MAX);
    let base = took.first().map_or(Duration::ZERO, |(_, took)| *took);
    for (shared, took) in took {
        let rate = rounded(per_second(finished, took), 1);
        let share = rounded(ratio(micros(base), micros(took)), 2);
        say(format_args!("  {:<24}{rate:>10}   ratio {share}", shared.name()))?;
    }
    // All orders book to the same accounts, so every figure includes that.
    say("  (all orders post to the same ledger accounts; posting updates no account row)")?;
    stock_row(arena, bench).await
}

/// Prints the update rate of one stock row, compared with many rows.
async fn stock_row(arena: &Arena, bench: &Bench) -> Result<(), BenchError> {
    let database = Database::with_connections(&bench.database_url, ROW_CONNECTIONS)?;
    let orders = orders(arena, Shared::Nothing);
    let skus = orders.iter().flat_map(|order| &order.lines).map(|line| line.sku.clone());
    let skus = skus.collect::<Vec<_>>();
    let mut rates = Vec::new();
    for skus in [skus.as_slice(), skus.get(..1).unwrap_or_default()] {
        let changes = changes(&database, skus).await?;
        rates.push(per_second(changes, ROW_MEASURED));
    }
    let [many, one] = [rates.first(), rates.last()].map(|rate| rate.copied().unwrap_or_default());
    let orders = one.checked_div(Decimal::from(CHANGES_PER_ORDER)).unwrap_or_default();
    say(format_args!(
        "  changes of the stock committed per second by {ROW_CONNECTIONS} connections: {} of many \
         rows, {} of one;\n  so one article takes at most {} orders per second, see docs/hot-spots.md",
        rounded(many, 0),
        rounded(one, 0),
        rounded(orders, 0),
    ))?;
    Ok(())
}

/// The number of updates of these rows, one commit each.
async fn changes(database: &Database, skus: &[String]) -> Result<u64, BenchError> {
    let until = Instant::now().checked_add(ROW_MEASURED).unwrap_or_else(Instant::now);
    let clients = (0..ROW_CONNECTIONS).map(|client| async move {
        let first = usize::try_from(client).unwrap_or_default();
        let step = usize::try_from(ROW_CONNECTIONS).unwrap_or(usize::MAX);
        let mut changes = 0_u64;
        for sku in skus.iter().cycle().skip(first).step_by(step) {
            if Instant::now() >= until {
                break;
            }
            database.touch_stock(sku).await?;
            changes = changes.saturating_add(1);
        }
        Ok::<_, sqlx::Error>(changes)
    });
    let counted = futures::future::try_join_all(clients).await?;
    Ok(counted.into_iter().fold(0, u64::saturating_add))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Orders of one piece, each for another article and customer except for what they share.
fn orders(arena: &Arena, shared: Shared) -> Vec<PlaceOrder> {
    let lines = arena.orders.iter().flat_map(|(order, _)| &order.lines);
    let skus = lines.map(|line| line.sku.as_str()).collect::<BTreeSet<_>>();
    let customers = arena.orders.iter().map(|(order, _)| (order.customer_id.as_str(), order));
    let customers = customers.collect::<BTreeMap<_, _>>();
    // At least one of each, and as many orders as there are articles.
    let (articles_max, customers_max) = match shared {
        Shared::Nothing => (usize::MAX, usize::MAX),
        Shared::Article => (1, usize::MAX),
        Shared::Customer => (usize::MAX, 1),
    };
    let placers = customers.values().take(customers_max).cycle();
    let articles = skus.iter().take(articles_max).cycle();
    let orders = placers.zip(articles).take(skus.len()).map(|(placer, sku)| {
        let lines = vec![RetailLine { sku: (*sku).to_owned(), quantity: 1 }];
        PlaceOrder { lines, ..(**placer).clone() }
    });
    orders.collect()
}

/// The time until all of these orders have ended.
async fn carried_out(
    arena: &Arena,
    shared: Shared,
    clients: usize,
    count: usize,
    orders: &[PlaceOrder],
) -> Result<Duration, Spoiled> {
    let began = Instant::now();
    let orders = (0..count).zip(orders.iter().cycle());
    let lives = orders.map(|(number, order)| {
        live(arena, format!("popular-{}-{shared:?}-{number}", arena.run), order)
    });
    stream::iter(lives).buffer_unordered(clients).try_collect::<()>().await?;
    Ok(began.elapsed())
}

/// One order from placement to its end.
async fn live(arena: &Arena, key: String, order: &PlaceOrder) -> Result<(), Spoiled> {
    let placed = Box::pin(arena.shop.place(&key, order)).await?;
    arena.wait(Contender::Order, &format!("order-{}", placed.answer.id)).await
}
