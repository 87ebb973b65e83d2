//! Products: what the shop sells, at which price, and how many are left.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;

use domain::{Currency, Money, Sku};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalogue::money;
use crate::problem::{Kind, Problem};
use crate::rules::{Rules, line_of_text};

/// An article of the shop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Product {
    /// The article's number.
    sku: Sku,
    /// What it is, in words.
    name: String,
    /// What one piece costs, before tax.
    unit_price: Money,
    /// Pieces that can be ordered at this moment. Not a promise: the order reserves.
    available: i64,
}

/// The article as the database has it.
#[derive(Debug)]
struct Row {
    sku: String,
    name: String,
    unit_price: Decimal,
    currency: String,
    available: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("product {0} is not usable as the database has it")]
struct BadProduct(String);

impl TryFrom<Row> for Product {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let Row { sku, name, unit_price, currency, available } = row;
        let (Ok(known), Some(unit_price)) = (Sku::parse(&*sku), money(unit_price, &currency))
        else {
            return Err(Problem::internal("reading a product", &BadProduct(sku)));
        };
        Ok(Self { sku: known, name, unit_price, available })
    }
}

pub(crate) fn not_sold() -> Problem {
    Problem::new(Kind::ProductNotFound, "The shop sells nothing by this number.")
}

/// What an article is and costs, as an operator writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ArticleTerms)]
pub(crate) struct Terms {
    /// What it is, in words.
    #[schema(min_length = 1, max_length = 200, example = "WHITE METAL LANTERN")]
    pub name: String,
    /// What one piece costs the customer, before tax.
    #[schema(example = "3.39")]
    pub unit_price: String,
    /// What one piece costs the shop.
    #[schema(example = "1.35")]
    pub unit_cost: String,
    /// Of both; ISO 4217.
    #[schema(example = "GBP")]
    pub currency: String,
}

/// The same, checked.
pub(crate) struct CheckedTerms {
    name: String,
    unit_price: Money,
    unit_cost: Money,
}

impl Terms {
    fn checked(&self, rules: &mut Rules) -> Option<CheckedTerms> {
        let name = rules.check("/name", line_of_text(&self.name, 200));
        let known = Currency::from_code(&self.currency);
        let currency = rules.check("/currency", known.ok_or("a code of ISO 4217, such as GBP"));
        let mut amount = |pointer, text: &str| {
            let amount = Decimal::from_str_exact(text)
                .map_err(|_no_decimal| "a decimal number as text, such as \"19.99\"");
            let amount = rules.check(pointer, amount);
            rules.check(pointer, Money::new(amount?, currency?))
        };
        let unit_price = amount("/unit_price", &self.unit_price);
        let unit_cost = amount("/unit_cost", &self.unit_cost);
        Some(CheckedTerms { name: name?, unit_price: unit_price?, unit_cost: unit_cost? })
    }
}
