//! The shop's prices and rates: read with every order, changed rarely.
//!
//! No order is priced by what was read longer ago than [`FRESH_FOR`]. What is in use is read again
//! before that, all articles together, so that a busy starter seldom has an order wait for a price.

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

/// How long a price may be out of date. The price an order is taken at is the one it keeps, so
/// this is how long after a change the old price is still honoured.
const FRESH_FOR: Duration = Duration::from_secs(3);

/// The catalogue, with a short-lived cache, so that it is not read again with every order.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    database: PgPool,
    articles: Articles,
    rates: Cache<(), Arc<RateTable>>,
    discounts: Cache<DiscountCode, KnownDiscount>,
}

/// What a basket costs, and by which discount.
#[derive(Clone, Debug)]
pub(crate) struct Priced {
    pub(crate) prices: PriceList,
    /// The code as the shop writes it, whichever way the customer did.
    pub(crate) discount_code: Option<DiscountCode>,
}

/// A discount, and its code as the shop writes it.
#[derive(Clone, Debug)]
struct KnownDiscount {
    code: DiscountCode,
    discount: Discount,
}

/// A row that the schema allows and the domain does not, such as an unknown currency.
#[derive(Debug, thiserror::Error)]
#[error("{what} {name} is not usable")]
struct BadRow {
    what: &'static str,
    name: String,
}

/// Why something of the catalogue was not read.
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

    /// What the basket costs.
    ///
    /// **Errors.** Each article the shop does not sell, an unknown discount code, a destination
    /// it does not serve: 422 with a pointer.
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

    /// Drops an article from this process's cache. Other copies of the starter read the change some
    /// seconds later.
    pub(crate) async fn forget(&self, sku: &Sku) {
        self.articles.forget(sku).await;
    }

    /// The discount of this code. People type codes in any case, so case does not matter; where two
    /// codes differ by it alone, the one that was typed counts.
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

    /// Callers that find none wait for the same reading.
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
