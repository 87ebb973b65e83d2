//! Disputes by customers' banks, after the orders have ended.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Dealings, DemoError, Outcome, events};
use crate::ordersaga::{ApiError, Ordersaga};
use crate::plan::Dispute;
use crate::screen::say;
use crate::stripe::Counterpart;

/// Concurrent disputes.
const AT_ONCE: usize = 32;

/// A dispute is recorded some seconds after it was opened, so frequent polling is useless.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The order's event for each booked movement of a dispute.
const BOOKED: &str = "ledger.dispute-posted";

/// Ordersaga's records of an order's disputes.
#[derive(Debug)]
struct OnRecord {
    payment_status: String,
    /// The state of each.
    disputes: Vec<String>,
    /// The number of booked movements.
    bookings: usize,
}

/// The fields of an order that concern disputes.
#[derive(Deserialize)]
struct Shown {
    payment_status: String,
    #[serde(default)]
    disputes: Vec<ShownDispute>,
}

#[derive(Deserialize)]
struct ShownDispute {
    status: String,
}

/// A dispute opened at Stripe.
#[derive(Deserialize)]
struct Opened {
    id: String,
}

/// Carries out the planned disputes, and waits until all are recorded. A dispute that is missing or
/// wrong in the end is reported as its order's trouble.
pub(super) async fn carry_out(
    dealings: Dealings<'_>,
    stripe: &Counterpart,
    outcomes: &mut [Outcome],
) -> Result<(), DemoError> {
    let disputed = outcomes.iter_mut().filter_map(|outcome| {
        let dispute = outcome.planned.twist.dispute()?;
        let end = outcome.end.as_ref().filter(|end| end.order.status == "completed")?;
        Some((dispute, end.order.id.clone(), outcome))
    });
    let disputed = disputed.collect::<Vec<_>>();
    if disputed.is_empty() {
        return Ok(());
    }
    say(format_args!("{} customers' banks take a payment back", disputed.len()))?;
    let disputed = stream::iter(disputed);
    let carried_out =
        disputed.for_each_concurrent(AT_ONCE, |(dispute, order_id, outcome)| async move {
            if let Err(error) = take_back(dealings, stripe, &order_id, dispute).await {
                outcome.trouble = Some(error.to_string());
            }
        });
    carried_out.await;
    Ok(())
}

/// Opens the dispute, and closes it once it is recorded.
async fn take_back(
    Dealings { finance, patience, .. }: Dealings<'_>,
    stripe: &Counterpart,
    order_id: &str,
    dispute: Dispute,
) -> Result<(), DemoError> {
    let dispute_id = begin(stripe, order_id).await?;
    until_on_record(finance, order_id, Dispute::Open, patience).await?;
    for happening in decision(&dispute_id, dispute) {
        stripe.happens::<Value>(&happening).await?;
    }
    until_on_record(finance, order_id, dispute, patience).await
}

/// Opens a dispute of an order's payment, and withdraws the money; returns Stripe's id.
async fn begin(stripe: &Counterpart, order_id: &str) -> Result<String, DemoError> {
    let payments = stripe.payments_of(order_id).await?;
    let paid = payments.iter().find(|payment| payment["status"] == "succeeded");
    let paid = paid.ok_or(DemoError::NotPaid)?;
    let opened = json!({ "dispute-created": { "payment_intent": paid["id"] } });
    let Opened { id } = stripe.happens(&opened).await?;
    let withdrawn = json!({ "dispute-funds-withdrawn": { "dispute": id } });
    stripe.happens::<Value>(&withdrawn).await?;
    Ok(id)
}

/// The occurrences at Stripe once the bank decides.
fn decision(id: &str, dispute: Dispute) -> Vec<Value> {
    let closed = |won: bool| json!({ "dispute-closed": { "dispute": id, "won": won } });
    match dispute {
        Dispute::Won => {
            vec![closed(true), json!({ "dispute-funds-reinstated": { "dispute": id } })]
        }
        Dispute::Lost => vec![closed(false)],
        Dispute::Open => vec![],
    }
}

async fn until_on_record(
    finance: &Ordersaga,
    order_id: &str,
    dispute: Dispute,
    patience: Duration,
) -> Result<(), DemoError> {
    let began = Instant::now();
    loop {
        let found = OnRecord::of(finance, order_id).await?;
        if found.is_of(dispute) {
            return Ok(());
        }
        if began.elapsed() > patience {
            let wanted = dispute.status();
            return Err(DemoError::NotDisputed { found: found.told(), wanted });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

impl OnRecord {
    async fn of(finance: &Ordersaga, order_id: &str) -> Result<Self, ApiError> {
        let path = format!("/v1/orders/{order_id}");
        let shown: Shown = finance.get("asking for an order's disputes", &path).await?;
        let events = events(finance, order_id).await?;
        Ok(Self {
            payment_status: shown.payment_status,
            disputes: shown.disputes.into_iter().map(|dispute| dispute.status).collect(),
            bookings: events.iter().filter(|event| event.kind == BOOKED).count(),
        })
    }

    /// Whether this is exactly the planned dispute, with all its movements.
    fn is_of(&self, dispute: Dispute) -> bool {
        self.disputes == [dispute.status()]
            && self.payment_status == dispute.payment_status()
            && self.bookings == dispute.bookings()
    }

    fn told(&self) -> String {
        let Self { payment_status, disputes, bookings } = self;
        let disputes = if disputes.is_empty() { "none".to_owned() } else { disputes.join(", ") };
        format!("{disputes}, booked {bookings} times; the payment is {payment_status}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_record(payment_status: &str, disputes: &[&str], bookings: usize) -> OnRecord {
        OnRecord {
            payment_status: payment_status.to_owned(),
            disputes: disputes.iter().map(|status| (*status).to_owned()).collect(),
            bookings,
        }
    }

    #[test]
    fn a_bank_decides_as_planned_and_gives_back_only_what_is_won() {
        let decided = |dispute| {
            let happenings = decision("du_1", dispute).into_iter();
            happenings.map(|one| one.to_string()).collect::<Vec<_>>().join(" ")
        };
        let won = decided(Dispute::Won);
        assert!(won.contains(r#""won":true"#) && won.contains("reinstated"), "{won}");
        let lost = decided(Dispute::Lost);
        assert!(lost.contains(r#""won":false"#) && !lost.contains("reinstated"), "{lost}");
        assert_eq!(decided(Dispute::Open), "");
    }

    #[test]
    fn a_dispute_is_on_record_once_its_order_and_the_books_say_so() {
        let open = on_record("disputed", &["needs-response"], 2);
        let won = on_record("paid", &["won"], 3);
        let lost = on_record("refunded", &["lost"], 3);
        for (dispute, its) in [(Dispute::Open, &open), (Dispute::Won, &won), (Dispute::Lost, &lost)]
        {
            for one in [&open, &won, &lost] {
                assert_eq!(one.is_of(dispute), std::ptr::eq(one, its), "{dispute:?} {one:?}");
            }
        }
        for not_yet in [
            on_record("paid", &[], 0),
            // Won, but the money is not back.
            on_record("paid", &["won"], 2),
            on_record("disputed", &["won"], 3),
            on_record("paid", &["won", "won"], 3),
        ] {
            assert!(!not_yet.is_of(Dispute::Won), "{not_yet:?}");
        }
        assert_eq!(on_record("paid", &[], 0).told(), "none, booked 0 times; the payment is paid");
    }
}
