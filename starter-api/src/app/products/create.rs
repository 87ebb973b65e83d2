//! Adds an article to the catalogue.

use domain::Sku;

use crate::app::App;
use crate::app::products::{ArticleTerms, Product, TermsInput};
use crate::error::{Kind, OrProblem, Problem, Rules};

/// Adds an article. It can be ordered once goods were received.
///
/// **Errors.** 409 if there is one with this SKU, 422 if a rule is broken.
pub(crate) async fn create(
    app: &App,
    sku: &str,
    terms: &TermsInput<'_>,
) -> Result<Product, Problem> {
    let mut rules = Rules::default();
    let sku = rules.check("/sku", Sku::parse(sku));
    let terms = ArticleTerms::check(&mut rules, terms);
    let (sku, terms) = rules.kept(sku.zip(terms))?;
    let created = sqlx::query!(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency)
         values ($1, $2, $3, $4, $5) on conflict (sku) do nothing",
        sku.as_str(),
        terms.name,
        terms.unit_price.amount(),
        terms.unit_cost.amount(),
        terms.unit_price.currency().code(),
    )
    .execute(&app.database)
    .await
    .or_problem("creating an article")?;
    if created.rows_affected() == 0 {
        return Err(Problem::new(
            Kind::ProductExists,
            "An article with this number exists already. Change it with PUT.",
        ));
    }
    Ok(Product {
        sku,
        updated_at: None,
        name: terms.name,
        unit_price: terms.unit_price,
        available: 0,
    })
}
