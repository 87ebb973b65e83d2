//! The contract table, fulfilled: each activity hands its argument to the party it concerns and
//! the party's fault to Temporal, with a sign of life in between. A bare `?` here would turn a fault into a nameless failure.

#![expect(missing_docs, reason = "the constants that the activity macro makes carry no docs")]

use std::sync::Arc;

use domain::ledger::Posting;
use domain::{Charge, Consignment, Parcel, Placement, Receipt, StatusNote, StockClaim};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::heartbeat::alive;
use crate::{Activities, ledger, orders, payment, shipping, stock};

#[activities]
impl Activities {
    /// See [`orders::open`].
    #[activity(definition = workflows::OpenOrder)]
    pub async fn open_order(
        self: Arc<Self>,
        ctx: ActivityContext,
        placement: Placement,
    ) -> Result<(), ActivityError> {
        let opened = alive(&ctx, orders::open(&self.db, &placement)).await;
        opened.map_err(|fault| fault.into_activity_error(&placement.key))
    }

    /// See [`stock::reserve`].
    #[activity(definition = workflows::ReserveStock)]
    pub async fn reserve_stock(
        self: Arc<Self>,
        ctx: ActivityContext,
        claim: StockClaim,
    ) -> Result<(), ActivityError> {
        let reserved =
            alive(&ctx, stock::reserve(&self.db, self.settings.reservation_ttl, &claim)).await;
        reserved.map_err(|fault| fault.into_activity_error(&claim.key))
    }

    /// See [`stock::release`].
    #[activity(definition = workflows::ReleaseStock)]
    pub async fn release_stock(
        self: Arc<Self>,
        ctx: ActivityContext,
        claim: StockClaim,
    ) -> Result<(), ActivityError> {
        let released = alive(&ctx, stock::release(&self.db, &claim)).await;
        released.map_err(|fault| fault.into_activity_error(&claim.key))
    }

    /// See [`payment::charge`].
    #[activity(definition = workflows::ChargePayment)]
    pub async fn charge_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        charge: Charge,
    ) -> Result<Receipt, ActivityError> {
        let charged = alive(&ctx, payment::charge(&self.db, self.provider.as_ref(), &charge)).await;
        charged.map_err(|fault| fault.into_activity_error(&charge.key))
    }

    /// See [`payment::refund`].
    #[activity(definition = workflows::RefundPayment)]
    pub async fn refund_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        charge: Charge,
    ) -> Result<(), ActivityError> {
        let refunded =
            alive(&ctx, payment::refund(&self.db, self.provider.as_ref(), &charge)).await;
        refunded.map_err(|fault| fault.into_activity_error(&charge.key))
    }

    /// See [`ledger::post`].
    #[activity(definition = workflows::PostEntries)]
    pub async fn post_entries(
        self: Arc<Self>,
        ctx: ActivityContext,
        deposit: Posting,
    ) -> Result<(), ActivityError> {
        let posted = alive(&ctx, ledger::post(&self.db, &deposit)).await;
        posted.map_err(|fault| fault.into_activity_error(&deposit.key()))
    }

    /// See [`ledger::reverse`].
    #[activity(definition = workflows::ReverseEntries)]
    pub async fn reverse_entries(
        self: Arc<Self>,
        ctx: ActivityContext,
        deposit: Posting,
    ) -> Result<(), ActivityError> {
        let reversed = alive(&ctx, ledger::reverse(&self.db, &deposit)).await;
        reversed.map_err(|fault| fault.into_activity_error(&deposit.key()))
    }

    /// See [`shipping::ship`].
    #[activity(definition = workflows::ShipOrder)]
    pub async fn ship_order(
        self: Arc<Self>,
        ctx: ActivityContext,
        parcel: Parcel,
    ) -> Result<Consignment, ActivityError> {
        let shipped = alive(&ctx, shipping::ship(&self.db, self.carrier.as_ref(), &parcel)).await;
        shipped.map_err(|fault| fault.into_activity_error(&parcel.key))
    }

    /// See [`shipping::cancel`].
    #[activity(definition = workflows::CancelShipment)]
    pub async fn cancel_shipment(
        self: Arc<Self>,
        ctx: ActivityContext,
        parcel: Parcel,
    ) -> Result<(), ActivityError> {
        let cancelled =
            alive(&ctx, shipping::cancel(&self.db, self.carrier.as_ref(), &parcel)).await;
        cancelled.map_err(|fault| fault.into_activity_error(&parcel.key))
    }

    /// See [`ledger::recognise_revenue`].
    #[activity(definition = workflows::RecogniseRevenue)]
    pub async fn recognise_revenue(
        self: Arc<Self>,
        ctx: ActivityContext,
        revenue: Posting,
    ) -> Result<(), ActivityError> {
        let recognised = alive(&ctx, ledger::recognise_revenue(&self.db, &revenue)).await;
        recognised.map_err(|fault| fault.into_activity_error(&revenue.key()))
    }

    /// See [`orders::note_status`].
    #[activity(definition = workflows::NoteStatus)]
    pub async fn note_status(
        self: Arc<Self>,
        ctx: ActivityContext,
        note: StatusNote,
    ) -> Result<(), ActivityError> {
        let noted = alive(&ctx, orders::note_status(&self.db, &note)).await;
        noted.map_err(|fault| {
            let incident = format!("{}:note-status:{}", note.order_id, note.number);
            fault.into_activity_error(&incident)
        })
    }
}
