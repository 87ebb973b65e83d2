//! The order's workflow. `fulfil` is the whole business process; the rest is its signals, updates
//! and queries.

#![expect(missing_docs, reason = "the constants that the workflow macro makes carry no docs")]

mod attributes;
mod contract;
#[cfg(fuzzing)]
pub mod fuzzing;
mod view;

use std::error::Error;
use std::mem;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::screening::ScreeningAnswer;
use domain::{
    Authorisation, AuthorisationAnswer, CaptureAt, Ending, OrderStatus, Rejection, StepKey,
    StepName,
};
use saga::{
    Answer, AttentionNeeded, Declared, Process, Progress, Resolved, Saga, StepFailure, StepState,
    Stop, Unwound, answer_all, note, tell,
};
use temporalio_common::data_converters::RawValue;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

pub use attributes::{
    CURRENCY, CUSTOMER_ID, NEEDS_ATTENTION, ORDER_STATUS, ORDER_TOTAL, search_attributes_at_start,
    static_summary,
};
pub use contract::*;
pub use view::{
    CANCELLED_BEFORE, CancelDecision, CancelRequest, OrderOutcome, OrderStart, OrderView,
    PartyUpdate, PaymentReplaced, Resolution, Reviewed, signal_payload,
};
pub(crate) use view::{cause, of_saga, read, short};

use crate::Queue;
use crate::told::{self, failed};

type Ctx = WorkflowContext<OrderSaga>;

const FOR_THE_CUSTOMER: &str = "waiting for the customer";
const FOR_A_REVIEW: &str = "waiting for a review";

/// Updates that are limited per run, see [`Progress::takes`].
const CANCEL: &str = "cancel";
const PAY: &str = "pay";
const REVIEW: &str = "review";

/// Declares the steps, each with its undo, and then runs them top to bottom. Wherever that stops,
/// the undos run in the reverse order of their declaration.
async fn fulfil(
    ctx: &Ctx,
    saga: &mut Saga<OrderSaga>,
    order: &OrderStart,
) -> Result<(), Stop<Rejection>> {
    let key = |step| order.key(step);
    let reserve = saga.step(ReserveStock, key(StepName::ReserveStock)).undone_by(ReleaseStock);
    let screen = order
        .is_screened
        .then(|| saga.step(ScreenOrder, key(StepName::ScreenOrder)).undone_by(WithdrawScreening));
    let authorise =
        saga.step(AuthorisePayment, key(StepName::AuthorisePayment)).undone_by(VoidPayment);
    // Declared before the capture, so it is undone after the refund: while we hold money, the
    // ledger shows it.
    let post = saga.step(PostEntries, key(StepName::PostEntries)).undone_by(ReverseEntries);
    let capture = saga.step(CapturePayment, key(StepName::CapturePayment)).undone_by(RefundPayment);
    let recognise =
        saga.step(RecogniseRevenue, key(StepName::RecogniseRevenue)).undone_by(ReverseRevenue);
    // Declared last, so it is undone first: if the parcel cannot be recalled, nothing else is
    // undone.
    let ship = saga.step(ShipOrder, key(StepName::ShipOrder)).undone_by(CancelShipment);

    if order.is_unwinding {
        // An earlier run stopped; the record says why.
        return Err(Stop::Cancelled);
    }
    saga.run(reserve).await?;
    if let Some(screen) = screen {
        screened(ctx, saga, screen).await?;
    }
    if order.is_free {
        saga.cancel_window(order.window_left(now(ctx))).await?;
    } else if order.capture_at == CaptureAt::Placement {
        let held = authorised(ctx, saga, key(StepName::AuthorisePayment), authorise).await?;
        if order.is_screened {
            screened_again(ctx, saga, order).await?;
            renewed(ctx, saga, held).await?;
        }
        saga.run(capture).await?;
        saga.run(post).await?;
        saga.cancel_window(order.window_left(now(ctx))).await?;
    } else {
        let held = authorised(ctx, saga, key(StepName::AuthorisePayment), authorise).await?;
        if order.is_screened {
            screened_again(ctx, saga, order).await?;
        }
        saga.cancel_window(order.window_left(now(ctx))).await?;
        renewed(ctx, saga, held).await?;
        saga.run(capture).await?;
        saga.run(post).await?;
    }
    saga.run(ship).await?;

    // The parcel is handed over: the point of no return.
    if saga.run_to_the_end(recognise).await == StepState::Skipped {
        end(ctx, OrderStatus::Completed).await;
    }
    Ok(())
}

/// Authorises the payment, and waits for the customer if necessary: to approve the payment, or to
/// replace one that was declined. Returns the key of the attempt that succeeded.
async fn authorised(
    ctx: &Ctx,
    saga: &mut Saga<OrderSaga>,
    mut key: StepKey,
    mut authorise: Declared<AuthorisePayment>,
) -> Result<(StepKey, Authorisation), Stop<Rejection>> {
    let read = |answer: AuthorisationAnswer| match answer {
        AuthorisationAnswer::Authorised(authorisation) => Answer::Done(authorisation),
        AuthorisationAnswer::Waits { waits_until } => {
            Answer::Waits { at_most: until(waits_until, now(ctx)), why: FOR_THE_CUSTOMER }
        }
        AuthorisationAnswer::Replaced { .. } => Answer::Replaced,
    };
    loop {
        if let Some(authorisation) = saga.run_with_waits(authorise, read).await? {
            return Ok((key, authorisation));
        }
        key = key.again();
        authorise = saga.step_again(AuthorisePayment, key).undone_by(VoidPayment);
    }
}

/// Authorises the payment again if the authorisation has expired or is about to.
async fn renewed(
    ctx: &Ctx,
    saga: &mut Saga<OrderSaga>,
    (last, held): (StepKey, Authorisation),
) -> Result<(), Stop<Rejection>> {
    if has_expired(&held, now(ctx)) {
        let again = last.again();
        let authorise = saga.step_again(AuthorisePayment, again).undone_by(VoidPayment);
        authorised(ctx, saga, again, authorise).await?;
    }
    Ok(())
}

/// Screens the order by the rules, and waits for a person's review if they require one.
async fn screened(
    ctx: &Ctx,
    saga: &mut Saga<OrderSaga>,
    screen: Declared<ScreenOrder>,
) -> Result<(), Stop<Rejection>> {
    let read = |answer: ScreeningAnswer| match answer {
        ScreeningAnswer::Passed { .. } => Answer::Done(()),
        ScreeningAnswer::Waits { waits_until } => {
            Answer::Waits { at_most: until(waits_until, now(ctx)), why: FOR_A_REVIEW }
        }
    };
    saga.run_with_waits(screen, read).await.map(|_passed| ())
}

/// Screens the order again, now with the provider's data about its payment.
async fn screened_again(
    ctx: &Ctx,
    saga: &mut Saga<OrderSaga>,
    order: &OrderStart,
) -> Result<(), Stop<Rejection>> {
    let again = order.key(StepName::ScreenOrder).again();
    let screen = saga.step_again(ScreenOrder, again).undone_by(WithdrawScreening);
    screened(ctx, saga, screen).await
}

/// Runs the undos, and records how the order ended.
async fn unwind(ctx: &Ctx, saga: &mut Saga<OrderSaga>, order: &OrderStart, stop: Stop<Rejection>) {
    let ending = ending_of(ctx, order, stop);
    let noted = UnwindingNote { order_id: order.order_id, ending: ending.clone() };
    let ending = match note(ctx, NoteUnwinding, noted, false).await {
        Ok(ending) => ending,
        Err(StepFailure::NotOpen { ended, .. }) => return adopt(ctx, ended),
        // A person skipped the note, and accepted that the record lacks it.
        Err(_) => ending,
    };
    ctx.state_mut(|saga| saga.ending = Some(ending.clone()));
    match saga.unwind().await {
        Unwound::Undone => end(ctx, ending.into()).await,
        Unwound::AcceptedAsDone(_) => {
            saga.must_succeed(AcceptShipment, &order.key(StepName::ShipOrder)).await;
            let key = order.key(StepName::RecogniseRevenue);
            let recognise = saga.step(RecogniseRevenue, key).undone_by(ReverseRevenue);
            saga.run_to_the_end(recognise).await;
            // The step was done already if a lost run had booked the sale, and then it does not
            // record the end again.
            end(ctx, OrderStatus::Completed).await;
        }
    }
}

/// The workflow of a customer's order, from its launch to the parcel's hand-over.
///
/// **Repeats.** The workflow id is derived from the order id, so an order has one workflow at a
/// time. Every step's key is derived from it too, so a second workflow of the same order finds the
/// first one's effects instead of repeating them.
#[workflow]
#[derive(Debug)]
pub struct OrderSaga {
    start: OrderStart,
    status: OrderStatus,
    /// The ending on record, reached once everything is undone.
    ending: Option<Ending>,
    progress: Progress,
    /// The published search attributes: the status, and whether a person is needed.
    published: (&'static str, bool),
}

#[workflow_methods]
impl OrderSaga {
    #[init]
    fn new(_ctx: &WorkflowContextView, start: OrderStart) -> Self {
        let status = OrderStatus::Processing;
        let (published, progress) = ((status.name(), false), Progress::default());
        Self { start, status, ending: None, progress, published }
    }

    /// Runs the order to its end.
    #[run(name = "OrderSaga")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<OrderOutcome> {
        let ctx = ctx.clone();
        let order = ctx.state(|saga| saga.start.clone());
        let mut saga = Saga::begin(&ctx, order.patience());
        match fulfil(&ctx, &mut saga, &order).await {
            Ok(()) => ctx.state_mut(|saga| saga.status = OrderStatus::Completed),
            Err(Stop::NotOpen { message, ended }) => {
                if ended.is_none() {
                    answer_all(&ctx).await;
                    return Err(failed(format!("nothing was done: {message}")).into());
                }
                adopt(&ctx, ended);
            }
            Err(stop) => unwind(&ctx, &mut saga, &order, stop).await,
        }
        tell(&ctx, "🏁 done");
        answer_all(&ctx).await;
        outcome(&ctx, &order)
    }

    /// Cancels the order; same as the update `cancel`, without an answer.
    #[signal(name = "cancel")]
    pub fn cancel_signal(&mut self, ctx: &mut SyncWorkflowContext<Self>, request: RawValue) {
        match read::<CancelRequest>(request) {
            Ok(CancelRequest { reason }) => {
                self.call_off(ctx, &short(&reason));
            }
            Err(why) => self.tell_of(ctx, format!("📨 cancel was ignored: {why}")),
        }
    }

    /// The payment provider reports a change: a waiting payment step is retried at once.
    #[signal(name = "payment_update")]
    pub fn payment_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, update: RawValue) {
        let party = ("payment_update", Queue::Payments);
        told::news(&mut self.progress, ctx.workflow_time(), party, update);
    }

    /// The carrier reports a change: a waiting shipment step is retried at once.
    #[signal(name = "shipment_update")]
    pub fn shipment_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, update: RawValue) {
        let party = ("shipment_update", Queue::Fulfilment);
        told::news(&mut self.progress, ctx.workflow_time(), party, update);
    }

    /// A person's decision about the waiting step; same as the update `resolve`, without an answer.
    #[signal(name = "resolve")]
    pub fn resolve_signal(&mut self, ctx: &mut SyncWorkflowContext<Self>, resolution: RawValue) {
        told::decision(&mut self.progress, ctx.workflow_time(), resolution);
    }

    #[update_validator(cancel)]
    fn validate_cancel(
        &self,
        _ctx: &WorkflowContextView,
        _request: &CancelRequest,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.progress.is_past_return() || self.status.is_terminal() {
            return Err("the parcel has been handed over; a return is the way back".into());
        }
        if !self.progress.takes(CANCEL) {
            return Err(CANCELLED_BEFORE.into());
        }
        Ok(())
    }

    /// Cancels the order and returns the effect; refused once the parcel is handed over.
    #[update(name = "cancel")]
    pub fn cancel(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        CancelRequest { reason }: CancelRequest,
    ) -> CancelDecision {
        self.progress.take(CANCEL);
        let in_time = self.call_off(ctx, &short(&reason));
        if in_time { CancelDecision::Unwinding } else { CancelDecision::AlreadyUnwinding }
    }

    #[update_validator(pay)]
    fn validate_pay(
        &self,
        _ctx: &WorkflowContextView,
        _replaced: &PaymentReplaced,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.progress.is_past_return()
            || self.progress.is_unwinding()
            || self.status.is_terminal()
        {
            return Err("the order does not wait for a payment".into());
        }
        if !self.progress.takes(PAY) {
            return Err("the order has heard of a payment too often, and looks by itself".into());
        }
        Ok(())
    }

    /// The customer has replaced a declined payment method: an order that waits for it retries at
    /// once. The method is on record, so the order also finds it without this message.
    #[update(name = "pay")]
    pub fn pay(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        PaymentReplaced { attempt }: PaymentReplaced,
    ) {
        self.progress.take(PAY);
        self.progress.hint(Queue::Payments.name());
        self.tell_of(ctx, format!("💳 another payment method is on record, for attempt {attempt}"));
    }

    /// A person has reviewed the order; same as the update `review`, without an answer.
    #[signal(name = "review")]
    pub fn review_signal(&mut self, ctx: &mut SyncWorkflowContext<Self>, reviewed: RawValue) {
        match read::<Reviewed>(reviewed) {
            Ok(Reviewed { attempt }) => self.hear_of_review(ctx, attempt),
            Err(why) => self.tell_of(ctx, format!("📨 review was ignored: {why}")),
        }
    }

    #[update_validator(review)]
    fn validate_review(
        &self,
        _ctx: &WorkflowContextView,
        _reviewed: &Reviewed,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.progress.is_past_return()
            || self.progress.is_unwinding()
            || self.status.is_terminal()
        {
            return Err("the order does not wait for a review".into());
        }
        if !self.progress.takes(REVIEW) {
            return Err("the order has heard of reviews too often, and looks by itself".into());
        }
        Ok(())
    }

    /// A review decision is on record: an order that waits for it retries at once. The order also
    /// finds the decision without this message.
    #[update(name = "review")]
    pub fn review(&mut self, ctx: &mut SyncWorkflowContext<Self>, Reviewed { attempt }: Reviewed) {
        self.progress.take(REVIEW);
        self.hear_of_review(ctx, attempt);
    }

    #[update_validator(resolve)]
    fn validate_resolve(
        &self,
        _ctx: &WorkflowContextView,
        resolution: &Resolution,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.progress.check(&resolution.checked()?)?)
    }

    /// A person's decision about the waiting step; refused if the order does not wait for it.
    #[expect(clippy::needless_pass_by_value, reason = "the macro passes what was sent")]
    #[update(name = "resolve")]
    pub fn resolve(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        resolution: Resolution,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.progress.resolve(resolution.checked()?)?)
    }

    /// The order's progress.
    #[query(name = "order")]
    #[must_use]
    pub fn order(&self, _ctx: &WorkflowContextView) -> OrderView {
        OrderView {
            order_id: self.start.order_id,
            status: self.status.clone(),
            unwinding: self.progress.is_unwinding(),
            steps: self.progress.steps().to_vec(),
            cancel_requested: self.progress.cancel_reason().map(str::to_owned),
            ending: self.ending.clone(),
            waiting_for: self.progress.waiting_for().cloned(),
            timeline: self.progress.timeline().cloned().collect(),
        }
    }
}

impl OrderSaga {
    /// Cancels the order if it still goes forward; returns whether it did.
    fn call_off(&mut self, ctx: &SyncWorkflowContext<Self>, reason: &str) -> bool {
        let in_time = self.progress.cancel(reason);
        if in_time {
            self.progress.tell(ctx.workflow_time(), format!("🛑 cancelled: {reason}"));
        } else {
            let heading = self.heading();
            self.tell_of(ctx, format!("🛑 cancel came too late, the order is {heading}: {reason}"));
        }
        in_time
    }

    fn tell_of(&mut self, ctx: &SyncWorkflowContext<Self>, line: String) {
        told::line(&mut self.progress, ctx.workflow_time(), line);
    }

    /// Screening runs on the orders queue, so a review is a hint to that queue.
    fn hear_of_review(&mut self, ctx: &SyncWorkflowContext<Self>, attempt: u32) {
        self.progress.hint(Queue::Orders.name());
        self.tell_of(ctx, format!("👤 a decision about screening {attempt} is on record"));
    }
}

impl Process for OrderSaga {
    type Refusal = Rejection;

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn heading(&self) -> String {
        let waiting = self.progress.waiting_for();
        match (waiting, self.progress.is_unwinding() && !self.status.is_terminal()) {
            (Some(waiting), _) => format!("waiting for a decision about {}", waiting.step),
            (None, true) => "unwinding".to_owned(),
            (None, false) => {
                self.progress.pausing_for().unwrap_or_else(|| self.status.name()).to_owned()
            }
        }
    }

    fn publish(ctx: &WorkflowContext<Self>) {
        let changed = ctx.state_mut(|saga| {
            let now = (saga.status.name(), saga.progress.waiting_for().is_some());
            (mem::replace(&mut saga.published, now) != now).then_some(now)
        });
        if let Some((status, needs_attention)) = changed {
            ctx.upsert_search_attributes([
                ORDER_STATUS.value_set(status.to_owned()),
                NEEDS_ATTENTION.value_set(needs_attention),
            ]);
        }
    }

    async fn note_attention(
        ctx: &WorkflowContext<Self>,
        needed: AttentionNeeded,
    ) -> Result<u32, StepFailure<Rejection>> {
        told::note_attention(ctx, ctx.state(|saga| saga.start.order_id), needed).await
    }

    async fn note_resolved(
        ctx: &WorkflowContext<Self>,
        resolved: Resolved,
    ) -> Result<(), StepFailure<Rejection>> {
        told::note_resolved(ctx, ctx.state(|saga| saga.start.order_id), resolved).await
    }
}

fn now(ctx: &Ctx) -> Option<DateTime<Utc>> {
    ctx.workflow_time().map(DateTime::from)
}

/// The time left until `then`, plus one second in case the database's clock is behind.
fn until(then: DateTime<Utc>, now: Option<DateTime<Utc>>) -> Duration {
    let left = now.map(|now| then.signed_duration_since(now));
    let left = left.and_then(|left| left.to_std().ok()).unwrap_or_default();
    left.saturating_add(Duration::from_secs(1))
}

/// Whether the authorisation has expired, or expires too soon to be captured safely.
fn has_expired(authorised: &Authorisation, now: Option<DateTime<Utc>>) -> bool {
    /// A capture may be retried for ten minutes.
    const MARGIN: TimeDelta = TimeDelta::minutes(15);
    let left = authorised.expires_at.zip(now).map(|(until, now)| until.signed_duration_since(now));
    left.is_some_and(|left| left < MARGIN)
}

/// Records how the order ended; if an earlier run ended it, that ending counts.
async fn end(ctx: &Ctx, status: OrderStatus) {
    let order_id = ctx.state(|saga| saga.start.order_id);
    let noted = EndNote { order_id, status: status.clone() };
    match note(ctx, NoteEnd, noted, true).await {
        Ok(status) => ctx.state_mut(|saga| saga.status = status),
        Err(StepFailure::NotOpen { ended, .. }) => adopt(ctx, ended),
        // A person skipped the note, and accepted that the record lacks it.
        Err(_) => ctx.state_mut(|saga| saga.status = status),
    }
}

/// The order ended in another run, or before its launch: this run has nothing to do.
fn adopt(ctx: &Ctx, ended: Option<serde_json::Value>) {
    let status = ended.and_then(|ended| serde_json::from_value(ended).ok());
    let status = status.unwrap_or_else(|| OrderStatus::Failed {
        incident: "the order's record does not say how it ended".to_owned(),
    });
    tell(ctx, format!("the order had ended before: {}", status.name()));
    ctx.state_mut(|saga| saga.status = status);
}

/// How the order ends once everything is undone.
fn ending_of(ctx: &Ctx, order: &OrderStart, stop: Stop<Rejection>) -> Ending {
    match stop {
        Stop::Refused(rejection) => Ending::Rejected { rejection },
        Stop::GaveUp { step: given_up } => match step_name(given_up) {
            Some(name) => {
                Ending::Rejected { rejection: Rejection::FulfilmentUnavailable { step: name } }
            }
            None => Ending::Failed { incident: format!("{}:{given_up}", order.order_id) },
        },
        Stop::Broken { step, .. } => {
            let version = order.record_version;
            Ending::Failed { incident: format!("{}:{step}:{version}", order.order_id) }
        }
        Stop::NotOpen { message, .. } => Ending::Failed { incident: message },
        Stop::Cancelled => {
            let asked = ctx.state(|saga| saga.progress.cancel_reason().map(str::to_owned));
            let in_temporal = || ctx.cancellation_token().reason().map(|reason| short(&reason));
            let reason = asked
                .or_else(|| in_temporal().filter(|reason| !reason.is_empty()))
                .unwrap_or_else(|| "cancelled in Temporal".to_owned());
            Ending::Cancelled { reason }
        }
    }
}

/// A refused or cancelled order is a normal outcome; only a bug fails the workflow.
fn outcome(ctx: &Ctx, order: &OrderStart) -> WorkflowResult<OrderOutcome> {
    let status = ctx.state(|saga| saga.status.clone());
    if let OrderStatus::Failed { incident } = &status {
        return Err(failed(format!("a bug stopped the order; incident {incident}")).into());
    }
    Ok(OrderOutcome { order_id: order.order_id, status })
}
