//! Growth per hour, as the slope of a least-squares fit.

use rust_decimal::Decimal;

/// A second and a value.
pub(super) type Point = (u64, u64);

const HOUR: u32 = 3_600;

/// The growth per hour, by least squares. Each lifetime of a program has its own intercept; the
/// slope is shared. `None` if no lifetime has two points.
pub(super) fn per_hour<'a>(lives: impl Iterator<Item = &'a [Point]>) -> Option<Decimal> {
    let (mut together, mut of_time) = (Decimal::ZERO, Decimal::ZERO);
    for life in lives {
        let (with_value, with_itself) = deviations(life)?;
        together = together.checked_add(with_value)?;
        of_time = of_time.checked_add(with_itself)?;
    }
    if of_time.is_zero() {
        return None;
    }
    together.checked_div(of_time)?.checked_mul(Decimal::from(HOUR))
}

/// The sums of the deviations of time from its mean, times the values' deviations and squared.
fn deviations(life: &[Point]) -> Option<(Decimal, Decimal)> {
    let times = mean(life.iter().map(|(at, _)| *at))?;
    let values = mean(life.iter().map(|(_, value)| *value))?;
    let (mut with_value, mut with_itself) = (Decimal::ZERO, Decimal::ZERO);
    for (at, value) in life {
        let time = Decimal::from(*at).checked_sub(times)?;
        let value = Decimal::from(*value).checked_sub(values)?;
        with_value = with_value.checked_add(time.checked_mul(value)?)?;
        with_itself = with_itself.checked_add(time.checked_mul(time)?)?;
    }
    Some((with_value, with_itself))
}

/// The mean, rounded to a thousandth: with more digits the products would overflow.
/// The mean of no values is zero; `None` on overflow.
pub(super) fn mean(values: impl Iterator<Item = u64>) -> Option<Decimal> {
    let (mut sum, mut count) = (Decimal::ZERO, 0_u64);
    for value in values {
        sum = sum.checked_add(Decimal::from(value))?;
        count = count.checked_add(1)?;
    }
    Some(sum.checked_div(Decimal::from(count.max(1)))?.round_dp(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(lives: &[&[Point]]) -> Option<Decimal> {
        per_hour(lives.iter().copied()).map(|slope| slope.round_dp(1))
    }

    #[test]
    fn a_line_has_its_slope_and_a_flat_one_has_none() {
        assert_eq!(slope(&[&[(0, 100), (60, 110), (120, 120)]]), Some(Decimal::from(600)));
        assert_eq!(slope(&[&[(0, 100), (60, 100), (120, 100)]]), Some(Decimal::ZERO));
        assert_eq!(slope(&[&[(0, 120), (60, 110), (120, 100)]]), Some(Decimal::from(-600)));
    }

    #[test]
    fn what_goes_up_and_down_fits_the_line_between() {
        assert_eq!(slope(&[&[(0, 0), (60, 40), (120, 20), (180, 60)]]), Some(Decimal::from(960)));
    }

    #[test]
    fn a_program_that_begins_anew_has_not_shrunk() {
        let lives: [&[Point]; 2] = [&[(0, 500), (60, 510)], &[(120, 10), (180, 20)]];
        assert_eq!(slope(&lives), Some(Decimal::from(600)));
    }

    #[test]
    fn lives_of_one_look_say_nothing() {
        assert_eq!(slope(&[&[(0, 5)], &[(60, 9)]]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn large_numbers_fit() {
        let day = (0..1_440_u64).map(|minute| (minute * 60, 2_000_000_000_000 + minute));
        let day = day.collect::<Vec<_>>();
        assert_eq!(slope(&[&day]), Some(Decimal::from(60)));
    }
}
