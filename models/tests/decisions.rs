//! Operators' decisions, and what goes wrong when they are not addressed.

use models::check::{counterexample, is_acyclic, search};
use models::decisions::{DECIDED, Decisions, ONLY_ITS_OWN, Rules};

/// Two undos break, and the saga retries by itself.
const TWO_UNDOS: Decisions = Decisions {
    undos: 2,
    decisions: 2,
    vain_retries: 1,
    resets: 1,
    is_record_broken: false,
    rules: Rules::Right,
};

/// An undo breaks, and that cannot be recorded either.
const BROKEN_RECORD: Decisions =
    Decisions { undos: 1, decisions: 2, is_record_broken: true, ..TWO_UNDOS };

/// The same, with one more decision about the record.
const THREE_DECISIONS: Decisions = Decisions { decisions: 3, vain_retries: 0, ..BROKEN_RECORD };

#[test]
fn a_decision_acts_upon_its_own_wait_once() {
    for model in [TWO_UNDOS, BROKEN_RECORD] {
        let found = search(model);
        println!("decisions: {} states, {} deep", found.states, found.depth);
        assert!(found.states > 60_000, "{found:?}");
        assert!(found.broken.is_empty() && found.never.is_empty(), "{found:?}");
        assert!(is_acyclic(&model));
    }
}

#[test]
fn each_error_is_found() {
    for (model, rules, promise) in [
        (TWO_UNDOS, Rules::NoOccurrence, ONLY_ITS_OWN),
        (TWO_UNDOS, Rules::NoAddressee, DECIDED),
        (TWO_UNDOS, Rules::Kept, ONLY_ITS_OWN),
        (THREE_DECISIONS, Rules::UnnumberedWithoutRecord, ONLY_ITS_OWN),
        (BROKEN_RECORD, Rules::RecordWaitsCountedPerRun, ONLY_ITS_OWN),
    ] {
        let found = counterexample(Decisions { rules, ..model }, promise);
        println!("{rules:?} breaks \"{promise}\": {found:?}");
        assert!(found.is_some(), "{rules:?} breaks \"{promise}\"");
    }
}
