//! Which tables grow with the orders by design, and whether the others are bounded.

use super::Seen;
use super::sample::{Sample, Table};

/// Tables that keep history, and for how long. All others must keep their size.
const KEEP: &[(&str, &str)] = &[
    ("catalog.", "as large as the catalogue"),
    ("customers.", "while the customer is known"),
    ("inventory.movements", "for ever: why the stock is what it is"),
    ("inventory.reservation", "for ever"),
    ("invoices.invoices", "for as long as the law wants"),
    ("ledger.", "for ever: the books"),
    ("orders.orders", "for ever"),
    ("orders.order_events", "for ever"),
    ("orders.step_keys", "WORKER_IDEMPOTENCY_DAYS"),
    ("outbox.messages", "WORKER_OUTBOX_DAYS"),
    ("payments.", "for ever"),
    ("shipping.shipments", "for ever"),
    ("webhooks.deliveries", "WORKER_OUTBOX_DAYS"),
    ("webhooks.sends", "WORKER_OUTBOX_DAYS"),
    ("sandbox_", "the sandboxes' own: a provider's and a carrier's records"),
];

/// Tolerated growth of a table outside of [`KEEP`], in rows and in bytes.
const ROWS_SPARE: u64 = 1_000;
const BYTES_SPARE: u64 = 4 * 1_024 * 1_024;

/// The growth of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) table: String,
    pub(super) bytes: u64,
    /// The growth in bytes and rows since the first quarter.
    pub(super) more_bytes: u64,
    pub(super) more_rows: u64,
    pub(super) dead_max: u64,
    /// How long its rows are kept, if it is in [`KEEP`].
    pub(super) kept: Option<&'static str>,
}

impl Growth {
    /// Whether it has kept its size, or keeps history by design.
    pub(super) fn is_bounded(&self) -> bool {
        self.kept.is_some() || (self.more_rows <= ROWS_SPARE && self.more_bytes <= BYTES_SPARE)
    }
}

/// The growth of each table between these samples, largest first.
pub(super) fn growth(counted: &[&Sample], seen: &Seen) -> Vec<Growth> {
    let mut shops = counted.iter().filter_map(|sample| sample.shop.as_ref());
    let Some(first) = shops.next() else { return Vec::new() };
    let last = shops.clone().next_back().unwrap_or(first);
    let (rows_first, rows_last) = &seen.rows;
    let growth = last.tables.iter().map(|(name, Table { bytes, .. })| {
        let before = first.tables.get(name).map_or(0, |table| table.bytes);
        let rows = |rows: &super::Rows| rows.get(name).copied().unwrap_or_default();
        let dead = shops.clone().filter_map(|shop| shop.tables.get(name)).map(|table| table.dead);
        Growth {
            table: name.clone(),
            bytes: *bytes,
            more_bytes: bytes.saturating_sub(before),
            more_rows: rows(rows_last).saturating_sub(rows(rows_first)),
            dead_max: dead.max().unwrap_or_default(),
            kept: KEEP.iter().find(|(begins, _)| name.starts_with(begins)).map(|(_, kept)| *kept),
        }
    });
    let mut growth = growth.collect::<Vec<_>>();
    growth.sort_unstable_by_key(|one| std::cmp::Reverse(one.more_bytes));
    growth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth_of(table: &str, more_rows: u64, more_bytes: u64) -> Growth {
        let kept = KEEP.iter().find(|(begins, _)| table.starts_with(begins)).map(|(_, kept)| *kept);
        Growth { table: table.to_owned(), bytes: 0, more_bytes, more_rows, dead_max: 0, kept }
    }

    #[test]
    fn only_what_keeps_what_has_happened_may_grow() {
        assert!(growth_of("orders.orders", 9_000, 1 << 30).is_bounded());
        assert!(growth_of("orders.launches", 3, 8_192).is_bounded());
        assert!(!growth_of("orders.launches", 9_000, 8_192).is_bounded());
        assert!(!growth_of("inventory.stock", 0, 1 << 30).is_bounded());
    }
}
