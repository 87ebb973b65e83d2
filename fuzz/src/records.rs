//! What is on record, in histories and in answers, as JSON: written by this release or another, and
//! read for as long as the order is kept.

use std::fmt::Debug;

use domain::ledger::JournalEntry;
use domain::{
    Authorisation, AuthorisationAnswer, Charge, Destination, Ending, Order, OrderState,
    OrderStatus, Parcel, PriceList, Rejection, Shipment, StockClaim, Terms,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use workflows::order::{
    AttentionNote, EndNote, OrderOutcome, OrderStart, OrderView, ResolvedNote, UnwindingNote,
};

/// A record; the first byte says of what. What is read is written as a record that is read as the
/// same.
pub(crate) fn record(bytes: &[u8]) {
    let Some((which, json)) = bytes.split_first() else { return };
    match which {
        b'o' => order(json),
        b's' => is_read_back::<OrderState>(json),
        b'S' => is_read_back::<OrderStatus>(json),
        b'e' => is_read_back::<Ending>(json),
        b'r' => is_read_back::<Rejection>(json),
        b'l' => is_read_back::<PriceList>(json),
        b'j' => journal_entry(json),
        b'c' => is_read_back::<Charge>(json),
        b'p' => is_read_back::<Parcel>(json),
        b'k' => is_read_back::<StockClaim>(json),
        b'd' => is_read_back::<Destination>(json),
        b't' => is_read_back::<Terms>(json),
        b'W' => is_read_back::<OrderStart>(json),
        b'V' => is_read_back::<OrderView>(json),
        b'O' => is_read_back::<OrderOutcome>(json),
        b'U' => is_read_back::<UnwindingNote>(json),
        b'E' => is_read_back::<EndNote>(json),
        b'A' => is_read_back::<AttentionNote>(json),
        b'R' => is_read_back::<ResolvedNote>(json),
        b'a' => answered::<Authorisation>(json),
        b'w' => answered::<AuthorisationAnswer>(json),
        b'h' => answered::<Shipment>(json),
        b'u' => answered::<()>(json),
        _ => {}
    }
}

fn is_read_back<T: DeserializeOwned + Serialize + PartialEq + Debug>(json: &[u8]) {
    read_back::<T>(json);
}

fn read_back<T: DeserializeOwned + Serialize + PartialEq + Debug>(json: &[u8]) -> Option<T> {
    let value = serde_json::from_slice::<T>(json).ok()?;
    let written = serde_json::to_string(&value).ok();
    let again = written.and_then(|written| serde_json::from_str::<T>(&written).ok());
    assert_eq!(again.as_ref(), Some(&value));
    Some(value)
}

/// What the steps of an order take is computed from any order that is read.
fn order(json: &[u8]) {
    let Some(order) = read_back::<Order>(json) else { return };
    assert!(order.cancellable_until() >= order.placed_at);
    assert_eq!(order.charge(1).amount, order.totals.total);
    assert!(order.stock_claim().lines.is_sorted_by(|one, next| one.sku < next.sku));
    assert_eq!(OrderStart::of(&order).is_free, order.totals.total.is_zero());
    let deposit = JournalEntry::deposit(&order).ok();
    let revenue = JournalEntry::revenue(&order).ok().flatten();
    for entry in [deposit, revenue].into_iter().flatten() {
        balances(&entry);
    }
}

fn journal_entry(json: &[u8]) {
    if let Some(entry) = read_back::<JournalEntry>(json) {
        balances(&entry);
    }
}

/// What is booked balances, and so does what takes it back.
fn balances(entry: &JournalEntry) {
    let reversed = entry.reversed();
    assert_eq!(reversed.reversed(), *entry);
    let again = JournalEntry::balanced(entry.key(), reversed.entries().to_vec());
    assert_eq!(again, Ok(reversed));
}

/// What a step has answered, as its idempotency record keeps it.
fn answered<T: DeserializeOwned + Serialize>(json: &[u8]) {
    if let Ok(outcome) = serde_json::from_slice::<Value>(json) {
        activities::record_is_read_back::<T>(outcome);
    }
}
