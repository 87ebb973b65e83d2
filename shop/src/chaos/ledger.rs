//! Tries every way to unbalance or rewrite the books, and shows what rejects it.

mod activities;
mod http;
mod sql;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use clap::Args;
use domain::OrderId;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::ordersaga::{ApiArgs, ApiError, Ordersaga, PlaceOrder, ShipTo};
use crate::prove::prove;
use crate::retail::RetailLine;
use crate::screen::{heading, say, say_with};

/// Tries to unbalance or rewrite the books in every way open to worker, starter, a caller of the
/// API or the schemas' owner.
///
/// Exits with 0 only if nothing changed the books, every attempt was rejected for the right reason,
/// and `ordersaga prove` holds.
#[derive(Clone, Args)]
pub(crate) struct Ledger {
    #[command(flatten)]
    api: ApiArgs,

    /// The secret of the client `books`, which may read the books
    #[arg(long, env = "ORDERSAGA_FINANCE_SECRET", hide_env_values = true)]
    finance_secret: String,

    /// The shop's database, as the worker's role
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// The shop's database, as the starter's role
    #[arg(long, env = "STARTER_DATABASE_URL", hide_env_values = true)]
    starter_database_url: String,

    /// The shop's database, as the owner of its schemas.
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    migrate_database_url: String,
}

/// Why the attempts cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// Ordersaga does not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The database does not answer.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// The terminal or a program failed.
    #[error("cannot write to the terminal or run `ordersaga prove`")]
    Process(#[from] io::Error),
    /// The orders that fill the books did not end.
    #[error("the orders to fill the books did not end: {0:?}")]
    NotEnded(BTreeMap<String, usize>),
}

/// The result of an attempt.
#[derive(Debug)]
enum Verdict {
    /// Rejected by this.
    Refused(String),
    /// Accepted without effect: a repetition of what is booked.
    Nothing,
    /// The books have changed.
    Succeeded,
    /// It could not have succeeded on any books, so it shows nothing.
    Pointless(String),
}

/// One line of the table.
#[derive(Debug)]
struct Tried {
    by: &'static str,
    what: String,
    verdict: Verdict,
}

/// The books under attack.
struct Books {
    /// As the worker's role.
    database: PgPool,
    worker_url: String,
    starter_url: String,
    owner_url: String,
    shop: Ordersaga,
    /// The same, as a client that may read the books.
    finance: Ordersaga,
}

impl Ledger {
    /// Tries everything. Returns whether all attempts were rejected.
    pub(crate) async fn run(&self) -> Result<bool, LedgerError> {
        let shop = Ordersaga::at(&self.api, Duration::from_mins(1))?;
        let books = Books {
            database: PgPoolOptions::new().max_connections(2).connect(&self.database_url).await?,
            worker_url: self.database_url.clone(),
            starter_url: self.starter_database_url.clone(),
            owner_url: self.migrate_database_url.clone(),
            finance: shop.asked_by("books", &self.finance_secret),
            shop,
        };
        say("filling the books with orders that ship, and one that is taken back")?;
        books.fill().await?;
        heading("every attempt to unbalance or rewrite the books, and what refuses it")?;
        let before = books.fingerprint().await?;
        let mut held = true;
        for group in [sql::try_all(&books).await?, http::try_all(&books).await?] {
            held &= tell(&group)?;
        }
        held &= tell(&activities::try_all(&books).await?)?;
        let untouched = before == books.fingerprint().await?;
        let proven = prove().await?;
        if held && untouched && proven {
            say("\n✔ Nothing has changed the books.")?;
        }
        if !held {
            say("\n✘ An attempt got through, or shows nothing.")?;
        }
        if !untouched {
            say("\n✘ The books are not what they were.")?;
        }
        if !proven {
            say("\n✘ `ordersaga prove` found a fault.")?;
        }
        Ok(held && untouched && proven)
    }
}

fn tell(tried: &[Tried]) -> io::Result<bool> {
    for Tried { by, what, verdict } in tried {
        let (mark, told) = match verdict {
            Verdict::Refused(by_what) => ("✔", by_what.as_str()),
            Verdict::Nothing => ("✔", "nothing: what is booked is booked"),
            Verdict::Succeeded => ("✘", "NOTHING: IT SUCCEEDED"),
            Verdict::Pointless(why) => ("✘", why.as_str()),
        };
        say_with(format_args!("{mark} {by:<11} {what}:"), told)?;
    }
    Ok(tried.iter().all(|tried| matches!(tried.verdict, Verdict::Refused(_) | Verdict::Nothing)))
}

impl Books {
    /// Books some orders, one of which is also reversed.
    async fn fill(&self) -> Result<(), LedgerError> {
        let mut open = Vec::new();
        for (number, country) in ["GB", "FR", "AQ", "DE"].into_iter().enumerate() {
            let request = PlaceOrder {
                customer_id: "17850".to_owned(),
                lines: vec![RetailLine { sku: "85123A".to_owned(), quantity: 6 }],
                ship_to: ShipTo::country(country),
                payment_token: "tok_visa",
                cancel_window_seconds: None,
            };
            let placed = self.shop.place(&format!("books-{number}"), &request).await?;
            open.push(placed.answer.id);
        }
        for _look in 0..LOOKS_MAX {
            if self.ended().await? == open.len() {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let mut statuses = BTreeMap::new();
        for id in open {
            let count = statuses.entry(self.shop.show(&id).await?.status).or_insert(0_usize);
            *count = count.saturating_add(1);
        }
        Err(LedgerError::NotEnded(statuses))
    }

    /// How many orders are finished, including their last entry and event.
    async fn ended(&self) -> Result<usize, sqlx::Error> {
        let ended = sqlx::query_scalar::<_, i64>(
            "select count(*) from orders.order_events
             where type in ('order.completed', 'order.rejected')",
        );
        Ok(usize::try_from(ended.fetch_one(&self.database).await?).unwrap_or_default())
    }

    /// A hash of all books and events.
    async fn fingerprint(&self) -> Result<String, sqlx::Error> {
        sqlx::query_scalar(
            "select md5(concat_ws('|',
                (select string_agg(t::text, ';' order by transaction_id) from ledger.transactions t),
                (select string_agg(e::text, ';' order by transaction_id, line) from ledger.entries e),
                (select string_agg(a::text, ';' order by account) from ledger.accounts a),
                (select string_agg(v::text, ';' order by event_id) from orders.order_events v)
            ))",
        )
        .fetch_one(&self.database)
        .await
    }

    /// An order whose sale is booked.
    async fn completed_order(&self) -> Result<OrderId, sqlx::Error> {
        let order = sqlx::query_scalar(
            "select order_id from orders.orders where status = 'completed'
             order by placed_at limit 1",
        );
        order.fetch_one(&self.database).await.map(OrderId::of)
    }

    /// Whether an attempt that was not rejected has changed anything.
    async fn judged(&self, before: &str) -> Result<Verdict, sqlx::Error> {
        let untouched = before == self.fingerprint().await?;
        Ok(if untouched { Verdict::Nothing } else { Verdict::Succeeded })
    }
}

/// One minute in total: longer than four orders take on any machine.
const LOOKS_MAX: u32 = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
