//! The warehouse's stock.

pub(crate) mod list;
pub(crate) mod movement;

use domain::Sku;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;

/// Stock of an article, in pieces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stock {
    /// The article.
    sku: Sku,
    /// In the warehouse.
    on_hand: i64,
    /// Of those, reserved for orders.
    reserved: i64,
    /// Of those, available to be ordered.
    available: i64,
    /// Shipped to customers.
    sold: i64,
}

struct Row {
    sku: String,
    on_hand: i64,
    reserved: i64,
    available: i64,
    sold: i64,
}

impl TryFrom<Row> for Stock {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let Row { sku, on_hand, reserved, available, sold } = row;
        let sku = Sku::parse(sku).map_err(|error| Problem::internal("reading stock", &error))?;
        Ok(Self { sku, on_hand, reserved, available, sold })
    }
}
