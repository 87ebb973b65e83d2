//! Converts localstripe's objects to Stripe's form.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::cards::Card;
use crate::proxy::Settings;

/// State that localstripe cannot store, by object.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) intents: HashMap<String, IntentNote>,
    /// Members of refunds that override localstripe's.
    pub(crate) refunds: HashMap<String, Map<String, Value>>,
    /// Charges with a dispute.
    pub(crate) disputed: HashSet<String>,
    /// Amounts returned by failed refunds, by charge.
    pub(crate) returned: HashMap<String, i64>,
}

/// State of a payment that localstripe cannot store.
#[derive(Clone, Debug, Default)]
pub(crate) struct IntentNote {
    pub(crate) card: Option<Card>,
    /// Members that override localstripe's.
    pub(crate) shown: Map<String, Value>,
    /// The last failure.
    pub(crate) failure: Option<Value>,
    /// The captured amount, if not the default.
    pub(crate) captured: Option<i64>,
}

/// Converts objects at this moment.
#[derive(Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) notes: &'a Notes,
    pub(crate) settings: &'a Settings,
    pub(crate) public_url: &'a str,
}

impl Shape<'_> {
    /// A payment, with its whole charge or the charge's id.
    pub(crate) fn intent(&self, mut raw: Value, with_charge: bool) -> Value {
        let note = self.notes.intents.get(text(&raw["id"])).cloned().unwrap_or_default();
        let status = text(&raw["status"]).to_owned();
        let amount = whole(&raw["amount"]);
        let charge = self.charge(raw["latest_charge"].take());
        let of_status = |wanted: &str, amount: i64| if status == wanted { amount } else { 0 };
        set(
            &mut raw,
            json!({
                "amount_capturable": of_status("requires_capture", amount),
                "amount_received": of_status("succeeded", note.captured.unwrap_or(amount)),
                "canceled_at": null,
                "cancellation_reason": null,
                "description": null,
                "receipt_email": null,
                "payment_method_types": ["card"],
            }),
        );
        raw["latest_charge"] = if with_charge { charge } else { charge["id"].clone() };
        if status == "requires_payment_method" {
            raw["payment_method"] = Value::Null;
        }
        if let Some(failure) = &note.failure {
            raw["last_payment_error"] = failure.clone();
        } else if !raw["last_payment_error"].is_null() {
            raw["last_payment_error"]["type"] = json!("card_error");
        }
        if status == "requires_action" {
            let url = format!("{}/_proxy/authenticate/{}", self.public_url, text(&raw["id"]));
            raw["next_action"] =
                json!({ "type": "redirect_to_url", "redirect_to_url": { "url": url } });
        }
        drop_members(&mut raw, &["charges", "invoice"]);
        set(&mut raw, Value::Object(note.shown));
        raw
    }

    /// A charge; null stays null.
    pub(crate) fn charge(&self, mut raw: Value) -> Value {
        if !raw.is_object() {
            return raw;
        }
        let id = text(&raw["id"]).to_owned();
        let note = self.notes.intents.get(text(&raw["payment_intent"]));
        let (amount, is_good) = (whole(&raw["amount"]), raw["status"] == "succeeded");
        let captured = if raw["captured"] == true && is_good {
            note.and_then(|note| note.captured).unwrap_or(amount)
        } else {
            0
        };
        let remainder = if captured > 0 { amount.saturating_sub(captured) } else { 0 };
        let returned = self.notes.returned.get(&id).copied().unwrap_or_default();
        let refunded =
            whole(&raw["amount_refunded"]).saturating_sub(remainder.saturating_add(returned));
        let shown = if self.settings.remainder_is_a_refund { remainder } else { 0 };
        let mut card = json!({ "brand": "visa", "network": "visa" });
        if is_good && captured == 0 {
            let until = whole(&raw["created"]).saturating_add(self.settings.capture_window_seconds);
            card["capture_before"] = json!(until);
        }
        set(
            &mut raw,
            json!({
                "amount_captured": captured,
                "amount_refunded": refunded.saturating_add(shown),
                "refunded": captured > 0 && refunded >= captured,
                "disputed": self.notes.disputed.contains(&id),
                "outcome": outcome(is_good, note),
                "payment_method_details": { "type": "card", "card": card },
            }),
        );
        drop_members(&mut raw, &["refunds", "invoice"]);
        raw
    }

    /// A refund of this payment.
    pub(crate) fn refund(&self, mut raw: Value, intent: &str) -> Value {
        if is_remainder(&raw) {
            raw["balance_transaction"] = Value::Null;
            raw["payment_intent"] = json!(intent);
        }
        drop_members(&mut raw, &["date"]);
        set(&mut raw, json!({ "reason": null }));
        let shown = self.notes.refunds.get(text(&raw["id"])).cloned().unwrap_or_default();
        set(&mut raw, Value::Object(shown));
        raw
    }
}

/// Whether it is the remainder of a partial capture. Other refunds name their payment: the proxy
/// ensures that.
pub(crate) fn is_remainder(refund: &Value) -> bool {
    refund["payment_intent"].is_null()
}

fn outcome(is_good: bool, note: Option<&IntentNote>) -> Value {
    if is_good {
        return json!({
            "type": "authorized",
            "network_status": "approved_by_network",
            "risk_level": "normal",
        });
    }
    let failure = note.and_then(|note| note.failure.as_ref());
    json!({
        "type": "issuer_declined",
        "network_status": "declined_by_network",
        "reason": failure.map(|failure| failure["decline_code"].clone()),
        "risk_level": "normal",
    })
}

/// Replaces members of an object.
pub(crate) fn set(object: &mut Value, members: Value) {
    if let (Some(object), Value::Object(members)) = (object.as_object_mut(), members) {
        object.extend(members);
    }
}

fn drop_members(object: &mut Value, names: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|name, _| !names.contains(&name.as_str()));
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(captured: bool, amount_refunded: i64) -> Value {
        json!({
            "id": "ch_1", "object": "charge", "amount": 1000, "status": "succeeded", "created": 100,
            "payment_intent": "pi_1", "captured": captured, "amount_refunded": amount_refunded,
            "refunds": { "data": [] },
        })
    }

    fn intent(status: &str, charge: &Value) -> Value {
        json!({
            "id": "pi_1", "status": status, "amount": 1000, "latest_charge": charge,
            "payment_method": "pm_1", "last_payment_error": null, "charges": { "data": [] },
        })
    }

    fn captured(amount: i64) -> Notes {
        let note = IntentNote { captured: Some(amount), ..IntentNote::default() };
        Notes { intents: HashMap::from([("pi_1".to_owned(), note)]), ..Notes::default() }
    }

    fn shape<'a>(notes: &'a Notes, settings: &'a Settings) -> Shape<'a> {
        Shape { notes, settings, public_url: "http://proxy" }
    }

    #[test]
    fn an_authorised_payment_says_how_much_can_be_captured_and_until_when() {
        let (notes, settings) = (Notes::default(), Settings::default());
        let raw = intent("requires_capture", &charge(false, 0));
        let shown = shape(&notes, &settings).intent(raw.clone(), true);
        assert_eq!(shown["amount_capturable"], 1000);
        assert_eq!(shown["amount_received"], 0);
        let card = &shown["latest_charge"]["payment_method_details"]["card"];
        assert_eq!(card["capture_before"], 604_900);
        let shown = shape(&notes, &settings).intent(raw, false);
        assert_eq!(shown["latest_charge"], "ch_1");
        assert!(shown.get("charges").is_none());
    }

    #[test]
    fn the_rest_of_a_partial_capture_was_never_received() {
        let (notes, mut settings) = (captured(600), Settings::default());
        let raw = intent("succeeded", &charge(true, 400));
        let shown = shape(&notes, &settings).intent(raw.clone(), true);
        assert_eq!(shown["amount_received"], 600);
        assert_eq!(shown["latest_charge"]["amount_captured"], 600);
        assert_eq!(shown["latest_charge"]["amount_refunded"], 400);
        assert_eq!(shown["latest_charge"]["refunded"], false);
        settings.remainder_is_a_refund = false;
        let shown = shape(&notes, &settings).intent(raw, true);
        assert_eq!(shown["latest_charge"]["amount_refunded"], 0);
    }

    #[test]
    fn a_partial_capture_is_refunded_when_all_that_was_captured_is() {
        let (notes, settings) = (captured(600), Settings::default());
        let shown = shape(&notes, &settings).charge(charge(true, 1000));
        assert_eq!(shown["refunded"], true);
    }

    #[test]
    fn a_failed_refund_gives_nothing_back() {
        let (mut notes, settings) = (captured(1000), Settings::default());
        notes.returned.insert("ch_1".to_owned(), 300);
        let shown = shape(&notes, &settings).charge(charge(true, 300));
        assert_eq!(shown["amount_refunded"], 0);
    }
}
