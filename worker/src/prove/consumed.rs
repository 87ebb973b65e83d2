//! I8: consumers have applied the events that happened, each exactly once and in order.
//!
//! A consumer records the id of each event in the transaction that applies it
//! (`docs/consuming.md`). Its own database rules out duplicates; only the shop's record can show
//! that no event is missing or invented.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use domain::as_one_line;
use futures::TryStreamExt as _;
use sqlx::PgPool;
use uuid::Uuid;

use super::{EXAMPLES, Finding, ProveError, Seen};

const EFFECTS: &str = "every consumer takes effect once";

/// The maximum length of an event's id in the output.
const ID_MAX: usize = 60;

pub(super) const fn without_inboxes() -> Finding {
    Finding::not_shown("I8", EFFECTS, "consumers keep records of their own: name them with --inbox")
}

/// Checks consumers' inboxes: one file per consumer, with the id (`order_id:sequence`) of each
/// applied event on a line; the events of an order in the order in which they were applied.
pub async fn look_at_inboxes(db: &PgPool, inboxes: &[PathBuf]) -> Result<Finding, ProveError> {
    // Read after the files were written, so it contains every event that a consumer can have seen.
    let mut happened = HashMap::<Uuid, i32>::new();
    let mut orders = sqlx::query!("select order_id, version from orders.orders").fetch(db);
    while let Some(order) = orders.try_next().await? {
        happened.insert(order.order_id, order.version);
    }
    let (mut seen, mut waiting) = (Seen::of(0, Vec::new()), 0_i64);
    for path in inboxes {
        let read = read(path, &happened, &mut seen);
        let left = read.map_err(|source| ProveError::File { path: path.clone(), source })?;
        waiting = waiting.saturating_add(left);
    }
    let remark = (waiting > 0).then(|| format!("{waiting} events are still to be taken"));
    Ok(Finding::of("I8", EFFECTS, "effects", seen).with_remark(remark))
}

/// Reads one consumer's inbox, given the number of each order's last event. Returns how many events
/// the consumer has not applied yet.
fn read(path: &Path, happened: &HashMap<Uuid, i32>, seen: &mut Seen) -> io::Result<i64> {
    let name = path.display();
    let mut taken = HashMap::<Uuid, i32>::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        seen.looked_at = seen.looked_at.saturating_add(1);
        if let Err(why) = take(&line, happened, &mut taken) {
            seen.violations = seen.violations.saturating_add(1);
            if seen.examples.len() < EXAMPLES {
                seen.examples.push(format!("{name}: {} {why}", as_one_line(&line, ID_MAX)));
            }
        }
    }
    let left = happened.iter().map(|(order, last)| {
        let taken = taken.get(order).copied().unwrap_or_default();
        i64::from(last.saturating_sub(taken).max(0))
    });
    Ok(left.fold(0, i64::saturating_add))
}

/// Checks one event's id; the error says what is wrong with it.
fn take(
    id: &str,
    happened: &HashMap<Uuid, i32>,
    taken: &mut HashMap<Uuid, i32>,
) -> Result<(), &'static str> {
    let (order, sequence) = id.rsplit_once(':').ok_or("is no event's id")?;
    let order = order.parse::<Uuid>().map_err(|_no_uuid| "is no event's id")?;
    let sequence = sequence.parse::<i32>().map_err(|_no_number| "is no event's id")?;
    let last = taken.entry(order).or_default();
    let expected = last.saturating_add(1);
    *last = sequence.max(*last);
    if happened.get(&order).is_none_or(|happened| sequence > *happened) {
        Err("did not happen")
    } else if sequence < expected {
        Err("was taken before, or behind a later one")
    } else if sequence > expected {
        Err("was taken before an earlier one")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Uuid = Uuid::from_u128(7);

    /// The results for these events of an order that has three.
    fn said(sequences: &[&str]) -> Vec<Result<(), &'static str>> {
        let happened = HashMap::from([(ORDER, 3)]);
        let mut taken = HashMap::new();
        sequences
            .iter()
            .map(|sequence| take(&format!("{ORDER}:{sequence}"), &happened, &mut taken))
            .collect()
    }

    #[test]
    fn an_inbox_in_order_is_in_order() {
        assert_eq!(said(&["1", "2", "3"]), [Ok(()); 3]);
    }

    #[test]
    fn an_event_that_is_taken_twice_or_too_early_or_never_happened_is_told() {
        assert!(said(&["1", "2", "2"])[2].unwrap_err().contains("before, or behind"));
        assert!(said(&["1", "3"])[1].unwrap_err().contains("before an earlier"));
        assert!(said(&["1", "3", "2"])[2].unwrap_err().contains("behind"));
        assert!(said(&["1", "2", "3", "4"])[3].unwrap_err().contains("did not happen"));
        assert!(said(&["0"])[0].is_err());
        assert!(said(&["x"])[0].is_err());
        let nobody = HashMap::new();
        assert!(take(&format!("{ORDER}:1"), &nobody, &mut HashMap::new()).is_err());
        assert!(take("1", &nobody, &mut HashMap::new()).is_err());
    }
}
