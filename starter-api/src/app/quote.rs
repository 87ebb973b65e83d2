//! Quotes the price of a basket.

use domain::PriceList;

use crate::app::App;
use crate::app::basket::{Basket, BasketInput};
use crate::error::{Problem, Rules};

/// Prices a basket with the calculation that orders are charged by, without side effects.
pub(crate) async fn quote(app: &App, input: &BasketInput<'_>) -> Result<PriceList, Problem> {
    let mut rules = Rules::default();
    let basket = Basket::check(&mut rules, input);
    let basket = rules.kept(basket)?;
    app.price(&basket).await.map(|priced| priced.prices)
}
