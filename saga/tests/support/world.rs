//! The world outside the workflow: current bookings, recorded calls, and planned faults.

#![expect(dead_code, reason = "the constants that the activity macro makes are not all used")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use saga::{BROKEN, BUSY, INVALID_ANSWER, NOT_OPEN, REJECTED, Role, UNAVAILABLE};
use temporalio_macros::activities;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::sync::watch;
use tokio::time::interval;

use super::trip::{self, AttentionNote, CONTRACTS, Refusal, ResolvedNote, TripId};

/// A fault of an activity.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The business refuses; nothing takes effect.
    Refused(&'static str),
    /// No answer, this many times; nothing takes effect.
    Unavailable(u32),
    /// No answer once, and the party asks for this pause (`Retry-After`).
    RetryAfter(Duration),
    /// It takes effect, but the answer is lost, this many times.
    AnswerLost(u32),
    /// An invalid answer, this many times; nothing takes effect. The party is asked again for this
    /// long.
    InvalidAnswer(u32, Duration),
    /// A bug, this many times; nothing takes effect.
    Broken(u32),
    /// The process is not open; `ended` says how it ended.
    NotOpen(&'static str),
    /// The worker cancels one attempt by itself.
    CancelledByWorker,
    /// One attempt blocks before it takes effect, until the test releases it.
    Held,
}

/// For the whole test.
pub const FOR_EVER: u32 = u32::MAX;

/// One attempt at an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub activity: String,
    pub is_local: bool,
}

/// The world's record of a trip.
#[derive(Clone, Debug, Default)]
pub struct Record {
    faults: BTreeMap<String, VecDeque<Fault>>,
    is_let_go: bool,
    /// The hotel's answers, in order, before it gives a room.
    hotel_answers: VecDeque<&'static str>,
    pub calls: Vec<Call>,
    /// The steps whose effect currently holds.
    pub standing: BTreeSet<String>,
    /// The steps that were undone; a late step is refused.
    tombstones: BTreeSet<String>,
    /// The runs and numbers of the notes that requested a person.
    occurrences: Vec<(String, u32)>,
    pub resolved: Vec<ResolvedNote>,
}

impl Record {
    /// The activities called, in order, without consecutive duplicates.
    pub fn activities(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.calls.iter().map(|call| call.activity.as_str()).collect();
        names.dedup();
        names
    }

    pub fn times(&self, activity: &str) -> usize {
        self.calls.iter().filter(|call| call.activity == activity).count()
    }

    pub fn patient_times(&self, activity: &str) -> usize {
        self.calls.iter().filter(|call| call.activity == activity && !call.is_local).count()
    }

    fn next_fault(&mut self, activity: &str) -> Option<Fault> {
        let planned = self.faults.get_mut(activity)?;
        let fault = planned.front_mut()?;
        let now = fault.clone();
        if let Fault::Unavailable(left)
        | Fault::AnswerLost(left)
        | Fault::InvalidAnswer(left, _)
        | Fault::Broken(left) = fault
            && *left > 1
        {
            *left = left.saturating_sub(1);
        } else {
            planned.pop_front();
        }
        Some(now)
    }
}

/// All trips. Waiters are notified of every change.
#[derive(Clone, Debug)]
pub struct World(Arc<watch::Sender<BTreeMap<TripId, Record>>>);

impl Default for World {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl World {
    /// Adds a fault of the activity after those already planned.
    pub fn plan(&self, trip: &TripId, activity: &str, fault: Fault) {
        self.change(trip, |record| {
            record.faults.entry(activity.to_owned()).or_default().push_back(fault);
        });
    }

    /// Removes the activity's faults: it works from now on.
    pub fn mend(&self, trip: &TripId, activity: &str) {
        self.change(trip, |record| record.faults.remove(activity));
    }

    /// Releases the blocked attempts.
    pub fn let_go(&self, trip: &TripId) {
        self.change(trip, |record| record.is_let_go = true);
    }

    /// Sets the hotel's next answers, in order.
    pub fn hotel_answers(&self, trip: &TripId, answers: &[&'static str]) {
        self.change(trip, |record| record.hotel_answers.extend(answers));
    }

    /// Waits until the condition holds.
    pub async fn until(&self, trip: &TripId, is_so: impl Fn(&Record) -> bool) {
        let mut changes = self.0.subscribe();
        changes.wait_for(|trips| trips.get(trip).is_some_and(&is_so)).await.unwrap();
    }

    pub fn record(&self, trip: &TripId) -> Record {
        self.0.borrow().get(trip).cloned().unwrap_or_default()
    }

    fn change<T>(&self, trip: &TripId, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut result = None;
        self.0.send_modify(|trips| result = Some(change(trips.entry(trip.clone()).or_default())));
        result.unwrap()
    }

    /// One attempt: fails as planned, or else takes effect.
    async fn play(&self, ctx: &ActivityContext, trip: &TripId) -> Result<(), ActivityError> {
        let activity = ctx.info().activity_type.clone();
        let is_local = ctx.info().is_local;
        let fault = self.change(trip, |record| {
            record.calls.push(Call { activity: activity.clone(), is_local });
            record.next_fault(&activity)
        });
        match fault {
            None => self.take_effect(trip, &activity),
            Some(Fault::Refused(why)) => Err(refused(why)),
            Some(Fault::Unavailable(_)) => Err(unavailable(None)),
            Some(Fault::RetryAfter(delay)) => Err(unavailable(Some(delay))),
            Some(Fault::AnswerLost(_)) => {
                self.take_effect(trip, &activity)?;
                Err(unavailable(None))
            }
            Some(Fault::InvalidAnswer(_, ask_again_for)) => Err(invalid_answer(ask_again_for)),
            Some(Fault::Broken(_)) => Err(broken()),
            Some(Fault::NotOpen(ended)) => Err(not_open(ended)),
            Some(Fault::CancelledByWorker) => Err(ActivityError::cancelled()),
            Some(Fault::Held) => {
                self.until_let_go(ctx, trip).await;
                self.take_effect(trip, &activity)
            }
        }
    }

    /// Sends heartbeats meanwhile.
    async fn until_let_go(&self, ctx: &ActivityContext, trip: &TripId) {
        let mut due = interval(Duration::from_millis(500));
        let let_go = self.until(trip, |record| record.is_let_go);
        tokio::pin!(let_go);
        loop {
            tokio::select! {
                () = &mut let_go => return,
                _ = due.tick() => ctx.record_heartbeat(()).await.unwrap(),
            }
        }
    }

    fn take_effect(&self, trip: &TripId, activity: &str) -> Result<(), ActivityError> {
        let contract = CONTRACTS.iter().find(|contract| contract.name == activity).unwrap();
        let step = contract.step.to_owned();
        self.change(trip, |record| match contract.role {
            Role::Does if record.tombstones.contains(&step) => Err(refused("it was undone before")),
            Role::Does => {
                record.standing.insert(step);
                Ok(())
            }
            Role::Undoes => {
                record.standing.remove(&step);
                record.tombstones.insert(step);
                Ok(())
            }
            Role::Accepts | Role::Notes => Ok(()),
        })
    }
}

fn refused(why: &str) -> ActivityError {
    let failure = ApplicationFailure::builder(why.to_owned())
        .type_name(REJECTED.to_owned())
        .non_retryable(true)
        .details(Refusal(why.to_owned()));
    ActivityError::application(failure.build())
}

fn unavailable(delay: Option<Duration>) -> ActivityError {
    let failure = ApplicationFailure::builder("no answer".to_owned())
        .type_name(if delay.is_some() { BUSY } else { UNAVAILABLE }.to_owned())
        .maybe_next_retry_delay(delay);
    ActivityError::application(failure.build())
}

fn invalid_answer(ask_again_for: Duration) -> ActivityError {
    let failure = ApplicationFailure::builder("an answer that makes no sense".to_owned())
        .type_name(INVALID_ANSWER.to_owned())
        .details(ask_again_for);
    ActivityError::application(failure.build())
}

fn broken() -> ActivityError {
    let failure = ApplicationFailure::builder("a bug".to_owned())
        .type_name(BROKEN.to_owned())
        .non_retryable(true);
    ActivityError::application(failure.build())
}

fn not_open(ended: &str) -> ActivityError {
    let failure = ApplicationFailure::builder("not open".to_owned())
        .type_name(NOT_OPEN.to_owned())
        .non_retryable(true)
        .details(ended.to_owned());
    ActivityError::application(failure.build())
}

#[activities]
impl World {
    #[activity(definition = trip::BookFlight)]
    pub async fn book_flight(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<String, ActivityError> {
        self.play(&ctx, &trip).await.map(|()| "LH 1".to_owned())
    }

    #[activity(definition = trip::CancelFlight)]
    pub async fn cancel_flight(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::BookHotel)]
    pub async fn book_hotel(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<String, ActivityError> {
        self.play(&ctx, &trip).await?;
        let answer = self.change(&trip, |record| record.hotel_answers.pop_front());
        Ok(answer.unwrap_or("room 7").to_owned())
    }

    #[activity(definition = trip::CancelHotel)]
    pub async fn cancel_hotel(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::AcceptHotel)]
    pub async fn accept_hotel(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::BookCar)]
    pub async fn book_car(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<String, ActivityError> {
        self.play(&ctx, &trip).await.map(|()| "a blue one".to_owned())
    }

    #[activity(definition = trip::CancelCar)]
    pub async fn cancel_car(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::IssueTickets)]
    pub async fn issue_tickets(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::RevokeTickets)]
    pub async fn revoke_tickets(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::NoteUnwinding)]
    pub async fn note_unwinding(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    #[activity(definition = trip::NoteEnd)]
    pub async fn note_end(
        self: Arc<Self>,
        ctx: ActivityContext,
        trip: TripId,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &trip).await
    }

    /// Idempotent per run and number.
    #[activity(definition = trip::NoteAttention)]
    pub async fn note_attention(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: AttentionNote,
    ) -> Result<u32, ActivityError> {
        self.play(&ctx, &note.trip).await?;
        let key = (note.run_id, note.number);
        let occurrence = self.change(&note.trip, |record| {
            if !record.occurrences.contains(&key) {
                record.occurrences.push(key.clone());
            }
            // Other runs of the process have used the first 40 numbers.
            (41..).zip(&record.occurrences).find(|(_, noted)| **noted == key).unwrap().0
        });
        Ok(occurrence)
    }

    #[activity(definition = trip::NoteResolved)]
    pub async fn note_resolved(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: ResolvedNote,
    ) -> Result<(), ActivityError> {
        self.play(&ctx, &note.trip).await?;
        let trip = note.trip.clone();
        self.change(&trip, |record| record.resolved.push(note));
        Ok(())
    }
}
