//! Latency statistics and their formatting.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use rust_decimal::{Decimal, RoundingStrategy};

/// A histogram of durations.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty histogram, with three significant digits and a maximum of one hour.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Histogram::new_with_bounds(1, HOUR_MICROS, 3).map(Self)
    }

    /// Records a duration.
    pub(crate) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(HOUR_MICROS));
    }

    /// Adds another histogram.
    pub(crate) fn add(&mut self, others: &Self) -> Result<(), hdrhistogram::AdditionError> {
        self.0.add(&others.0)
    }

    /// The median.
    pub(crate) fn p50(&self) -> Took {
        self.at(50.0)
    }

    /// The 99th percentile.
    pub(crate) fn p99(&self) -> Took {
        self.at(99.0)
    }

    fn at(&self, percentile: f64) -> Took {
        Took(Duration::from_micros(self.0.value_at_percentile(percentile)))
    }
}

const HOUR_MICROS: u64 = 3_600_000_000;

/// A duration, displayed with three digits in milliseconds or seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        let text = match micros {
            0..10_000 => format!("{} ms", rounded(ratio(micros, 1_000), 1)),
            10_000..1_000_000 => format!("{} ms", rounded(ratio(micros, 1_000), 0)),
            1_000_000..10_000_000 => format!("{} s", rounded(ratio(micros, 1_000_000), 2)),
            _ => format!("{} s", rounded(ratio(micros, 1_000_000), 0)),
        };
        f.pad(&text)
    }
}

/// `part` divided by `whole`, as an exact decimal; zero if `whole` is zero.
pub(crate) fn ratio(part: u64, whole: u64) -> Decimal {
    Decimal::from(part).checked_div(Decimal::from(whole)).unwrap_or_default()
}

/// A number rounded to this many decimals: a decimal's own formatting truncates.
pub(crate) fn rounded(number: Decimal, decimals: u32) -> Decimal {
    let mut number =
        number.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero);
    number.rescale(decimals);
    number
}

/// A rate per second.
pub(crate) fn per_second(count: u64, within: Duration) -> Decimal {
    let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
    ratio(count.saturating_mul(1_000_000), micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_the_digits_that_matter() {
        let written = |micros| Took(Duration::from_micros(micros)).to_string();
        assert_eq!(written(1_250), "1.3 ms");
        assert_eq!(written(12_400), "12 ms");
        assert_eq!(written(1_234_567), "1.23 s");
        assert_eq!(written(83_000_000), "83 s");
    }

    #[test]
    fn nothing_in_no_time_is_no_rate() {
        assert_eq!(per_second(0, Duration::ZERO), Decimal::ZERO);
        assert_eq!(per_second(30, Duration::from_secs(15)), Decimal::TWO);
    }
}
