//! Lists the articles by SKU.

use domain::Sku;

use crate::app::App;
use crate::app::input::SearchText;
use crate::app::paging::{Page, PageSize};
use crate::app::products::{Product, ProductRow};
use crate::error::{OrProblem, Problem};

/// A page of the articles after this SKU whose name or SKU contains the text.
pub(crate) async fn list(
    app: &App,
    text: Option<&SearchText>,
    after: Option<&Sku>,
    size: PageSize,
) -> Result<Page<Product>, Problem> {
    let rows = sqlx::query_as!(
        ProductRow,
        r#"select sku, name, unit_price, currency, products.updated_at,
               coalesce(on_hand - reserved, 0) as "available!"
           from catalog.products left join inventory.stock using (sku)
           where sku > coalesce($1, '')
             and ($2::text is null
                  or position(lower($2) in lower(name)) > 0
                  or position(lower($2) in lower(sku)) > 0)
           order by sku limit $3"#,
        after.map(Sku::as_str),
        text.map(SearchText::as_str),
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing products")?;
    let products = rows.into_iter().map(Product::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(products, size, |product| product.sku.to_string()))
}
