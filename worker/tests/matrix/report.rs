//! Prints the matrix's table.

use std::collections::BTreeMap;

use worker::prove::{prove as look, table};

use crate::cell::{Course, Trouble};
use crate::run::Outcome;
use crate::sinks::SinkOutcome;
use crate::support::Shop;

/// The number of passed cells, and of all cells, by fault.
type Row = BTreeMap<Trouble, (usize, usize)>;

/// Prints the passed cells by activity or sink and fault, and the reason of every failed cell.
pub fn print(outcomes: &[Outcome], of_sinks: &[SinkOutcome]) {
    let mut rows: BTreeMap<(Course, &str), Row> = BTreeMap::new();
    for Outcome { cell, complaint, .. } in outcomes {
        let row = rows.entry((cell.point.course, &cell.point.activity)).or_default();
        let (passed, ran) = row.entry(cell.trouble).or_default();
        *ran += 1;
        *passed += usize::from(complaint.is_none());
    }
    let columns = Trouble::ALL.map(|trouble| format!("{:>14}", trouble.name()));
    println!("\n{:<17}{}", "", columns.concat());
    let mut is_of_a_refund = false;
    for ((course, activity), row) in &rows {
        if course.is_of_a_refund() && !is_of_a_refund {
            println!("refund");
            is_of_a_refund = true;
        }
        print_row(activity, row);
    }
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for SinkOutcome { row, trouble, complaint } in of_sinks {
        let passed = usize::from(complaint.is_none());
        rows.entry(row.name()).or_default().insert(*trouble, (passed, 1));
    }
    if !rows.is_empty() {
        println!("sinks");
    }
    for (sink, row) in &rows {
        print_row(sink, row);
    }
    println!();
    let of_orders = outcomes.iter().map(|it| (it.cell.to_string(), it.complaint.as_ref()));
    let all = of_orders.chain(of_sinks.iter().map(|it| (it.to_string(), it.complaint.as_ref())));
    let (mut passed, mut ran) = (0_usize, 0_usize);
    for (cell, complaint) in all {
        ran += 1;
        match complaint {
            None => passed += 1,
            Some(complaint) => println!("FAILED {cell}: {complaint}"),
        }
    }
    println!("{passed} of {ran} cells passed");
}

fn print_row(name: &str, row: &Row) {
    let cells = Trouble::ALL.iter().map(|trouble| match row.get(trouble) {
        None => format!("{:>14}", "·"),
        Some((passed, ran)) if passed == ran => format!("{passed:>14}"),
        Some((passed, ran)) => format!("{:>14}", format!("{passed} of {ran}")),
    });
    println!("{name:<17}{}", cells.collect::<Vec<_>>().concat());
}

/// Checks every invariant over the orders of all cells.
pub async fn prove(shop: &Shop) -> bool {
    let findings = look(&shop.db, Some(&shop.client)).await.unwrap();
    println!("\n{}", table(&findings));
    !findings.iter().any(worker::prove::Finding::is_broken)
}
