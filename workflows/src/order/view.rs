//! Payloads of the queries, signals and updates of an order's workflow.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    CaptureAt, Decision, Ending, Order, OrderId, OrderStatus, StepKey, StepName, as_one_line,
};
use saga::{StepProgress, TimelineEntry, WaitingFor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use temporalio_common::data_converters::RawValue;
use temporalio_protos::temporal::api::common::v1::Payload;

/// Input of an order's workflow: a reference to the order on record, and the few terms that the
/// workflow itself branches on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStart {
    /// The order on record.
    pub order_id: OrderId,
    /// The version of its record.
    pub record_version: u32,
    /// Until when the order waits, still cancellable, before it is packed.
    pub cancellable_until: DateTime<Utc>,
    /// How long a step may wait for a party that does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_seconds: Option<u32>,
    /// When the payment is captured.
    #[serde(default)]
    pub capture_at: CaptureAt,
    /// Whether there is nothing to pay.
    #[serde(default)]
    pub is_free: bool,
    /// Whether the order is screened for fraud.
    #[serde(default)]
    pub is_screened: bool,
    /// Whether the record says that the order is already being unwound: this run continues that.
    #[serde(default)]
    pub is_unwinding: bool,
}

impl OrderStart {
    /// The input for a newly placed order.
    #[must_use]
    pub fn of(order: &Order) -> Self {
        Self {
            order_id: order.order_id,
            record_version: order.record_version,
            cancellable_until: order.cancellable_until(),
            patience_seconds: order.terms.patience_seconds,
            capture_at: order.terms.capture_at,
            is_free: order.totals.total.is_zero(),
            is_screened: order.terms.screening.is_some(),
            is_unwinding: false,
        }
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        self.patience_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    pub(super) const fn key(&self, step: StepName) -> StepKey {
        StepKey { order_id: self.order_id, step, version: self.record_version, attempt: 1 }
    }

    pub(super) fn window_left(&self, now: Option<DateTime<Utc>>) -> Duration {
        let left = now.map(|now| self.cancellable_until.signed_duration_since(now));
        left.unwrap_or(TimeDelta::zero()).to_std().unwrap_or_default()
    }
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// The order.
    pub order_id: OrderId,
    /// Its terminal status.
    #[serde(flatten)]
    pub status: OrderStatus,
}

/// The workflow's view of the order's progress: the answer of the query `order`. The record, not
/// the workflow, knows what was bought and the state of payment and parcel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// The order.
    pub order_id: OrderId,
    /// `processing`, or how the order ended.
    #[serde(flatten)]
    pub status: OrderStatus,
    /// Whether the order is being unwound.
    pub unwinding: bool,
    /// The steps begun so far, and their state.
    pub steps: Vec<StepProgress>,
    /// Why the order is being cancelled, if it is.
    pub cancel_requested: Option<String>,
    /// How the order ends once everything is undone, if it is being unwound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The step that waits for a person's decision, if any.
    pub waiting_for: Option<WaitingFor>,
    /// What happened, in plain text.
    pub timeline: Vec<TimelineEntry>,
}

/// A request to cancel the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Why, in the caller's words.
    pub reason: String,
}

/// The effect of a cancel that comes in time. One that comes too late is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelDecision {
    /// The order is cancelled: everything done for it is undone from now on.
    Unwinding,
    /// The order was already being unwound, for this or another reason.
    AlreadyUnwinding,
}

/// Why a cancel is refused once the run has accepted its maximum of cancels. The order has been
/// unwinding since the first; the refusal adds nothing to its history.
pub const CANCELLED_BEFORE: &str =
    "the order is being unwound, and takes no more requests to cancel it";

/// A payment provider or carrier reports a change on its side.
///
/// Only a hint: the step that waits for this party asks it again at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyUpdate {
    /// The party's id of the payment or parcel.
    pub reference: String,
    /// The party's word for the new state.
    pub status: String,
}

/// A declined payment method of the order was replaced. The message does not contain the method, so
/// that no token enters a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentReplaced {
    /// The authorisation attempt that uses the new method.
    pub attempt: u32,
}

/// A person has reviewed the order. The decision is on record and not part of this message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// Which screening of the order was reviewed: 1 before its payment, 2 after.
    pub attempt: u32,
}

/// A person's decision about the waiting step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The step decided about, as named by `needs_attention`.
    pub step: String,
    /// The occurrence decided about, as numbered by `needs_attention`.
    pub occurrence: u32,
    /// The decision.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Resolution {
    /// Converts to the saga's type, with the caller's texts cut to a length that a history should
    /// hold.
    ///
    /// **Errors.** `by` or `why` is empty.
    pub(crate) fn checked(&self) -> Result<saga::Resolution, Box<dyn Error + Send + Sync>> {
        let (by, why) = (short(&self.by), short(&self.why));
        if by.is_empty() || why.is_empty() {
            return Err("a decision says who decided and why".into());
        }
        let (step, occurrence) = (short(&self.step), self.occurrence);
        Ok(saga::Resolution { step, occurrence, decision: to_saga(self.decision), by, why })
    }
}

pub(super) const fn to_saga(decision: Decision) -> saga::Decision {
    match decision {
        Decision::Retry => saga::Decision::Retry,
        Decision::Skip => saga::Decision::Skip,
        Decision::AcceptAsDone => saga::Decision::AcceptAsDone,
    }
}

pub(crate) const fn of_saga(decision: saga::Decision) -> Decision {
    match decision {
        saga::Decision::Retry => Decision::Retry,
        saga::Decision::Skip => Decision::Skip,
        saga::Decision::AcceptAsDone => Decision::AcceptAsDone,
    }
}

/// Encodes a signal's payload for a client that sends it.
///
/// Signal handlers take the raw payload and decode it themselves, because a signal cannot be
/// refused: an invalid one must leave a line in the timeline and not fail the workflow task.
pub fn signal_payload(signal: &impl Serialize) -> serde_json::Result<RawValue> {
    let payload = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: serde_json::to_vec(signal)?,
        ..Payload::default()
    };
    Ok(RawValue::new(vec![payload]))
}

pub(crate) fn read<T: DeserializeOwned>(signal: RawValue) -> Result<T, String> {
    let payload = signal.payloads.into_iter().next().ok_or("it carries nothing")?;
    domain::json::from_slice(&payload.data).map_err(|error| short(&error.to_string()))
}

/// A caller's text as the order keeps it: on one line, and cut to a length that fits a history.
pub(crate) fn short(text: &str) -> String {
    as_one_line(text, 200)
}

/// The cause as the record keeps it. An operator can decide about all orders that wait for the same
/// cause by naming it.
pub(crate) fn cause(why: &str) -> String {
    as_one_line(why, 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_from_an_object_and_from_nothing_else() {
        let of = |data: &str| {
            let payload = Payload { data: data.as_bytes().to_vec(), ..Payload::default() };
            read::<CancelRequest>(RawValue::new(vec![payload]))
        };
        assert_eq!(of(r#"{"reason": "too slow"}"#).unwrap().reason, "too slow");
        for wrong in [r#"["too slow"]"#, r#""too slow""#, "null", "{}", "", "<html>"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_decision_is_kept_on_one_line_and_names_somebody() {
        let decision = |by: &str, why: &str| {
            let (step, decision) = ("capture-payment\u{0}".to_owned(), Decision::Retry);
            let (by, why) = (by.to_owned(), why.to_owned());
            Resolution { step, occurrence: 1, decision, by, why }.checked()
        };
        let saga::Resolution { step, by, why, .. } = decision("Ada\u{0}", "a\u{0}b\nc").unwrap();
        assert_eq!([step.as_str(), by.as_str(), why.as_str()], ["capture-payment", "Ada", "a b c"]);
        for (by, why) in [("\u{0}", "why"), ("Ada", "\u{7}\n")] {
            assert!(decision(by, why).is_err(), "{by:?}, {why:?}");
        }
    }
}
