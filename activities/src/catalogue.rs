//! Receiving goods: adds articles to the catalogue and their pieces to the warehouse, and posts
//! their value to the ledger.

use std::collections::BTreeSet;

use domain::{Money, MoneyError, Sku};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool};

use crate::{ActivityFault, ledger};

/// An article of a supplier's list.
#[derive(Clone, Debug)]
pub struct Article {
    /// Its article number.
    pub sku: Sku,
    /// The name shown to customers.
    pub name: String,
    /// Price of one piece, before tax.
    pub unit_price: Money,
}

/// What the shop receives of each new article.
#[derive(Clone, Copy, Debug)]
pub struct Stocking {
    /// Cost of a piece for the shop, in per cent of its price; rounded to the minor unit.
    pub cost_percent: Decimal,
    /// Number of pieces received of each new article.
    pub pieces: u32,
}

/// The result of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number of articles that are new to the warehouse.
    pub articles: usize,
    /// Total cost of their pieces. `None` if there were none, or the cost is zero.
    pub value: Option<Money>,
}

/// Fewer statements are hardly faster, and larger ones take long to plan.
const ARTICLES_PER_STATEMENT: usize = 500;

const DOING: &str = "taking goods in";

/// What to do with an article that is already in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Kept,
    Overwritten,
}

/// Adds the articles that the catalogue does not have yet, receives their pieces in the warehouse,
/// and posts their value, in one transaction.
///
/// **Errors.** Broken: an article is named twice, or the prices are in several currencies.
/// **Repeats.** An article that is already in the catalogue is not changed, because an operator may
/// have edited it. All or nothing.
pub async fn load(
    db: &PgPool,
    articles: &[Article],
    stocking: Stocking,
) -> Result<Received, ActivityFault> {
    take(db, articles, stocking, Known::Kept).await
}

/// Like [`load`], but the list overwrites names, prices and costs of articles that are already in
/// the catalogue, and also receives those that the warehouse has never had.
///
/// **Repeats.** An article that the warehouse has had before is not received again.
pub async fn overwrite(
    db: &PgPool,
    articles: &[Article],
    stocking: Stocking,
) -> Result<Received, ActivityFault> {
    take(db, articles, stocking, Known::Overwritten).await
}

async fn take(
    db: &PgPool,
    articles: &[Article],
    stocking: Stocking,
    known: Known,
) -> Result<Received, ActivityFault> {
    let failed = |error| ActivityFault::of_database(DOING, error);
    let costs = articles
        .iter()
        .map(|article| article.unit_price.percent(stocking.cost_percent))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ActivityFault::broken(DOING, error))?;
    let mut transaction = db.begin().await.map_err(failed)?;
    let mut new = BTreeSet::new();
    for (articles, costs) in
        articles.chunks(ARTICLES_PER_STATEMENT).zip(costs.chunks(ARTICLES_PER_STATEMENT))
    {
        let pieces = i64::from(stocking.pieces);
        let received = take_in(&mut transaction, articles, costs, pieces, known).await;
        new.extend(received.map_err(failed)?);
    }
    let value = worth(articles, &costs, &new, stocking.pieces)
        .map_err(|error| ActivityFault::broken(DOING, error))?;
    if let (Some(value), Some(first)) = (value, new.first()) {
        // An article is received once, so no other load has the same first article.
        let key = format!("goods-received:{first}");
        ledger::post_goods_received(&mut transaction, &key, value).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Received { articles: new.len(), value })
}

/// Returns the articles that the warehouse has not had before.
async fn take_in(
    transaction: &mut PgConnection,
    articles: &[Article],
    costs: &[Money],
    pieces: i64,
    known: Known,
) -> Result<Vec<String>, sqlx::Error> {
    let skus: Vec<String> = articles.iter().map(|article| article.sku.to_string()).collect();
    let names: Vec<String> = articles.iter().map(|article| article.name.clone()).collect();
    let prices: Vec<Decimal> = articles.iter().map(|article| article.unit_price.amount()).collect();
    let unit_costs: Vec<Decimal> = costs.iter().map(|cost| cost.amount()).collect();
    let currencies: Vec<String> =
        costs.iter().map(|cost| cost.currency().code().to_owned()).collect();
    let listed = sqlx::query_scalar!(
        r#"
        insert into catalog.products as known (sku, name, unit_price, unit_cost, currency)
        select * from unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::text[])
        on conflict (sku) do update
        set name = excluded.name, unit_price = excluded.unit_price,
            unit_cost = excluded.unit_cost, currency = excluded.currency, updated_at = now()
        where $6 and (known.name, known.unit_price, known.unit_cost, known.currency)
            is distinct from
            (excluded.name, excluded.unit_price, excluded.unit_cost, excluded.currency)
        -- What is neither new nor overwritten is not returned.
        returning sku
        "#,
        &skus,
        &names,
        &prices,
        &unit_costs,
        &currencies,
        known == Known::Overwritten,
    )
    .fetch_all(&mut *transaction)
    .await?;
    if pieces == 0 {
        return Ok(Vec::new());
    }
    let may_come_in = if known == Known::Overwritten { &skus } else { &listed };
    // In a separate statement: a new cost revalues the pieces that were in stock before.
    sqlx::query_scalar!(
        r#"
        with received as (
            insert into inventory.stock (sku, on_hand, received)
            select sku, $2, $2 from unnest($1::text[]) as article (sku)
            on conflict (sku) do nothing
            returning sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason)
            select sku, $2, 'received' from received
        )
        select sku from received
        "#,
        may_come_in,
        pieces,
    )
    .fetch_all(transaction)
    .await
}

/// The cost of the new articles' pieces. `None` if it is zero, which is not posted.
fn worth(
    articles: &[Article],
    costs: &[Money],
    new: &BTreeSet<String>,
    pieces: u32,
) -> Result<Option<Money>, MoneyError> {
    let mut value: Option<Money> = None;
    for (article, cost) in articles.iter().zip(costs) {
        if new.contains(article.sku.as_str()) {
            let cost = cost.times(pieces)?;
            value = Some(value.map_or(Ok(cost), |value| value.checked_add(cost))?);
        }
    }
    Ok(value.filter(|value| !value.is_zero()))
}
