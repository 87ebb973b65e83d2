//! Refunds of a completed order, and what goes wrong without their rules.

use models::check::{counterexample, is_acyclic, search};
use models::refunds::{BOOKED, CLAIMED, ONCE, RECORD_IS_TRUE, Refunds, Rules, World};

/// The amount of each refund, of two captured units.
const ALL: &[u8] = &[2];
const HALF: &[u8] = &[1];
const HALVES: &[u8] = &[1, 1];
const TOO_MUCH: &[u8] = &[1, 2];

/// A model with refunds of these amounts, of two captured units; and with this many attempts to
/// issue each, and to give it up.
const fn of(asks: &'static [u8], attempts: [usize; 2], world: World, rules: Rules) -> Refunds {
    let [issues, withdraws] = attempts;
    Refunds { captured: 2, asks, issues, withdraws, failures: 1, world, rules }
}

#[test]
fn refunds_give_back_what_the_record_says_and_no_more_than_was_captured() {
    for (asks, attempts, states) in
        [(ALL, [2, 2], 16_000), (HALVES, [1, 1], 45_000), (TOO_MUCH, [1, 1], 13_000)]
    {
        let found = search(of(asks, attempts, World::Usual, Rules::Right));
        println!("refunds of {asks:?}: {} states, {} deep", found.states, found.depth);
        assert!(found.states > states, "{found:?}");
        assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
    }
}

#[test]
fn every_way_has_an_end() {
    assert!(is_acyclic(&of(ALL, [2, 2], World::Usual, Rules::Right)));
    assert!(is_acyclic(&of(HALVES, [1, 1], World::Usual, Rules::Right)));
}

#[test]
fn each_error_is_found() {
    for (rules, promise) in [
        (Rules::ReadThenClaim, CLAIMED),
        (Rules::NotLookedUp, ONCE),
        (Rules::NotBegun, RECORD_IS_TRUE),
        (Rules::GivenUpUnmarked, RECORD_IS_TRUE),
        (Rules::GivenUpUnasked, RECORD_IS_TRUE),
        (Rules::BookedByEach, BOOKED),
        (Rules::FreedByEach, CLAIMED),
    ] {
        let found = counterexample(of(HALVES, [2, 2], World::Usual, rules), promise);
        println!("{rules:?} breaks \"{promise}\": {found:?}");
        assert!(found.is_some(), "{rules:?} breaks \"{promise}\"");
    }
}

#[test]
fn no_provider_gives_back_more_than_was_captured_or_unbalances_the_books() {
    for (world, broken) in [
        (World::FailsLate, &[RECORD_IS_TRUE][..]),
        (World::ArrivesLate, &[RECORD_IS_TRUE]),
        (World::ForgetsEarly, &[RECORD_IS_TRUE, ONCE]),
    ] {
        let found = search(of(HALF, [2, 1], world, Rules::Right));
        println!("refunds where it {world:?}: {} states", found.states);
        let mut expected = broken.to_vec();
        expected.sort_unstable();
        assert!(found.broken.keys().eq(&expected), "{found:?}");
    }
}
