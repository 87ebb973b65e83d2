//! Payments in two phases, and what goes wrong without that.

use models::check::{counterexample, is_acyclic, search};
use models::payments::{
    Habits, NO_AUTHORISATION, NO_MONEY, ONE_CAPTURE, PAID_ONCE, Payments, Rules,
};

/// A model with this many attempts to authorise, to capture, and to undo both.
const fn of(attempts: [usize; 3], provider: Habits, rules: Rules) -> Payments {
    let [authorises, captures, closes] = attempts;
    Payments { authorises, captures, closes, provider, rules }
}

#[test]
fn an_order_that_stands_is_paid_for_once_and_one_that_is_unwound_not_at_all() {
    for attempts in [[2, 1, 1], [1, 1, 2]] {
        let found = search(of(attempts, Habits::REAL, Rules::TwoHalves));
        println!("payments {attempts:?}: {} states, {} deep", found.states, found.depth);
        assert!(found.states > 50_000, "{found:?}");
        assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
    }
}

#[test]
fn the_same_holds_where_the_bank_asks_the_customer_first() {
    let found = search(of([1, 1, 1], Habits::ASKING, Rules::TwoHalves));
    println!("payments that await the customer: {} states, {} deep", found.states, found.depth);
    assert!(found.states > 10_000, "{found:?}");
    assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
}

#[test]
fn every_way_has_an_end() {
    for attempts in [[2, 1, 1], [1, 2, 1], [1, 1, 2]] {
        assert!(is_acyclic(&of(attempts, Habits::REAL, Rules::TwoHalves)));
    }
}

#[test]
fn each_error_is_found() {
    for (rules, promise) in [
        (Rules::OneCall, ONE_CAPTURE),
        (Rules::OneCall, NO_MONEY),
        (Rules::OneCall, PAID_ONCE),
        (Rules::UndoSearches, NO_MONEY),
        (Rules::StoredTooLate, NO_AUTHORISATION),
        (Rules::StoredTooLate, PAID_ONCE),
        (Rules::StoredBlindly, NO_AUTHORISATION),
        (Rules::ReadTooEarly, NO_AUTHORISATION),
        (Rules::DeclinedIsLeftOpen, NO_AUTHORISATION),
        (Rules::RecordIsBelieved, NO_AUTHORISATION),
    ] {
        let found = counterexample(of([2, 2, 1], Habits::REAL, rules), promise);
        println!("{rules:?} breaks \"{promise}\": {found:?}");
        assert!(found.is_some(), "{rules:?} breaks \"{promise}\"");
    }
    let model = of([1, 1, 1], Habits::ASKING, Rules::AwaitingIsLeftOpen);
    assert!(counterexample(model, NO_AUTHORISATION).is_some());
}

#[test]
fn one_call_needs_a_provider_that_forgets_nothing_and_leaves_an_authorisation_even_then() {
    let found = search(of([2, 1, 1], Habits::IDEAL, Rules::OneCall));
    println!("payments in one call: {} states", found.states);
    assert!(found.broken.keys().eq([&NO_AUTHORISATION]), "{found:?}");
    assert!(found.states > 4_000, "{found:?}");
}
