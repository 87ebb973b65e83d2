//! Things that happen at the provider without a call: disputes, failed refunds, expired
//! authorisations, payouts.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::balance::{Moved, plain};
use crate::params::Params;
use crate::proxy::{Proxy, now};
use crate::shape::{set, text, whole};

const SEVEN_DAYS: i64 = 604_800;
/// Stripe's fee for a dispute, in the smallest unit of the currency.
const DISPUTE_FEE: i64 = 1500;

/// An occurrence at the provider, in JSON as `{"dispute-created": {"payment_intent": "pi_1"}}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Happening {
    /// A customer's bank opens a dispute: `charge.dispute.created`.
    DisputeCreated {
        /// The captured payment.
        payment_intent: String,
        /// The disputed amount, if not all that was captured.
        amount: Option<i64>,
        /// The reason, if not `fraudulent`.
        reason: Option<String>,
    },
    /// The amount and a fee are withdrawn: `charge.dispute.funds_withdrawn`.
    DisputeFundsWithdrawn {
        /// The dispute.
        dispute: String,
    },
    /// The amount is reinstated: `charge.dispute.funds_reinstated`.
    DisputeFundsReinstated {
        /// The dispute.
        dispute: String,
    },
    /// The bank has decided: `charge.dispute.closed`.
    DisputeClosed {
        /// The dispute.
        dispute: String,
        /// Whether the shop has won.
        won: bool,
    },
    /// A refund that had succeeded fails: `refund.failed`.
    RefundFailed {
        /// The refund.
        refund: String,
        /// The reason, if not `lost_or_stolen_card`.
        reason: Option<String>,
    },
    /// An authorisation expires: `charge.expired`, `payment_intent.canceled`.
    AuthorisationExpired {
        /// The payment, which was authorised and not captured.
        payment_intent: String,
    },
    /// The balance is paid out, in each currency: `payout.paid`.
    PaidOut {},
}

impl Proxy {
    /// Makes it happen; returns the resulting object.
    pub(crate) async fn happen(self: &Arc<Self>, what: Happening) -> Result<Value, Answer> {
        let _others_wait = self.work.lock().await;
        match what {
            Happening::DisputeCreated { payment_intent, amount, reason } => {
                let reason = reason.unwrap_or_else(|| "fraudulent".to_owned());
                self.open_dispute(&payment_intent, amount, &reason).await
            }
            Happening::DisputeFundsWithdrawn { dispute } => {
                self.move_funds(&dispute, "funds_withdrawn")
            }
            Happening::DisputeFundsReinstated { dispute } => {
                self.move_funds(&dispute, "funds_reinstated")
            }
            Happening::DisputeClosed { dispute, won } => {
                let status = if won { "won" } else { "lost" };
                self.change_dispute(&dispute, "closed", |dispute| dispute["status"] = json!(status))
            }
            Happening::RefundFailed { refund, reason } => {
                let reason = reason.unwrap_or_else(|| "lost_or_stolen_card".to_owned());
                self.fail_refund(&refund, &reason).await
            }
            Happening::AuthorisationExpired { payment_intent } => {
                let raw =
                    self.canceled(&payment_intent, &Params::default(), Some("automatic")).await?;
                self.happened_to(&["charge.expired", "payment_intent.canceled"], &raw);
                Ok(self.shaped(|shape| shape.intent(raw, true)))
            }
            Happening::PaidOut {} => Ok(self.pay_out()),
        }
    }

    async fn open_dispute(
        self: &Arc<Self>,
        intent: &str,
        amount: Option<i64>,
        reason: &str,
    ) -> Result<Value, Answer> {
        let raw = self.intent(intent).await?;
        let shown = self.shaped(|shape| shape.intent(raw, true));
        let charge = &shown["latest_charge"];
        let id = self.memory().events.id("du");
        let dispute = json!({
            "id": id,
            "object": "dispute",
            "amount": amount.unwrap_or_else(|| whole(&shown["amount_received"])),
            "balance_transactions": [],
            "charge": charge["id"],
            "created": now(),
            "currency": charge["currency"],
            "evidence": {},
            "evidence_details": {
                "due_by": now().saturating_add(SEVEN_DAYS),
                "has_evidence": false,
                "past_due": false,
                "submission_count": 0,
            },
            "is_charge_refundable": false,
            "livemode": false,
            "metadata": {},
            "payment_intent": intent,
            "reason": reason,
            "status": "needs_response",
        });
        {
            let mut memory = self.memory();
            memory.notes.disputed.insert(text(&charge["id"]).to_owned());
            memory.disputes.push(dispute.clone());
        }
        self.happened("charge.dispute.created", &dispute);
        Ok(dispute)
    }

    /// Withdraws the money of a dispute, or reinstates it.
    fn move_funds(self: &Arc<Self>, id: &str, event: &str) -> Result<Value, Answer> {
        let dispute = self.dispute(id)?;
        let amount = whole(&dispute["amount"]);
        let (amount, fee, category) = match event {
            "funds_withdrawn" => (amount.saturating_neg(), DISPUTE_FEE, "dispute"),
            _ => (amount, 0, "dispute_reversal"),
        };
        let moved = Moved { kind: "adjustment", category, amount, fee };
        let transaction = {
            let mut memory = self.memory();
            let transaction = moved.for_source(&memory.events.id("txn"), &dispute);
            memory.balance.change(transaction.clone());
            plain(transaction)
        };
        self.change_dispute(id, event, |dispute| {
            if let Some(all) = dispute["balance_transactions"].as_array_mut() {
                all.push(transaction);
            }
        })
    }

    fn change_dispute(
        self: &Arc<Self>,
        id: &str,
        event: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Answer> {
        let mut dispute = self.dispute(id)?;
        change(&mut dispute);
        {
            let mut memory = self.memory();
            memory.disputes.retain(|kept| kept["id"] != id);
            memory.disputes.push(dispute.clone());
        }
        self.happened(&format!("charge.dispute.{event}"), &dispute);
        Ok(dispute)
    }

    pub(crate) fn dispute(&self, id: &str) -> Result<Value, Answer> {
        let memory = self.memory();
        let found = memory.disputes.iter().find(|dispute| dispute["id"] == id);
        found.cloned().ok_or_else(|| Answer::missing("dispute", id))
    }

    /// Makes the refund that was just created pending.
    pub(crate) fn has_refund_pend(&self, made: &mut Answer) {
        let status = json!("pending");
        if let Some(id) = made.body["id"].as_str() {
            let mut memory = self.memory();
            let shown = memory.notes.refunds.entry(id.to_owned()).or_default();
            shown.insert("status".to_owned(), status.clone());
            made.body["status"] = status;
        }
    }

    async fn fail_refund(self: &Arc<Self>, id: &str, reason: &str) -> Result<Value, Answer> {
        let raw = self.raw_refund(id).await?;
        let charge = text(&raw["charge"]).to_owned();
        let intent = self.intent_of(&charge).await?;
        let failed = json!({ "status": "failed", "failure_reason": reason });
        let is_new = {
            let mut memory = self.memory();
            let notes = &mut memory.notes;
            let mut shown = Value::Object(notes.refunds.remove(id).unwrap_or_default());
            let is_new = shown["status"] != "failed";
            set(&mut shown, failed);
            let shown: Map<_, _> = shown.as_object().cloned().unwrap_or_default();
            notes.refunds.insert(id.to_owned(), shown);
            if is_new {
                let returned = notes.returned.entry(charge).or_default();
                *returned = returned.saturating_add(whole(&raw["amount"]));
            }
            is_new
        };
        let refund = self.shaped(|shape| shape.refund(raw, &intent));
        if is_new {
            self.came_back(&refund);
        }
        self.happened("refund.failed", &refund);
        Ok(refund)
    }
}
