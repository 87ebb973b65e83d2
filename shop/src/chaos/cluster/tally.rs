//! The results for orders, by fault.

use std::io;
use std::time::Duration;

use crate::latency::Took;
use crate::screen::{heading, say};

/// The results of one fault.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The fault.
    pub(super) fault: &'static str,
    /// From its first step to its last.
    pub(super) down: Duration,
    /// Orders accepted while it was injected.
    pub(super) accepted: usize,
    /// Those that ended correctly.
    pub(super) ended: usize,
    /// The longest time from an order's first request to its end, among orders without planned
    /// waits.
    pub(super) worst: Duration,
    /// The longest time in which no order ended.
    pub(super) none_ended_for: Duration,
    /// Requests that were answered 503 or not at all, and retried.
    pub(super) asked_again: u32,
    /// Whether all promises held.
    pub(super) held: bool,
    /// Whether `ordersaga prove` held.
    pub(super) proven: bool,
}

impl Row {
    /// Whether all checks held and there was something to check.
    pub(super) const fn is_well(&self) -> bool {
        self.held && self.proven && self.accepted > 0 && self.ended == self.accepted
    }
}

/// Prints them as a table.
pub(super) fn table(rows: &[Row]) -> io::Result<()> {
    heading("what became of the orders")?;
    let head = |cells: [&str; 8]| {
        let [fault, down, accepted, ended, worst, none, again, prove] = cells;
        say(format_args!(
            "  {fault:<34} {down:>7} {accepted:>8} {ended:>10} {worst:>10} {none:>9} {again:>6} {prove:>6}"
        ))
    };
    head(["", "", "", "ended as", "worst,", "no order", "asked", ""])?;
    head(["fault", "lasted", "accepted", "planned", "sent→ended", "ended for", "again", "prove"])?;
    rows.iter().try_for_each(line)
}

fn line(row: &Row) -> io::Result<()> {
    say(format_args!(
        "{} {:<34} {:>7} {:>8} {:>10} {:>10} {:>9} {:>6} {:>6}",
        if row.is_well() { "✔" } else { "✘" },
        row.fault,
        Took(row.down),
        row.accepted,
        row.ended,
        Took(row.worst),
        Took(row.none_ended_for),
        row.asked_again,
        if row.proven { "holds" } else { "BROKEN" },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Row = Row {
        fault: "a node is killed",
        down: Duration::from_secs(20),
        accepted: 300,
        ended: 300,
        worst: Duration::from_secs(7),
        none_ended_for: Duration::from_secs(1),
        asked_again: 12,
        held: true,
        proven: true,
    };

    #[test]
    fn one_order_too_few_a_broken_promise_or_no_order_at_all_is_a_failure() {
        assert!(WELL.is_well());
        assert!(!Row { ended: 299, ..WELL }.is_well());
        assert!(!Row { held: false, ..WELL }.is_well());
        assert!(!Row { proven: false, ..WELL }.is_well());
        assert!(!Row { accepted: 0, ended: 0, ..WELL }.is_well());
    }
}
