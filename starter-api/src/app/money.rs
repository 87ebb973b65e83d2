//! Money as callers write it, and as the database has it.

use domain::{Currency, Money};
use rust_decimal::Decimal;

/// The number that a caller wrote as an amount: digits, and a point between digits.
pub(crate) fn written_amount(text: &str) -> Option<Decimal> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // One below zero is a number, and is refused for what it is.
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_plain = unsigned
        .split_once('.')
        .map_or_else(|| digits(unsigned), |(whole, fraction)| digits(whole) && digits(fraction));
    Decimal::from_str_exact(text).ok().filter(|_number| is_plain)
}

/// The amount of a row; `None` if it is not a valid amount of a known currency.
pub(crate) fn stored_money(amount: Decimal, currency: &str) -> Option<Money> {
    Money::new(amount, Currency::from_code(currency)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_digits_and_a_point_between_them() {
        for (text, written) in [("25.98", "25.98"), ("0", "0"), ("007", "7"), ("-1.50", "-1.50")] {
            assert_eq!(written_amount(text).unwrap().to_string(), written);
        }
        for loose in [
            "2_5.98", "25_.98", "25.9_8", "+25.98", ".98", "25.", "25,98", " 25.98", "25.98 ",
            "1e3", "\u{661}", "", "-", ".", "1.2.3", "--1", "0x1", "inf",
        ] {
            assert_eq!(written_amount(loose), None, "{loose}");
        }
        assert_eq!(written_amount(&"9".repeat(40)), None);
    }
}
