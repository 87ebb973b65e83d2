//! What every part of the chaos needs: the API, the records, and orders in particular states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::sleep;
use uuid::Uuid;

use super::ChaosError;
use super::customers::{Customers, REASON};
use super::hearers::HearerArgs;
use super::provider::{Provider, ProviderArgs};
use super::records::{Records, Standing};
use crate::ordersaga::{ApiArgs, Ordersaga, PlaceOrder, ShipTo};
use crate::plan::Twist;
use crate::retail::RetailLine;

/// The addresses and secrets of the system.
#[derive(Clone, Args)]
pub(super) struct GroundArgs {
    /// Orders placed per second. By default 8, or for a soak half of what the machine can finish
    #[arg(long, env = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) per_second: Option<u32>,

    #[command(flatten)]
    provider: ProviderArgs,

    #[command(flatten)]
    hearers: HearerArgs,

    #[command(flatten)]
    api: ApiArgs,

    /// The secret of the client `operator`, who decides about stuck orders
    #[arg(long, env = "ORDERSAGA_OPERATOR_SECRET", hide_env_values = true)]
    operator_secret: String,

    /// The shop's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// The same, as the owner of its schemas, who controls the sandboxes' behaviour
    #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
    migrate_database_url: String,

    /// The operations endpoint of the first worker
    #[arg(long, env = "WORKER_OPS_LISTEN", default_value = "127.0.0.1:9464")]
    worker_ops: String,

    /// Seconds to retry a request without an answer, and to wait for the next order to end
    #[arg(long, default_value_t = 120)]
    patience_seconds: u64,
}

/// Connections to the system.
pub(super) struct Ground {
    pub(super) api: ApiArgs,
    pub(super) records: Records,
    /// The shop's backend, which retries until it is answered.
    pub(super) shop: Ordersaga,
    /// An operator.
    pub(super) operator: Ordersaga,
    pub(super) per_second: u32,
    pub(super) provider: Arc<Provider>,
    /// The database as the owner of its schemas, with a pool of its own.
    pub(super) owner: PgPool,
    worker_ops: String,
    pub(super) patience: Duration,
    /// The receivers of orders' events besides webhooks.
    pub(super) hearers: HearerArgs,
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

const PER_SECOND: u32 = 8;

/// Longer than any part of the chaos.
const LASTS_SECONDS: u32 = 600;
const SAYS_EVERY: Duration = Duration::from_secs(10);

impl Ground {
    pub(super) async fn of(args: &GroundArgs) -> Result<Self, ChaosError> {
        let patience = Duration::from_secs(args.patience_seconds);
        let shop = Ordersaga::at(&args.api, patience)?;
        let records = Records::at(&args.database_url).await?;
        // Existing orders could not be distinguished from errors.
        if !records.statuses().await?.is_empty() || !records.workflows().await?.is_empty() {
            return Err(ChaosError::NotFresh);
        }
        let owner = PgPoolOptions::new().max_connections(2);
        let provider = Provider::of(&args.provider, args.api.url()).await?;
        Ok(Self {
            api: args.api.clone(),
            records,
            operator: shop.asked_by("operator", &args.operator_secret),
            shop,
            per_second: args.per_second.unwrap_or(PER_SECOND),
            provider: Arc::new(provider),
            owner: owner.connect_lazy(&args.migrate_database_url).map_err(ChaosError::Owner)?,
            worker_ops: args.worker_ops.clone(),
            patience,
            hearers: args.hearers.clone(),
        })
    }

    /// Customers who all retry until they are answered.
    pub(super) fn customers(&self) -> Customers {
        Customers {
            patient: self.shop.clone(),
            hasty: None,
            per_second: self.per_second,
            lasts_seconds: LASTS_SECONDS,
            says_every: SAYS_EVERY,
            provider: Arc::clone(&self.provider),
        }
    }

    /// A card without special behaviour.
    pub(super) fn card(&self) -> &'static str {
        Twist::Plain.payment_token(self.provider.name())
    }

    /// Places orders with a cancel window of this length, and waits until they are paid.
    pub(super) async fn in_their_window(
        &self,
        count: usize,
        token: &'static str,
        window: Duration,
    ) -> Result<Vec<Uuid>, ChaosError> {
        self.in_windows(token, std::iter::repeat_n(window, count)).await
    }

    /// The same, with a window for each.
    pub(super) async fn in_windows(
        &self,
        token: &'static str,
        windows: impl Iterator<Item = Duration>,
    ) -> Result<Vec<Uuid>, ChaosError> {
        let mut orders = Vec::new();
        for window in windows {
            orders.push(self.place_one(token, Some(window)).await?);
        }
        let is_paid = |order: &Standing| order.payment_status == "paid";
        self.until("orders are paid and in their window", &orders, is_paid).await?;
        Ok(orders)
    }

    /// Places an order for [`ARTICLE`] only.
    pub(super) async fn place_one(
        &self,
        token: &'static str,
        window: Option<Duration>,
    ) -> Result<Uuid, ChaosError> {
        let request = PlaceOrder {
            customer_id: "17850".to_owned(),
            lines: vec![RetailLine { sku: ARTICLE.to_owned(), quantity: 6 }],
            ship_to: ShipTo::country("GB"),
            payment_token: token,
            cancel_window_seconds: window.and_then(|window| u32::try_from(window.as_secs()).ok()),
        };
        let placed = self.shop.place(&Uuid::now_v7().to_string(), &request).await?;
        Ok(placed.answer.id.parse()?)
    }

    /// Makes every call to the provider hang from now on and be answered after this time; without a
    /// time, ends that. Calls already hanging keep their time. Stripe's counterpart never answers a
    /// call that hangs. A bank is not called.
    pub(super) async fn hang_provider(&self, seconds: Option<i32>) -> Result<(), ChaosError> {
        match (&*self.provider, seconds) {
            (Provider::Sandbox, seconds) => self.hang_sandbox(seconds).await,
            (Provider::Stripe(stripe), Some(_)) => Ok(stripe.begins_to_hang().await?),
            (Provider::Stripe(stripe), None) => Ok(stripe.goes_well().await?),
            (Provider::Bank(_), _) => Ok(()),
        }
    }

    /// **Repeats.** The row is updated in place: a concurrent call waits for the update, whereas it
    /// would miss a row that was replaced.
    async fn hang_sandbox(&self, seconds: Option<i32>) -> Result<(), ChaosError> {
        let ordered = sqlx::query_scalar::<_, i64>(
            "with changed as (
                update sandbox_provider.behaviours set seconds = $1::integer
                where behaviour = 'hangs' and $1::integer is not null
                returning behaviour_id
             ), ended as (
                delete from sandbox_provider.behaviours
                where behaviour = 'hangs' and $1::integer is null
             )
             insert into sandbox_provider.behaviours (call, whom, behaviour, seconds)
             select '*', '*', 'hangs', $1::integer
             where $1::integer is not null and not exists (select from changed)
             returning behaviour_id",
        );
        let ordered = ordered.bind(seconds).fetch_optional(&self.owner).await;
        ordered.map(drop).map_err(ChaosError::Owner)
    }

    /// Locks an article's row until the transaction ends.
    pub(super) async fn lock(
        &self,
        sku: &str,
    ) -> Result<Transaction<'static, Postgres>, ChaosError> {
        let mut transaction = self.owner.begin().await.map_err(ChaosError::Owner)?;
        let locked = sqlx::query_scalar::<_, String>(
            "select sku from inventory.stock where sku = $1 for update",
        );
        let locked = locked.bind(sku).fetch_one(&mut *transaction).await;
        locked.map_err(ChaosError::Owner)?;
        Ok(transaction)
    }

    /// Whether the first worker and the starter are ready now.
    pub(super) async fn is_healthy(&self) -> bool {
        let starter = format!("{}/ready", self.api.url());
        let worker = format!("http://{}/ready", self.worker_ops);
        for url in [starter, worker] {
            if !is_well(&url).await {
                return false;
            }
        }
        true
    }

    /// Cancelled orders whose refund gets an invalid answer.
    pub(super) async fn stuck(&self, count: usize) -> Result<Vec<Uuid>, ChaosError> {
        let orders = self.in_their_window(count, BROKEN_REFUND, Duration::from_hours(1)).await?;
        self.cancel(&orders).await?;
        let waits = |order: &Standing| order.needs_attention;
        self.until("orders wait for a person", &orders, waits).await?;
        Ok(orders)
    }

    /// Cancels orders.
    pub(super) async fn cancel(&self, orders: &[Uuid]) -> Result<(), ChaosError> {
        for order in orders {
            self.shop.cancel(&order.to_string(), REASON).await?;
        }
        Ok(())
    }

    /// The provider repairs its refunds, and the operator retries the waiting orders. Returns the
    /// orders that do not wait.
    pub(super) async fn decide(&self, orders: &[Uuid]) -> Result<Vec<Uuid>, ChaosError> {
        let mut unasked = Vec::new();
        for order in orders {
            let mended = sqlx::query_scalar::<_, String>(
                "insert into sandbox_provider.repairs values ($1) on conflict do nothing
                 returning idempotency_key",
            );
            let key = format!("{order}:authorise-payment:1");
            mended.bind(key).fetch_optional(&self.owner).await.map_err(ChaosError::Owner)?;
            let order = order.to_string();
            match self.operator.show(&order).await?.needs_attention {
                Some(waits) => self.operator.retry(&order, &waits).await?,
                None => unasked.extend(order.parse::<Uuid>()),
            }
        }
        Ok(unasked)
    }

    /// Waits until Postgres accepts connections.
    pub(super) async fn until_postgres_answers(&self) -> Result<(), ChaosError> {
        let began = Instant::now();
        while self.owner.acquire().await.is_err() {
            if began.elapsed() > self.patience {
                let (what, seconds) = ("Postgres answers", self.patience.as_secs());
                return Err(ChaosError::Never { what, seconds });
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }

    /// Waits until all of these orders satisfy a condition.
    pub(super) async fn until(
        &self,
        what: &'static str,
        orders: &[Uuid],
        is_so: impl Fn(&Standing) -> bool,
    ) -> Result<(), ChaosError> {
        let began = Instant::now();
        loop {
            let standings = self.records.standings().await?;
            if orders.iter().all(|order| standings.get(order).is_some_and(&is_so)) {
                return Ok(());
            }
            if began.elapsed() > self.patience {
                return Err(ChaosError::Never { what, seconds: self.patience.as_secs() });
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Waits until no order on record is open, nor its workflow, or no order has ended for the
    /// patience.
    pub(super) async fn until_ended(&self) -> Result<BTreeMap<Uuid, String>, ChaosError> {
        let (mut open_before, mut last_end) = (usize::MAX, Instant::now());
        loop {
            let standings = self.records.standings().await?;
            let workflows = self.records.workflows().await?;
            let has_workflow = |order| workflows.get(order).is_some_and(|open| *open);
            let open = standings.iter().filter(|(id, one)| one.is_open() || has_workflow(*id));
            let open = open.count();
            if open < open_before {
                (open_before, last_end) = (open, Instant::now());
            }
            if open == 0 || last_end.elapsed() > self.patience {
                return Ok(standings.into_iter().map(|(id, one)| (id, one.status)).collect());
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Waits until the first worker is ready, and so can answer queries of workflows.
    pub(super) async fn until_a_worker_serves(&self) -> Result<(), ChaosError> {
        let (began, url) = (Instant::now(), format!("http://{}/ready", self.worker_ops));
        while !is_well(&url).await {
            if began.elapsed() > self.patience {
                let what = "a worker serves";
                return Err(ChaosError::Never { what, seconds: self.patience.as_secs() });
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }
}

/// Whether a program is ready.
async fn is_well(url: &str) -> bool {
    let Ok(http) = runtime::http::client_builder().build() else { return false };
    http.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// The article of orders that are placed individually: one that every tenth real order contains.
pub(super) const ARTICLE: &str = "85123A";

/// A card whose refunds fail until the provider repairs them.
const BROKEN_REFUND: &str = "tok_refund_broken";
