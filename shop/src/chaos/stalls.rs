//! How long work stopped that does not depend on what hung.

use std::io;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::latency::Took;
use crate::screen::{heading, say};

/// The start and end of a hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

/// The results of a hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) what_hung: &'static str,
    pub(super) down: Duration,
    /// The longest time in which no order ended at all.
    pub(super) none_ended_for: Duration,
    /// The longest time from an order's acceptance to its end.
    pub(super) worst_order: Duration,
    /// The longest pause of something that does not depend on what hung.
    pub(super) others_stood_still_for: Duration,
    /// The maximum pause allowed for that.
    pub(super) within: Duration,
}

impl Span {
    pub(super) fn length(self) -> Duration {
        between(self.from, self.to)
    }

    pub(super) fn contains(self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.to
    }

    /// The longest period within the span, including its ends, without any of these moments.
    pub(super) fn longest_gap(self, moments: impl IntoIterator<Item = DateTime<Utc>>) -> Duration {
        let mut marks = vec![self.from, self.to];
        marks.extend(moments.into_iter().filter(|at| self.contains(*at)));
        marks.sort_unstable();
        let gaps = marks.iter().zip(marks.iter().skip(1)).map(|(one, next)| between(*one, *next));
        gaps.max().unwrap_or_default()
    }
}

/// Zero if they are in the wrong order.
pub(super) fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    to.signed_duration_since(from).to_std().unwrap_or_default()
}

/// Prints them as a table, if there are any.
pub(super) fn table(stalls: &[Stall]) -> io::Result<()> {
    if stalls.is_empty() {
        return Ok(());
    }
    heading("the effects of each hang")?;
    let head = |cells: [&str; 6]| {
        let [what, down, ended, order, others, within] = cells;
        say(format_args!("  {what:<20} {down:>7} {ended:>9} {order:>7} {others:>15} {within:>7}"))
    };
    head(["", "", "no order", "worst", "everybody else", ""])?;
    head(["what hung", "down", "ended for", "order", "stood still for", "within"])?;
    stalls.iter().try_for_each(line)
}

fn line(stall: &Stall) -> io::Result<()> {
    let held = stall.others_stood_still_for <= stall.within;
    say(format_args!(
        "{} {:<20} {:>7} {:>9} {:>7} {:>15} {:>7}",
        if held { "✔" } else { "✘" },
        stall.what_hung,
        Took(stall.down),
        Took(stall.none_ended_for),
        Took(stall.worst_order),
        Took(stall.others_stood_still_for),
        Took(stall.within),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn longest_gap(moments: &[i64]) -> u64 {
        let span = Span { from: at(10), to: at(30) };
        span.longest_gap(moments.iter().map(|second| at(*second))).as_secs()
    }

    #[test]
    fn the_longest_gap_is_looked_for_from_the_beginning_to_the_end() {
        assert_eq!(longest_gap(&[12, 15, 22, 28]), 7);
        assert_eq!(longest_gap(&[28, 22, 20]), 10);
        assert_eq!(longest_gap(&[11, 15]), 15);
    }

    #[test]
    fn what_happens_before_or_after_fills_no_gap() {
        assert_eq!(longest_gap(&[]), 20);
        assert_eq!(longest_gap(&[9, 30, 31]), 20);
    }
}
