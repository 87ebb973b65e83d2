//! Articles, with their prices and availability.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod read;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use domain::{Currency, Money, Sku, written_amount};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::input::line_of_text;
use crate::app::money::stored_money;
use crate::error::{Problem, Rules};

/// An article of the shop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Product {
    /// The article's number (SKU).
    pub(crate) sku: Sku,
    /// When it was last changed, including fields that are not shown.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) updated_at: Option<DateTime<Utc>>,
    /// A description for people.
    name: String,
    /// What one piece costs, before tax.
    unit_price: Money,
    /// Pieces that can be ordered now. Not a guarantee: only an order reserves stock.
    available: i64,
}

/// An article, as stored.
#[derive(Clone, Debug)]
pub(crate) struct ProductRow {
    sku: String,
    name: String,
    unit_price: Decimal,
    currency: String,
    updated_at: DateTime<Utc>,
    available: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("product {0} is not valid as stored")]
struct BadProduct(String);

impl TryFrom<ProductRow> for Product {
    type Error = Problem;

    fn try_from(row: ProductRow) -> Result<Self, Problem> {
        let ProductRow { sku, name, unit_price, currency, updated_at, available } = row;
        let (Ok(known), Some(unit_price)) =
            (Sku::parse(&*sku), stored_money(unit_price, &currency))
        else {
            return Err(Problem::internal("reading a product", &BadProduct(sku)));
        };
        Ok(Self { sku: known, updated_at: Some(updated_at), name, unit_price, available })
    }
}

/// Parses a SKU. Text that is not a SKU is answered like an unknown product.
pub(crate) fn parse_sku(text: &str) -> Result<Sku, Problem> {
    Sku::parse(text).map_err(|_no_sku| Problem::product_not_found())
}

/// An article's name and prices, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TermsInput<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit_price: &'a str,
    pub(crate) unit_cost: &'a str,
    /// The currency of both prices; ISO 4217.
    pub(crate) currency: &'a str,
}

/// An article's name and prices, checked.
#[derive(Clone, Debug)]
struct ArticleTerms {
    name: String,
    unit_price: Money,
    unit_cost: Money,
}

impl ArticleTerms {
    fn check(rules: &mut Rules, input: &TermsInput<'_>) -> Option<Self> {
        let name = rules.check("/name", line_of_text(input.name, 200));
        let known = Currency::from_code(input.currency);
        let currency = rules.check("/currency", known.ok_or("a code of ISO 4217, such as GBP"));
        let mut amount = |pointer, text: &str| {
            let amount = written_amount(text).ok_or("a decimal number as text, such as \"19.99\"");
            let amount = rules.check(pointer, amount);
            rules.check(pointer, Money::new(amount?, currency?).and_then(Money::within_reason))
        };
        let unit_price = amount("/unit_price", input.unit_price);
        let unit_cost = amount("/unit_cost", input.unit_cost);
        Some(Self { name: name?, unit_price: unit_price?, unit_cost: unit_cost? })
    }
}
