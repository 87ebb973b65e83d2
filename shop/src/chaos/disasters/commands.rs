//! Parses the output of `ordersaga recover` and `ordersaga prove`.

use std::collections::BTreeSet;
use std::io;

use uuid::Uuid;

use crate::prove::{Told, told};
use crate::screen::{heading, say};

/// The output of `ordersaga recover`.
pub(in crate::chaos) struct Recovered {
    /// Whether nothing was left unsettled.
    pub(in crate::chaos) is_content: bool,
    /// The orders that are relaunched.
    pub(in crate::chaos) launched: BTreeSet<Uuid>,
    /// The orders that cannot be settled.
    pub(in crate::chaos) unsettled: BTreeSet<Uuid>,
    /// Other lines about orders.
    pub(in crate::chaos) else_said: Vec<String>,
}

/// The output of `ordersaga prove`.
pub(in crate::chaos) struct Proof {
    pub(in crate::chaos) is_content: bool,
    /// Every order that it names.
    pub(in crate::chaos) named: BTreeSet<Uuid>,
    /// The number of broken promises.
    pub(in crate::chaos) broken: usize,
}

/// The maximum number of lines of a kind that are shown.
const SHOWN_MAX: usize = 3;

pub(in crate::chaos) async fn recover() -> io::Result<Recovered> {
    heading("ordersaga recover")?;
    let Told { is_content, text } = told("recover").await?;
    let (orders, summary): (Vec<_>, Vec<_>) = text
        .lines()
        .partition(|line| line.get(..UUID).is_some_and(|id| id.parse::<Uuid>().is_ok()));
    let (launched, left): (Vec<_>, Vec<_>) =
        orders.into_iter().partition(|line| line.contains("  launched again"));
    let (unsettled, else_said): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|line| line.contains("CANNOT BE SETTLED"));
    for lines in [&launched, &unsettled, &else_said, &summary] {
        show_some(lines)?;
    }
    Ok(Recovered {
        is_content,
        launched: launched.into_iter().flat_map(ids).collect(),
        unsettled: unsettled.into_iter().flat_map(ids).collect(),
        else_said: else_said.into_iter().map(str::to_owned).collect(),
    })
}

/// Runs it, and prints the promises that it finds broken.
pub(in crate::chaos) async fn prove() -> io::Result<Proof> {
    heading("ordersaga prove")?;
    let Told { is_content, text } = told("prove").await?;
    let mut broken = 0_usize;
    let mut complaints = Vec::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            complaints.push(line);
        } else {
            show_some(&complaints)?;
            complaints.clear();
        }
        if line.contains("  BROKEN ") {
            broken = broken.saturating_add(1);
            say(line)?;
        }
    }
    show_some(&complaints)?;
    if broken == 0 {
        say(format_args!("all {} promises hold", text.lines().count()))?;
    }
    Ok(Proof { is_content, named: ids(&text).collect(), broken })
}

fn show_some(lines: &[&str]) -> io::Result<()> {
    for line in lines.iter().take(SHOWN_MAX) {
        say(line)?;
    }
    match lines.len().checked_sub(SHOWN_MAX) {
        Some(more @ 1..) => say(format_args!("       … and {more} more")),
        Some(_) | None => Ok(()),
    }
}

const UUID: usize = 36;

/// Every order that a text names.
fn ids(text: &str) -> impl Iterator<Item = Uuid> {
    text.split(|sign: char| !sign.is_ascii_hexdigit() && sign != '-')
        .filter(|word| word.len() == UUID)
        .filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_that_a_text_names_are_found() {
        let id = "7d649ac5-c0b9-5405-be4c-582d7405200c";
        let text =
            format!("I9  x  BROKEN\n       - order {id}: its record\n {id}:capture-payment:1: x");
        assert_eq!(ids(&text).map(|id| id.to_string()).collect::<Vec<_>>(), [id, id]);
        assert_eq!(ids("no order, not even order-1-2").count(), 0);
    }
}
