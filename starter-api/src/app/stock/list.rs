//! Lists the stock by SKU.

use domain::Sku;

use crate::app::App;
use crate::app::paging::{Page, PageSize};
use crate::app::stock::{Row, Stock};
use crate::error::{OrProblem, Problem};

/// A page of the stock after this SKU; with `available_below`, only articles with fewer available
/// pieces than that.
pub(crate) async fn list(
    app: &App,
    available_below: Option<u32>,
    after: Option<&Sku>,
    size: PageSize,
) -> Result<Page<Stock>, Problem> {
    let rows = sqlx::query_as!(
        Row,
        r#"select sku, coalesce(on_hand, 0) as "on_hand!", coalesce(reserved, 0) as "reserved!",
               coalesce(on_hand - reserved, 0) as "available!", coalesce(sold, 0) as "sold!"
           from catalog.products left join inventory.stock using (sku)
           where sku > coalesce($1, '')
             and ($2::bigint is null or coalesce(on_hand - reserved, 0) < $2)
           order by sku limit $3"#,
        after.map(Sku::as_str),
        available_below.map(i64::from),
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing stock")?;
    let stock = rows.into_iter().map(Stock::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(stock, size, |stock| stock.sku.to_string()))
}
