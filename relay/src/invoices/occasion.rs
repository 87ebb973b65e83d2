//! Decides which events lead to an invoice or a credit note.

use domain::invoice::Occasion;
use serde::Deserialize;

use super::settings::InvoiceAt;
use crate::Message;

/// The common data of every refund event.
#[derive(Deserialize)]
struct OfRefund {
    number: u32,
}

/// The occasion that a message is, if any.
///
/// The sale is booked right after the parcel is handed over, in a step that is never undone. If
/// invoices are issued on payment, shipment is still checked, so that an order that was paid before
/// the setting was changed is invoiced, too. A reversed order has its money returned; one that cost
/// nothing just ends.
///
/// **Errors.** A refund's event does not identify the refund.
pub(super) fn of(message: &Message, at: InvoiceAt) -> Result<Option<Occasion>, serde_json::Error> {
    let refund = || serde_json::from_str::<OfRefund>(message.payload.get());
    Ok(match message.event_type.as_str() {
        "ordersaga.ledger.revenue-recognised.v1" => Some(Occasion::Sale),
        "ordersaga.payment.captured.v1" => (at == InvoiceAt::Payment).then_some(Occasion::Sale),
        "ordersaga.payment.refunded.v1"
        | "ordersaga.order.cancelled.v1"
        | "ordersaga.order.rejected.v1"
        | "ordersaga.order.failed.v1" => Some(Occasion::Reversal),
        "ordersaga.order.refund-succeeded.v1" => Some(Occasion::Refund(refund()?.number)),
        "ordersaga.order.refund-failed.v1" => Some(Occasion::RefundFailed(refund()?.number)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::event::EventType;
    use serde_json::value::RawValue;
    use strum::IntoEnumIterator as _;

    use super::*;

    fn message(event: EventType, payload: &str) -> Message {
        let name: &str = event.into();
        Message {
            position: 1,
            id: "o:1".to_owned(),
            aggregate_type: "order".to_owned(),
            aggregate_id: "o".to_owned(),
            sequence: 1,
            event_type: format!("ordersaga.{name}.v1"),
            payload: RawValue::from_string(payload.to_owned()).unwrap(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn these_events_are_occasions_and_no_others() {
        for (at, expected) in [(InvoiceAt::Shipment, 7), (InvoiceAt::Payment, 8)] {
            let all = EventType::iter().map(|event| message(event, r#"{"number":2}"#));
            let occasions: Vec<_> = all.filter_map(|it| of(&it, at).unwrap()).collect();
            assert_eq!(occasions.len(), expected, "{at:?}: {occasions:?}");
            assert!(occasions.contains(&Occasion::Refund(2)), "{occasions:?}");
            assert!(occasions.contains(&Occasion::RefundFailed(2)), "{occasions:?}");
        }
        let captured = message(EventType::PaymentCaptured, "{}");
        assert_eq!(of(&captured, InvoiceAt::Payment).unwrap(), Some(Occasion::Sale));
        assert!(of(&message(EventType::RefundSucceeded, "{}"), InvoiceAt::Payment).is_err());
    }
}
