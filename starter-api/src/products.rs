//! Products: what the shop sells, at which price, and how many are left.

pub(crate) mod list;
pub(crate) mod show;

use domain::{Money, Sku};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalogue::money;
use crate::problem::Problem;

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
