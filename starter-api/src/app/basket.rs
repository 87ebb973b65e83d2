//! The basket: articles, destination and discount. Quotes and orders share it.

use domain::{CountryCode, DiscountCode, InvalidOrder, LINES_MAX, QUANTITY_MAX, Quantity, Sku};

use crate::app::input::WholeNumber;
use crate::error::{Breach, Problem, Rules};

/// A basket, unchecked.
#[derive(Clone, Debug)]
pub(crate) struct BasketInput<'a> {
    pub(crate) lines: Vec<LineInput<'a>>,
    pub(crate) country: &'a str,
    pub(crate) discount_code: Option<&'a str>,
}

/// An article and a quantity, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineInput<'a> {
    pub(crate) sku: &'a str,
    pub(crate) quantity: WholeNumber,
}

/// One article and how many of it, checked.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) sku: Sku,
    pub(crate) quantity: Quantity,
}

/// A checked basket, not priced yet.
#[derive(Clone, Debug)]
pub(crate) struct Basket {
    pub(crate) lines: Vec<Line>,
    pub(crate) country: CountryCode,
    pub(crate) discount_code: Option<DiscountCode>,
}

impl Basket {
    /// Checks everything that does not need the catalogue.
    pub(crate) fn check(rules: &mut Rules, input: &BasketInput<'_>) -> Option<Self> {
        let lines = check_lines(rules, &input.lines);
        let country = rules.check("/ship_to/country", CountryCode::parse(input.country));
        let discount_code =
            rules.check_given("/discount_code", input.discount_code.map(DiscountCode::parse));
        Some(Self { lines: lines?, country: country?, discount_code })
    }
}

/// The articles and their quantities.
pub(crate) fn check_lines(rules: &mut Rules, lines: &[LineInput<'_>]) -> Option<Vec<Line>> {
    match lines.len() {
        0 => rules.broken("/lines", InvalidOrder::NoLines),
        // One error for the whole list, without checking its lines.
        count if count > LINES_MAX => rules.broken("/lines", InvalidOrder::TooManyLines(count)),
        _ => return check_each(rules, lines),
    }
    None
}

fn check_each(rules: &mut Rules, lines: &[LineInput<'_>]) -> Option<Vec<Line>> {
    let lines = lines.iter().enumerate().map(|(index, line)| {
        let sku = rules.check(format_args!("/lines/{index}/sku"), Sku::parse(line.sku));
        let quantity =
            rules.check(format_args!("/lines/{index}/quantity"), quantity(line.quantity));
        Some(Line { sku: sku?, quantity: quantity? })
    });
    // All lines are checked before collecting stops at the first error, so that every error is
    // reported.
    lines.collect::<Vec<_>>().into_iter().collect()
}

fn quantity(number: WholeNumber) -> Result<Quantity, String> {
    let pieces =
        number.0.ok_or_else(|| format!("a quantity is a whole number from 1 to {QUANTITY_MAX}"))?;
    Quantity::new(pieces).map_err(|error| error.to_string())
}

/// The problem for a basket that cannot be priced, with a pointer to the offending part of the
/// request.
pub(crate) fn pricing_refused(error: &InvalidOrder) -> Problem {
    let pointer = match error {
        InvalidOrder::Quantity(_)
        | InvalidOrder::NoLines
        | InvalidOrder::TooManyLines(_)
        | InvalidOrder::Money(_)
        | InvalidOrder::NotChargeable(_) => "/lines",
        InvalidOrder::NotServed(_) | InvalidOrder::NoShippingRate { .. } => "/ship_to/country",
        InvalidOrder::DiscountCurrency { .. } => "/discount_code",
    };
    Problem::invalid(vec![Breach { pointer: pointer.to_owned(), detail: error.to_string() }])
}
