//! What a customer wants, where to, and with which discount: the part that quote and order share.

use domain::{CountryCode, DiscountCode, InvalidOrder, LINES_MAX, QUANTITY_MAX, Quantity, Sku};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use crate::problem::{Breach, Problem};
use crate::rules::Rules;

/// One article and how many of it, as the caller writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenLine {
    /// The article.
    #[schema(min_length = 1, max_length = 32, example = "85123A")]
    pub sku: String,
    /// How many pieces: a whole number.
    #[schema(value_type = u32, minimum = 1, maximum = 100_000, example = 6)]
    pub quantity: Number,
}

/// One article and how many of it, checked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) sku: Sku,
    pub(crate) quantity: Quantity,
}

/// What is to be priced. The price itself is the shop's.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Basket {
    pub(crate) lines: Vec<Line>,
    pub(crate) country: CountryCode,
    pub(crate) discount_code: Option<DiscountCode>,
}

impl Basket {
    /// Checks everything that can be checked without the catalogue.
    pub(crate) fn checked(
        rules: &mut Rules,
        lines: &[WrittenLine],
        country: &str,
        discount_code: Option<&str>,
    ) -> Option<Self> {
        let lines = checked_lines(rules, lines);
        let country = rules.check("/ship_to/country", CountryCode::parse(country));
        let discount_code =
            rules.check_given("/discount_code", discount_code.map(DiscountCode::parse));
        Some(Self { lines: lines?, country: country?, discount_code })
    }
}

fn checked_lines(rules: &mut Rules, written: &[WrittenLine]) -> Option<Vec<Line>> {
    match written.len() {
        0 => rules.broken("/lines", InvalidOrder::NoLines),
        // One answer for the whole list: its lines are not looked at.
        count if count > LINES_MAX => rules.broken("/lines", InvalidOrder::TooManyLines(count)),
        _ => return checked_each(rules, written),
    }
    None
}

fn checked_each(rules: &mut Rules, written: &[WrittenLine]) -> Option<Vec<Line>> {
    let lines = written.iter().enumerate().map(|(index, line)| {
        let sku = rules.check(format_args!("/lines/{index}/sku"), Sku::parse(line.sku.as_str()));
        let quantity =
            rules.check(format_args!("/lines/{index}/quantity"), quantity(&line.quantity));
        Some(Line { sku: sku?, quantity: quantity? })
    });
    // Every line is looked at before the first bad one decides, so that all are named.
    lines.collect::<Vec<_>>().into_iter().collect()
}

fn quantity(written: &Number) -> Result<Quantity, String> {
    let pieces = written
        .as_i64()
        .ok_or_else(|| format!("a quantity is a whole number from 1 to {QUANTITY_MAX}"))?;
    Quantity::new(pieces).map_err(|error| error.to_string())
}

/// Which part of the request the pricing refused.
pub(crate) fn refused(error: &InvalidOrder) -> Problem {
    let pointer = match error {
        InvalidOrder::Quantity(_)
        | InvalidOrder::NoLines
        | InvalidOrder::TooManyLines(_)
        | InvalidOrder::Money(_)
        | InvalidOrder::NothingToPay => "/lines",
        InvalidOrder::NotServed(_) | InvalidOrder::NoShippingRate { .. } => "/ship_to/country",
        InvalidOrder::DiscountCurrency { .. } => "/discount_code",
    };
    Problem::invalid(vec![Breach { pointer: pointer.to_owned(), detail: error.to_string() }])
}
