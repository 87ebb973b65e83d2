//! A thousand concurrent buyers compete for the last few pieces.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use futures::{StreamExt, stream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::launcher::{Launcher, Program};
use super::records::{Records, Stock};
use super::{ChaosError, same_key};
use crate::latency::Took;
use crate::ordersaga::{ApiArgs, ApiError, Ordersaga, PlaceOrder, ShipTo};
use crate::prove::{beside_this_program, prove};
use crate::retail::RetailLine;
use crate::screen::{heading, say};

/// Lets a thousand concurrent buyers compete for the last few pieces of an article, in several
/// rounds; in every second round the worker is killed meanwhile. Then sends one request a thousand
/// times concurrently.
///
/// Exits with 0 only if every piece was sold exactly once, all other buyers were rejected as out of
/// stock, each request created one order, and `ordersaga prove` holds.
#[derive(Clone, Debug, Args)]
pub(crate) struct Race {
    /// Number of buyers
    #[arg(long, env = "BUYERS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    buyers: u32,

    /// Number of pieces
    #[arg(long, env = "ITEMS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    items: u32,

    /// Number of rounds, each for another article
    #[arg(long, env = "ROUNDS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    #[command(flatten)]
    api: ApiArgs,

    /// The shop's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// Seconds to retry a request without an answer, and to wait for the next order to end
    #[arg(long, default_value_t = 120)]
    patience_seconds: u64,
}

/// The results of a round.
struct Outcome {
    round: u32,
    is_killed: bool,
    accepted_within: Duration,
    ended_within: Duration,
    /// Attempts at requests that had no answer.
    repeats: u32,
    /// The number of orders, by end.
    ends: BTreeMap<String, u32>,
    stock: Stock,
}

/// A buyer's result: the order's id, if there is one.
type Answer = Result<(String, u32), ApiError>;

impl Race {
    /// Runs the race. Returns whether each round ended correctly.
    pub(crate) async fn run(&self) -> Result<bool, ChaosError> {
        let mut launcher = Launcher::reach()?;
        let records = Records::at(&self.database_url).await?;
        let shop = Ordersaga::at(&self.api, Duration::from_secs(self.patience_seconds))?;
        let run = time_of_day();
        say(format_args!(
            "{} buyers at once for {} pieces, {} rounds; in every second round the worker is killed",
            self.buyers, self.items, self.rounds,
        ))?;
        let mut outcomes = Vec::new();
        for round in 1..=self.rounds {
            let sku = format!("RACE-{run}-{round}");
            stocked(&sku, self.items).await?;
            let killer = (round.is_multiple_of(2)).then_some(&mut launcher);
            outcomes.push(self.round(round, &sku, &shop, &records, killer).await?);
        }
        let fair = self.table(&outcomes)?;
        let once = same_key::run(&shop, &records, self.buyers).await?;
        let proven = prove().await?;
        verdict(fair, once, proven)?;
        Ok(fair && once && proven)
    }

    async fn round(
        &self,
        round: u32,
        sku: &str,
        shop: &Ordersaga,
        records: &Records,
        killer: Option<&mut Launcher>,
    ) -> Result<Outcome, ChaosError> {
        let (began, is_killed) = (Instant::now(), killer.is_some());
        let mut buyers = JoinSet::new();
        for number in 0..self.buyers {
            buyers.spawn(buy(shop.clone(), sku.to_owned(), number));
        }
        let (answers, killing) = tokio::join!(buyers.join_all(), async {
            match killer {
                Some(launcher) => strike(launcher, records, sku, self.patience_seconds).await,
                None => Ok(()),
            }
        });
        killing?;
        let accepted_within = began.elapsed();
        let repeats = answers.iter().flatten().map(|(_, repeats)| *repeats).sum();
        let ends = self.ends(shop, answers).await?;
        let ended_within = began.elapsed();
        say(format_args!("round {round}: all have ended after {}", Took(ended_within)))?;
        let stock = records.stock(sku).await?;
        Ok(Outcome { round, is_killed, accepted_within, ended_within, repeats, ends, stock })
    }

    /// How each buyer's order ended, or that it did not.
    async fn ends(
        &self,
        shop: &Ordersaga,
        answers: Vec<Answer>,
    ) -> Result<BTreeMap<String, u32>, ChaosError> {
        let mut ends = BTreeMap::<String, u32>::new();
        let mut count = |end: String| {
            let count = ends.entry(end).or_default();
            *count = count.saturating_add(1);
        };
        let mut open = Vec::new();
        for answer in answers {
            match answer {
                Ok((order, _)) => open.push(order),
                Err(error) => count(format!("not accepted: {error}")),
            }
        }
        let patience = Duration::from_secs(self.patience_seconds);
        let (mut last_end, mut last_line) = (Instant::now(), Instant::now());
        while !open.is_empty() && last_end.elapsed() < patience {
            let looks = stream::iter(open).map(async |id| (shop.show(&id).await, id));
            let looks = looks.buffer_unordered(LOOKS_AT_ONCE).collect::<Vec<_>>().await;
            open = Vec::new();
            for (order, id) in looks {
                match order {
                    Ok(order) if order.has_ended() => {
                        last_end = Instant::now();
                        count(order.told());
                    }
                    Ok(_) | Err(_) => open.push(id),
                }
            }
            if last_line.elapsed() > LINE_INTERVAL {
                last_line = Instant::now();
                say(format_args!("  {} orders are still open", open.len()))?;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        for _order in open {
            count("still open".to_owned());
        }
        Ok(ends)
    }

    fn table(&self, outcomes: &[Outcome]) -> Result<bool, ChaosError> {
        heading(format_args!("{} buyers for {} pieces", self.buyers, self.items))?;
        say(format_args!(
            "  {:<5} {:<6} {:>8} {:>7} {:>7}  {:>7} {:>8} {:>4}  {}",
            "round",
            "worker",
            "accepted",
            "ended",
            "repeats",
            "winners",
            "sold out",
            "else",
            "left/held/sold"
        ))?;
        let mut fair = true;
        for outcome in outcomes {
            fair &= self.line(outcome)?;
        }
        Ok(fair)
    }

    fn line(&self, outcome: &Outcome) -> Result<bool, ChaosError> {
        let counted = |end| outcome.ends.get(end).copied().unwrap_or_default();
        let (won, lost) = (counted("completed"), counted("rejected: out-of-stock"));
        let others = self.buyers.saturating_sub(won).saturating_sub(lost);
        let winners = self.items.min(self.buyers);
        let Stock { on_hand, reserved, sold } = outcome.stock;
        let left = i64::from(self.items.saturating_sub(winners));
        let stocked = (on_hand, reserved, sold) == (left, 0, i64::from(winners));
        let fair = (won, others, stocked) == (winners, 0, true);
        say(format_args!(
            "{} {:<5} {:<6} {:>8} {:>7} {:>7}  {won:>7} {lost:>8} {others:>4}  {on_hand}/{reserved}/{sold}",
            if fair { "✔" } else { "✘" },
            outcome.round,
            if outcome.is_killed { "killed" } else { "lived" },
            Took(outcome.accepted_within),
            Took(outcome.ended_within),
            outcome.repeats,
        ))?;
        for (end, count) in &outcome.ends {
            if !matches!(end.as_str(), "completed" | "rejected: out-of-stock") {
                say(format_args!("    - {count} {end}"))?;
            }
        }
        Ok(fair)
    }
}

const LOOKS_AT_ONCE: usize = 8;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const LINE_INTERVAL: Duration = Duration::from_secs(10);

async fn buy(shop: Ordersaga, sku: String, number: u32) -> Answer {
    let request = PlaceOrder {
        customer_id: format!("buyer-{number}"),
        lines: vec![RetailLine { sku: sku.clone(), quantity: 1 }],
        ship_to: ShipTo::country("GB"),
        payment_token: "tok_visa",
        cancel_window_seconds: None,
    };
    let placed = shop.place(&format!("{sku}-{number}"), &request).await?;
    Ok((placed.answer.id, placed.repeats))
}

/// Kills the worker as soon as the first piece is reserved, and restarts it a little later.
async fn strike(
    launcher: &mut Launcher,
    records: &Records,
    sku: &str,
    patience_seconds: u64,
) -> Result<(), ChaosError> {
    let patience = Duration::from_secs(patience_seconds);
    let began = Instant::now();
    loop {
        let Stock { reserved, sold, .. } = records.stock(sku).await?;
        if reserved.saturating_add(sold) > 0 || began.elapsed() > patience {
            break;
        }
        sleep(STRIKE_LOOKS).await;
    }
    let pid = launcher.kill(Program::Worker).await?;
    say(format_args!("  kill -9 worker (pid {pid}), a piece is spoken for"))?;
    sleep(STRIKE_LASTS).await;
    launcher.start(Program::Worker).await?;
    Ok(())
}

const STRIKE_LOOKS: Duration = Duration::from_millis(10);
const STRIKE_LASTS: Duration = Duration::from_secs(1);

/// Adds a new article with this many pieces to the shop.
async fn stocked(sku: &str, items: u32) -> Result<(), ChaosError> {
    let list = std::env::temp_dir().join(format!("{sku}.csv"));
    fs::write(&list, format!("sku,name,unit_price_gbp\n{sku},THE LAST OF ITS KIND,9.99\n"))?;
    let mut command = Command::new(beside_this_program("ordersaga")?);
    command.arg("load-catalogue").arg(&list).args(["--on-hand", &items.to_string()]);
    let status = command.stdout(Stdio::null()).stdin(Stdio::null()).status().await?;
    fs::remove_file(&list)?;
    if status.success() { Ok(()) } else { Err(ChaosError::NoArticle) }
}

fn verdict(fair: bool, once: bool, proven: bool) -> Result<(), ChaosError> {
    if fair && once && proven {
        say("\n✔ Every piece was sold once, and every request was one order.")?;
    }
    for (held, fault) in [
        (fair, "A race did not end as it must."),
        (once, "A request that was sent many times at once was not one order."),
        (proven, "`ordersaga prove` found a fault."),
    ] {
        if !held {
            say(format_args!("\n✘ {fault}"))?;
        }
    }
    Ok(())
}

fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", now.as_secs())
}
