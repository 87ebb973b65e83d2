//! Every message reaches a sink, and an order's messages arrive in order.

use models::check::{counterexample, is_acyclic, search};
use models::delivering::{ALL_TOLD, Delivering, HAD_IS_TOLD, IN_ORDER, Rules};

const fn of((page, lapses, deaths): (usize, u8, u8), rules: Rules) -> Delivering {
    Delivering { page, lapses, deaths, rules }
}

#[test]
fn every_message_is_told_and_an_orders_in_their_order() {
    for (size, at_least) in [((1, 2, 0), 90_000), ((1, 1, 1), 60_000), ((2, 1, 1), 35_000)] {
        let found = search(of(size, Rules::Right));
        println!("delivering, {size:?}: {} states, {} deep", found.states, found.depth);
        assert!(found.states > at_least, "{found:?}");
        assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
        assert!(is_acyclic(&of(size, Rules::Right)), "{size:?}");
    }
}

#[test]
fn each_error_is_found() {
    for rules in [
        Rules::ByPosition,
        Rules::NewestSnapshot,
        Rules::NoFence,
        Rules::FenceByName,
        Rules::RecordsFirst,
    ] {
        for promise in [IN_ORDER, HAD_IS_TOLD, ALL_TOLD] {
            let found = counterexample(of((1, 2, 1), rules), promise);
            println!("{rules:?} breaks \"{promise}\": {found:?}");
            assert!(found.is_some(), "{rules:?} breaks \"{promise}\"");
        }
    }
}
