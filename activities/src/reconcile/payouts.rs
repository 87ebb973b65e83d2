//! Payouts: the fees that the provider deducts are an expense, and a payout moves money from
//! payment clearing to the bank. An order's own journal entry has put its payment into payment
//! clearing, so once both are posted, nothing of the payout is left there.

use domain::ledger::{Account, Entry};
use rust_decimal::Decimal;

use super::Session;
use super::store::{self, Phase};
use crate::ActivityFault;
use crate::ledger::Booking;
use crate::payment::lists::{Payout, PayoutState, Settled, SettledKind};
use crate::payment::port::PROVIDER;

const DOING: &str = "booking a payout";

impl Session<'_> {
    /// Posts a page of payouts.
    pub(super) async fn read_payouts(&mut self) -> Result<(), ActivityFault> {
        let cursor = self.run.at.cursor.as_deref();
        let page = self.lists().list_payouts(self.run.range, cursor).await;
        let page = page.map_err(|error| error.into_fault("listing payouts"))?;
        let next = self.after(page.next, Phase::Judging);
        for payout in &page.items {
            self.settle_payout(payout).await?;
        }
        let payouts = page.items.len();
        store::count_payouts(&mut self.notes, self.run.id, payouts, &next).await?;
        self.run.at = next;
        Ok(())
    }

    /// Posts a payout once the bank has it, and reverses that if it comes back. One that never
    /// reached the bank is not posted.
    async fn settle_payout(&mut self, payout: &Payout) -> Result<(), ActivityFault> {
        match (&payout.state, &payout.transaction) {
            (PayoutState::Pending | PayoutState::Failed { returned_by: None }, _) => Ok(()),
            (PayoutState::Paid, Some(transaction)) => {
                if payout.is_itemised {
                    self.book_fees(payout).await?;
                }
                let booking = to_the_bank(transaction, payout.amount, payout)?;
                let run = self.run.id;
                store::book_payout(&mut self.notes, run, payout, transaction, booking).await
            }
            (PayoutState::Failed { returned_by: Some(transaction) }, _) => {
                let mut amount = payout.amount;
                amount.set_sign_negative(!payout.amount.is_sign_negative());
                let booking = to_the_bank(transaction, amount, payout)?;
                let run = self.run.id;
                store::book_return(&mut self.notes, run, payout, transaction, booking).await
            }
            (PayoutState::Paid, None) => {
                Err(nonsense("a payout that was paid and has left no balance"))
            }
        }
    }

    async fn book_fees(&mut self, payout: &Payout) -> Result<(), ActivityFault> {
        let mut after = None;
        loop {
            let page = self.lists().list_settled(&payout.id, after.as_deref()).await;
            let page =
                page.map_err(|error| error.into_fault("listing what a payout consists of"))?;
            let mut bookings = Vec::new();
            for settled in &page.items {
                bookings.extend(fee(settled)?);
            }
            let (run, items) = (self.run.id, &page.items);
            store::keep_settled(&mut self.notes, run, &payout.id, items, &bookings).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Compares each payout with the ledger.
    pub(super) async fn judge_payouts(&mut self) -> Result<(), ActivityFault> {
        let (examined, found) = store::payouts(&mut self.notes, self.run.id).await?;
        store::settle(&mut self.notes, self.run.id, &examined, &found).await
    }
}

/// The fee of a balance transaction.
fn fee(settled: &Settled) -> Result<Option<Booking>, ActivityFault> {
    let Settled { id, kind, amount, fee, currency, .. } = settled;
    let fee = match kind {
        // A dispute posts its fee together with its other movements, whether it is known yet or
        // not.
        SettledKind::Dispute => return Ok(None),
        // The whole amount is a fee, and does not go to the shop.
        SettledKind::Fee => fee.checked_sub(*amount),
        SettledKind::Charge | SettledKind::Refund | SettledKind::Payout | SettledKind::Other => {
            Some(*fee)
        }
    };
    let fee = fee.ok_or_else(|| nonsense("a fee that is none"))?;
    let entries = Entry::out_of_clearing(Account::PaymentFees, fee, *currency);
    let entries = entries.map_err(|_none| nonsense("a fee that is none"))?;
    Ok(entries.map(|entries| Booking { key: format!("balance-transaction:{id}:fee"), entries }))
}

/// The amount that this balance transaction has moved to the bank, or back.
fn to_the_bank(
    transaction: &str,
    amount: Decimal,
    payout: &Payout,
) -> Result<Option<Booking>, ActivityFault> {
    let entries = Entry::out_of_clearing(Account::Bank, amount, payout.currency);
    let entries = entries.map_err(|_none| nonsense("a payout of an amount that is none"))?;
    let key = format!("balance-transaction:{transaction}:payout");
    Ok(entries.map(|entries| Booking { key, entries }))
}

fn nonsense(what: &'static str) -> ActivityFault {
    ActivityFault::InvalidAnswer { party: PROVIDER, doing: DOING, source: what.into() }
}
