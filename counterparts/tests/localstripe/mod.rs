//! A stand-in for localstripe: payments and refunds in its format, with its gaps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

const ASKS: &str = "pm_asks";

#[derive(Default)]
pub(crate) struct Localstripe {
    /// By id.
    objects: Mutex<BTreeMap<String, Value>>,
    is_held: AtomicBool,
    arrived: Notify,
    let_go: Notify,
}

pub(crate) fn router(localstripe: Arc<Localstripe>) -> Router {
    Router::new().fallback(answer).with_state(localstripe)
}

impl Localstripe {
    /// Delays the next payment that is created.
    pub(crate) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn held(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn let_go(&self) {
        self.let_go.notify_one();
    }

    /// The number of payments created.
    pub(crate) fn created(&self) -> usize {
        self.objects.lock().unwrap().keys().filter(|id| id.starts_with("pi_")).count()
    }

    fn call(&self, method: &Method, path: &[&str], sent: &Value) -> (u16, Value) {
        let mut objects = self.objects.lock().unwrap();
        match (method.as_str(), path) {
            ("POST", ["v1", "payment_intents"]) => create(&mut objects, sent),
            ("POST", ["v1", "payment_intents", id]) => update(&mut objects, id, sent),
            ("POST", ["v1", "payment_intents", id, "confirm"]) => confirm(&mut objects, id),
            ("POST", ["v1", "payment_intents", id, "_authenticate"]) => {
                authenticate(&mut objects, id, sent["success"] == true)
            }
            // Every stored card is one whose bank asks the customer.
            ("POST", ["v1", "payment_methods"]) => (200, json!({ "id": ASKS })),
            ("POST", ["v1", "payment_intents", id, "capture"]) => capture(&mut objects, id, sent),
            ("POST", ["v1", "payment_intents", id, "cancel"]) => {
                update(&mut objects, id, &json!({ "status": "canceled" }))
            }
            ("POST", ["v1", "refunds"]) => refund(&mut objects, sent),
            ("GET", ["v1", "refunds"]) => listed(&objects, "refund"),
            ("GET", ["v1", "payment_intents"]) => listed(&objects, "payment_intent"),
            ("GET", ["v1", "charges", id]) => {
                let mut charges = objects.values().map(|one| &one["latest_charge"]);
                found(charges.find(|charge| charge["id"] == *id).cloned())
            }
            ("GET", ["v1", _, id]) => found(objects.get(*id).cloned()),
            _ => found(None),
        }
    }
}

async fn answer(
    State(localstripe): State<Arc<Localstripe>>,
    method: Method,
    uri: Uri,
    body: String,
) -> (StatusCode, Json<Value>) {
    if method == Method::POST && localstripe.is_held.swap(false, Ordering::SeqCst) {
        localstripe.arrived.notify_one();
        localstripe.let_go.notified().await;
    }
    let path: Vec<_> = uri.path().trim_start_matches('/').split('/').collect();
    let (status, body) = localstripe.call(&method, &path, &read(&body));
    (StatusCode::from_u16(status).unwrap(), Json(body))
}

fn read(body: &str) -> Value {
    let form = || form_urlencoded::parse(body.as_bytes()).into_owned();
    let of_form = || Value::Object(form().map(|(name, value)| (name, value.into())).collect());
    serde_json::from_str(body).unwrap_or_else(|_| of_form())
}

fn found(object: Option<Value>) -> (u16, Value) {
    let missing = || (404, json!({ "error": { "message": "Not Found" } }));
    object.map_or_else(missing, |object| (200, object))
}

fn listed(objects: &BTreeMap<String, Value>, kind: &str) -> (u16, Value) {
    let all = objects.values().filter(|one| one["object"] == kind);
    (200, json!({ "data": all.collect::<Vec<_>>() }))
}

fn number(value: &Value) -> i64 {
    value.as_str().unwrap().parse().unwrap()
}

fn create(objects: &mut BTreeMap<String, Value>, sent: &Value) -> (u16, Value) {
    if let Some(unexpected) =
        ["colour", "description", "off_session"].iter().find(|one| sent.get(one).is_some())
    {
        return (400, json!({ "error": { "message": format!("Unexpected {unexpected}") } }));
    }
    let intent = json!({
        "id": format!("pi_{}", objects.len()),
        "object": "payment_intent",
        "amount": number(&sent["amount"]),
        "created": 1_700_000_000,
        "currency": sent["currency"],
        "payment_method": sent["payment_method"],
        "latest_charge": null,
        "last_payment_error": null,
        "status": "requires_confirmation",
    });
    objects.insert(intent["id"].as_str().unwrap().to_owned(), intent.clone());
    (200, intent)
}

fn update(objects: &mut BTreeMap<String, Value>, id: &str, sent: &Value) -> (u16, Value) {
    let intent = objects.get_mut(id).unwrap();
    for (name, value) in sent.as_object().unwrap() {
        intent[name] = value.clone();
    }
    if sent.get("latest_charge").is_some_and(Value::is_null) {
        intent["status"] = json!("requires_confirmation");
    }
    (200, intent.clone())
}

fn confirm(objects: &mut BTreeMap<String, Value>, id: &str) -> (u16, Value) {
    if objects[id]["payment_method"] == ASKS {
        return update(objects, id, &json!({ "status": "requires_action" }));
    }
    charge(objects, id)
}

fn authenticate(objects: &mut BTreeMap<String, Value>, id: &str, success: bool) -> (u16, Value) {
    if success {
        return charge(objects, id);
    }
    let failed = json!({ "status": "requires_payment_method", "payment_method": null });
    update(objects, id, &failed)
}

fn charge(objects: &mut BTreeMap<String, Value>, id: &str) -> (u16, Value) {
    let number = objects.len();
    let intent = objects.get_mut(id).unwrap();
    let is_declined = intent["payment_method"] == "pm_card_chargeCustomerFail";
    intent["latest_charge"] = json!({
        "id": format!("ch_{id}_{number}"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_refunded": 0,
        "captured": false,
        "created": 1_700_000_000,
        "currency": intent["currency"],
        "payment_intent": id,
        "status": if is_declined { "failed" } else { "succeeded" },
    });
    if is_declined {
        intent["status"] = json!("requires_payment_method");
        return (402, json!({ "error": { "code": "card_declined" } }));
    }
    intent["status"] = json!("requires_capture");
    (200, intent.clone())
}

fn capture(objects: &mut BTreeMap<String, Value>, id: &str, sent: &Value) -> (u16, Value) {
    let intent = objects.get_mut(id).unwrap();
    let whole = || intent["amount"].as_i64().unwrap();
    let captured = sent.get("amount_to_capture").map_or_else(whole, number);
    intent["status"] = json!("succeeded");
    intent["latest_charge"]["captured"] = json!(true);
    let (shown, rest) =
        (intent.clone(), intent["amount"].as_i64().unwrap().saturating_sub(captured));
    if rest > 0 {
        refund_of(objects, id, rest, &Value::Null);
    }
    (200, shown)
}

fn refund(objects: &mut BTreeMap<String, Value>, sent: &Value) -> (u16, Value) {
    let id = sent["payment_intent"].as_str().unwrap();
    (200, refund_of(objects, id, number(&sent["amount"]), &sent["payment_intent"]))
}

fn refund_of(
    objects: &mut BTreeMap<String, Value>,
    intent: &str,
    amount: i64,
    named: &Value,
) -> Value {
    let id = format!("re_{}", objects.len());
    let charge = &mut objects.get_mut(intent).unwrap()["latest_charge"];
    charge["amount_refunded"] =
        json!(charge["amount_refunded"].as_i64().unwrap().saturating_add(amount));
    let refund = json!({
        "id": id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": format!("txn_{id}"),
        "charge": charge["id"],
        "currency": charge["currency"],
        "payment_intent": named,
        "status": "succeeded",
    });
    objects.insert(id, refund.clone());
    refund
}
