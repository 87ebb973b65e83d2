//! The checks after a storm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{CustomerId, OrderId};
use futures::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::sleep;
use uuid::Uuid;

use super::customers::Asked;
use super::records::Records;
use super::{ChaosError, Ground};
use crate::ordersaga::Ordersaga;
use crate::screen::{heading, say, say_with};

/// The maximum number of complaints shown per check; more usually have the same cause.
const SHOWN_MAX: usize = 5;

const AT_ONCE: usize = 8;

/// A promise, what was checked, and the violations.
pub(super) struct Check {
    pub(super) promise: &'static str,
    pub(super) looked_at: String,
    pub(super) complaints: Vec<String>,
}

/// A published event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    /// The id of the order.
    pub(super) order: String,
    /// The event's number within the order.
    pub(super) number: i32,
    /// When it was written.
    pub(super) at: DateTime<Utc>,
}

/// The events that a receiver has got of each order, by number, in the order in which each first
/// arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard(BTreeMap<String, Vec<i32>>);

impl Heard {
    /// Records an event, or its repetition.
    pub(super) fn hear(&mut self, order: String, number: i32) {
        let numbers = self.0.entry(order).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }

    /// Whether any event of the order has arrived.
    pub(super) fn knows(&self, order: &str) -> bool {
        self.0.contains_key(order)
    }
}

impl FromIterator<(String, i32)> for Heard {
    fn from_iter<T: IntoIterator<Item = (String, i32)>>(events: T) -> Self {
        let mut heard = Self::default();
        for (order, number) in events {
            heard.hear(order, number);
        }
        heard
    }
}

/// Runs and prints all checks after a storm; returns whether all hold. The receivers were checked
/// before.
pub(super) async fn after_storm(
    Ground { shop, records, provider, .. }: &Ground,
    asked: &[Asked],
    statuses: &BTreeMap<Uuid, String>,
    told: Vec<Check>,
) -> Result<bool, ChaosError> {
    let mut found = vec![
        on_record_once(asked, statuses),
        nobody_elses(asked, statuses),
        unrefused(asked),
        ended(statuses),
        as_planned(shop, asked).await,
        met_again(shop, asked).await,
        workflows(records, statuses).await?,
    ];
    found.extend(provider.told(records).await?);
    found.extend(told);
    show(&found)
}

/// Prints the results; returns whether all hold.
pub(super) fn show(checks: &[Check]) -> Result<bool, ChaosError> {
    heading("what came of it")?;
    for Check { promise, looked_at, complaints } in checks {
        let mark = if complaints.is_empty() { "✔" } else { "✘" };
        say_with(format_args!("{mark} {promise:<60}"), looked_at)?;
        for complaint in complaints.iter().take(SHOWN_MAX) {
            say(format_args!("    - {complaint}"))?;
        }
        if let Some(more @ 1..) = complaints.len().checked_sub(SHOWN_MAX) {
            say(format_args!("    - and {more} more"))?;
        }
    }
    Ok(checks.iter().all(|check| check.complaints.is_empty()))
}

pub(super) fn on_record_once(asked: &[Asked], statuses: &BTreeMap<Uuid, String>) -> Check {
    let accepted = asked.iter().filter_map(|asked| Some((asked.order_id()?, &asked.key)));
    let (mut seen, mut complaints) = (BTreeSet::new(), Vec::new());
    for (order, key) in accepted {
        if !statuses.contains_key(&order) {
            complaints.push(format!("order {order} was accepted and is not on record"));
        }
        if !seen.insert(order) {
            complaints.push(format!("order {order} was given to {key} and to another request"));
        }
    }
    let looked_at = format!("{} accepted", seen.len());
    Check {
        promise: "every accepted order is on record, each request's its own",
        looked_at,
        complaints,
    }
}

/// An order whose id nobody was told must belong to a request that was never answered.
fn nobody_elses(asked: &[Asked], statuses: &BTreeMap<Uuid, String>) -> Check {
    let told = asked.iter().filter_map(Asked::order_id).collect::<BTreeSet<_>>();
    let unanswered = asked.iter().filter(|asked| asked.accepted.is_err());
    let theirs = unanswered.filter_map(|asked| {
        let customer = CustomerId::parse(asked.planned.request.customer_id.as_str()).ok()?;
        Some(OrderId::for_request(&customer, &asked.key).uuid())
    });
    let theirs = theirs.collect::<BTreeSet<_>>();
    let untold = statuses.keys().filter(|order| !told.contains(order)).collect::<Vec<_>>();
    let strays = untold.iter().filter(|order| !theirs.contains(**order));
    Check {
        promise: "a request without an answer is one order or none",
        looked_at: format!("{} unanswered, {} of them orders", theirs.len(), untold.len()),
        complaints: strays.map(|order| format!("nobody asked for order {order}")).collect(),
    }
}

/// An unanswered request is acceptable; the rejection of a valid order is not.
pub(super) fn unrefused(asked: &[Asked]) -> Check {
    let complaints = asked.iter().filter_map(|asked| {
        let cancel = asked.cancelled.as_ref().and_then(|cancelled| cancelled.as_ref().err());
        let cancel = cancel.map(|why| format!("{}: {why}", asked.key));
        match &asked.accepted {
            Err(error) if !error.is_silence() => Some(format!("{}: {error}", asked.key)),
            Ok(_) | Err(_) => cancel,
        }
    });
    Check {
        promise: "nothing was refused that is in order",
        looked_at: format!("{} requests", asked.len()),
        complaints: complaints.collect(),
    }
}

pub(super) fn ended(statuses: &BTreeMap<Uuid, String>) -> Check {
    let open = statuses
        .iter()
        .filter(|(_, status)| !matches!(status.as_str(), "completed" | "cancelled" | "rejected"));
    let mut counted = BTreeMap::<&str, usize>::new();
    for status in statuses.values() {
        let count = counted.entry(status).or_default();
        *count = count.saturating_add(1);
    }
    let told = counted.iter().map(|(status, count)| format!("{count} {status}"));
    Check {
        promise: "every order has ended, and none failed",
        looked_at: told.collect::<Vec<_>>().join(", "),
        complaints: open.map(|(order, status)| format!("order {order} is {status}")).collect(),
    }
}

pub(super) async fn as_planned(shop: &Ordersaga, asked: &[Asked]) -> Check {
    let looks = stream::iter(asked.iter().filter_map(|asked| {
        let id = asked.accepted.as_ref().ok()?.answer.id.clone();
        Some((id, asked.planned.twist))
    }));
    let looks = looks.map(async |(id, twist)| match shop.show(&id).await {
        Ok(order) if twist.ending().is_that_of(&order) => None,
        Ok(order) => Some(format!("order {id} ({}) is {}", twist.told(), order.told())),
        Err(error) => Some(format!("order {id}: {error}")),
    });
    let looks = looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    Check {
        promise: "each ended where it should",
        looked_at: format!("{} accepted", looks.len()),
        complaints: looks.into_iter().flatten().collect(),
    }
}

pub(super) async fn met_again(shop: &Ordersaga, asked: &[Asked]) -> Check {
    let looks = stream::iter(asked.iter().filter(|asked| asked.accepted.is_ok()));
    let looks = looks.map(async |asked| {
        let first = asked.order_id();
        match shop.place(&asked.key, &asked.planned.request).await {
            Ok(again) if again.answer.id.parse().ok() == first => None,
            Ok(again) => Some(format!("{}: first {first:?}, now {}", asked.key, again.answer.id)),
            Err(error) => Some(format!("{}: {error}", asked.key)),
        }
    });
    let looks = looks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    Check {
        promise: "asked again, each request meets its first order",
        looked_at: format!("{} repeated", looks.len()),
        complaints: looks.into_iter().flatten().collect(),
    }
}

/// Every event was received at least once, and the events of each order first arrived in order.
///
/// A receiver that was restarted without its data has lost what it had acknowledged: `empty_at` is
/// when that last happened. It need not have events published before; but the events that it has of
/// an order must reach the order's last event without a gap, and everything published since must be
/// there.
pub(super) fn heard(
    promise: &'static str,
    heard: &Heard,
    told: &[Told],
    empty_at: Option<DateTime<Utc>>,
) -> Check {
    let mut orders = BTreeMap::<&str, Vec<&Told>>::new();
    for event in told {
        orders.entry(&event.order).or_default().push(event);
    }
    let mut complaints = Vec::new();
    for (order, events) in &mut orders {
        events.sort_unstable_by_key(|event| event.number);
        let numbers = events.iter().map(|event| event.number).collect::<Vec<_>>();
        let owed = events.iter().skip_while(|event| empty_at.is_some_and(|at| event.at < at));
        let known = heard.0.get(*order).map(Vec::as_slice).unwrap_or_default();
        if !numbers.ends_with(known) || known.len() < owed.count() {
            complaints.push(format!("order {order}: told {numbers:?}, heard first {known:?}"));
        }
    }
    let strays = heard.0.keys().filter(|order| !orders.contains_key(order.as_str()));
    complaints
        .extend(strays.map(|order| format!("order {order} was delivered, and is not on record")));
    let known = heard.0.values().map(Vec::len).sum::<usize>();
    let looked_at = format!("{known} of {} events, {} orders", told.len(), orders.len());
    Check { promise, looked_at, complaints }
}

/// Temporal's visibility, which lags a little.
async fn workflows(
    records: &Records,
    statuses: &BTreeMap<Uuid, String>,
) -> Result<Check, ChaosError> {
    let mut look = 0_u32;
    loop {
        let workflows = records.workflows().await?;
        let open = workflows.iter().filter(|(_, open)| **open);
        let open = open.map(|(order, _)| format!("the workflow of order {order} is open"));
        let unknown = workflows.keys().filter(|order| !statuses.contains_key(order));
        let unknown =
            unknown.map(|order| format!("a workflow runs for {order}, which is not on record"));
        // An order that is cancelled before its launch never has a workflow.
        let launched = statuses.iter().filter(|(_, status)| status.as_str() != "cancelled");
        let without = launched.filter(|(order, _)| !workflows.contains_key(order));
        let without = without.map(|(order, _)| format!("order {order} has no workflow"));
        let complaints = open.chain(unknown).chain(without).collect::<Vec<_>>();
        look = look.saturating_add(1);
        if complaints.is_empty() || look == LOOKS {
            let promise = "Temporal has one workflow for each launched order, and none is open";
            let looked_at = format!("{} workflows", workflows.len());
            return Ok(Check { promise, looked_at, complaints });
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// Three events of an order, one second apart.
    fn told() -> [Told; 3] {
        [3, 1, 2].map(|number| Told { order: "o1".to_owned(), number, at: at(number.into()) })
    }

    fn is_well(numbers: &[i32], empty_at: Option<i64>) -> bool {
        let known = numbers.iter().map(|number| ("o1".to_owned(), *number)).collect();
        heard("", &known, &told(), empty_at.map(at)).complaints.is_empty()
    }

    #[test]
    fn everything_is_to_be_heard_and_first_in_order() {
        assert!(is_well(&[1, 2, 3], None));
        assert!(is_well(&[1, 1, 2, 1, 2, 3], None));
        for wrong in [&[][..], &[1, 2], &[2, 3], &[1, 3], &[1, 3, 2], &[1, 2, 3, 4]] {
            assert!(!is_well(wrong, None), "{wrong:?}");
        }
    }

    #[test]
    fn who_came_back_empty_knows_the_rest_without_a_gap() {
        for right in [&[3][..], &[2, 3], &[1, 2, 3]] {
            assert!(is_well(right, Some(3)), "{right:?}");
        }
        for wrong in [&[][..], &[1], &[1, 3], &[3, 2]] {
            assert!(!is_well(wrong, Some(3)), "{wrong:?}");
        }
        assert!(is_well(&[], Some(4)));
        assert!(!is_well(&[1, 2], Some(4)));
    }

    #[test]
    fn nothing_is_to_be_heard_of_an_order_that_is_nowhere() {
        let known = [("o2".to_owned(), 1)].into_iter().collect();
        assert_eq!(heard("", &known, &[], None).complaints.len(), 1);
    }
}
