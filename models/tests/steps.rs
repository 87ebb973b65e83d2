//! A step and its undo, within the shop and at a party.

use models::check::{counterexample, is_acyclic, search};
use models::steps::{NOTHING_LEFT, ONE_EFFECT, Place, RECORD_IS_TRUE, Rules, Steps};

const fn of(place: Place, rules: Rules) -> Steps {
    Steps { does: 3, undoes: 2, place, rules }
}

#[test]
fn what_is_undone_has_no_effect_and_what_stands_has_one() {
    for (place, at_least) in [(Place::Inside, 5_000), (Place::Outside, 60_000)] {
        let found = search(of(place, Rules::Right));
        println!("steps, {place:?}: {} states, {} deep", found.states, found.depth);
        assert!(found.states > at_least, "{found:?}");
        assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
        assert!(is_acyclic(&of(place, Rules::Right)), "{place:?}");
    }
}

#[test]
fn each_error_is_found() {
    use Place::{Inside, Outside};
    for (place, rules, promise) in [
        (Inside, Rules::LooksFirst, NOTHING_LEFT),
        (Inside, Rules::NoTombstone, NOTHING_LEFT),
        (Inside, Rules::KeyAfterEffect, NOTHING_LEFT),
        (Outside, Rules::ReferencePerAttempt, ONE_EFFECT),
        (Outside, Rules::ReferencePerAttempt, NOTHING_LEFT),
        (Outside, Rules::PartyForgets, NOTHING_LEFT),
        (Outside, Rules::TombstoneOverAccepted, RECORD_IS_TRUE),
    ] {
        let found = counterexample(of(place, rules), promise);
        println!("{place:?}, {rules:?} breaks \"{promise}\": {found:?}");
        assert!(found.is_some(), "{place:?}, {rules:?} breaks \"{promise}\"");
    }
}
