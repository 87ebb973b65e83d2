//! A line of a basket in JSON, for quotes and orders.

use serde::Deserialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::app::basket::LineInput;
use crate::app::input::WholeNumber;

/// An article and its quantity.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LineRequest {
    /// The article.
    #[schema(min_length = 1, max_length = 32, example = "85123A")]
    pub sku: String,
    /// The number of pieces: a whole number.
    #[schema(value_type = u32, minimum = 1, maximum = 100_000, example = 6)]
    pub quantity: Number,
}

impl LineRequest {
    pub(crate) fn input(&self) -> LineInput<'_> {
        LineInput { sku: &self.sku, quantity: whole_number(&self.quantity) }
    }
}

/// The number, if it is a whole one.
pub(crate) fn whole_number(number: &Number) -> WholeNumber {
    WholeNumber(number.as_i64())
}
