//! The Stripe calls that the proxy supports: what it forwards to localstripe, and what it adds.

use std::cmp::Reverse;
use std::convert::identity;
use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, invalid_request, is_within, page, with_code};
use crate::cards::{APPROVED, Card, DECLINED};
use crate::params::Params;
use crate::proxy::{Asked, Proxy, now};
use crate::shape::{IntentNote, is_remainder, text, whole};
use crate::strip::{CANCEL, CAPTURE, CONFIRM, CREATE, Kept, REFUND};
use crate::upstream::Sent;

const INTENTS: &str = "/v1/payment_intents";
const REFUNDS: &str = "/v1/refunds";
/// localstripe has no upper limit.
const ALL: &str = "limit=10000";

/// The states in which a payment can be cancelled.
const CANCELABLE: [&str; 4] =
    ["requires_payment_method", "requires_confirmation", "requires_action", "requires_capture"];

type Done = Result<Answer, Answer>;

impl Proxy {
    /// Executes a request.
    pub(crate) async fn effect(self: &Arc<Self>, asked: &Asked) -> Answer {
        let _others_wait = self.work.lock().await;
        let segments: Vec<_> = asked.path.trim_start_matches('/').split('/').collect();
        let params = asked.params.clone();
        let done = match (asked.method.as_str(), segments.as_slice()) {
            ("POST", ["v1", "payment_intents"]) => self.create(params).await,
            ("POST", ["v1", "payment_intents", id, "confirm"]) => self.confirmed(id, params).await,
            ("POST", ["v1", "payment_intents", id, "capture"]) => self.capture(id, params).await,
            ("POST", ["v1", "payment_intents", id, "cancel"]) => self.cancel(id, params).await,
            ("GET", ["v1", "payment_intents"]) => self.list(params).await,
            ("GET", ["v1", "payment_intents", id]) => self.show(id, params).await,
            ("POST", ["v1", "refunds"]) => self.create_refund(params).await,
            ("GET", ["v1", "refunds"]) => self.list_refunds(&params).await,
            ("GET", ["v1", "refunds", id]) => self.show_refund(id).await,
            ("GET", ["v1", "charges", id]) => self.show_charge(id).await,
            ("GET", ["v1", "events"]) => {
                let events = self.memory().events.asked_for(&params);
                page(events, "/v1/events", &params).map(Answer::ok)
            }
            ("GET", ["v1", "events", id]) => self.show_event(id),
            ("GET", ["v1", "disputes", id]) => self.dispute(id).map(Answer::ok),
            ("GET", ["v1", "payouts"]) => self.list_payouts(&params),
            ("GET", ["v1", "payouts", id]) => self.show_payout(id),
            ("GET", ["v1", "balance_transactions"]) => self.list_transactions(&params),
            ("GET", ["v1", "balance_transactions", id]) => self.show_transaction(id),
            _ => self.hand_on(asked).await,
        };
        done.unwrap_or_else(identity)
    }

    async fn create(self: &Arc<Self>, mut params: Params) -> Done {
        let with_charge = wants_charge(&mut params);
        let marks: Vec<_> = params.list("metadata").into_iter().map(str::to_owned).collect();
        let kept = Kept::of(&mut params, CREATE);
        if let Some(customer) = params.get("customer") {
            self.named_by("customer", "/v1/customers", customer).await?;
        }
        let name = params.get("payment_method").map(str::to_owned);
        if let Some(name) = &name {
            params.set("payment_method", self.local_card(name).await?);
        }
        let raw = self.done(Method::POST, INTENTS, Sent::Form(params.encoded())).await?;
        let id = text(&raw["id"]).to_owned();
        self.memory().marks.insert(id.clone(), marks);
        self.note(&id, |note| {
            note.card = name.as_deref().and_then(Card::named);
            note.shown = kept.shown();
        });
        self.happened_to(&["payment_intent.created"], &raw);
        if kept.says("confirm") {
            return self.confirm(&id, &kept, with_charge).await;
        }
        Ok(Answer::ok(self.shaped(|shape| shape.intent(raw, with_charge))))
    }

    /// localstripe's equivalent of this card.
    async fn local_card(&self, name: &str) -> Result<String, Answer> {
        Ok(match Card::named(name) {
            None => self.named_by("payment_method", "/v1/payment_methods", name).await?,
            Some(Card::Approved) => APPROVED.to_owned(),
            Some(Card::Declined { .. }) => DECLINED.to_owned(),
            Some(Card::Approval { number }) => {
                let card = json!({
                    "number": number, "exp_month": "12", "exp_year": "2040", "cvc": "123",
                });
                let sent = Sent::Json(json!({ "type": "card", "card": card }));
                let method = self.done(Method::POST, "/v1/payment_methods", sent).await?;
                text(&method["id"]).to_owned()
            }
        })
    }

    /// The id, if the object that a parameter names exists.
    async fn named_by(&self, parameter: &str, folder: &str, id: &str) -> Result<String, Answer> {
        match self.found(parameter, folder, id).await {
            Ok(_) => Ok(id.to_owned()),
            Err(Answer { status: 404, .. }) => Err(Answer::missing_for(parameter, id)),
            Err(answer) => Err(answer),
        }
    }

    async fn confirmed(self: &Arc<Self>, id: &str, mut params: Params) -> Done {
        let with_charge = wants_charge(&mut params);
        let kept = Kept::of(&mut params, CONFIRM);
        if let Some(unknown) = params.first() {
            let refusal = json!({ "error": { "message": format!("Unexpected {unknown}") } });
            return Err(Answer::of_localstripe(400, refusal));
        }
        self.confirm(id, &kept, with_charge).await
    }

    async fn confirm(self: &Arc<Self>, id: &str, kept: &Kept, with_charge: bool) -> Done {
        let raw = self.intent(id).await?;
        let card = kept.get("payment_method");
        let is_ready = match text(&raw["status"]) {
            "requires_confirmation" => true,
            "requires_payment_method" => card.is_some(),
            _ => false,
        };
        if !is_ready {
            return Err(self.unexpected_state("confirmed", raw));
        }
        if let Some(name) = card {
            let local = self.local_card(name).await?;
            // The last charge, if any, belongs to an earlier attempt.
            let change = json!({ "payment_method": local, "latest_charge": null });
            self.done(Method::POST, &format!("{INTENTS}/{id}"), Sent::Json(change)).await?;
            self.note(id, |note| note.card = Card::named(name));
        }
        self.note(id, |note| {
            note.failure = None;
            note.shown.extend(kept.shown());
        });
        let uri = format!("{INTENTS}/{id}/confirm");
        let answer = self.localstripe(Method::POST, &uri, Sent::Form(String::new())).await?;
        let is_absent = kept.says("off_session") || kept.says("error_on_requires_action");
        match answer {
            (200, raw) if is_absent && raw["status"] == "requires_action" => {
                self.approval_missed(raw).await
            }
            (200, raw) => Ok(self.went_on(raw, with_charge)),
            (402, _) => self.declined(id).await,
            (status, body) => Err(Answer::of_localstripe(status, body)),
        }
    }

    /// The payment is authorised, paid, or waits for the customer.
    fn went_on(self: &Arc<Self>, raw: Value, with_charge: bool) -> Answer {
        if raw["status"] == "succeeded" {
            self.took(&raw);
        }
        let types: &[&str] = match text(&raw["status"]) {
            "requires_capture" => &["charge.succeeded", "payment_intent.amount_capturable_updated"],
            "succeeded" => &["charge.succeeded", "payment_intent.succeeded"],
            _ => &["payment_intent.requires_action"],
        };
        self.happened_to(types, &raw);
        Answer::ok(self.shaped(|shape| shape.intent(raw, with_charge)))
    }

    async fn declined(self: &Arc<Self>, id: &str) -> Done {
        let raw = self.intent(id).await?;
        let card = self.memory().notes.intents.get(id).and_then(|note| note.card);
        let (code, decline_code) = match card {
            Some(Card::Declined { code, decline_code }) => (code, decline_code),
            Some(Card::Approval { .. }) => ("card_declined", "insufficient_funds"),
            Some(Card::Approved) | None => ("card_declined", "generic_decline"),
        };
        let types = ["charge.failed", "payment_intent.payment_failed"];
        Ok(self.failed(raw, (code, decline_code), "Your card was declined.", &types))
    }

    /// The bank asks for approval while the customer is absent (`off_session`).
    async fn approval_missed(self: &Arc<Self>, raw: Value) -> Done {
        let id = text(&raw["id"]).to_owned();
        let answer = Sent::Json(json!({ "client_secret": raw["client_secret"], "success": false }));
        self.done(Method::POST, &format!("{INTENTS}/{id}/_authenticate"), answer).await?;
        let raw = self.intent(&id).await?;
        let message = "Your card was declined. This transaction requires authentication.";
        let why = ("authentication_required", "authentication_required");
        Ok(self.failed(raw, why, message, &["payment_intent.payment_failed"]))
    }

    fn failed(
        self: &Arc<Self>,
        raw: Value,
        (code, decline_code): (&str, &str),
        message: &str,
        types: &[&str],
    ) -> Answer {
        let mut error = json!({
            "type": "card_error",
            "code": code,
            "decline_code": decline_code,
            "message": message,
            "charge": raw["latest_charge"]["id"],
            "payment_method": {
                "id": raw["payment_method"], "object": "payment_method", "type": "card",
            },
        });
        self.note(text(&raw["id"]), |note| note.failure = Some(error.clone()));
        self.happened_to(types, &raw);
        error["payment_intent"] = self.shaped(|shape| shape.intent(raw, false));
        Answer::refused(402, &error)
    }

    /// The customer approves the payment, or does not.
    pub(crate) async fn authenticate(self: &Arc<Self>, id: &str, success: bool) -> Done {
        let _others_wait = self.work.lock().await;
        let raw = self.intent(id).await?;
        if raw["status"] != "requires_action" {
            return Err(self.unexpected_state("approved", raw));
        }
        let answer =
            Sent::Json(json!({ "client_secret": raw["client_secret"], "success": success }));
        let uri = format!("{INTENTS}/{id}/_authenticate");
        match self.localstripe(Method::POST, &uri, answer).await? {
            (200, raw) if success => Ok(self.went_on(raw, false)),
            (200, raw) => {
                self.happened_to(&["payment_intent.payment_failed"], &raw);
                Ok(Answer::ok(self.shaped(|shape| shape.intent(raw, false))))
            }
            (402, _) => self.declined(id).await,
            (status, body) => Err(Answer::of_localstripe(status, body)),
        }
    }

    async fn capture(self: &Arc<Self>, id: &str, mut params: Params) -> Done {
        let with_charge = wants_charge(&mut params);
        let kept = Kept::of(&mut params, CAPTURE);
        let raw = self.intent(id).await?;
        if raw["status"] != "requires_capture" {
            return Err(self.unexpected_state("captured", raw));
        }
        let amount = amount_of(&params, "amount_to_capture", whole(&raw["amount"]))?;
        if amount > whole(&raw["amount"]) {
            let message = "The amount to capture is greater than the amount that can be captured.";
            return Err(Answer::refused(
                400,
                &with_code(invalid_request(message), "amount_too_large"),
            ));
        }
        let uri = format!("{INTENTS}/{id}/capture");
        self.done(Method::POST, &uri, Sent::Form(params.encoded())).await?;
        self.note(id, |note| {
            note.captured = Some(amount);
            note.shown.extend(kept.shown());
        });
        let metadata = kept.metadata();
        if !metadata.is_empty() {
            let change = Sent::Json(json!({ "metadata": metadata }));
            self.done(Method::POST, &format!("{INTENTS}/{id}"), change).await?;
        }
        let raw = self.intent(id).await?;
        self.took(&raw);
        self.happened_to(&["charge.captured", "payment_intent.succeeded"], &raw);
        Ok(Answer::ok(self.shaped(|shape| shape.intent(raw, with_charge))))
    }

    /// Adds a captured payment to the balance.
    fn took(&self, raw: &Value) {
        let charge = self.shaped(|shape| shape.charge(raw["latest_charge"].clone()));
        self.earned(&charge);
    }

    async fn cancel(self: &Arc<Self>, id: &str, mut params: Params) -> Done {
        let with_charge = wants_charge(&mut params);
        let kept = Kept::of(&mut params, CANCEL);
        let raw = self.canceled(id, &params, kept.get("cancellation_reason")).await?;
        self.happened_to(&["payment_intent.canceled"], &raw);
        Ok(Answer::ok(self.shaped(|shape| shape.intent(raw, with_charge))))
    }

    /// Cancels a payment; returns localstripe's object.
    pub(crate) async fn canceled(
        &self,
        id: &str,
        params: &Params,
        reason: Option<&str>,
    ) -> Result<Value, Answer> {
        let raw = self.intent(id).await?;
        if !CANCELABLE.contains(&text(&raw["status"])) {
            return Err(self.unexpected_state("canceled", raw));
        }
        let uri = format!("{INTENTS}/{id}/cancel");
        let raw = self.done(Method::POST, &uri, Sent::Form(params.encoded())).await?;
        self.note(id, |note| {
            note.shown.insert("canceled_at".to_owned(), now().into());
            note.shown.insert("cancellation_reason".to_owned(), reason.into());
        });
        Ok(raw)
    }

    async fn list(&self, mut params: Params) -> Done {
        let expanded = params.take("expand");
        let with_charge =
            expanded.iter().any(|(_, wanted)| wanted.starts_with("data.latest_charge"));
        let mut all = self.listed(&format!("{INTENTS}?{ALL}")).await?;
        all.retain(|raw| is_within(raw, &params));
        newest_first(&mut all);
        let shown = self
            .shaped(|shape| all.into_iter().map(|raw| shape.intent(raw, with_charge)).collect());
        page(shown, INTENTS, &params).map(Answer::ok)
    }

    async fn show(&self, id: &str, mut params: Params) -> Done {
        let with_charge = wants_charge(&mut params);
        let raw = self.intent(id).await?;
        Ok(Answer::ok(self.shaped(|shape| shape.intent(raw, with_charge))))
    }

    /// The payments created with this value in their metadata, in their current state.
    pub(crate) async fn payments_of(&self, mark: &str) -> Done {
        let _others_wait = self.work.lock().await;
        let ids: Vec<_> = {
            let memory = self.memory();
            let marked =
                memory.marks.iter().filter(|(_, marks)| marks.iter().any(|one| one == mark));
            marked.map(|(id, _)| id.clone()).collect()
        };
        let mut all = Vec::new();
        for id in ids {
            let raw = self.intent(&id).await?;
            all.push(self.shaped(|shape| shape.intent(raw, true)));
        }
        Ok(Answer::ok(Value::Array(all)))
    }

    async fn create_refund(self: &Arc<Self>, mut params: Params) -> Done {
        params.take("expand");
        let kept = Kept::of(&mut params, REFUND);
        let intent = match (params.get("payment_intent"), params.get("charge")) {
            (Some(intent), _) => intent.to_owned(),
            (None, Some(charge)) => self.intent_of(charge).await?,
            (None, None) => {
                let message = "One of payment_intent and charge is needed.";
                return Err(Answer::invalid(400, &invalid_request(message)));
            }
        };
        let raw = self.intent(&intent).await?;
        let amount = self.refundable(&raw, &params)?;
        // With the payment's id, localstripe does not take the refund for the remainder of a
        // partial capture.
        params.take("charge");
        params.set("payment_intent", intent.clone());
        params.set("amount", amount.to_string());
        let refund = self.done(Method::POST, REFUNDS, Sent::Form(params.encoded())).await?;
        let id = text(&refund["id"]).to_owned();
        self.memory().notes.refunds.entry(id).or_default().extend(kept.shown());
        let refund = self.shaped(|shape| shape.refund(refund, &intent));
        self.gave_back(&refund);
        self.happened("refund.created", &refund);
        let raw = self.intent(&intent).await?;
        self.happened_to(&["charge.refunded"], &raw);
        Ok(Answer::ok(refund))
    }

    /// The amount to refund, if that much is left of what was captured.
    fn refundable(&self, raw: &Value, params: &Params) -> Result<i64, Answer> {
        if raw["status"] != "succeeded" {
            let id = text(&raw["id"]);
            let message =
                format!("This PaymentIntent ({id}) does not have a successful charge to refund.");
            return Err(Answer::refused(400, &invalid_request(&message)));
        }
        let charge = &raw["latest_charge"];
        let id = text(&charge["id"]);
        let (returned, is_disputed) = {
            let memory = self.memory();
            let returned = memory.notes.returned.get(id).copied().unwrap_or_default();
            (returned, memory.notes.disputed.contains(id))
        };
        if is_disputed {
            let error = invalid_request(&format!("Charge {id} has been charged back."));
            return Err(Answer::refused(400, &with_code(error, "charge_disputed")));
        }
        // localstripe counts the remainder of a partial capture as refunded, so this is what is
        // left of the capture.
        let refunded = whole(&charge["amount_refunded"]).saturating_sub(returned);
        let left = whole(&charge["amount"]).saturating_sub(refunded);
        if left <= 0 {
            let error = invalid_request(&format!("Charge {id} has already been refunded."));
            return Err(Answer::refused(400, &with_code(error, "charge_already_refunded")));
        }
        let amount = amount_of(params, "amount", left)?;
        if amount > left {
            let message = format!("Only {left} of the charge are left to refund, not {amount}.");
            let mut error = invalid_request(&message);
            error["param"] = json!("amount");
            return Err(Answer::refused(400, &error));
        }
        Ok(amount)
    }

    async fn list_refunds(&self, params: &Params) -> Done {
        let intent = match (params.get("payment_intent"), params.get("charge")) {
            (Some(intent), _) => intent.to_owned(),
            (None, Some(charge)) => self.intent_of(charge).await?,
            // Refunds of every payment, as localstripe shows them.
            (None, None) => String::new(),
        };
        let mut all = Vec::new();
        if intent.is_empty() {
            all = self.listed(&format!("{REFUNDS}?{ALL}")).await?;
        } else if !self.intent(&intent).await?["latest_charge"].is_null() {
            all = self.listed(&format!("{REFUNDS}?{ALL}&payment_intent={intent}")).await?;
        }
        all.retain(|refund| is_within(refund, params));
        newest_first(&mut all);
        let shown = self.shaped(|shape| {
            let hidden = !shape.settings.remainder_is_a_refund;
            all.retain(|refund| !(hidden && is_remainder(refund)));
            all.into_iter().map(|refund| shape.refund(refund, &intent)).collect()
        });
        page(shown, REFUNDS, params).map(Answer::ok)
    }

    async fn listed(&self, uri: &str) -> Result<Vec<Value>, Answer> {
        let mut list = self.done(Method::GET, uri, Sent::Nothing).await?;
        Ok(list["data"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    async fn show_refund(&self, id: &str) -> Done {
        let refund = self.raw_refund(id).await?;
        let intent = self.intent_of(text(&refund["charge"])).await?;
        Ok(Answer::ok(self.shaped(|shape| shape.refund(refund, &intent))))
    }

    pub(crate) async fn raw_refund(&self, id: &str) -> Result<Value, Answer> {
        self.found("refund", REFUNDS, id).await
    }

    async fn show_charge(&self, id: &str) -> Done {
        let raw = self.found("charge", "/v1/charges", id).await?;
        Ok(Answer::ok(self.shaped(|shape| shape.charge(raw))))
    }

    /// The payment of a charge.
    pub(crate) async fn intent_of(&self, charge: &str) -> Result<String, Answer> {
        let charge = self.found("charge", "/v1/charges", charge).await?;
        Ok(text(&charge["payment_intent"]).to_owned())
    }

    fn show_event(&self, id: &str) -> Done {
        let event = self.memory().events.find(id).cloned();
        event.map(Answer::ok).ok_or_else(|| Answer::missing("event", id))
    }

    async fn hand_on(&self, asked: &Asked) -> Done {
        let is_form = asked.method == Method::POST;
        let sent = if is_form { Sent::Form(asked.params.encoded()) } else { Sent::Nothing };
        self.done(asked.method.clone(), &asked.uri, sent).await.map(Answer::ok)
    }

    /// localstripe's object of a payment.
    pub(crate) async fn intent(&self, id: &str) -> Result<Value, Answer> {
        self.found("payment_intent", INTENTS, id).await
    }

    async fn found(&self, what: &str, folder: &str, id: &str) -> Result<Value, Answer> {
        match self.localstripe(Method::GET, &format!("{folder}/{id}"), Sent::Nothing).await? {
            (200, object) => Ok(object),
            (404, _) => Err(Answer::missing(what, id)),
            (status, body) => Err(Answer::of_localstripe(status, body)),
        }
    }

    pub(crate) fn note(&self, id: &str, change: impl FnOnce(&mut IntentNote)) {
        change(self.memory().notes.intents.entry(id.to_owned()).or_default());
    }

    fn unexpected_state(&self, doing: &str, raw: Value) -> Answer {
        Answer::unexpected_state(doing, self.shaped(|shape| shape.intent(raw, false)))
    }

    /// Emits events for a payment; events of its charge contain the charge.
    pub(crate) fn happened_to(self: &Arc<Self>, types: &[&str], raw: &Value) {
        for kind in types {
            let object = self.shaped(|shape| {
                if kind.starts_with("charge.") {
                    shape.charge(raw["latest_charge"].clone())
                } else {
                    shape.intent(raw.clone(), false)
                }
            });
            self.happened(kind, &object);
        }
    }
}

/// localstripe lists payments, and refunds of the same second, oldest first.
fn newest_first(all: &mut [Value]) {
    all.reverse();
    all.sort_by_key(|one| Reverse(whole(&one["created"])));
}

/// Whether to expand the charge. localstripe is not asked: it always expands it.
fn wants_charge(params: &mut Params) -> bool {
    params.take("expand").iter().any(|(_, wanted)| wanted.starts_with("latest_charge"))
}

/// A positive amount; by default, all of it.
fn amount_of(params: &Params, name: &str, all: i64) -> Result<i64, Answer> {
    let Some(given) = params.get(name) else { return Ok(all) };
    given.parse::<i64>().ok().filter(|amount| *amount > 0).ok_or_else(|| {
        let mut error = with_code(
            invalid_request(&format!("Invalid positive integer: {given}")),
            "parameter_invalid_integer",
        );
        error["param"] = json!(name);
        Answer::invalid(400, &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_refunds_in_one_second_the_last_one_is_the_newest() {
        let refund = |id: &str, created: i64| json!({ "id": id, "created": created });
        // In localstripe's order.
        let mut all =
            vec![refund("re_3", 8), refund("re_4", 8), refund("re_1", 7), refund("re_2", 7)];
        newest_first(&mut all);
        let ids: Vec<_> = all.iter().map(|refund| text(&refund["id"])).collect();
        assert_eq!(ids, ["re_4", "re_3", "re_2", "re_1"]);
    }
}
