//! Shipments in two phases, and what goes wrong without that.

use models::check::{counterexample, is_acyclic, search};
use models::shipments::{NO_PARCEL, NONE_REFUSED, Rules, Shipments};

/// A model with this many attempts to ship, and to undo that.
const fn of(ships: usize, cancels: usize, rules: Rules) -> Shipments {
    Shipments { ships, cancels, rules }
}

#[test]
fn an_order_that_stands_has_one_parcel_and_one_that_is_unwound_or_refused_has_none() {
    let found = search(of(2, 2, Rules::TwoHalves));
    println!("shipments: {} states, {} deep", found.states, found.depth);
    assert!(found.states > 150_000, "{found:?}");
    assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
}

#[test]
fn every_way_has_an_end() {
    assert!(is_acyclic(&of(2, 1, Rules::TwoHalves)));
    assert!(is_acyclic(&of(1, 2, Rules::TwoHalves)));
}

#[test]
fn each_error_is_found() {
    for (rules, promise) in [
        (Rules::StoredTooLate, NO_PARCEL),
        (Rules::StoredBlindly, NO_PARCEL),
        (Rules::ReadTooEarly, NO_PARCEL),
        (Rules::DraftIsLeftOpen, NO_PARCEL),
        (Rules::RefusedOverBegun, NONE_REFUSED),
        (Rules::RefusedBeforeCancelled, NONE_REFUSED),
    ] {
        let found = counterexample(of(2, 1, rules), promise);
        println!("{rules:?} breaks \"{promise}\": {found:?}");
        assert!(found.is_some(), "{rules:?} breaks \"{promise}\"");
    }
}
