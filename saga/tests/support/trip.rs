//! The process under test: a trip with a flight, a hotel and a car, whose tickets are issued past
//! the point of no return.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the workflow macro hands over what was sent, whether or not it is kept"
)]

use std::error::Error;
use std::fmt;
use std::time::Duration;

use saga::{
    Answer, AttentionNeeded, Decision, Process, Progress, Resolution, Resolved, Saga, StepFailure,
    StepProgress, StepState, Stop, Unwound, WaitingFor, answer_all, note, try_note,
};
use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

pub const QUEUE: &str = "trips";

const A_MINUTE: Option<Duration> = Some(Duration::from_mins(1));

/// Too short for the retries that the tests provoke: it must not apply past the point of no return.
const A_SECOND: Option<Duration> = Some(Duration::from_secs(1));

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TripId(pub String);

/// Input of a trip.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TripStart {
    pub trip: TripId,
    pub patience: Option<Duration>,
    /// The cancel window between the hotel and the car.
    pub cancel_window: Duration,
    /// Whether the car is booked before the hotel, although it is declared after it.
    pub car_first: bool,
    /// Whether the hotel is booked again right after it was booked.
    pub hotel_again: bool,
    /// How long the guest has to confirm the room, if the hotel requires that.
    pub guest_has: Duration,
}

/// The hotel requires the guest to confirm the room.
pub const ASKS_THE_GUEST: &str = "asks the guest";

/// The hotel is full, and another one is booked instead.
pub const FULL: &str = "full";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// See [`AttentionNeeded`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttentionNote {
    pub trip: TripId,
    pub run_id: String,
    pub number: u32,
    pub step: String,
}

/// See [`Resolved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNote {
    pub trip: TripId,
    pub step: String,
    pub occurrence: u32,
    pub decision: Decision,
    pub by: Option<String>,
}

saga::contract! {
    step "flight": BookFlight(TripId) -> String, undone by CancelFlight,
        on QUEUE, quick 3 s, attempt 10 s, patience A_MINUTE;
    step "hotel": BookHotel(TripId) -> String, undone by CancelHotel, accepted by AcceptHotel,
        on QUEUE, quick 3 s, attempt 10 s, patience None;
    step "car": BookCar(TripId) -> String, undone by CancelCar,
        on QUEUE, quick 3 s, attempt 10 s, patience A_MINUTE;
    step "tickets": IssueTickets(TripId) -> (), undone by RevokeTickets,
        on QUEUE, quick 3 s, attempt 10 s, patience A_SECOND;
    ;
    note NoteUnwinding(TripId) -> (), on QUEUE, quick 3 s, attempt 10 s;
    note NoteAttention(AttentionNote) -> u32, on QUEUE, quick 3 s, attempt 10 s;
    note NoteResolved(ResolvedNote) -> (), on QUEUE, quick 3 s, attempt 10 s;
    note NoteEnd(TripId) -> (), on QUEUE, quick 3 s, attempt 10 s;
}

/// The trip's state as its workflow sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    pub steps: Vec<StepProgress>,
    pub waiting_for: Option<WaitingFor>,
    pub pausing_for: Option<String>,
    pub is_unwinding: bool,
    pub is_past_return: bool,
    pub timeline: String,
}

impl View {
    pub fn state_of(&self, step: &str) -> Option<StepState> {
        self.steps.iter().find(|progress| progress.step == step).map(|progress| progress.state)
    }
}

async fn travel(saga: &mut Saga<Trip>, start: &TripStart) -> Result<(), Stop<Refusal>> {
    let trip = &start.trip;
    let flight = saga.step(BookFlight, trip.clone()).undone_by(CancelFlight);
    let hotel = saga.step(BookHotel, trip.clone()).undone_by(CancelHotel);
    let car = saga.step(BookCar, trip.clone()).undone_by(CancelCar);
    let tickets = saga.step(IssueTickets, trip.clone()).undone_by(RevokeTickets);

    saga.run(flight).await?;
    if start.car_first {
        saga.run(car).await?;
        saga.run(hotel).await?;
    } else {
        let read = |answer: String| match answer.as_str() {
            ASKS_THE_GUEST => {
                Answer::Waits { at_most: start.guest_has, why: "waiting for the guest" }
            }
            FULL => Answer::Replaced,
            _ => Answer::Done(answer),
        };
        if saga.run_with_waits(hotel, read).await?.is_none() {
            let other = saga.step_again(BookHotel, trip.clone()).undone_by(CancelHotel);
            saga.run(other).await?;
        }
        if start.hotel_again {
            let again = saga.step_again(BookHotel, trip.clone()).undone_by(CancelHotel);
            saga.run(again).await?;
        }
        saga.cancel_window(start.cancel_window).await?;
        saga.run(car).await?;
    }
    saga.run_to_the_end(tickets).await;
    Ok(())
}

/// Unwinds, and returns how the trip ended.
async fn unwind(
    ctx: &WorkflowContext<Trip>,
    saga: &mut Saga<Trip>,
    trip: &TripId,
    stop: Stop<Refusal>,
) -> String {
    let ending = match stop {
        Stop::Refused(refusal) => format!("refused: {refusal}"),
        Stop::GaveUp { step } => format!("gave up: {step}"),
        Stop::Cancelled => "cancelled".to_owned(),
        Stop::Broken { step, .. } => format!("broken: {step}"),
        // There is nothing to undo, even if the caller unwinds anyway.
        Stop::NotOpen { ended, .. } => {
            assert_eq!(saga.unwind().await, Unwound::Undone);
            return format!("not open: {}", ended.unwrap_or_default());
        }
    };
    let noted = note(ctx, NoteUnwinding, trip.clone(), false).await;
    let remark = if noted.is_err() { ", without a note" } else { "" };
    match saga.unwind().await {
        Unwound::Undone => format!("{ending}{remark}"),
        Unwound::AcceptedAsDone(accepted) => {
            saga.must_succeed(AcceptHotel, trip).await;
            let tickets = saga.step(IssueTickets, trip.clone()).undone_by(RevokeTickets);
            saga.run_to_the_end(tickets).await;
            format!("booked with the {accepted} that could not be cancelled")
        }
    }
}

#[workflow]
#[derive(Debug)]
pub struct Trip {
    start: TripStart,
    progress: Progress,
}

#[workflow_methods]
impl Trip {
    #[init]
    fn new(_ctx: &WorkflowContextView, start: TripStart) -> Self {
        Self { start, progress: Progress::default() }
    }

    #[run(name = "Trip")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let ctx = ctx.clone();
        let start = ctx.state(|trip| trip.start.clone());
        let mut saga = Saga::begin(&ctx, start.patience);
        let ending = match travel(&mut saga, &start).await {
            Ok(()) => "booked".to_owned(),
            Err(stop) => unwind(&ctx, &mut saga, &start.trip, stop).await,
        };
        let _skipped = note(&ctx, NoteEnd, start.trip, true).await;
        answer_all(&ctx).await;
        Ok(ending)
    }

    #[signal(name = "cancel_signal")]
    pub fn cancel_signal(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) {
        self.progress.cancel(&reason);
    }

    #[signal(name = "hotel_has_news")]
    pub fn hotel_has_news(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.progress.hint(QUEUE);
    }

    #[update(name = "cancel")]
    pub fn cancel(&mut self, _ctx: &mut SyncWorkflowContext<Self>, reason: String) -> bool {
        self.progress.cancel(&reason)
    }

    #[update(name = "resolve")]
    pub fn resolve(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        resolution: Resolution,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.progress.resolve(resolution)?)
    }

    /// Returns once the trip waits for a person about something new.
    #[update(name = "until_waiting")]
    pub async fn until_waiting(
        ctx: &mut WorkflowContext<Self>,
        before: Option<WaitingFor>,
    ) -> Result<WaitingFor, Box<dyn Error + Send + Sync>> {
        let waits = |trip: &Self| {
            trip.progress.waiting_for().cloned().filter(|waiting| Some(waiting) != before.as_ref())
        };
        ctx.wait_condition(|trip| waits(trip).is_some()).await?;
        Ok(ctx.state(waits).ok_or("it waits no more")?)
    }

    #[query(name = "view")]
    pub fn view(&self, _ctx: &WorkflowContextView) -> View {
        View {
            steps: self.progress.steps().to_vec(),
            waiting_for: self.progress.waiting_for().cloned(),
            pausing_for: self.progress.pausing_for().map(str::to_owned),
            is_unwinding: self.progress.is_unwinding(),
            is_past_return: self.progress.is_past_return(),
            timeline: self.progress.markdown("trip"),
        }
    }
}

impl Process for Trip {
    type Refusal = Refusal;

    const RETRY_BROKEN_AFTER: Duration = Duration::from_secs(1);

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn heading(&self) -> String {
        "trip".to_owned()
    }

    fn publish(_ctx: &WorkflowContext<Self>) {}

    async fn note_attention(
        ctx: &WorkflowContext<Self>,
        needed: AttentionNeeded,
    ) -> Result<u32, StepFailure<Refusal>> {
        let AttentionNeeded { run_id, number, step, .. } = needed;
        let trip = ctx.state(|trip| trip.start.trip.clone());
        let noted = AttentionNote { trip, run_id, number, step: step.to_owned() };
        try_note(ctx, NoteAttention, noted).await
    }

    async fn note_resolved(
        ctx: &WorkflowContext<Self>,
        resolved: Resolved,
    ) -> Result<(), StepFailure<Refusal>> {
        let Resolved { step, occurrence, decision, by, .. } = resolved;
        let trip = ctx.state(|trip| trip.start.trip.clone());
        let noted = ResolvedNote { trip, step: step.to_owned(), occurrence, decision, by };
        try_note(ctx, NoteResolved, noted).await
    }
}
