//! The table.

use std::collections::BTreeMap;

use worker::prove::{prove as look, table};

use crate::cell::{Course, Trouble};
use crate::run::Outcome;
use crate::support::Shop;

/// How many cells of a trouble passed, and how many ran.
type Row = BTreeMap<Trouble, (usize, usize)>;

/// Says of each activity and trouble how many cells passed, and of every cell that did not, why.
pub fn print(outcomes: &[Outcome]) {
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
        let cells = Trouble::ALL.iter().map(|trouble| match row.get(trouble) {
            None => format!("{:>14}", "·"),
            Some((passed, ran)) if passed == ran => format!("{passed:>14}"),
            Some((passed, ran)) => format!("{:>14}", format!("{passed} of {ran}")),
        });
        println!("{activity:<17}{}", cells.collect::<Vec<_>>().concat());
    }
    println!();
    let complaints = outcomes.iter().filter_map(|Outcome { cell, complaint, .. }| {
        complaint.as_ref().map(|complaint| format!("FAILED {cell}: {complaint}"))
    });
    for complaint in complaints {
        println!("{complaint}");
    }
    let passed = outcomes.iter().filter(|outcome| outcome.complaint.is_none()).count();
    println!("{passed} of {} cells passed", outcomes.len());
}

/// Every invariant, over all the orders of all the cells.
pub async fn prove(shop: &Shop) -> bool {
    let findings = look(&shop.db, Some(&shop.client)).await.unwrap();
    println!("\n{}", table(&findings));
    !findings.iter().any(worker::prove::Finding::is_broken)
}
