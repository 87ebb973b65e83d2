//! The effect of a million orders: measures the same operations in a small shop and, after filling
//! it, in a large one, and prints both.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use hdrhistogram::CreationError;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep};

use crate::fill::{Extent, FillError, filled};
use crate::latency::{ratio, rounded};
use crate::ordersaga::{ApiArgs, ApiError, Ordersaga, PlaceOrder, ShipTo};
use crate::prove;
use crate::retail::RetailLine;
use crate::screen::{heading, say};

/// An operation that takes at most this many times as long in the large shop does not grow.
const FLAT: Decimal = Decimal::from_parts(13, 0, 0, false, 1);

/// A difference that nobody notices, within the noise of a busy machine.
const NOTICED: Duration = Duration::from_millis(2);

/// The pause before an order is polled again.
const A_MOMENT: Duration = Duration::from_millis(5);

/// Measures a small shop, fills it, and measures it again.
#[derive(Clone, Debug, Args)]
pub(crate) struct Size {
    /// Orders in the large shop
    #[arg(long, env = "ORDERS", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(i64).range(1..))]
    orders: i64,

    /// Orders in the small shop
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(i64).range(1..))]
    small: i64,

    /// Maximum lines of an order in the fill; longer ones are left out
    #[arg(long, default_value_t = 12)]
    lines_max: usize,

    /// Repetitions of each operation; the median is shown
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..))]
    times: u16,

    #[command(flatten)]
    api: ApiArgs,

    /// The secret of the client `operator`.
    #[arg(long, env = "ORDERSAGA_OPERATOR_SECRET", hide_env_values = true)]
    operator_secret: String,

    /// The secret of the client `books`.
    #[arg(long, env = "ORDERSAGA_FINANCE_SECRET", hide_env_values = true)]
    finance_secret: String,

    /// The shop's database, as the owner of its schemas.
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    owner_database_url: String,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SizeError {
    /// The shop was not filled.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The API cannot be called.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The database does not answer.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// The latency histogram cannot be created.
    #[error("cannot count times")]
    Times(#[from] CreationError),
    /// The terminal or a program failed.
    #[error("cannot write to the terminal or start `ordersaga prove`")]
    Process(#[from] io::Error),
    /// An order did not complete.
    #[error("order {0} is {1}, and should be completed")]
    NotCompleted(String, String),
    /// A promise is broken.
    #[error("`ordersaga prove` finds that a promise is broken")]
    NotProved,
}

/// A measured request, and its client.
struct Asked {
    what: &'static str,
    path: String,
    by: Client,
    /// Why it may take longer in a large shop.
    grows: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Client {
    Shop,
    Operator,
    Finance,
}

/// The median duration of an operation.
struct Took {
    what: &'static str,
    median: Duration,
    grows: Option<&'static str>,
}

/// The clients and the database.
struct Asking {
    shop: Ordersaga,
    operator: Ordersaga,
    finance: Ordersaga,
    owner: PgPool,
    times: u16,
}

/// Measures both, and prints the results. The exit code does not depend on them: a busy machine is
/// not a failure.
pub(crate) async fn run(size: &Size) -> Result<(), SizeError> {
    let shop = Ordersaga::at(&size.api, Duration::from_mins(1))?;
    let asking = Asking {
        operator: shop.asked_by("operator", &size.operator_secret),
        finance: shop.asked_by("books", &size.finance_secret),
        shop,
        owner: PgPoolOptions::new().max_connections(1).connect(&size.owner_database_url).await?,
        times: size.times,
    };
    let Size { orders, small, lines_max, .. } = *size;
    let extent = |orders, at_once| Extent { orders, lines_max, at_once, is_beside_others: true };
    filled(&asking.owner, extent(small, small)).await?;
    heading(format_args!("a shop of {small} orders"))?;
    let before = asking.everything("small").await?;
    heading(format_args!("filling it, up to {orders} orders"))?;
    filled(&asking.owner, extent(orders, 25_000)).await?;
    heading(format_args!("a shop of {orders} orders"))?;
    let after = asking.everything("large").await?;
    compared(small, orders, &before, &after)
}

impl Asking {
    async fn everything(&self, run: &str) -> Result<Vec<Took>, SizeError> {
        let mut all = Vec::from(self.orders(run).await?);
        let (order, customer) = self.long_ago().await?;
        for asked in reads(&order, &customer) {
            let by = match asked.by {
                Client::Shop => &self.shop,
                Client::Operator => &self.operator,
                Client::Finance => &self.finance,
            };
            let median = self
                .median(async || by.get::<Value>(asked.what, &asked.path).await.map(drop))
                .await?;
            all.push(Took { what: asked.what, median, grows: asked.grows });
        }
        let query = json!({
            "query": "{ orders(first: 50) { items { orderId status placedAt } nextCursor } }"
        });
        let what = "GraphQL: a page of orders";
        let median = self
            .median(async || {
                self.shop.post::<Value>(what, "/v1/graphql", what, &query).await.map(drop)
            })
            .await?;
        all.push(Took { what, median, grows: None });
        all.push(self.erased(&customer).await?);
        all.push(proved("all is proved", &[], "proves all that there is; docs/size.md").await?);
        let recent = "checks what the orders of a day have left; docs/size.md";
        all.push(proved("a day is proved", &["--hours", "24"], recent).await?);
        Ok(all)
    }

    /// Places orders one after the other, and waits for the end of each and for its invoice, which the
    /// relay issues.
    async fn orders(&self, run: &str) -> Result<[Took; 3], SizeError> {
        let (mut accepted, mut finished, mut invoiced) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..self.times {
            let request = PlaceOrder {
                customer_id: "size".to_owned(),
                lines: vec![RetailLine { sku: "85123A".to_owned(), quantity: 1 }],
                ship_to: ShipTo::country("GB"),
                payment_token: "tok_visa",
                cancel_window_seconds: None,
            };
            let began = Instant::now();
            let placed = self.shop.place(&format!("size-{run}-{number}"), &request).await?;
            accepted.push(began.elapsed());
            let order = placed.answer.id;
            let status = loop {
                let order = self.shop.show(&order).await?;
                if order.has_ended() {
                    break order.status;
                }
                sleep(A_MOMENT).await;
            };
            if status != "completed" {
                return Err(SizeError::NotCompleted(order, status));
            }
            finished.push(began.elapsed());
            let ended = Instant::now();
            let path = format!("/v1/orders/{order}/invoices");
            while self.shop.get::<Vec<Value>>("waiting for an invoice", &path).await?.is_empty() {
                sleep(A_MOMENT).await;
            }
            invoiced.push(ended.elapsed());
        }
        Ok([
            Took { what: "an order is accepted", median: middle(accepted), grows: None },
            Took { what: "an order is completed", median: middle(finished), grows: None },
            Took { what: "its invoice is issued", median: middle(invoiced), grows: None },
        ])
    }

    /// An order from the middle of the history, and its customer.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    async fn long_ago(&self) -> Result<(String, String), SizeError> {
        let found = sqlx::query_as(
            "select order_id::text, customer_id from orders.orders
             where placed_at < now() - interval '1 year' order by placed_at desc limit 1",
        );
        Ok(found.fetch_one(&self.owner).await?)
    }

    /// Erases a customer from the schema `customers`, as only its owner can, and undoes it each time.
    #[expect(clippy::disallowed_methods, reason = "the shop is outside: no schema checks its SQL")]
    async fn erased(&self, customer: &str) -> Result<Took, SizeError> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('%I.%I', table_schema, table_name) from information_schema.columns
             where table_schema = 'customers' and column_name = 'customer_id' order by table_name",
        )
        .fetch_all(&self.owner)
        .await?;
        let mut times = Vec::new();
        for _ in 0..self.times {
            let mut undone = self.owner.begin().await?;
            let began = Instant::now();
            for table in &tables {
                let sql = format!("delete from {table} where customer_id = $1");
                let delete = sqlx::query(AssertSqlSafe(sql)).bind(customer);
                delete.execute(&mut *undone).await?;
            }
            times.push(began.elapsed());
            undone.rollback().await?;
        }
        Ok(Took { what: "a customer is erased", median: middle(times), grows: None })
    }

    /// The median duration; the first request is a warm-up and does not count.
    async fn median(
        &self,
        ask: impl AsyncFn() -> Result<(), ApiError>,
    ) -> Result<Duration, SizeError> {
        ask().await?;
        let mut times = Vec::new();
        for _ in 0..self.times {
            let began = Instant::now();
            ask().await?;
            times.push(began.elapsed());
            // For a slow operation, few repetitions are enough.
            if began.elapsed() > Duration::from_secs(1) && times.len() >= 3 {
                break;
            }
        }
        Ok(middle(times))
    }
}

/// The reads, for an order, a customer and an article from the middle of the history.
fn reads(order: &str, customer: &str) -> Vec<Asked> {
    use Client::{Finance, Operator, Shop};
    let asked = |what, path: &str, by, grows| Asked { what, path: path.to_owned(), by, grows };
    let scanned = Some("scans at most 5,000 orders; docs/size.md");
    let summed = Some("adds up every entry; docs/size.md");
    vec![
        asked("an order is read", &format!("/v1/orders/{order}"), Shop, None),
        asked("an order's events", &format!("/v1/orders/{order}/events"), Shop, None),
        asked("orders, newest first", "/v1/orders?limit=50", Shop, None),
        asked("orders of a customer", &format!("/v1/orders?customer_id={customer}"), Shop, None),
        asked("orders that are rejected", "/v1/orders?status=rejected", Shop, None),
        asked("orders that are under way", "/v1/orders?status=processing", Shop, None),
        asked("orders that failed", "/v1/orders?status=failed", Shop, None),
        asked("orders that are refunded", "/v1/orders?payment_status=refunded", Shop, None),
        asked("orders that are disputed", "/v1/orders?payment_status=disputed", Shop, scanned),
        asked("orders that are delivered", "/v1/orders?fulfilment_status=delivered", Shop, None),
        asked("orders that need attention", "/v1/orders?needs_attention=true", Shop, None),
        asked("orders that are unwinding", "/v1/orders?unwinding=true", Shop, None),
        asked(
            "orders of a day long ago",
            "/v1/orders?placed_before=2026-01-02T00:00:00Z",
            Shop,
            None,
        ),
        asked("search: a popular article", "/v1/orders?q=85123A", Shop, None),
        asked("search: an order by its id", &format!("/v1/orders?q={order}"), Shop, None),
        asked("search: a customer", &format!("/v1/orders?q={customer}"), Shop, None),
        asked("search: nothing is found", "/v1/orders?q=NOTHING-LIKE-IT", Shop, None),
        asked("what needs attention", "/v1/attention", Operator, None),
        asked("customers", "/v1/customers", Operator, None),
        asked("an account's balance", "/v1/accounts/payment-clearing/balance", Finance, None),
        asked(
            "an account's transactions",
            "/v1/accounts/payment-clearing/transactions",
            Finance,
            None,
        ),
        asked("the books are validated", "/v1/ledger/validate", Finance, None),
        asked("every entry is validated", "/v1/ledger/validate?every_entry=true", Finance, summed),
    ]
}

/// `ordersaga prove` of the database, once.
async fn proved(
    what: &'static str,
    arguments: &[&str],
    grows: &'static str,
) -> Result<Took, SizeError> {
    let began = Instant::now();
    let status = prove::ordersaga(&["prove", "--without-temporal"])?
        .args(arguments)
        .env_remove("ORDERSAGA_LOGS")
        .stdout(Stdio::null())
        .status()
        .await?;
    if !status.success() {
        return Err(SizeError::NotProved);
    }
    Ok(Took { what, median: began.elapsed(), grows: Some(grows) })
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len().checked_div(2).unwrap_or_default()).copied().unwrap_or_default()
}

fn compared(small: i64, large: i64, before: &[Took], after: &[Took]) -> Result<(), SizeError> {
    heading("what a large shop changes")?;
    say(format_args!(
        "{:<30} {:>12} {:>12}  ratio",
        "medians, ms",
        format!("{small} orders"),
        format!("{large} orders")
    ))?;
    let millis = |took: Duration| {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        rounded(ratio(micros, 1_000), 2)
    };
    for (then, now) in before.iter().zip(after) {
        let (first, second) = (millis(then.median), millis(now.median));
        let times = second.checked_div(first).unwrap_or_default();
        let is_flat = times <= FLAT || now.median.saturating_sub(then.median) <= NOTICED;
        let verdict = match (is_flat, now.grows) {
            (true, _) => "flat".to_owned(),
            (false, Some(why)) => format!("GROWS: {why}"),
            (false, None) => format!("NOT flat: more than {FLAT} times"),
        };
        say(format_args!(
            "{:<30} {first:>12} {second:>12}  {:>6}  {verdict}",
            now.what,
            rounded(times, 2)
        ))?;
    }
    Ok(())
}
