//! Launch and recover, and the ways to lose an order.

use models::check::{counterexample, is_acyclic, search};
use models::launching::{
    CANCEL_IS_KEPT, END_IS_TRUE, ENDS, ENDS_ONCE, Launching, NEVER_LAUNCHED, NOT_LOST, ONE_RUN,
    Rules,
};

const ONE_LOSS: Launching = Launching {
    launchers: 2,
    crashes: 1,
    timeouts: 1,
    losses: 1,
    workers_outlive_loss: false,
    spare_recovers: 1,
    rules: Rules::Right,
};

const TWO_LOSSES: Launching =
    Launching { crashes: 0, timeouts: 0, losses: 2, spare_recovers: 0, ..ONE_LOSS };

#[test]
fn sizes() {
    for (launchers, crashes, timeouts, losses, spare) in [
        (2, 0, 0, 0, 0),
        (2, 1, 0, 0, 0),
        (2, 0, 1, 0, 0),
        (2, 0, 0, 1, 0),
        (1, 0, 1, 1, 0),
        (2, 0, 1, 1, 0),
        (2, 0, 0, 2, 0),
        (1, 0, 0, 2, 0),
    ] {
        let t = std::time::Instant::now();
        let m =
            Launching { launchers, crashes, timeouts, losses, spare_recovers: spare, ..ONE_LOSS };
        let found = search(m);
        println!(
            "{launchers} {crashes} {timeouts} {losses} {spare}: {} states, {} deep {:?}",
            found.states,
            found.depth,
            t.elapsed()
        );
        println!("  never {:?}", found.never);
        for (n, w) in found.broken {
            println!("  {n}: {w:?}");
        }
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
    ] {
        let found = counterexample(Launching { rules, ..model }, promise);
        println!("{rules:?} breaks \"{promise}\": {found:?}");
    }
}

#[test]
fn a_worker_that_outlives_its_lost_run_breaks_a_cancel_at_most() {
    let found = search(Launching { workers_outlive_loss: true, ..ONE_LOSS });
    println!("{} {:?}", found.states, found.broken);
    assert!(found.broken.keys().eq([&CANCEL_IS_KEPT]), "{found:?}");
}
