//! Reads one article.

use sqlx::PgPool;

use crate::app::App;
use crate::app::products::{Product, ProductRow, parse_sku};
use crate::app::reads::KeyedRow;
use crate::error::Problem;

/// The article with this SKU, with its price and availability.
pub(crate) async fn read(app: &App, sku: &str) -> Result<Product, Problem> {
    let sku = parse_sku(sku)?;
    let row = app.product_rows.one("reading a product", sku.to_string()).await?;
    row.ok_or_else(Problem::product_not_found)?.try_into()
}

impl KeyedRow for ProductRow {
    type Key = String;

    fn key(&self) -> String {
        self.sku.clone()
    }

    async fn with_keys(database: &PgPool, skus: &[String]) -> Result<Vec<Self>, sqlx::Error> {
        sqlx::query_as!(
            Self,
            r#"select sku, name, unit_price, currency, updated_at, coalesce((
                   select on_hand - reserved from inventory.stock where stock.sku = products.sku
               ), 0) as "available!"
               from catalog.products where sku = any ($1)"#,
            skus,
        )
        .fetch_all(database)
        .await
    }
}
