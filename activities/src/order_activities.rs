//! Implements the contract table: each activity passes its reference to its module and converts the
//! module's fault to Temporal's failure, with heartbeats meanwhile. A bare `?` here would turn a
//! fault into an untyped failure.

#![expect(missing_docs, reason = "the constants that the activity macro makes carry no docs")]

use std::sync::Arc;

use domain::refund::RefundState;
use domain::screening::ScreeningAnswer;
use domain::{AuthorisationAnswer, Ending, OrderStatus, Shipment, StepKey};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::order::{AttentionNote, EndNote, ResolvedNote, UnwindingNote};
use workflows::reconcile::{ReconcileStart, Reconciled};

use crate::heartbeat::with_heartbeat;
use crate::{
    Activities, ActivityFault, Settings, fraud, ledger, orders, payment, reconcile, refunds,
    shipping, stock,
};

#[activities]
impl Activities {
    /// See [`stock::reserve`].
    #[activity(definition = workflows::order::ReserveStock)]
    pub async fn reserve_stock(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        let ttl = self.settings.reservation_ttl;
        self.step(&ctx, key, stock::reserve(&self.db, &self.articles, ttl, key)).await
    }

    /// See [`stock::release`].
    #[activity(definition = workflows::order::ReleaseStock)]
    pub async fn release_stock(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, stock::release(&self.db, &self.articles, key)).await
    }

    /// See [`fraud::screen`].
    #[activity(definition = workflows::order::ScreenOrder)]
    pub async fn screen_order(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<ScreeningAnswer, ActivityError> {
        self.step(&ctx, key, fraud::screen(&self.db, key)).await
    }

    /// See [`fraud::withdraw`].
    #[activity(definition = workflows::order::WithdrawScreening)]
    pub async fn withdraw_screening(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, fraud::withdraw(&self.db, key)).await
    }

    /// See [`payment::authorise`].
    #[activity(definition = workflows::order::AuthorisePayment)]
    pub async fn authorise_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<AuthorisationAnswer, ActivityError> {
        let work = payment::authorise(&self.db, self.provider.as_ref(), key);
        self.step(&ctx, key, Box::pin(work)).await
    }

    /// See [`payment::void`].
    #[activity(definition = workflows::order::VoidPayment)]
    pub async fn void_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        let work = payment::void(&self.db, self.provider.as_ref(), key);
        self.step(&ctx, key, Box::pin(work)).await
    }

    /// See [`payment::capture`].
    #[activity(definition = workflows::order::CapturePayment)]
    pub async fn capture_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        let work = payment::capture(&self.db, self.provider.as_ref(), key);
        self.step(&ctx, key, Box::pin(work)).await
    }

    /// See [`payment::refund`].
    #[activity(definition = workflows::order::RefundPayment)]
    pub async fn refund_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        let work = payment::refund(&self.db, self.provider.as_ref(), key);
        self.step(&ctx, key, Box::pin(work)).await
    }

    /// See [`ledger::post`].
    #[activity(definition = workflows::order::PostEntries)]
    pub async fn post_entries(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, ledger::post(&self.db, key)).await
    }

    /// See [`ledger::reverse`].
    #[activity(definition = workflows::order::ReverseEntries)]
    pub async fn reverse_entries(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, ledger::reverse(&self.db, key)).await
    }

    /// See [`shipping::ship`].
    #[activity(definition = workflows::order::ShipOrder)]
    pub async fn ship_order(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<Shipment, ActivityError> {
        let carrier = self.carrier.as_ref();
        self.step(&ctx, key, shipping::ship(&self.db, &self.articles, carrier, key)).await
    }

    /// See [`shipping::cancel`].
    #[activity(definition = workflows::order::CancelShipment)]
    pub async fn cancel_shipment(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        let carrier = self.carrier.as_ref();
        self.step(&ctx, key, shipping::cancel(&self.db, &self.articles, carrier, key)).await
    }

    /// See [`shipping::accept`].
    #[activity(definition = workflows::order::AcceptShipment)]
    pub async fn accept_shipment(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, shipping::accept(&self.db, &self.articles, key)).await
    }

    /// See [`ledger::recognise_revenue`].
    #[activity(definition = workflows::order::RecogniseRevenue)]
    pub async fn recognise_revenue(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        let run_id = run_id(&ctx);
        self.step(&ctx, key, ledger::recognise_revenue(&self.db, key, &run_id)).await
    }

    /// See [`ledger::reverse`].
    #[activity(definition = workflows::order::ReverseRevenue)]
    pub async fn reverse_revenue(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, ledger::reverse(&self.db, key)).await
    }

    /// See [`orders::note_unwinding`].
    #[activity(definition = workflows::order::NoteUnwinding)]
    pub async fn note_unwinding(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: UnwindingNote,
    ) -> Result<Ending, ActivityError> {
        let incident = format!("{}:note-unwinding", note.order_id);
        let run_id = run_id(&ctx);
        self.step(&ctx, incident, orders::note_unwinding(&self.db, &note, &run_id)).await
    }

    /// See [`orders::note_attention`].
    #[activity(definition = workflows::order::NoteAttention)]
    pub async fn note_attention(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: AttentionNote,
    ) -> Result<u32, ActivityError> {
        let incident = format!("{}:note-attention", note.order_id);
        self.step(&ctx, incident, orders::note_attention(&self.db, &note)).await
    }

    /// See [`orders::note_resolved`].
    #[activity(definition = workflows::order::NoteResolved)]
    pub async fn note_resolved(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: ResolvedNote,
    ) -> Result<(), ActivityError> {
        let incident = format!("{}:note-resolved", note.order_id);
        self.step(&ctx, incident, orders::note_resolved(&self.db, &note)).await
    }

    /// See [`orders::note_end`].
    #[activity(definition = workflows::order::NoteEnd)]
    pub async fn note_end(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: EndNote,
    ) -> Result<OrderStatus, ActivityError> {
        let incident = format!("{}:note-end", note.order_id);
        self.step(&ctx, incident, orders::note_end(&self.db, &note)).await
    }

    /// See [`refunds::issue`].
    #[activity(definition = workflows::refund::IssueRefund)]
    pub async fn issue_refund(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, refunds::issue(&self.db, self.provider.as_ref(), key)).await
    }

    /// See [`refunds::withdraw`].
    #[activity(definition = workflows::refund::WithdrawRefund)]
    pub async fn withdraw_refund(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<(), ActivityError> {
        self.step(&ctx, key, refunds::withdraw(&self.db, self.provider.as_ref(), key)).await
    }

    /// See [`refunds::state`].
    #[activity(definition = workflows::refund::NoteRefundEnd)]
    pub async fn note_refund_end(
        self: Arc<Self>,
        ctx: ActivityContext,
        key: StepKey,
    ) -> Result<RefundState, ActivityError> {
        self.step(&ctx, key, refunds::state(&self.db, key)).await
    }

    /// See [`reconcile::reconcile`].
    #[activity(definition = workflows::reconcile::Reconcile)]
    pub async fn reconcile(
        self: Arc<Self>,
        ctx: ActivityContext,
        start: ReconcileStart,
    ) -> Result<Reconciled, ActivityError> {
        let asked = reconcile::Asked { name: run_id(&ctx), from: None, to: None, days: start.days };
        let incident = format!("reconcile:{}", asked.name);
        let compared = reconcile::reconcile(self.db.transactions(), self.provider.as_ref(), &asked);
        let told = async { compared.await.map(reconcile::Report::reconciled) };
        self.step(&ctx, incident, told).await
    }
}

impl Activities {
    /// Does the work with heartbeats, and converts its fault, under the incident's name, or its
    /// cancellation.
    async fn step<T>(
        &self,
        ctx: &ActivityContext,
        incident: impl std::fmt::Display,
        work: impl Future<Output = Result<T, ActivityFault>>,
    ) -> Result<T, ActivityError> {
        let Settings { ask_again_for, .. } = self.settings;
        let ended = with_heartbeat(ctx, work).await;
        ended.and_then(|done| {
            done.map_err(|fault| fault.into_activity_error(&incident, ask_again_for))
        })
    }
}

fn run_id(ctx: &ActivityContext) -> String {
    ctx.info().workflow_run_id.clone().unwrap_or_default()
}
