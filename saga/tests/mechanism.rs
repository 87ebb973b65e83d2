//! The mechanism against a real Temporal server: every outcome of a step and of an undo, and every
//! kind of interference.

#![expect(
    clippy::default_trait_access,
    reason = "the SDK's options are left at their defaults, and their types' names say nothing more"
)]

mod support;

use std::time::Duration;

use futures::future::join_all;
use saga::{Decision, QUICK_ATTEMPTS, StepState};
use support::trip::{ASKS_THE_GUEST, FULL, Trip};
use support::world::{FOR_EVER, Fault};
use support::{Agency, scheduled, trip};
use temporalio_client::WorkflowCancelOptions;

/// A trip that nobody cancels or decides about.
struct Case {
    name: &'static str,
    faults: &'static [(&'static str, Fault)],
    car_first: bool,
    ending: &'static str,
    /// The activities called after the faults: all from the first undo or note.
    asked: &'static [&'static str],
    states: &'static [(&'static str, StepState)],
}

const ALL_UNDONE: &[&str] =
    &["NoteUnwinding", "RevokeTickets", "CancelCar", "CancelHotel", "CancelFlight", "NoteEnd"];

const BOOKED: &[(&str, StepState)] = &[
    ("flight", StepState::Done),
    ("hotel", StepState::Done),
    ("car", StepState::Done),
    ("tickets", StepState::Done),
];

const NEVER: Fault = Fault::Unavailable(FOR_EVER);

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

const A_SECOND: Duration = Duration::from_secs(1);

/// Longer than a workflow task's quick attempts take, and far less than [`HALF_A_MINUTE`].
const A_LITTLE: Duration = Duration::from_secs(10);

/// An invalid answer, whenever the party is asked.
const NO_SENSE: Fault = Fault::InvalidAnswer(FOR_EVER, A_SECOND);

const CASES: &[Case] = &[
    Case {
        name: "nothing stops it",
        faults: &[],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "the party comes back after the quick tries",
        faults: &[("BookHotel", Fault::Unavailable(3))],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "a worker cancels an attempt by itself",
        faults: &[("BookHotel", Fault::CancelledByWorker)],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "past the point of no return no limit counts",
        faults: &[("IssueTickets", Fault::Unavailable(5))],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "the first step is refused",
        faults: &[("BookFlight", Fault::Refused("full"))],
        car_first: false,
        ending: "refused: full",
        asked: &["NoteUnwinding", "CancelFlight", "NoteEnd"],
        states: &[("flight", StepState::Refused)],
    },
    Case {
        name: "a refusal unwinds what came before and nothing else",
        faults: &[("BookHotel", Fault::Refused("full"))],
        car_first: false,
        ending: "refused: full",
        asked: &["NoteUnwinding", "CancelHotel", "CancelFlight", "NoteEnd"],
        states: &[("flight", StepState::Undone), ("hotel", StepState::Refused)],
    },
    Case {
        name: "a refusal unwinds what came before, whatever the order of declaration",
        faults: &[("BookHotel", Fault::Refused("full"))],
        car_first: true,
        ending: "refused: full",
        asked: &["NoteUnwinding", "CancelCar", "CancelHotel", "CancelFlight", "NoteEnd"],
        states: &[
            ("flight", StepState::Undone),
            ("car", StepState::Undone),
            ("hotel", StepState::Refused),
        ],
    },
    Case {
        name: "a party that never answers",
        faults: &[("BookCar", NEVER)],
        car_first: false,
        ending: "gave up: car",
        asked: ALL_UNDONE,
        states: &[
            ("flight", StepState::Undone),
            ("hotel", StepState::Undone),
            ("car", StepState::Undone),
        ],
    },
    Case {
        name: "a step without a limit has the trip's own",
        faults: &[("BookHotel", NEVER)],
        car_first: false,
        ending: "gave up: hotel",
        asked: ALL_UNDONE,
        states: &[("flight", StepState::Undone), ("hotel", StepState::Undone)],
    },
    Case {
        name: "a step whose answer is lost is undone like one that was done",
        faults: &[("BookCar", Fault::AnswerLost(FOR_EVER))],
        car_first: false,
        ending: "gave up: car",
        asked: ALL_UNDONE,
        states: &[
            ("flight", StepState::Undone),
            ("hotel", StepState::Undone),
            ("car", StepState::Undone),
        ],
    },
    Case {
        name: "a broken step",
        faults: &[("BookHotel", Fault::Broken(1))],
        car_first: false,
        ending: "broken: hotel",
        asked: ALL_UNDONE,
        states: &[("flight", StepState::Undone), ("hotel", StepState::Undone)],
    },
    Case {
        name: "a party whose answers make no sense for a while",
        faults: &[("BookHotel", Fault::InvalidAnswer(3, HALF_A_MINUTE))],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "a party whose answers make no sense for too long",
        faults: &[("BookHotel", NO_SENSE)],
        car_first: false,
        ending: "broken: hotel",
        asked: ALL_UNDONE,
        states: &[("flight", StepState::Undone), ("hotel", StepState::Undone)],
    },
    Case {
        name: "a party that is not to be asked again after an answer that makes no sense",
        faults: &[("BookHotel", Fault::InvalidAnswer(1, Duration::ZERO))],
        car_first: false,
        ending: "broken: hotel",
        asked: ALL_UNDONE,
        states: &[("flight", StepState::Undone), ("hotel", StepState::Undone)],
    },
    Case {
        name: "patience ends before the time for answers that make no sense",
        faults: &[("BookHotel", Fault::InvalidAnswer(FOR_EVER, HALF_A_MINUTE))],
        car_first: false,
        ending: "gave up: hotel",
        asked: ALL_UNDONE,
        states: &[("flight", StepState::Undone), ("hotel", StepState::Undone)],
    },
    Case {
        name: "a party that answered without sense and then not at all is waited for as ever",
        faults: &[
            ("BookHotel", Fault::InvalidAnswer(1, A_SECOND)),
            ("BookHotel", Fault::Unavailable(2)),
        ],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "an undo whose party's answers make no sense for a while",
        faults: &[
            ("BookHotel", Fault::Refused("full")),
            ("CancelFlight", Fault::InvalidAnswer(3, HALF_A_MINUTE)),
        ],
        car_first: false,
        ending: "refused: full",
        asked: &["NoteUnwinding", "CancelHotel", "CancelFlight", "NoteEnd"],
        states: &[("flight", StepState::Undone), ("hotel", StepState::Refused)],
    },
    Case {
        name: "past the point of no return answers that make no sense are waited out, too",
        faults: &[("IssueTickets", Fault::InvalidAnswer(3, HALF_A_MINUTE))],
        car_first: false,
        ending: "booked",
        asked: &["NoteEnd"],
        states: BOOKED,
    },
    Case {
        name: "an undo never gives up",
        faults: &[("BookHotel", Fault::Refused("full")), ("CancelFlight", Fault::Unavailable(5))],
        car_first: false,
        ending: "refused: full",
        asked: &["NoteUnwinding", "CancelHotel", "CancelFlight", "NoteEnd"],
        states: &[("flight", StepState::Undone), ("hotel", StepState::Refused)],
    },
    Case {
        name: "what is not on record is not undone",
        faults: &[("BookFlight", Fault::NotOpen("never heard of it"))],
        car_first: false,
        ending: "not open: \"never heard of it\"",
        asked: &["NoteEnd"],
        states: &[("flight", StepState::Refused)],
    },
    Case {
        name: "what another run has ended is not undone",
        faults: &[("BookCar", Fault::NotOpen("booked"))],
        car_first: false,
        ending: "not open: \"booked\"",
        asked: &["NoteEnd"],
        states: &[
            ("flight", StepState::Done),
            ("hotel", StepState::Done),
            ("car", StepState::Refused),
        ],
    },
    Case {
        name: "an undo of what is not open is done",
        faults: &[
            ("BookHotel", Fault::Refused("full")),
            ("CancelFlight", Fault::NotOpen("cancelled")),
        ],
        car_first: false,
        ending: "refused: full",
        asked: &["NoteUnwinding", "CancelHotel", "CancelFlight", "NoteEnd"],
        states: &[("flight", StepState::Undone), ("hotel", StepState::Refused)],
    },
];

#[tokio::test]
async fn every_outcome_of_a_step_and_of_an_undo() {
    let agency = Agency::open().await;
    join_all(CASES.iter().map(|case| async {
        let mut start = trip(case.name);
        // Only cases that have to give up have limited patience: a slow machine could exceed it.
        start.patience = case.ending.starts_with("gave up").then_some(Duration::from_secs(4));
        start.car_first = case.car_first;
        for (activity, fault) in case.faults {
            agency.world.plan(&start.trip, activity, fault.clone());
        }
        let handle = agency.start(&start).await;
        assert_eq!(agency.ended(&handle).await, case.ending, "{}", case.name);
        let record = agency.world.record(&start.trip);
        let asked: Vec<_> = record
            .activities()
            .into_iter()
            .skip_while(|name| name.starts_with("Book") || *name == "IssueTickets")
            .collect();
        assert_eq!(asked, case.asked, "{}", case.name);
        let view = agency.view(&handle).await;
        let states: Vec<_> =
            view.steps.iter().map(|step| (step.step.as_str(), step.state)).collect();
        assert_eq!(states, case.states, "{}", case.name);
    }))
    .await;
    agency.close().await;
}

#[tokio::test]
async fn a_trip_that_nothing_stops_takes_one_workflow_task() {
    let agency = Agency::open().await;
    let start = trip("quick");
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "booked");
    let record = agency.world.record(&start.trip);
    assert!(record.calls.iter().all(|call| call.is_local), "{:?}", record.calls);
    agency.close().await;
}

/// A refused step must not be retried by the worker that takes over from one that died while it
/// unwound: the saga's own tombstones would refuse it.
#[tokio::test]
async fn what_was_done_is_in_the_history_before_anything_is_undone() {
    let agency = Agency::open().await;
    let start = trip("durable");
    agency.world.plan(&start.trip, "BookHotel", Fault::Refused("full"));
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "refused: full");
    assert_eq!(scheduled(&handle, "NoteUnwinding").await.len(), 1);
    agency.close().await;
}

/// If a signal arrives while the workflow task runs, the server rejects the task's completion: the
/// task runs again, sees the cancel first, and begins no step.
#[tokio::test]
async fn what_a_lost_workflow_task_did_is_undone_although_this_one_never_began_it() {
    let agency = Agency::open().await;
    let start = trip("lost task");
    // Holds every quick attempt, so that the step does not proceed before the cancel arrives.
    for _attempt in 0..QUICK_ATTEMPTS {
        agency.world.plan(&start.trip, "BookHotel", Fault::Held);
    }
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.times("BookHotel") >= 1).await;
    handle
        .signal(Trip::cancel_signal, "changed my mind".to_owned(), Default::default())
        .await
        .unwrap();
    agency.world.let_go(&start.trip);
    assert_eq!(agency.ended(&handle).await, "cancelled");
    let record = agency.world.record(&start.trip);
    let asked = record.activities();
    let lost = ["BookFlight", "BookHotel", "BookCar", "IssueTickets", "NoteEnd"];
    assert_eq!(asked, [&lost[..], ALL_UNDONE].concat());
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    agency.close().await;
}

#[tokio::test]
async fn a_cancel_during_a_step_undoes_it_too() {
    let agency = Agency::open().await;
    let by_update = trip("cancelled by update");
    let in_web_ui = trip("cancelled in the Web UI");
    for start in [&by_update, &in_web_ui] {
        agency.world.plan(&start.trip, "BookHotel", Fault::AnswerLost(3));
        agency.world.plan(&start.trip, "BookHotel", Fault::Held);
        let handle = agency.start(start).await;
        agency.world.until(&start.trip, |record| record.patient_times("BookHotel") >= 1).await;
        if start.trip == by_update.trip {
            assert!(agency.cancel(&handle).await);
        } else {
            handle.cancel(WorkflowCancelOptions::default()).await.unwrap();
        }
        assert_eq!(agency.ended(&handle).await, "cancelled");
        let record = agency.world.record(&start.trip);
        assert!(record.activities().ends_with(ALL_UNDONE), "{:?}", record.activities());
        assert!(record.standing.is_empty(), "{:?}", record.standing);
        // The late attempt finds the tombstone.
        agency.world.let_go(&start.trip);
    }
    agency.close().await;
}

#[tokio::test]
async fn a_step_that_is_needed_again_is_undone_where_the_first_one_is() {
    let agency = Agency::open().await;
    let mut start = trip("again");
    start.hotel_again = true;
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let record = agency.world.record(&start.trip);
    let undone = ["NoteUnwinding", "CancelCar", "CancelHotel", "CancelFlight", "NoteEnd"];
    assert!(record.activities().ends_with(&undone), "{:?}", record.activities());
    assert_eq!((record.times("BookHotel"), record.times("CancelHotel")), (2, 2));
    agency.close().await;
}

#[tokio::test]
async fn a_cancel_window_is_cut_short_by_a_cancel() {
    let agency = Agency::open().await;
    let mut start = trip("cancel window");
    start.cancel_window = Duration::from_hours(1);
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.times("BookHotel") >= 1).await;
    assert!(agency.cancel(&handle).await);
    assert_eq!(agency.ended(&handle).await, "cancelled");
    assert!(agency.world.record(&start.trip).standing.is_empty());
    agency.close().await;
}

#[tokio::test]
async fn a_step_that_waits_for_somebody_is_run_again_when_there_is_news() {
    let agency = Agency::open().await;
    let mut start = trip("guest confirms");
    start.guest_has = Duration::from_hours(1);
    agency.world.hotel_answers(&start.trip, &[ASKS_THE_GUEST]);
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.times("BookHotel") >= 1).await;
    let view = agency.view(&handle).await;
    assert_eq!(view.state_of("hotel"), Some(StepState::Waiting));
    assert_eq!(view.pausing_for.as_deref(), Some("waiting for the guest"));
    assert_eq!(view.waiting_for, None, "nobody is asked to decide");
    handle.signal(Trip::hotel_has_news, (), Default::default()).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "booked");
    let view = agency.view(&handle).await;
    assert_eq!((view.state_of("hotel"), view.pausing_for), (Some(StepState::Done), None));
    assert_eq!(agency.world.record(&start.trip).times("BookHotel"), 2);
    agency.close().await;
}

#[tokio::test]
async fn news_that_comes_while_a_step_runs_is_not_waited_for_again() {
    let agency = Agency::open().await;
    let mut start = trip("guest is fast");
    start.guest_has = Duration::from_hours(1);
    agency.world.plan(&start.trip, "BookHotel", Fault::Held);
    agency.world.hotel_answers(&start.trip, &[ASKS_THE_GUEST]);
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.times("BookHotel") >= 1).await;
    handle.signal(Trip::hotel_has_news, (), Default::default()).await.unwrap();
    agency.world.let_go(&start.trip);
    assert_eq!(agency.ended(&handle).await, "booked");
    agency.close().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_takes_none_of_the_patience() {
    let agency = Agency::open().await;
    let mut start = trip("guest is slow");
    start.guest_has = Duration::from_secs(1);
    start.patience = Some(Duration::from_secs(1));
    agency.world.hotel_answers(&start.trip, &[ASKS_THE_GUEST, ASKS_THE_GUEST]);
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "booked");
    assert_eq!(agency.world.record(&start.trip).times("BookHotel"), 3);
    agency.close().await;
}

#[tokio::test]
async fn a_cancel_ends_a_wait_for_somebody_at_once() {
    let agency = Agency::open().await;
    let mut start = trip("guest is gone");
    start.guest_has = Duration::from_hours(1);
    agency.world.hotel_answers(&start.trip, &[ASKS_THE_GUEST]);
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.times("BookHotel") >= 1).await;
    assert!(agency.cancel(&handle).await);
    assert_eq!(agency.ended(&handle).await, "cancelled");
    let record = agency.world.record(&start.trip);
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    assert_eq!(record.times("BookHotel"), 1);
    agency.close().await;
}

#[tokio::test]
async fn a_step_that_is_replaced_is_undone_with_the_one_in_its_place() {
    let agency = Agency::open().await;
    let start = trip("another hotel");
    agency.world.hotel_answers(&start.trip, &[FULL]);
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let record = agency.world.record(&start.trip);
    assert_eq!((record.times("BookHotel"), record.times("CancelHotel")), (2, 2));
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    agency.close().await;
}

#[tokio::test]
async fn no_cancellation_interrupts_an_undo_or_changes_how_the_trip_ends() {
    let agency = Agency::open().await;
    let start = trip("cancelled while unwinding");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "NoteUnwinding", Fault::Unavailable(1));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Unavailable(3));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Held);
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.times("NoteUnwinding") >= 1).await;
    assert!(!agency.cancel(&handle).await, "a trip that stops for another reason was cancelled");
    agency.world.until(&start.trip, |record| record.patient_times("CancelHotel") >= 1).await;
    handle.cancel(WorkflowCancelOptions::default()).await.unwrap();
    assert!(!agency.cancel(&handle).await, "an unwinding trip was cancelled");
    agency.world.let_go(&start.trip);
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let record = agency.world.record(&start.trip);
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    assert_eq!(record.patient_times("CancelHotel"), 1);
    agency.close().await;
}

#[tokio::test]
async fn a_broken_undo_waits_and_only_a_decision_that_names_it_decides() {
    let agency = Agency::open().await;
    let start = trip("broken undo");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelFlight", Fault::Broken(FOR_EVER));
    let handle = agency.start(&start).await;
    let waiting = agency.until_waiting(&handle).await;
    assert_eq!((waiting.step.as_str(), waiting.occurrence), ("flight", 41));
    assert_eq!(waiting.decisions, [Decision::Retry, Decision::Skip]);
    for (step, occurrence, decision) in [
        ("hotel", 41, Decision::Skip),
        ("flight", 40, Decision::Skip),
        ("flight", 41, Decision::AcceptAsDone),
    ] {
        let ignored = agency.decide(&handle, step, occurrence, decision).await;
        assert!(ignored.is_err(), "{step} {occurrence} {decision} was taken");
    }
    assert_eq!(agency.view(&handle).await.waiting_for.as_ref(), Some(&waiting));

    // It is still broken: the same step waits again, as another occurrence.
    agency.decide(&handle, "flight", 41, Decision::Retry).await.unwrap();
    let again = agency.until_waiting_anew(&handle, waiting).await;
    assert_eq!((again.step.as_str(), again.occurrence), ("flight", 42));
    assert!(agency.decide(&handle, "flight", 41, Decision::Skip).await.is_err());

    agency.world.mend(&start.trip, "CancelFlight");
    // Either this decision or the saga's own retry completes it.
    let taken = agency.decide(&handle, "flight", 42, Decision::Retry).await;
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let record = agency.world.record(&start.trip);
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    let resolved: Vec<_> = record
        .resolved
        .iter()
        .map(|note| (note.step.as_str(), note.occurrence, note.decision, note.by.as_deref()))
        .collect();
    let [first, second] = resolved[..] else { panic!("{resolved:?}") };
    assert_eq!(first, ("flight", 41, Decision::Retry, Some("Ada")));
    let by = taken.is_ok().then_some("Ada");
    assert_eq!(second, ("flight", 42, Decision::Retry, by));
    agency.close().await;
}

#[tokio::test]
async fn what_is_broken_is_tried_again_without_a_person() {
    let agency = Agency::open().await;
    let start = trip("tried again by itself");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Broken(2));
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let record = agency.world.record(&start.trip);
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    assert_eq!(record.times("NoteAttention"), 1, "one wait is one occurrence");
    let resolved: Vec<_> = record.resolved.iter().map(|note| (note.occurrence, &note.by)).collect();
    assert_eq!(resolved, [(41, &None)]);
    agency.close().await;
}

/// The retry finds its party away, and would continue for as long as it is.
#[tokio::test]
async fn a_decision_does_not_wait_for_a_retry_that_is_under_way() {
    let agency = Agency::open().await;
    let start = trip("decided during a retry");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Broken(1));
    agency.world.plan(&start.trip, "CancelHotel", NEVER);
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.patient_times("CancelHotel") >= 1).await;
    agency.decide(&handle, "hotel", 41, Decision::Skip).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let standing = agency.world.record(&start.trip).standing;
    assert_eq!(standing.into_iter().collect::<Vec<_>>(), ["hotel"]);
    agency.close().await;
}

#[tokio::test]
async fn a_person_can_go_on_without_an_undo() {
    let agency = Agency::open().await;
    let start = trip("skipped");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Broken(FOR_EVER));
    let handle = agency.start(&start).await;
    let waiting = agency.until_waiting(&handle).await;
    assert!(agency.view(&handle).await.is_unwinding);
    agency.decide(&handle, "hotel", waiting.occurrence, Decision::Skip).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let view = agency.view(&handle).await;
    assert_eq!(view.state_of("hotel"), Some(StepState::Skipped));
    assert_eq!(view.state_of("flight"), Some(StepState::Undone));
    assert_eq!(view.waiting_for, None);
    agency.close().await;
}

#[tokio::test]
async fn what_counts_as_done_ends_the_unwinding_and_the_trip_goes_forward() {
    let agency = Agency::open().await;
    let start = trip("accepted as done");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Broken(FOR_EVER));
    let handle = agency.start(&start).await;
    let waiting = agency.until_waiting(&handle).await;
    assert_eq!(waiting.decisions, [Decision::Retry, Decision::Skip, Decision::AcceptAsDone]);
    agency.decide(&handle, "hotel", waiting.occurrence, Decision::AcceptAsDone).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "booked with the hotel that could not be cancelled");
    let record = agency.world.record(&start.trip);
    assert_eq!(record.standing.iter().collect::<Vec<_>>(), ["flight", "hotel", "tickets"]);
    let last = ["NoteResolved", "AcceptHotel", "IssueTickets", "NoteEnd"];
    assert!(record.activities().ends_with(&last), "{:?}", record.activities());
    let view = agency.view(&handle).await;
    assert_eq!(view.state_of("hotel"), Some(StepState::Accepted));
    assert!(view.is_past_return && !view.is_unwinding);
    agency.close().await;
}

#[tokio::test]
async fn past_the_point_of_no_return_a_broken_step_waits_and_no_cancel_turns_it_back() {
    let agency = Agency::open().await;
    let agency_ref = &agency;
    let decided = [(Decision::Retry, StepState::Done), (Decision::Skip, StepState::Skipped)];
    join_all(decided.map(|(decision, state)| async move {
        let (agency, start) = (agency_ref, trip(&format!("no return, {decision}")));
        agency.world.plan(&start.trip, "IssueTickets", Fault::Broken(FOR_EVER));
        let handle = agency.start(&start).await;
        let waiting = agency.until_waiting(&handle).await;
        assert_eq!(waiting.decisions, [Decision::Retry, Decision::Skip]);
        assert!(!agency.cancel(&handle).await, "a trip past the point of no return was cancelled");
        handle.cancel(WorkflowCancelOptions::default()).await.unwrap();
        if decision == Decision::Retry {
            agency.world.mend(&start.trip, "IssueTickets");
        }
        // Either this decision or the saga's own retry completes it.
        let taken = agency.decide(&handle, "tickets", waiting.occurrence, decision).await;
        assert!(taken.is_ok() || decision == Decision::Retry, "{taken:?}");
        assert_eq!(agency.ended(&handle).await, "booked");
        assert_eq!(agency.view(&handle).await.state_of("tickets"), Some(state));
        assert!(!agency.world.record(&start.trip).activities().contains(&"CancelFlight"));
    }))
    .await;
    agency.close().await;
}

#[tokio::test]
async fn a_party_that_says_when_to_ask_again_holds_no_workflow_task_until_then() {
    let agency = Agency::open().await;
    let start = trip("busy");
    agency.world.plan(&start.trip, "BookHotel", Fault::RetryAfter(Duration::from_millis(1)));
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "booked");
    let record = agency.world.record(&start.trip);
    let calls = record.calls.iter().filter(|call| call.activity == "BookHotel");
    assert_eq!(calls.map(|call| call.is_local).collect::<Vec<_>>(), [true, false]);
    agency.close().await;
}

#[tokio::test]
async fn a_party_whose_answers_make_no_sense_is_asked_again_patiently_and_visibly() {
    let agency = Agency::open().await;
    let start = trip("invalid answers");
    agency.world.plan(&start.trip, "BookHotel", Fault::InvalidAnswer(2, HALF_A_MINUTE));
    let handle = agency.start(&start).await;
    assert_eq!(agency.ended(&handle).await, "booked");
    let record = agency.world.record(&start.trip);
    let calls = record.calls.iter().filter(|call| call.activity == "BookHotel");
    assert_eq!(calls.map(|call| call.is_local).collect::<Vec<_>>(), [true, false, false]);
    // A single activity is retried, so that the history does not grow.
    assert_eq!(scheduled(&handle, "BookHotel").await.len(), 1);
    let timeline = agency.view(&handle).await.timeline;
    let told = "BookHotel is waiting on trips: an answer that makes no sense; asking again until";
    assert_eq!(timeline.matches(told).count(), 1, "{timeline}");
    agency.close().await;
}

#[tokio::test]
async fn an_undo_whose_party_makes_no_sense_for_too_long_needs_a_person_and_is_still_tried() {
    let agency = Agency::open().await;
    let start = trip("invalid answers to an undo");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelHotel", NO_SENSE);
    let handle = agency.start(&start).await;
    let waiting = agency.until_waiting(&handle).await;
    assert_eq!((waiting.step.as_str(), waiting.occurrence), ("hotel", 41));
    agency.world.mend(&start.trip, "CancelHotel");
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    let record = agency.world.record(&start.trip);
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    assert_eq!(record.times("NoteAttention"), 1);
    agency.close().await;
}

#[tokio::test]
async fn a_hint_cuts_a_patient_wait_short() {
    let agency = Agency::open().await;
    let start = trip("hint");
    agency.world.plan(&start.trip, "BookHotel", Fault::Unavailable(3));
    agency.world.plan(&start.trip, "BookHotel", Fault::RetryAfter(Duration::from_hours(1)));
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.patient_times("BookHotel") >= 1).await;
    handle.signal(Trip::hotel_has_news, (), Default::default()).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "booked");
    assert_eq!(scheduled(&handle, "BookHotel").await.len(), 2);
    agency.close().await;
}

#[tokio::test]
async fn a_hint_does_not_begin_the_patience_anew() {
    let agency = Agency::open().await;
    let mut start = trip("hint and patience");
    start.patience = Some(Duration::from_secs(30));
    agency.world.plan(&start.trip, "BookHotel", Fault::Unavailable(3));
    // Long enough for the hint to come first.
    agency.world.plan(&start.trip, "BookHotel", Fault::RetryAfter(Duration::from_secs(20)));
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.patient_times("BookHotel") >= 1).await;
    handle.signal(Trip::hotel_has_news, (), Default::default()).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "booked");
    let [(first_at, Some(first)), (second_at, Some(second))] =
        scheduled(&handle, "BookHotel").await[..]
    else {
        panic!("the hint did not have the hotel asked anew, within a limit");
    };
    assert_eq!(first, Duration::from_secs(30));
    // Both limits end at the same moment, as precisely as a workflow can measure: its clock stands
    // still during a task, so the quick attempts count, too.
    let (ends, should_end) = (second_at + second, first_at + first);
    assert!(second < first, "{second:?}");
    assert!(ends.abs_diff(should_end) < A_LITTLE, "{:?}", ends.abs_diff(should_end));
    agency.close().await;
}

#[tokio::test]
async fn a_hint_does_not_begin_the_time_for_invalid_answers_anew() {
    let agency = Agency::open().await;
    let start = trip("hint and invalid answers");
    agency.world.plan(&start.trip, "BookHotel", Fault::InvalidAnswer(4, HALF_A_MINUTE));
    let handle = agency.start(&start).await;
    agency.world.until(&start.trip, |record| record.patient_times("BookHotel") >= 1).await;
    handle.signal(Trip::hotel_has_news, (), Default::default()).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "booked");
    let [(first_at, Some(first)), (second_at, Some(second))] =
        scheduled(&handle, "BookHotel").await[..]
    else {
        panic!("the hint did not have the hotel asked anew, within a limit");
    };
    assert_eq!(first, HALF_A_MINUTE);
    let (ends, should_end) = (second_at + second, first_at + first);
    assert!(second < first, "{second:?}");
    assert!(ends.abs_diff(should_end) < A_LITTLE, "{:?}", ends.abs_diff(should_end));
    agency.close().await;
}

#[tokio::test]
async fn a_note_that_is_broken_waits_for_a_decision_about_the_record() {
    let agency = Agency::open().await;
    let start = trip("broken record");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "NoteUnwinding", Fault::Broken(FOR_EVER));
    agency.world.plan(&start.trip, "NoteEnd", Fault::Broken(FOR_EVER));
    let handle = agency.start(&start).await;
    let waiting = agency.until_waiting(&handle).await;
    assert_eq!((waiting.step.as_str(), waiting.occurrence), ("record", 1));
    assert!(agency.decide(&handle, "car", 1, Decision::Skip).await.is_err());
    // The saga's own retries are not new occurrences.
    agency.world.until(&start.trip, |record| record.times("NoteUnwinding") >= 3).await;
    agency.decide(&handle, "record", 1, Decision::Skip).await.unwrap();

    // The decision about one note does not apply to another.
    assert_eq!(agency.until_waiting_anew(&handle, waiting).await.occurrence, 2);
    assert!(agency.decide(&handle, "record", 1, Decision::Skip).await.is_err());
    agency.world.mend(&start.trip, "NoteEnd");
    assert_eq!(agency.ended(&handle).await, "refused: no cars, without a note");
    let record = agency.world.record(&start.trip);
    assert!(record.standing.is_empty(), "{:?}", record.standing);
    assert_eq!(record.times("NoteAttention"), 0);
    agency.close().await;
}

/// A person is still asked if that cannot be recorded: first the record waits, then the step.
#[tokio::test]
async fn a_broken_undo_waits_even_if_that_cannot_be_put_on_record() {
    let agency = Agency::open().await;
    let start = trip("broken undo and record");
    agency.world.plan(&start.trip, "BookCar", Fault::Refused("no cars"));
    agency.world.plan(&start.trip, "CancelHotel", Fault::Broken(FOR_EVER));
    agency.world.plan(&start.trip, "NoteAttention", Fault::Broken(FOR_EVER));
    let handle = agency.start(&start).await;
    let waiting = agency.until_waiting(&handle).await;
    assert_eq!((waiting.step.as_str(), waiting.occurrence), ("record", 1));
    agency.decide(&handle, "record", 1, Decision::Skip).await.unwrap();
    let waiting = agency.until_waiting_anew(&handle, waiting).await;
    assert_eq!((waiting.step.as_str(), waiting.occurrence), ("hotel", 0));
    agency.decide(&handle, "hotel", 0, Decision::Skip).await.unwrap();
    assert_eq!(agency.ended(&handle).await, "refused: no cars");
    agency.close().await;
}
