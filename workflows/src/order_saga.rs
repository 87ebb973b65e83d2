//! The order's life. `fulfil` is the whole business process; the rest is how it can be
//! addressed while it runs.

#![expect(missing_docs, reason = "the constants that the workflow macro makes carry no docs")]

use std::error::Error;
use std::fmt;

use domain::ledger::{Posting, Unbalanced};
use domain::{Order, OrderId, OrderStatus, StepName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_protos::temporal::api::common::v1::Payload;
use temporalio_workflow::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult,
};

use crate::progress::Progress;
use crate::saga::{Saga, Stop, answer_all, note, publish, tell};
use crate::{
    CancelShipment, ChargePayment, OrderView, PostEntries, Queue, RecogniseRevenue, RefundPayment,
    ReleaseStock, ReserveStock, ReverseEntries, ShipOrder, StepFailure,
};

/// First what may happen to an order, each step with what takes it back; then its life, top to
/// bottom. Wherever that stops, the undos run bottom to top.
async fn fulfil(saga: &mut Saga, order: &Order) -> Result<(), Stop> {
    let (deposit, revenue) = (Posting::deposit(order)?, Posting::revenue(order)?);

    let reserve = saga.step(ReserveStock, order.stock_claim()).undone_by(ReleaseStock);
    let charge = saga.step(ChargePayment, order.charge()).undone_by(RefundPayment);
    let post = saga.step(PostEntries, deposit).undone_by(ReverseEntries);
    let ship = saga.step(ShipOrder, order.parcel()).undone_by(CancelShipment);
    let recognise = saga.step(RecogniseRevenue, revenue).undone_by(ReverseEntries);

    saga.run(reserve).await?;
    saga.becomes(OrderStatus::Reserved);

    saga.run(charge).await?;
    saga.becomes(OrderStatus::Paid);

    saga.run(post).await?;
    saga.becomes(OrderStatus::Posted);

    saga.cancel_window(order.terms.cancel_window()).await?;

    let parcel = saga.run(ship).await?;
    saga.becomes(OrderStatus::Shipped { tracking: parcel.tracking });

    // The parcel is out of the house: from here there is no way back, only on.
    saga.run_to_the_end(recognise).await;
    Ok(())
}

/// A customer's order, from its acceptance to the parcel's hand-over.
///
/// **Repeats.** The workflow id is made of the order id, so an order has one workflow. Every
/// step's key is made of the order id too, so that even a second workflow of the same order
/// would meet the first one's effects instead of making its own.
#[workflow]
#[derive(Debug)]
pub struct OrderSaga {
    pub(crate) order: Order,
    pub(crate) progress: Progress,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// The order.
    pub order_id: OrderId,
    /// Its last status.
    #[serde(flatten)]
    pub status: OrderStatus,
}

/// A wish to call the order off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Why, in the words of whoever cancels.
    pub reason: String,
}

/// What was decided about a wish to cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAnswer {
    /// The decision.
    pub decision: CancelDecision,
    /// Where the order stood at that moment.
    #[serde(flatten)]
    pub status: OrderStatus,
}

/// A cancel that comes in time has one of two effects. One that comes too late is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelDecision {
    /// The order is called off from now on.
    Unwinding,
    /// The order was being unwound already, for this or another reason.
    AlreadyUnwinding,
}

/// A payment provider or carrier says that something has changed on its side.
///
/// A hint, not the truth: the step that waits for this party asks again at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyUpdate {
    /// The party's own name for the payment or parcel.
    pub reference: String,
    /// The party's word for what it has become.
    pub status: String,
}

/// An operator's decision about an order that is stuck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// What to do.
    pub decision: ResolutionKind,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What an operator can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolutionKind {
    /// The cause is mended: try again.
    Retry,
    /// It has been settled by hand, or never will be: go on without it.
    Skip,
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decision = match self.decision {
            ResolutionKind::Retry => "retry",
            ResolutionKind::Skip => "skip",
        };
        write!(f, "{decision}, decided by {}: {}", self.by, self.why)
    }
}

impl From<Unbalanced> for Stop {
    fn from(error: Unbalanced) -> Self {
        Self::Broken { step: StepName::PostEntries, why: error.to_string() }
    }
}

/// What a signal carries, ready for a client that sends it.
///
/// Signals are taken in raw and read inside, because a signal cannot be refused: one that
/// cannot be read must leave a line in the timeline, not a workflow that fails.
pub fn signal_payload(signal: &impl Serialize) -> serde_json::Result<RawValue> {
    let payload = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: serde_json::to_vec(signal)?,
        ..Payload::default()
    };
    Ok(RawValue::new(vec![payload]))
}

#[workflow_methods]
impl OrderSaga {
    #[init]
    fn new(_ctx: &WorkflowContextView, order: Order) -> Self {
        Self { order, progress: Progress::new() }
    }

    /// Carries the order through.
    #[run(name = "OrderSaga")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<OrderOutcome> {
        let ctx = ctx.clone();
        let order = hang_on_workflow_cancellation(&ctx);
        let mut saga = match Saga::on_record(ctx.clone(), order.placement()).await {
            Ok(saga) => saga,
            Err(failure) => return Err(never_recorded(&ctx, &failure).into()),
        };
        if let Err(stop) = fulfil(&mut saga, &order).await {
            saga.unwind().await;
            note(&ctx, end_of(&ctx, &order, stop), None).await;
        }
        tell(&ctx, "🏁 done");
        publish(&ctx);
        answer_all(&ctx).await;
        outcome(&ctx, &order)
    }

    /// Calls the order off; same as the update `cancel`, without an answer.
    #[signal(name = "cancel")]
    pub fn cancel_signal(&mut self, ctx: &mut SyncWorkflowContext<Self>, request: RawValue) {
        match read::<CancelRequest>(request) {
            Ok(CancelRequest { reason }) => {
                let (status, text) = (self.progress.status.name(), short(&reason));
                let line = if self.progress.call_off(text.clone()) {
                    format!("🛑 called off: {text}")
                } else {
                    format!("🛑 cancel came too late, the order is {status}: {text}")
                };
                self.tell(ctx, line);
            }
            Err(why) => self.ignore(ctx, "cancel", &why),
        }
    }

    /// The payment provider has news: a charge or refund that waits asks again at once.
    #[signal(name = "payment_update")]
    pub fn payment_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, update: RawValue) {
        self.hear(ctx, "payment_update", Queue::Payments, update);
    }

    /// The carrier has news: a shipment that waits asks again at once.
    #[signal(name = "shipment_update")]
    pub fn shipment_update(&mut self, ctx: &mut SyncWorkflowContext<Self>, update: RawValue) {
        self.hear(ctx, "shipment_update", Queue::Fulfilment, update);
    }

    /// An operator decides about a stuck order.
    #[signal(name = "resolve")]
    pub fn resolve(&mut self, ctx: &mut SyncWorkflowContext<Self>, resolution: RawValue) {
        match read::<Resolution>(resolution) {
            Ok(Resolution { by, why, .. }) if by.trim().is_empty() || why.trim().is_empty() => {
                self.ignore(ctx, "resolve", "it must say who decided and why");
            }
            // A decision made twice must not decide whatever comes next, too.
            Ok(_) if !self.progress.needs_attention => {
                self.ignore(ctx, "resolve", "nothing waits for a decision");
            }
            Ok(Resolution { decision, by, why }) => {
                self.progress.resolution =
                    Some(Resolution { decision, by: short(&by), why: short(&why) });
            }
            Err(why) => self.ignore(ctx, "resolve", &why),
        }
    }

    #[update_validator(cancel)]
    fn validate_cancel(
        &self,
        _ctx: &WorkflowContextView,
        _request: &CancelRequest,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(tracking) = &self.progress.handed_over {
            return Err(format!(
                "the parcel has been handed over as {tracking}; a return is the way back"
            )
            .into());
        }
        Ok(())
    }

    /// Calls the order off and answers what that means; refused once the parcel is handed over.
    #[update(name = "cancel")]
    pub fn cancel(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        CancelRequest { reason }: CancelRequest,
    ) -> CancelAnswer {
        let (status, reason) = (self.progress.status.clone(), short(&reason));
        let decision = if self.progress.call_off(reason.clone()) {
            CancelDecision::Unwinding
        } else {
            CancelDecision::AlreadyUnwinding
        };
        self.tell(ctx, format!("🛑 called off: {reason}"));
        CancelAnswer { decision, status }
    }

    /// Answers once the order is paid, or is not going to be.
    #[update(name = "placed")]
    pub async fn placed(
        ctx: &mut WorkflowContext<Self>,
    ) -> Result<OrderView, Box<dyn Error + Send + Sync>> {
        ctx.wait_condition(|saga| saga.progress.is_decided()).await?;
        Ok(ctx.state(|saga| saga.progress.view(&saga.order)))
    }

    /// The whole order, as it stands.
    #[query(name = "order")]
    #[must_use]
    pub fn order(&self, _ctx: &WorkflowContextView) -> OrderView {
        self.progress.view(&self.order)
    }
}

impl OrderSaga {
    fn hear(
        &mut self,
        ctx: &mut SyncWorkflowContext<Self>,
        signal: &'static str,
        queue: Queue,
        update: RawValue,
    ) {
        match read::<PartyUpdate>(update) {
            Ok(PartyUpdate { reference, status }) => {
                self.progress.count_update(queue);
                let line = format!("📨 {signal}: {} is {}", short(&reference), short(&status));
                self.tell(ctx, line);
            }
            Err(why) => self.ignore(ctx, signal, &why),
        }
    }

    fn ignore(&mut self, ctx: &mut SyncWorkflowContext<Self>, signal: &str, why: &str) {
        self.tell(ctx, format!("📨 {signal} was ignored: {why}"));
    }

    fn tell(&mut self, ctx: &mut SyncWorkflowContext<Self>, text: String) {
        self.progress.note(ctx.workflow_time(), text);
        ctx.set_current_details(self.progress.markdown());
    }
}

/// A cancellation from the Web UI or the CLI means what the signal `cancel` means: it stops the
/// way forward, and only that.
fn hang_on_workflow_cancellation(ctx: &WorkflowContext<OrderSaga>) -> Order {
    let forward = ctx.cancellation_token().child_token();
    ctx.state_mut(|saga| {
        // A cancel that came with the start was heard before there was anything to call off.
        if let Some(reason) = &saga.progress.cancel {
            forward.cancel_with_reason(reason.clone());
        }
        saga.progress.forward = forward;
        saga.order.clone()
    })
}

/// What the order becomes once everything is taken back.
fn end_of(ctx: &WorkflowContext<OrderSaga>, order: &Order, stop: Stop) -> OrderStatus {
    match stop {
        Stop::Rejected(rejection) => OrderStatus::Rejected { rejection },
        Stop::Broken { step, .. } => OrderStatus::Failed { incident: order.key(step).to_string() },
        Stop::Cancelled => {
            let asked = ctx.state(|saga| saga.progress.cancel.clone());
            let reason = asked
                .or_else(|| ctx.cancellation_token().reason().filter(|reason| !reason.is_empty()))
                .unwrap_or_else(|| "cancelled in Temporal".to_owned());
            OrderStatus::Cancelled { reason: short(&reason) }
        }
    }
}

/// A refused or cancelled order is an outcome like any other; only a bug fails the workflow.
fn outcome(ctx: &WorkflowContext<OrderSaga>, order: &Order) -> WorkflowResult<OrderOutcome> {
    let status = ctx.state(|saga| saga.progress.status.clone());
    if let OrderStatus::Failed { incident } = &status {
        return Err(failed(format!("a bug stopped the order; incident {incident}")).into());
    }
    Ok(OrderOutcome { order_id: order.order_id, status })
}

/// The order could not be put on record, and an operator has given it up: nothing was done for
/// it, so there is nothing to take back.
fn never_recorded(ctx: &WorkflowContext<OrderSaga>, failure: &StepFailure) -> ApplicationFailure {
    tell(ctx, format!("💥 **{}**: {failure}", StepName::OpenOrder));
    failed(format!("the order could not be put on record: {failure}"))
}

fn failed(message: String) -> ApplicationFailure {
    let error: Box<dyn Error + Send + Sync> = message.into();
    ApplicationFailure::non_retryable(error)
}

fn read<T: DeserializeOwned>(signal: RawValue) -> Result<T, String> {
    let payload = signal.payloads.into_iter().next().ok_or("it carries nothing")?;
    serde_json::from_slice(&payload.data).map_err(|error| short(&error.to_string()))
}

/// Keeps what strangers write from filling the history.
fn short(text: &str) -> String {
    text.trim().chars().take(200).collect()
}
