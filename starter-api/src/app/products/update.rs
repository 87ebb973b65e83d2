//! Changes an article's name and prices.

use crate::app::App;
use crate::app::products::{ArticleTerms, Product, ProductRow, TermsInput, parse_sku};
use crate::error::{OrProblem, Problem, Rules};

/// Changes an article, unless the caller's precondition fails. Existing orders keep the price they
/// were placed at.
pub(crate) async fn update(
    app: &App,
    sku: &str,
    terms: &TermsInput<'_>,
    consent: impl FnOnce(&Product) -> Result<(), Problem>,
) -> Result<Product, Problem> {
    const DOING: &str = "changing an article";
    let sku = parse_sku(sku)?;
    let mut rules = Rules::default();
    let terms = ArticleTerms::check(&mut rules, terms);
    let terms = rules.kept(terms)?;
    let mut transaction = app.database.begin().await.or_problem(DOING)?;
    let present = sqlx::query_as!(
        ProductRow,
        r#"select sku, name, unit_price, currency, updated_at, coalesce(
               (select on_hand - reserved from inventory.stock where stock.sku = product.sku), 0
           ) as "available!"
           from catalog.products as product where sku = $1 for no key update"#,
        sku.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await
    .or_problem(DOING)?;
    consent(&present.ok_or_else(Problem::product_not_found)?.try_into()?)?;
    let row = sqlx::query_as!(
        ProductRow,
        r#"update catalog.products as product
           set name = $2, unit_price = $3, unit_cost = $4, currency = $5, updated_at = now()
           where sku = $1
           returning sku, name, unit_price, currency, updated_at, coalesce(
               (select on_hand - reserved from inventory.stock where stock.sku = product.sku), 0
           ) as "available!""#,
        sku.as_str(),
        terms.name,
        terms.unit_price.amount(),
        terms.unit_cost.amount(),
        terms.unit_price.currency().code(),
    )
    .fetch_one(&mut *transaction)
    .await
    .or_problem(DOING)?;
    transaction.commit().await.or_problem(DOING)?;
    app.catalogue.forget(&sku).await;
    row.try_into()
}
