//! The maximum cost of an order, and the messages if it differs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The counts of one order, by name.
pub type Measured = BTreeMap<String, u64>;

/// The measured sizes in lines; the table's columns.
pub const LINES: [usize; 3] = [1, 22, 541];

/// How far bytes and allocations may be below their pin, in percent: they vary a little between
/// runs and machines, so they are pinned some percent above the measurement. All other counts are
/// exact. If an order becomes cheaper, lower its pin.
const BELOW_PERCENT: u64 = 15;

/// The maximum cost of one order. Counts that are not listed must be zero.
#[rustfmt::skip]
const PINS: &[(&str, [u64; 3])] = &[
    //                                                1 line,  22 lines, 541 lines
    ("allocations",                                   [    5_100,     5_560,    16_450]),
    ("bytes allocated",                               [3_560_000, 3_640_000, 5_870_000]),
    ("bytes kept of it once it has ended",            [    3_000,         0,         0]),
    ("bytes of payloads",                             [    2_850,     2_850,     2_860]),
    ("bytes of the history",                          [    4_060,     4_060,     4_080]),
    ("bytes of write-ahead log",                      [   27_000,    51_500,   630_000]),
    ("events of the history",                         [       12,        12,        12]),
    ("inventory.movements: rows inserted",            [        2,        44,     1_082]),
    ("inventory.reservation_lines: rows inserted",    [        1,        22,       541]),
    ("inventory.reservations: rows inserted",         [        1,         1,         1]),
    ("inventory.reservations: rows updated",          [        1,         1,         1]),
    ("inventory.stock: rows updated",                 [        2,        44,     1_082]),
    ("ledger.entries: rows inserted",                 [        8,         8,         8]),
    ("ledger.transactions: rows inserted",            [        2,         2,         2]),
    ("orders.launches: rows deleted",                 [        1,         1,         1]),
    ("orders.launches: rows inserted",                [        1,         1,         1]),
    ("orders.order_events: rows inserted",            [        8,         8,         8]),
    ("orders.orders: rows inserted",                  [        1,         1,         1]),
    ("orders.orders: rows updated",                   [        7,         7,         7]),
    ("orders.step_keys: rows inserted",               [        6,         6,         6]),
    ("orders.step_keys: rows updated",                [        2,         2,         2]),
    ("outbox.messages: rows inserted",                [        8,         8,         8]),
    ("payments.charges: rows inserted",               [        1,         1,         1]),
    ("payments.charges: rows updated",                [        2,         2,         2]),
    ("payments.methods: rows inserted",               [        1,         1,         1]),
    ("sandbox_carrier.shipments: rows inserted",      [        1,         1,         1]),
    ("sandbox_carrier.shipments: rows updated",       [        1,         1,         1]),
    ("sandbox_provider.payments: rows inserted",      [        1,         1,         1]),
    ("sandbox_provider.payments: rows updated",       [        2,         2,         2]),
    ("shipping.shipments: rows inserted",             [        1,         1,         1]),
    ("shipping.shipments: rows updated",              [        1,         1,         1]),
    ("state transitions",                             [        3,         3,         3]),
    ("statements of the sandboxes",                   [       11,        11,        11]),
    ("statements of the worker",                      [       14,        14,        14]),
    ("transactions that write",                       [       15,        15,        15]),
];

fn pinned(size: usize, name: &str) -> u64 {
    PINS.iter().find(|(known, _)| *known == name).map_or(0, |(_, at_most)| at_most[size])
}

/// The differences between an order of this size and its pins.
pub fn complaints(size: usize, measured: &Measured) -> Vec<String> {
    let names = PINS.iter().map(|(name, _)| (*name).to_owned());
    let mut names = names.chain(measured.keys().cloned()).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    names
        .iter()
        .filter_map(|name| {
            let (counted, at_most) = (measured.get(name).copied().unwrap_or(0), pinned(size, name));
            let change = compared(counted, at_most, spare(name))?;
            Some(format!("{name}, of an order of {} lines: {change}", LINES[size]))
        })
        .collect()
}

/// How far a count may be below its pin, in percent. Kept memory has only an upper limit: it is the
/// difference of two large numbers, and varies by half.
fn spare(name: &str) -> u64 {
    match name {
        "bytes kept of it once it has ended" => 100,
        "allocations" => BELOW_PERCENT,
        _ if name.starts_with("bytes") => BELOW_PERCENT,
        _ => 0,
    }
}

/// The complaint about a count, if any.
fn compared(counted: u64, at_most: u64, spare_percent: u64) -> Option<String> {
    if counted > at_most {
        let more = counted - at_most;
        return Some(format!("crept up by {more} to {counted}, where {at_most} is pinned"));
    }
    if counted * 100 < at_most * (100 - spare_percent) {
        let fewer = at_most - counted;
        return Some(format!("fell by {fewer} to {counted}: lower its pin, which is {at_most}"));
    }
    None
}

/// The full report for whoever has changed the cost of an order.
pub fn report(complaints: &[String], found: &[Measured], statements: &[Vec<String>]) -> String {
    let mut text =
        "an order costs something else than is pinned in worker/tests/cost/pins.rs:\n".to_owned();
    for complaint in complaints {
        writeln!(text, "  - {complaint}").unwrap();
    }
    text.push_str(
        "If that is meant, change the pin and say in the commit what the order gets for it; \
         counts of bytes and allocations vary a little, and are pinned some percent above what was \
         counted. The table as counted:\n",
    );
    text.push_str(&written(found));
    for (size, statements) in statements.iter().enumerate() {
        writeln!(text, "\nthe worker's statements for {} lines:", LINES[size]).unwrap();
        for statement in statements {
            writeln!(text, "  {}", statement.chars().take(110).collect::<String>()).unwrap();
        }
    }
    text
}

/// The measurements in the table's format.
pub fn written(found: &[Measured]) -> String {
    let mut names = found.iter().flat_map(Measured::keys).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    let mut text = String::new();
    for name in names {
        let counts = found.iter().map(|measured| measured.get(name).copied().unwrap_or(0));
        let counts = counts.map(|count| format!("{:>9}", grouped(count)));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let name = format!("\"{name}\",");
        writeln!(text, "    ({name:<48} [{counts}]),").unwrap();
    }
    text
}

/// A number with digit separators, as in code.
fn grouped(count: u64) -> String {
    if count < 1_000 {
        return count.to_string();
    }
    format!("{}_{:03}", grouped(count / 1_000), count % 1_000)
}

#[test]
fn a_count_is_never_above_its_pin_and_what_varies_may_be_a_little_below() {
    assert_eq!(compared(100, 100, 0), None);
    assert!(compared(101, 100, 15).unwrap().contains("crept up by 1 to 101"));
    assert!(compared(99, 100, 0).unwrap().contains("fell by 1 to 99"));
    assert_eq!(compared(85, 100, 15), None);
    assert!(compared(84, 100, 15).unwrap().contains("fell by 16 to 84"));
    assert_eq!(compared(0, 0, 0), None);
    assert_eq!((spare("bytes of payloads"), spare("state transitions")), (BELOW_PERCENT, 0));
}

#[test]
fn what_is_not_pinned_must_not_be() {
    let measured = Measured::from([("nobody.knows: rows inserted".to_owned(), 1)]);
    let said = complaints(1, &measured).join("\n");
    assert!(said.contains("nobody.knows: rows inserted, of an order of 22 lines: crept up by 1"));
}
