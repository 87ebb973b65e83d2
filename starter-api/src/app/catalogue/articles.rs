//! The cache of articles and their prices.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::{PricedSku, Sku};
use moka::future::Cache;
use rust_decimal::Decimal;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::app::basket::Basket;
use crate::app::catalogue::{BadRow, FRESH_FOR, Unread, cache};
use crate::app::money::stored_money;
use crate::app::together::{Together, Untold, Work};
use crate::error::Problem;

const DOING: &str = "reading prices";

/// Articles in use are refreshed at this age, before their entries expire and an order would have
/// to wait.
const RENEWED_AFTER: Duration = Duration::from_secs(2);

/// The cache's capacity, in articles.
const KEPT_MAX: u64 = 100_000;

/// The maximum number of articles refreshed in one statement.
const RENEWED_AT_ONCE: usize = 5_000;

/// The cache of articles. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Articles {
    known: Cache<Sku, Arc<Known>>,
    reading: Together<Reading>,
    database: PgPool,
    /// Whether a refresh is running.
    is_renewing: Arc<AtomicBool>,
}

/// A cached article.
#[derive(Debug)]
struct Known {
    article: Arc<PricedSku>,
    /// When the query that read it began.
    read_at: Instant,
    /// Whether an order has used it since.
    is_used: AtomicBool,
}

/// Reads articles for all callers that wait.
#[derive(Debug)]
struct Reading {
    database: PgPool,
    known: Cache<Sku, Arc<Known>>,
}

/// The result of one read.
#[derive(Debug, Default)]
struct Found {
    articles: HashMap<Sku, Arc<PricedSku>>,
    /// The SKUs whose rows are not usable.
    unusable: BTreeSet<String>,
}

impl Work for Reading {
    type Item = Vec<Sku>;
    type Outcome = Result<Vec<Arc<PricedSku>>, Arc<Unread>>;

    const BATCHES: usize = 2;
    const ITEMS: usize = 64;
    const QUEUE: usize = 4_096;

    async fn carry_out(&self, baskets: Vec<Vec<Sku>>) -> Vec<Self::Outcome> {
        let wanted = baskets.iter().flatten().collect::<BTreeSet<_>>();
        let wanted = wanted.into_iter().map(Sku::to_string).collect::<Vec<_>>();
        let read = read(&self.database, &self.known, &wanted).await.map_err(Arc::new);
        let found = |basket: &Vec<Sku>| match &read {
            Ok(found) => found.of(basket),
            Err(error) => Err(Arc::clone(error)),
        };
        baskets.iter().map(found).collect()
    }
}

impl Found {
    /// The articles of one basket. An unusable article fails the orders that contain it.
    fn of(&self, basket: &[Sku]) -> <Reading as Work>::Outcome {
        if let Some(sku) = basket.iter().find(|sku| self.unusable.contains(sku.as_str())) {
            let bad = BadRow { what: "product", name: sku.to_string() };
            return Err(Arc::new(bad.into()));
        }
        Ok(basket.iter().filter_map(|sku| self.articles.get(sku).map(Arc::clone)).collect())
    }
}

impl Articles {
    pub(super) fn of(database: PgPool) -> Self {
        let known = cache(KEPT_MAX);
        let reading = Reading { database: database.clone(), known: known.clone() };
        let reading = Together::on(reading);
        Self { known, reading, database, is_renewing: Arc::default() }
    }

    /// The articles of a basket that the shop sells.
    pub(super) async fn of_basket(
        &self,
        basket: &Basket,
    ) -> Result<HashMap<Sku, Arc<PricedSku>>, Problem> {
        let now = Instant::now();
        let mut articles = HashMap::with_capacity(basket.lines.len());
        let (mut missing, mut some_are_old) = (Vec::new(), false);
        for line in &basket.lines {
            let known = self.known.get(&line.sku).await;
            let age = |known: &Known| now.saturating_duration_since(known.read_at);
            let Some(known) = known.filter(|known| age(known) < FRESH_FOR) else {
                missing.push(line.sku.clone());
                continue;
            };
            known.is_used.store(true, Ordering::Relaxed);
            some_are_old |= age(&known) >= RENEWED_AFTER;
            articles.insert(line.sku.clone(), Arc::clone(&known.article));
        }
        if some_are_old {
            self.renew();
        }
        if !missing.is_empty() {
            let read = self.reading.bring(missing).await.map_err(untold)?;
            let read = read.map_err(|error| error.problem(DOING))?;
            articles.extend(read.into_iter().map(|article| (article.sku.clone(), article)));
        }
        Ok(articles)
    }

    /// Drops an article from the cache.
    pub(super) async fn forget(&self, sku: &Sku) {
        self.known.invalidate(sku).await;
    }

    /// Refreshes the articles used since they were read, in the background. Orders continue with
    /// the cached values meanwhile; what could not be refreshed is read again once it has expired.
    fn renew(&self) {
        if self.is_renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let articles = self.clone();
        tokio::spawn(async move {
            let used = articles.known.iter().filter(|(_, it)| it.is_used.load(Ordering::Relaxed));
            let used = used.map(|(sku, _)| sku.to_string()).collect::<Vec<_>>();
            for some in used.chunks(RENEWED_AT_ONCE) {
                if let Err(error) = read(&articles.database, &articles.known, some).await {
                    tracing::debug!(error = runtime::chain(&error), "prices were not read early");
                }
            }
            articles.is_renewing.store(false, Ordering::Release);
        });
    }
}

fn untold(why: Untold) -> Problem {
    match why {
        Untold::Full => Problem::overloaded("Too many requests wait for prices."),
        Untold::Broken => Problem::internal(DOING, &why),
    }
}

/// Reads articles and caches them.
async fn read(
    database: &PgPool,
    known: &Cache<Sku, Arc<Known>>,
    skus: &[String],
) -> Result<Found, Unread> {
    let read_at = Instant::now();
    let rows = sqlx::query!(
        "select sku, unit_price, unit_cost, currency
         from catalog.products where sku = any($1)",
        skus,
    )
    .fetch_all(database)
    .await?;
    let mut found = Found::default();
    for row in rows {
        let Some(article) = article(&row.sku, row.unit_price, row.unit_cost, &row.currency) else {
            found.unusable.insert(row.sku);
            continue;
        };
        let (sku, article) = (article.sku.clone(), Arc::new(article));
        let is_used = AtomicBool::new(false);
        let kept = Known { article: Arc::clone(&article), read_at, is_used };
        known.insert(sku.clone(), Arc::new(kept)).await;
        found.articles.insert(sku, article);
    }
    Ok(found)
}

fn article(sku: &str, price: Decimal, cost: Decimal, currency: &str) -> Option<PricedSku> {
    Some(PricedSku {
        sku: Sku::parse(sku).ok()?,
        unit_price: stored_money(price, currency)?,
        unit_cost: stored_money(cost, currency)?,
    })
}
