//! Launch and recover, and the ways to lose an order.

use models::check::{counterexample, is_acyclic, search};
use models::launching::{
    CANCEL_IS_KEPT, END_IS_TRUE, ENDS, ENDS_ONCE, Launching, NEVER_LAUNCHED, NOT_LOST, ONE_RUN,
    Rules,
};

/// A launcher crashes, a workflow task times out, and the order's run is lost.
const ONE_LOSS: Launching = Launching {
    launchers: 2,
    crashes: 1,
    timeouts: 1,
    losses: 1,
    workers_outlive_loss: false,
    spare_recovers: 0,
    rules: Rules::Right,
};

/// `recover` also runs concurrently with normal operation.
const SPARE_RECOVER: Launching =
    Launching { crashes: 0, timeouts: 0, spare_recovers: 1, ..ONE_LOSS };

/// Two runs are lost, one after the other.
const TWO_LOSSES: Launching = Launching { crashes: 0, timeouts: 0, losses: 2, ..ONE_LOSS };

#[test]
fn an_accepted_order_comes_to_one_end_whatever_is_lost() {
    for (model, at_least) in [(ONE_LOSS, 70_000), (SPARE_RECOVER, 80_000), (TWO_LOSSES, 39_000)] {
        let found = search(model);
        println!("launching: {} states, {} deep", found.states, found.depth);
        assert!(found.states > at_least, "{found:?}");
        assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
        assert!(is_acyclic(&model));
    }
}

#[test]
fn each_error_is_found() {
    for (model, rules, promise) in [
        (ONE_LOSS, Rules::RowAfterOrder, NOT_LOST),
        (ONE_LOSS, Rules::MarksBeforeStarting, NOT_LOST),
        (ONE_LOSS, Rules::MarksBeforeStarting, ENDS),
        (TWO_LOSSES, Rules::SettlesByKind, NOT_LOST),
        (ONE_LOSS, Rules::IdPerLaunch, ONE_RUN),
        (ONE_LOSS, Rules::RefusesEndedIds, ENDS),
        (ONE_LOSS, Rules::TrustsTheRow, NOT_LOST),
        (ONE_LOSS, Rules::CancelWithoutTombstone, NEVER_LAUNCHED),
        (ONE_LOSS, Rules::AnyRunTakesBack, ENDS_ONCE),
        (ONE_LOSS, Rules::CompletesWhileUnwinding, END_IS_TRUE),
        (ONE_LOSS, Rules::AnswersWhileUnwinding, NOT_LOST),
        (ONE_LOSS, Rules::PromisesBeforeNoting, CANCEL_IS_KEPT),
    ] {
        let found = counterexample(Launching { rules, ..model }, promise);
        println!("{rules:?} breaks \"{promise}\": {found:?}");
        assert!(found.is_some(), "{rules:?} breaks \"{promise}\"");
    }
}

#[test]
fn a_worker_that_outlives_its_lost_run_may_call_for_another_recover() {
    let model = Launching { crashes: 0, timeouts: 0, workers_outlive_loss: true, ..ONE_LOSS };
    let found = search(model);
    println!("launching, workers outlive a loss: {} states", found.states);
    assert!(found.states > 20_000, "{found:?}");
    assert!(found.broken.keys().eq([&NOT_LOST, &ENDS]), "{found:?}");
}
