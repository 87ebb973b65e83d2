//! The shop's prices and rates: read with every order, changed rarely, and cached.
//!
//! No cached value is used for longer than [`FRESH_FOR`]. Articles in use are refreshed earlier,
//! all in one query, so that on a busy starter an order seldom waits for a price.

mod articles;

use std::sync::Arc;
use std::time::Duration;

use domain::{
    CountryCode, Discount, DiscountCode, DiscountKind, PriceList, RateTable, ShippingRate, Sku,
};
use moka::future::Cache;
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::app::basket::{Basket, pricing_refused};
use crate::app::catalogue::articles::Articles;
use crate::app::money::stored_money;
use crate::error::{Breach, OrProblem, Problem};

/// The maximum age of a cached price. An order keeps the price it was placed at, so this is also
/// how long an old price is honoured after a change.
const FRESH_FOR: Duration = Duration::from_secs(3);

/// The catalogue with a short-lived cache.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    database: PgPool,
    articles: Articles,
    rates: Cache<(), Arc<RateTable>>,
    discounts: Cache<DiscountCode, KnownDiscount>,
}

/// A basket's price, with the discount used.
#[derive(Clone, Debug)]
pub(crate) struct Priced {
    pub(crate) prices: PriceList,
    /// The code in the shop's spelling, whatever the customer typed.
    pub(crate) discount_code: Option<DiscountCode>,
}

/// A discount, with its code in the shop's spelling.
#[derive(Clone, Debug)]
struct KnownDiscount {
    code: DiscountCode,
    discount: Discount,
}

/// A row that the schema allows and the domain does not, such as one with an unknown currency.
#[derive(Debug, thiserror::Error)]
#[error("{what} {name} is not usable")]
struct BadRow {
    what: &'static str,
    name: String,
}

/// Why reading the catalogue failed.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Row(#[from] BadRow),
}

impl Unread {
    fn problem(&self, doing: &'static str) -> Problem {
        match self {
            Self::Database(error) => Problem::of_database(doing, error),
            Self::Row(bad) => Problem::internal(doing, bad),
        }
    }
}

impl Catalogue {
    pub(crate) fn of(database: PgPool) -> Self {
        let articles = Articles::of(database.clone());
        Self { database, articles, rates: cache(1), discounts: cache(10_000) }
    }

    /// Prices a basket.
    ///
    /// **Errors.** 422 with a pointer for each article that the shop does not sell, an unknown
    /// discount code, or a destination that the shop does not serve.
    pub(crate) async fn price(&self, basket: &Basket) -> Result<Priced, Problem> {
        let known = self.articles.of_basket(basket).await?;
        let mut breaches = Vec::new();
        let mut articles = Vec::with_capacity(basket.lines.len());
        for (index, line) in basket.lines.iter().enumerate() {
            match known.get(&line.sku) {
                Some(product) => articles.push((product.as_ref().clone(), line.quantity)),
                None => breaches.push(Breach {
                    pointer: format!("/lines/{index}/sku"),
                    detail: format!("the shop does not sell {}", line.sku),
                }),
            }
        }
        let discount = match &basket.discount_code {
            None => None,
            Some(code) => {
                let discount = self.discount(code).await?;
                if discount.is_none() {
                    breaches.push(Breach {
                        pointer: "/discount_code".to_owned(),
                        detail: format!("the discount code {code} is not valid"),
                    });
                }
                discount
            }
        };
        if !breaches.is_empty() {
            return Err(Problem::invalid(breaches));
        }
        let rates = self.rates().await?;
        let (discount_code, discount) = discount.map(|known| (known.code, known.discount)).unzip();
        let prices = PriceList::of(&articles, discount, basket.country, &rates)
            .map_err(|error| pricing_refused(&error))?;
        Ok(Priced { prices, discount_code })
    }

    /// Drops an article from this process's cache. Other instances of the starter see the change
    /// some seconds later.
    pub(crate) async fn forget(&self, sku: &Sku) {
        self.articles.forget(sku).await;
    }

    /// Finds a discount by its code, ignoring case. If two codes differ only in case, the exact
    /// match wins.
    async fn discount(&self, code: &DiscountCode) -> Result<Option<KnownDiscount>, Problem> {
        const DOING: &str = "reading a discount code";
        if let Some(discount) = self.discounts.get(code).await {
            return Ok(Some(discount));
        }
        let row = sqlx::query!(
            "select code, kind, value, currency from catalog.discount_codes
             where upper(code) = upper($1) and now() between valid_from and valid_until
             order by code = $1 desc, code limit 1",
            code.as_str(),
        )
        .fetch_optional(&self.database)
        .await
        .or_problem(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let discount = discount(&row.kind, row.value, row.currency.as_deref());
        let known = DiscountCode::parse(row.code).ok().zip(discount);
        let (known_code, discount) = known
            .ok_or_else(|| BadRow { what: "discount code", name: code.to_string() })
            .map_err(|error| Problem::internal(DOING, &error))?;
        let known = KnownDiscount { code: known_code, discount };
        self.discounts.insert(code.clone(), known.clone()).await;
        Ok(Some(known))
    }

    /// Concurrent callers that miss the cache share one query.
    async fn rates(&self) -> Result<Arc<RateTable>, Problem> {
        const DOING: &str = "reading tax and shipping rates";
        let read = self.rates.try_get_with((), async { self.read_rates().await.map(Arc::new) });
        read.await.map_err(|error| error.problem(DOING))
    }

    async fn read_rates(&self) -> Result<RateTable, Unread> {
        let bad = |what, name: String| Unread::Row(BadRow { what, name });
        let mut rates = RateTable::default();
        let taxes = sqlx::query!("select country, percent from catalog.tax_rates")
            .fetch_all(&self.database)
            .await?;
        for row in taxes {
            let country = CountryCode::parse(&row.country)
                .map_err(|_unknown| bad("the tax rate of", row.country))?;
            rates.sell_to(country, row.percent);
        }
        let fees =
            sqlx::query!("select country, currency, fee, free_from from catalog.shipping_rates")
                .fetch_all(&self.database)
                .await?;
        for row in fees {
            let (country, rate) =
                shipping_rate(&row.country, &row.currency, row.fee, row.free_from)
                    .ok_or_else(|| bad("the shipping rate to", row.country))?;
            rates.ship_to(country, rate);
        }
        Ok(rates)
    }
}

fn discount(kind: &str, value: Decimal, currency: Option<&str>) -> Option<Discount> {
    let kind = match (kind, currency) {
        ("percent", None) => DiscountKind::Percent(value),
        ("amount", Some(currency)) => DiscountKind::Amount(stored_money(value, currency)?),
        _ => return None,
    };
    Some(Discount(kind))
}

fn shipping_rate(
    country: &str,
    currency: &str,
    fee: Decimal,
    free_from: Option<Decimal>,
) -> Option<(CountryCode, ShippingRate)> {
    let free_from = match free_from {
        None => None,
        Some(amount) => Some(stored_money(amount, currency)?),
    };
    let rate = ShippingRate { fee: stored_money(fee, currency)?, free_from };
    Some((CountryCode::parse(country).ok()?, rate))
}

fn cache<K, V>(most: u64) -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder().max_capacity(most).time_to_live(FRESH_FOR).build()
}
