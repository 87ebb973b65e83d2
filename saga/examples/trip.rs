//! Books three trips against a Temporal dev server: one that succeeds, one for which no car is
//! left, and one whose hotel never answers.
//!
//! ```text
//! python3 embedded/stack.py with -- cargo run -p saga --example trip
//! ```
//!
//! `TEMPORAL_ADDRESS` and `TEMPORAL_NAMESPACE` select the server. The airline, the hotel and the
//! car rental are a table in this process.

#![expect(missing_docs, reason = "the constants that the SDK's macros make carry no docs")]
#![expect(clippy::print_stdout, reason = "the example shows what happens")]
#![expect(clippy::unused_async, reason = "activities are asynchronous; these find all in memory")]
#![expect(clippy::needless_pass_by_value, reason = "the SDK hands a signal over by value")]
#![expect(clippy::default_trait_access, reason = "the SDK's options are left at their defaults")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saga::{
    AttentionNeeded, Decision, Process, Progress, REJECTED, Resolution, Resolved, Saga,
    StepFailure, Stop, UNAVAILABLE, Unwound, answer_all, note, try_note,
};
use serde::{Deserialize, Serialize};
use temporalio_client::envconfig::LoadClientConfigProfileOptions;
use temporalio_client::{Client, ClientOptions, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ApplicationFailure, Runtime, Worker, WorkerOptions};
use temporalio_workflow::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

const QUEUE: &str = "trips";

/// How long a step is retried while its party does not answer.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(3));

// ---------------------------------------------------------------------------------------------
// The contract: the activities that the process calls, and their undos.

/// A reference to a trip. Together with the step's name it is the step's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TripId(String);

/// A new state of a trip.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TripNote {
    trip: TripId,
    what: String,
}

/// A step of a trip needs a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttentionNote {
    trip: TripId,
    run_id: String,
    number: u32,
    step: String,
    why: String,
}

/// A person has decided, or the saga's own retry has succeeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResolvedNote {
    trip: TripId,
    step: String,
    occurrence: u32,
    decision: Decision,
    by: Option<String>,
}

saga::contract! {
    /// Books a seat.
    step "flight": BookFlight(TripId) -> String, undone by CancelFlight,
        on QUEUE, quick 3 s, attempt 10 s, patience PATIENCE;

    /// Books a room.
    step "hotel": BookHotel(TripId) -> String, undone by CancelHotel,
        on QUEUE, quick 3 s, attempt 10 s, patience PATIENCE;

    /// Books a car.
    step "car": BookCar(TripId) -> String, undone by CancelCar,
        on QUEUE, quick 3 s, attempt 10 s, patience PATIENCE;
    ;
    /// Records that the trip is unwound from now on, and how it will end.
    note NoteUnwinding(TripNote) -> (), on QUEUE, quick 3 s, attempt 10 s;

    /// Records that a step needs a person. Returns the number of the occurrence.
    note NoteAttention(AttentionNote) -> u32, on QUEUE, quick 3 s, attempt 10 s;

    /// Records a decision.
    note NoteResolved(ResolvedNote) -> (), on QUEUE, quick 3 s, attempt 10 s;

    /// Records how the trip ended.
    note NoteEnd(TripNote) -> (), on QUEUE, quick 3 s, attempt 10 s;
}

// ---------------------------------------------------------------------------------------------
// The process.

/// Every way in which the business says no.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// Nothing is left to book.
    SoldOut(String),
    /// The step arrived after its undo.
    Undone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut(what) => write!(f, "no {what} is left"),
            Self::Undone => f.write_str("it was undone before"),
        }
    }
}

/// Declares every step with its undo, then runs the trip top to bottom.
async fn book(saga: &mut Saga<Trip>, trip: &TripId) -> Result<String, Stop<Refusal>> {
    let flight = saga.step(BookFlight, trip.clone()).undone_by(CancelFlight);
    let hotel = saga.step(BookHotel, trip.clone()).undone_by(CancelHotel);
    let car = saga.step(BookCar, trip.clone()).undone_by(CancelCar);

    let seat = saga.run(flight).await?;
    let room = saga.run(hotel).await?;
    let car = saga.run(car).await?;
    Ok(format!("booked: {seat}, {room}, {car}"))
}

/// Unwinds, and returns how the trip ended.
async fn unwind(
    ctx: &WorkflowContext<Trip>,
    saga: &mut Saga<Trip>,
    trip: &TripId,
    stop: Stop<Refusal>,
) -> Result<String, StepFailure<Refusal>> {
    let what = match stop {
        Stop::Refused(refusal) => format!("refused: {refusal}"),
        Stop::GaveUp { step } => format!("given up: no answer about the {step}"),
        Stop::Cancelled => "cancelled".to_owned(),
        Stop::Broken { step, why } => format!("failed at the {step}: {why}"),
        Stop::NotOpen { message, .. } => return Ok(message),
    };
    let noted = TripNote { trip: trip.clone(), what: what.clone() };
    note(ctx, NoteUnwinding, noted, false).await?;
    match saga.unwind().await {
        // No row of the contract table says `accepted by`, so nobody can decide that.
        Unwound::Undone | Unwound::AcceptedAsDone(_) => Ok(what),
    }
}

/// A person skipped a note: the record does not say how the trip ended.
fn failed(failure: StepFailure<Refusal>) -> ApplicationFailure {
    ApplicationFailure::non_retryable(failure)
}

/// A trip that is being booked.
#[workflow]
#[derive(Debug)]
pub struct Trip {
    trip: TripId,
    progress: Progress,
}

#[workflow_methods]
impl Trip {
    #[init]
    fn new(_ctx: &WorkflowContextView, trip: TripId) -> Self {
        Self { trip, progress: Progress::default() }
    }

    /// Books the trip; returns how it ended.
    #[run(name = "Trip")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let ctx = ctx.clone();
        let trip = ctx.state(|trip| trip.trip.clone());
        let mut saga = Saga::begin(&ctx, None);
        let ended = match book(&mut saga, &trip).await {
            Ok(booked) => booked,
            Err(stop) => unwind(&ctx, &mut saga, &trip, stop).await.map_err(failed)?,
        };
        // Nothing follows this note, so it may be a local activity.
        note(&ctx, NoteEnd, TripNote { trip, what: ended.clone() }, true).await.map_err(failed)?;
        answer_all(&ctx).await;
        Ok(ended)
    }

    /// Cancels the trip if it still goes forward.
    #[signal(name = "cancel")]
    pub fn cancel(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.progress.cancel(&reason);
    }

    /// A person's decision about the waiting step.
    #[signal(name = "resolve")]
    pub fn resolve(&mut self, ctx: &mut SyncWorkflowContext<Self>, resolution: Resolution) {
        if let Err(why) = self.progress.resolve(resolution) {
            self.progress.tell(ctx.workflow_time(), format!("resolve was ignored: {why}"));
        }
    }

    /// What happened to the trip, line by line.
    #[query(name = "timeline")]
    #[must_use]
    pub fn timeline(&self, _ctx: &WorkflowContextView) -> Vec<String> {
        self.progress.timeline().map(|line| line.text.clone()).collect()
    }
}

impl Process for Trip {
    type Refusal = Refusal;

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn heading(&self) -> String {
        self.trip.0.clone()
    }

    // A process with search attributes would update them here.
    fn publish(_ctx: &WorkflowContext<Self>) {}

    async fn note_attention(
        ctx: &WorkflowContext<Self>,
        needed: AttentionNeeded,
    ) -> Result<u32, StepFailure<Refusal>> {
        let AttentionNeeded { run_id, number, step, why, .. } = needed;
        let trip = ctx.state(|trip| trip.trip.clone());
        let noted = AttentionNote { trip, run_id, number, step: step.to_owned(), why };
        try_note(ctx, NoteAttention, noted).await
    }

    async fn note_resolved(
        ctx: &WorkflowContext<Self>,
        resolved: Resolved,
    ) -> Result<(), StepFailure<Refusal>> {
        let Resolved { step, occurrence, decision, by, .. } = resolved;
        let trip = ctx.state(|trip| trip.trip.clone());
        let noted = ResolvedNote { trip, step: step.to_owned(), occurrence, decision, by };
        try_note(ctx, NoteResolved, noted).await
    }
}

// ---------------------------------------------------------------------------------------------
// The activities: the outside parties.

/// The record stored under an idempotency key.
#[derive(Clone, Debug)]
enum Entry {
    Booked(String),
    /// The undo arrived; a later step under the same key is refused.
    Tombstone,
}

/// The airline, the hotel and the car rental.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    table: Arc<Mutex<BTreeMap<(TripId, &'static str), Entry>>>,
    /// Counts how often a person was needed, per run and note number.
    occurrences: Arc<Mutex<BTreeMap<(String, u32), u32>>>,
}

impl Parties {
    fn book(&self, trip: &TripId, step: &'static str, what: &str) -> Result<String, ActivityError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.get(&(trip.clone(), step)) {
            Some(Entry::Booked(before)) => Ok(before.clone()),
            Some(Entry::Tombstone) => Err(refused(Refusal::Undone)),
            None => {
                show(trip, &format!("{step} booked: {what}"));
                table.insert((trip.clone(), step), Entry::Booked(what.to_owned()));
                Ok(what.to_owned())
            }
        }
    }

    /// Leaves its tombstone whether or not there is a booking to cancel.
    fn cancel(&self, trip: &TripId, step: &'static str) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.insert((trip.clone(), step), Entry::Tombstone) {
            Some(Entry::Booked(what)) => show(trip, &format!("{step} cancelled: {what}")),
            Some(Entry::Tombstone) => {}
            None => show(trip, &format!("{step}: nothing to cancel")),
        }
    }
}

#[activities]
impl Parties {
    /// Books a seat.
    #[activity(definition = BookFlight)]
    pub async fn book_flight(
        self: Arc<Self>,
        _ctx: ActivityContext,
        trip: TripId,
    ) -> Result<String, ActivityError> {
        self.book(&trip, "flight", "seat 12A")
    }

    /// Undoes [`Parties::book_flight`].
    #[activity(definition = CancelFlight)]
    pub async fn cancel_flight(
        self: Arc<Self>,
        _ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.cancel(&trip, "flight");
        Ok(())
    }

    /// Books a room. For Venice, every answer is lost.
    #[activity(definition = BookHotel)]
    pub async fn book_hotel(
        self: Arc<Self>,
        _ctx: ActivityContext,
        trip: TripId,
    ) -> Result<String, ActivityError> {
        let room = self.book(&trip, "hotel", "room 7")?;
        if trip.0.starts_with("Venice") {
            show(&trip, "hotel: the answer is lost");
            return Err(no_answer());
        }
        Ok(room)
    }

    /// Undoes [`Parties::book_hotel`].
    #[activity(definition = CancelHotel)]
    pub async fn cancel_hotel(
        self: Arc<Self>,
        _ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.cancel(&trip, "hotel");
        Ok(())
    }

    /// Books a car. There are none in Oslo.
    #[activity(definition = BookCar)]
    pub async fn book_car(
        self: Arc<Self>,
        _ctx: ActivityContext,
        trip: TripId,
    ) -> Result<String, ActivityError> {
        if trip.0.starts_with("Oslo") {
            show(&trip, "car refused");
            return Err(refused(Refusal::SoldOut("car".to_owned())));
        }
        self.book(&trip, "car", "a blue car")
    }

    /// Undoes [`Parties::book_car`].
    #[activity(definition = CancelCar)]
    pub async fn cancel_car(
        self: Arc<Self>,
        _ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.cancel(&trip, "car");
        Ok(())
    }

    /// Records that the trip is unwound.
    #[activity(definition = NoteUnwinding)]
    pub async fn note_unwinding(
        self: Arc<Self>,
        _ctx: ActivityContext,
        note: TripNote,
    ) -> Result<(), ActivityError> {
        show(&note.trip, &format!("on record: unwinding, will be {}", note.what));
        Ok(())
    }

    /// Records that a person is needed. Idempotent per run and number.
    #[activity(definition = NoteAttention)]
    pub async fn note_attention(
        self: Arc<Self>,
        _ctx: ActivityContext,
        note: AttentionNote,
    ) -> Result<u32, ActivityError> {
        let AttentionNote { trip, run_id, number, step, why } = note;
        show(&trip, &format!("on record: the {step} needs a person: {why}"));
        let mut occurrences = self.occurrences.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(occurrences.len()).unwrap_or(u32::MAX);
        Ok(*occurrences.entry((run_id, number)).or_insert(next))
    }

    /// Records a decision.
    #[activity(definition = NoteResolved)]
    pub async fn note_resolved(
        self: Arc<Self>,
        _ctx: ActivityContext,
        note: ResolvedNote,
    ) -> Result<(), ActivityError> {
        let ResolvedNote { trip, step, decision, by, .. } = note;
        let by = by.as_deref().unwrap_or("the saga itself");
        show(&trip, &format!("on record: {decision} of the {step}, decided by {by}"));
        Ok(())
    }

    /// Records how the trip ended.
    #[activity(definition = NoteEnd)]
    pub async fn note_end(
        self: Arc<Self>,
        _ctx: ActivityContext,
        note: TripNote,
    ) -> Result<(), ActivityError> {
        show(&note.trip, &format!("on record: {}", note.what));
        Ok(())
    }
}

fn refused(refusal: Refusal) -> ActivityError {
    let failure = ApplicationFailure::builder(refusal.to_string())
        .type_name(REJECTED.to_owned())
        .non_retryable(true)
        .details(refusal);
    ActivityError::application(failure.build())
}

fn no_answer() -> ActivityError {
    let failure = ApplicationFailure::builder("the line went dead".to_owned())
        .type_name(UNAVAILABLE.to_owned());
    ActivityError::application(failure.build())
}

fn show(trip: &TripId, what: &str) {
    let name = trip.0.split('-').next().unwrap_or_default();
    println!("{name:8} {what}");
}

// ---------------------------------------------------------------------------------------------
// The program: a worker, and three trips.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (connection, client) =
        ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
            .map_err(|error| anyhow::anyhow!("{error}"))?;
    let client = Client::connect(connection, client).await?;
    let options = WorkerOptions::new(QUEUE)
        .register_activities(Parties::default())
        .register_workflow::<Trip>()?
        .build();
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let mut worker = Worker::new(&runtime, client.clone(), options)?;
    let shut_down = worker.shutdown_handle();
    let trips = async {
        let booked = book_trips(&client).await;
        shut_down();
        booked
    };
    let (booked, served) = tokio::join!(trips, worker.run());
    served?;
    booked
}

async fn book_trips(client: &Client) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this stands outside the workflow")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    for (destination, what) in [
        ("Lisbon", "everything is there"),
        ("Oslo", "no car is left"),
        ("Venice", "the hotel takes the booking, and its answer is lost"),
    ] {
        println!("\n=== {destination}: {what}");
        let trip = TripId(format!("{destination}-{now}"));
        let options = WorkflowStartOptions::new(QUEUE, format!("trip-{}", trip.0)).build();
        let handle = client.start_workflow(Trip::run, trip, options).await?;
        let ended = handle.get_result(WorkflowGetResultOptions::default()).await?;
        println!("--- {ended}; as the workflow tells it:");
        for line in handle.query(Trip::timeline, (), Default::default()).await? {
            println!("    {line}");
        }
    }
    Ok(())
}
