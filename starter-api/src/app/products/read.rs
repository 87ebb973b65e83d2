//! Reads one article.

use crate::app::App;
use crate::app::products::{Product, Row, parse_sku};
use crate::error::{OrProblem, Problem};

/// The article with this SKU, with its price and what is left of it.
pub(crate) async fn read(app: &App, sku: &str) -> Result<Product, Problem> {
    let sku = parse_sku(sku)?;
    let row = sqlx::query_as!(
        Row,
        r#"select sku, name, unit_price, currency, products.updated_at,
               coalesce(on_hand - reserved, 0) as "available!"
           from catalog.products left join inventory.stock using (sku)
           where sku = $1"#,
        sku.as_str(),
    )
    .fetch_optional(&app.database)
    .await
    .or_problem("reading a product")?;
    row.ok_or_else(Problem::product_not_found)?.try_into()
}
