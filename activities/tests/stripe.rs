//! The Stripe adapter: money is captured once, whatever Stripe answers, and refusals keep their
//! reason.
//!
//! A server plays Stripe: it returns the scripted answers of a test in order, and records the
//! requests.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use activities::payment::port::{Approval, Payment, PaymentId, PaymentProvider, ProviderError};
use activities::payment::stripe::{StripeProvider, StripeSettings};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::Response;
use chrono::DateTime;
use domain::dispute::{DisputeFacts, DisputeStatus, Movement, MovementKind};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Charge, Currency, Money, PaymentToken};
use futures::stream;
use reqwest::Url;
use reqwest::header::HeaderMap;
use runtime::chain;
use serde_json::{Value, json};
use testkit::pounds;
use tokio::net::TcpListener;

use crate::support::order;

const KEY: &str = "sk_test_known_to_nobody";
const INTENT: &str = "/v1/payment_intents/pi_1a";
pub(crate) const LOOK_UP: &str = "GET /v1/payment_intents/pi_1a?expand[]=latest_charge";
const REFUNDS: &str = "GET /v1/refunds?payment_intent=pi_1a&limit=40";

/// A scripted answer.
pub(crate) struct Scripted {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    /// `None`: the connection breaks before the body.
    body: Option<String>,
}

impl Scripted {
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Marks it as a replayed answer to an earlier request under the same key.
    fn replayed(self) -> Self {
        self.with("idempotent-replayed", "true")
    }
}

pub(crate) fn answers(status: u16, body: &Value) -> Scripted {
    let headers = vec![("content-type", "application/json"), ("request-id", "req_1a")];
    Scripted { status, headers, body: Some(body.to_string()) }
}

/// The answer is lost.
pub(crate) fn lost() -> Scripted {
    Scripted { status: 200, headers: Vec::new(), body: None }
}

/// A failure of Stripe's own.
pub(crate) fn failure() -> Scripted {
    answers(500, &json!({"error": {"type": "api_error", "message": MESSAGE}}))
}

/// Stripe's messages are for people, and may contain personal data.
pub(crate) const MESSAGE: &str = "Ada Lovelace cannot pay";

pub(crate) fn refuses(status: u16, error: &Value) -> Scripted {
    let mut error = error.clone();
    error["message"] = json!(MESSAGE);
    answers(status, &json!({"error": error}))
}

fn unexpected_state() -> Scripted {
    let code = "payment_intent_unexpected_state";
    refuses(400, &json!({"type": "invalid_request_error", "code": code}))
}

/// A payment of 24.30 pounds.
fn intent(status: &str) -> Value {
    let received = if status == "succeeded" { 2_430 } else { 0 };
    json!({
        "id": "pi_1a", "object": "payment_intent", "amount": 2_430, "currency": "gbp",
        "status": status, "amount_received": received, "metadata": {}, "next_action": null,
        "last_payment_error": null, "capture_method": "manual",
        "latest_charge": {
            "id": "ch_1a", "object": "charge", "amount": 2_430, "amount_refunded": 0,
            "refunded": false,
            "payment_method_details": {"type": "card", "card": {"capture_before": 1_793_534_400}},
        },
    })
}

pub(crate) fn is(status: &str) -> Scripted {
    answers(200, &intent(status))
}

/// A captured payment, of which this much is refunded.
pub(crate) fn given_back(units: u64) -> Scripted {
    let mut intent = intent("succeeded");
    intent["latest_charge"]["amount_refunded"] = json!(units);
    intent["latest_charge"]["refunded"] = json!(units == 2_430);
    answers(200, &intent)
}

fn refund(status: &str) -> Value {
    json!({
        "id": "re_1a", "object": "refund", "amount": 2_430, "currency": "gbp", "status": status,
        "payment_intent": "pi_1a", "metadata": {"refund_key": "order-1:refund"},
    })
}

fn refunds(of: &[&str]) -> Scripted {
    let data: Vec<_> = of.iter().map(|status| refund(status)).collect();
    answers(200, &json!({"object": "list", "data": data, "has_more": false}))
}

/// A recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method, path and parameters.
    pub(crate) line: String,
    headers: HeaderMap,
    form: Vec<(String, String)>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The request with its idempotency key.
    fn told(&self) -> String {
        match self.header("idempotency-key") {
            Some(key) => format!("{} under {key}", self.line),
            None => self.line.clone(),
        }
    }

    fn sent(&self) -> Vec<String> {
        self.form.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Scripted>>,
    asked: Mutex<Vec<Asked>>,
}

async fn answer(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().unwrap().as_str().replace("%5B%5D", "[]");
    let form = String::from_utf8(body.to_vec()).unwrap();
    let form = Url::parse(&format!("http://form/?{form}")).unwrap();
    let form = form.query_pairs().into_owned().collect();
    script.asked.lock().unwrap().push(Asked { line: format!("{method} {path}"), headers, form });
    let next = script.answers.lock().unwrap().pop_front();
    // An unexpected request gets an answer that no test can mistake for one of Stripe's.
    let Scripted { status, headers, body } = next.unwrap_or_else(|| answers(299, &json!([])));
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let broken = || stream::iter([Err::<Bytes, _>(io::Error::other("the line is cut"))]);
    let body = body.map_or_else(|| Body::from_stream(broken()), Body::from);
    response.body(body).unwrap()
}

/// A scripted Stripe server.
pub(crate) struct Stripe {
    pub(crate) provider: StripeProvider,
    script: Arc<Script>,
}

impl Stripe {
    pub(crate) async fn that(answers: impl IntoIterator<Item = Scripted>) -> Self {
        Self::of(answers, None).await
    }

    async fn of(answers: impl IntoIterator<Item = Scripted>, return_url: Option<&str>) -> Self {
        let script = Arc::new(Script::default());
        script.answers.lock().unwrap().extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let provider = StripeProvider::new(&StripeSettings {
            api_key: KEY.parse().unwrap(),
            api_url: Url::parse(&api_url).unwrap(),
            return_url: return_url.map(|url| Url::parse(url).unwrap()),
        });
        Self { provider: provider.unwrap(), script }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }

    /// Asserts that exactly these requests were made, in this order.
    #[track_caller]
    pub(crate) fn was_asked(&self, requests: &[&str]) {
        let asked: Vec<_> = self.asked().iter().map(Asked::told).collect();
        assert_eq!(asked, requests);
        assert!(self.script.answers.lock().unwrap().is_empty(), "not every answer was heard");
    }

    async fn authorises(&self) -> Result<Payment, ProviderError> {
        self.provider.authorise(&payment()).await
    }

    async fn captures(&self) -> Result<Payment, ProviderError> {
        self.provider.capture(&payment(), pounds("24.30")).await
    }

    async fn voids(&self) -> Result<Payment, ProviderError> {
        self.provider.void(&payment()).await
    }

    async fn refunds(&self) -> Result<Payment, ProviderError> {
        self.provider.refund(&payment(), "order-1:refund", pounds("24.30")).await
    }

    async fn looks_up(&self) -> Result<Payment, ProviderError> {
        self.provider.look_up(&payment()).await
    }

    async fn retrieves(&self) -> Result<DisputeFacts, ProviderError> {
        self.provider.retrieve_dispute("du_1a").await
    }
}

fn payment() -> PaymentId {
    PaymentId("pi_1a".to_owned())
}

fn charge(token: &str) -> Charge {
    let payment_token = PaymentToken::parse(token).unwrap();
    Charge { amount: pounds("24.30"), payment_token, ..order(1).charge(1) }
}

/// The error with its causes; asserts that it contains nothing confidential.
#[track_caller]
fn told(error: &ProviderError) -> String {
    let told = chain(error);
    let all = format!("{told} {error:?}");
    for secret in [KEY, MESSAGE, "Ada"] {
        assert!(!all.contains(secret), "{secret} is told: {all}");
    }
    told
}

/// Asserts that the outcome is unknown; returns the retry delay and the reason.
#[track_caller]
fn unavailable<T: std::fmt::Debug>(answer: Result<T, ProviderError>) -> (Option<Duration>, String) {
    let error = answer.unwrap_err();
    let told = told(&error);
    match error {
        ProviderError::Unavailable { retry_after, .. } => (retry_after, told),
        error @ (ProviderError::MovedOn
        | ProviderError::NotFound
        | ProviderError::InvalidAnswer(_)) => panic!("not unavailable: {error:?}"),
    }
}

/// Asserts that the answer is invalid; returns the reason.
#[track_caller]
fn invalid<T: std::fmt::Debug>(answer: Result<T, ProviderError>) -> String {
    let error = answer.unwrap_err();
    assert!(matches!(error, ProviderError::InvalidAnswer(_)), "{error:?}");
    told(&error)
}

#[track_caller]
fn moved_on<T: std::fmt::Debug>(answer: Result<T, ProviderError>) {
    let error = answer.unwrap_err();
    assert!(matches!(error, ProviderError::MovedOn), "{error:?}");
}

#[track_caller]
fn state_of(answer: Result<Payment, ProviderError>) -> PaymentState {
    answer.unwrap().state
}

// Opening.

#[tokio::test]
async fn a_payment_is_opened_under_the_charges_key_and_moves_no_money() {
    let stripe = Stripe::that([is("requires_confirmation")]).await;
    let charge = charge("pm_card_visa");
    assert_eq!(stripe.provider.open(&charge).await.unwrap(), payment());
    stripe.was_asked(&[&format!("POST /v1/payment_intents under {}", charge.key)]);
    let asked = stripe.asked().remove(0);
    assert_eq!(
        asked.sent(),
        [
            "amount=2430".to_owned(),
            "currency=gbp".to_owned(),
            "capture_method=manual".to_owned(),
            "payment_method_types[]=card".to_owned(),
            format!("metadata[order_id]={}", charge.key.order_id),
            format!("metadata[key]={}", charge.key),
            "payment_method=pm_card_visa".to_owned(),
        ]
    );
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(asked.header("stripe-version"), Some("2026-02-25.clover"));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn a_saved_method_is_charged_to_the_customer_who_has_saved_it() {
    let stripe = Stripe::that([is("requires_confirmation")]).await;
    stripe.provider.open(&charge("cus_1a/pm_1a")).await.unwrap();
    let sent = stripe.asked().remove(0).sent();
    assert_eq!(sent[6..], ["payment_method=pm_1a", "customer=cus_1a"]);
}

#[tokio::test]
async fn an_amount_is_sent_as_stripe_counts_it_or_not_at_all() {
    let dinars = |amount: &str| {
        let amount = Money::new(amount.parse().unwrap(), Currency::KWD).unwrap();
        Charge { amount, ..charge("pm_card_visa") }
    };
    let stripe = Stripe::that([is("requires_confirmation")]).await;
    let refused = invalid(stripe.provider.open(&dinars("5.123")).await);
    assert!(refused.contains("no multiple of 0.01"), "{refused}");
    assert!(stripe.asked().is_empty());
    stripe.provider.open(&dinars("5.12")).await.unwrap();
    let sent = stripe.asked().remove(0).sent();
    assert_eq!(sent[..2], ["amount=5120", "currency=kwd"]);
}

#[tokio::test]
async fn a_payment_method_that_stripe_does_not_take_is_a_payment_that_is_declined() {
    let missing = json!({
        "type": "invalid_request_error", "code": "resource_missing", "param": "payment_method",
    });
    let mut declined = intent("requires_payment_method");
    declined["metadata"]["refused"] = json!("resource_missing");
    let stripe = Stripe::that([
        refuses(400, &missing),
        answers(200, &declined),
        unexpected_state(),
        answers(200, &declined),
    ])
    .await;
    let charge = charge("pm_gone");
    let id = stripe.provider.open(&charge).await.unwrap();
    let payment = stripe.provider.authorise(&id).await.unwrap();
    assert_eq!(payment.state, PaymentState::Declined);
    assert_eq!(payment.decline_code.as_deref(), Some("resource_missing"));
    stripe.was_asked(&[
        &format!("POST /v1/payment_intents under {}", charge.key),
        &format!("POST /v1/payment_intents under {}:refused", charge.key),
        &format!("POST {INTENT}/confirm under pi_1a:confirm"),
        LOOK_UP,
    ]);
    let sent = stripe.asked().remove(1).sent();
    assert_eq!(sent.last().unwrap(), "metadata[refused]=resource_missing");
    assert!(!sent.iter().any(|field| field.contains("pm_gone")), "{sent:?}");
}

#[tokio::test]
async fn a_token_of_another_provider_is_a_payment_that_is_declined() {
    let stripe = Stripe::that([is("requires_payment_method")]).await;
    let charge = charge("tok_visa");
    stripe.provider.open(&charge).await.unwrap();
    stripe.was_asked(&[&format!("POST /v1/payment_intents under {}:refused", charge.key)]);
    let sent = stripe.asked().remove(0).sent();
    assert_eq!(sent.last().unwrap(), "metadata[refused]=no_payment_method_of_stripe");
}

#[tokio::test]
async fn a_payment_whose_opening_failed_for_good_is_opened_under_the_next_key() {
    let charge = charge("pm_card_visa");
    let other = json!({"type": "idempotency_error"});
    let stripe = Stripe::that([
        failure(),
        // On a repeat, Stripe replays its answer; and the second key was used by another release.
        failure().replayed(),
        refuses(400, &other),
        is("requires_confirmation"),
    ])
    .await;
    unavailable(stripe.provider.open(&charge).await);
    assert_eq!(stripe.provider.open(&charge).await.unwrap(), payment());
    let key = &charge.key;
    stripe.was_asked(&[
        &format!("POST /v1/payment_intents under {key}"),
        &format!("POST /v1/payment_intents under {key}"),
        &format!("POST /v1/payment_intents under {key}-2"),
        &format!("POST /v1/payment_intents under {key}-3"),
    ]);
}

#[tokio::test]
async fn an_opening_whose_answer_was_lost_is_found_under_its_key() {
    let charge = charge("pm_card_visa");
    let stripe = Stripe::that([lost(), is("requires_confirmation").replayed()]).await;
    unavailable(stripe.provider.open(&charge).await);
    assert_eq!(stripe.provider.open(&charge).await.unwrap(), payment());
    let request = format!("POST /v1/payment_intents under {}", charge.key);
    stripe.was_asked(&[&request, &request]);
}

#[tokio::test]
async fn an_id_that_could_lead_elsewhere_is_none() {
    let mut elsewhere = intent("requires_confirmation");
    elsewhere["id"] = json!("pi_1a/../../refunds");
    let stripe = Stripe::that([answers(200, &elsewhere)]).await;
    invalid(stripe.provider.open(&charge("pm_card_visa")).await);
    let sandbox = PaymentId("sandbox-payment-7".to_owned());
    let error = stripe.provider.look_up(&sandbox).await.unwrap_err();
    assert!(matches!(error, ProviderError::NotFound), "{error:?}");
    assert_eq!(stripe.asked().len(), 1);
}

// Authorising.

#[tokio::test]
async fn money_is_set_aside_for_as_long_as_the_bank_says() {
    let stripe = Stripe::that([is("requires_capture")]).await;
    let payment = stripe.authorises().await.unwrap();
    assert_eq!(
        payment,
        Payment {
            state: PaymentState::Authorised,
            captured: pounds("0"),
            refunded: pounds("0"),
            decline_code: None,
            expires_at: DateTime::from_timestamp(1_793_534_400, 0),
            approval: None,
            risk: None,
            method_country: None,
        }
    );
    stripe.was_asked(&[&format!("POST {INTENT}/confirm under pi_1a:confirm")]);
    assert_eq!(stripe.asked()[0].sent(), ["expand[]=latest_charge", "off_session=true"]);
}

#[tokio::test]
async fn a_decline_is_told_in_the_banks_word() {
    let mut declined = intent("requires_payment_method");
    declined["latest_charge"] = json!("ch_1a");
    declined["last_payment_error"] =
        json!({"type": "card_error", "code": "card_declined", "decline_code": "lost_card"});
    let mut error = declined["last_payment_error"].clone();
    error["payment_intent"] = declined.clone();
    let stripe = Stripe::that([
        refuses(402, &error),
        // If the answer lacks the payment, it is looked up.
        refuses(402, &json!({"type": "card_error", "code": "card_declined"})),
        answers(200, &declined),
    ])
    .await;
    for _ in 0..2 {
        let payment = stripe.authorises().await.unwrap();
        assert_eq!(payment.state, PaymentState::Declined);
        assert_eq!(payment.decline_code.as_deref(), Some("lost_card"));
    }
    let confirm = format!("POST {INTENT}/confirm under pi_1a:confirm");
    stripe.was_asked(&[&confirm, &confirm, LOOK_UP]);
}

#[tokio::test]
async fn a_customer_who_has_to_approve_is_told_where_and_sent_back_to_the_shop() {
    let mut awaits = intent("requires_action");
    awaits["next_action"] = json!({
        "type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/approve/7"},
    });
    let back = "https://shop.example/back";
    let stripe = Stripe::of([answers(200, &awaits)], Some(back)).await;
    let payment = stripe.authorises().await.unwrap();
    assert_eq!(payment.state, PaymentState::AwaitingCustomer);
    let url = "https://bank.example/approve/7".to_owned();
    assert_eq!(payment.approval, Some(Approval { url, until: None }));
    assert_eq!(payment.expires_at, None);
    let sent = stripe.asked().remove(0).sent();
    assert_eq!(sent, ["expand[]=latest_charge", "return_url=https://shop.example/back"]);
}

#[tokio::test]
async fn a_payment_that_is_being_processed_is_not_decided() {
    let stripe = Stripe::that([is("processing"), is("processing")]).await;
    unavailable(stripe.authorises().await);
    unavailable(stripe.looks_up().await);
}

#[tokio::test]
async fn a_repeat_whose_answer_was_kept_is_answered_by_what_the_payment_is_now() {
    // The first answer was lost. Then the customer approved it.
    let kept = is("requires_action").replayed();
    let stripe = Stripe::that([lost(), kept, is("requires_capture")]).await;
    unavailable(stripe.authorises().await);
    assert_eq!(state_of(stripe.authorises().await), PaymentState::Authorised);
    let confirm = format!("POST {INTENT}/confirm under pi_1a:confirm");
    stripe.was_asked(&[&confirm, &confirm, LOOK_UP]);
}

#[tokio::test]
async fn a_failure_that_was_kept_is_asked_past_only_if_the_payment_has_not_moved() {
    let stripe = Stripe::that([
        failure().replayed(),
        is("requires_confirmation"),
        failure().replayed(),
        is("requires_confirmation"),
        is("requires_capture"),
    ])
    .await;
    assert_eq!(state_of(stripe.authorises().await), PaymentState::Authorised);
    stripe.was_asked(&[
        &format!("POST {INTENT}/confirm under pi_1a:confirm"),
        LOOK_UP,
        &format!("POST {INTENT}/confirm under pi_1a:confirm-2"),
        LOOK_UP,
        &format!("POST {INTENT}/confirm under pi_1a:confirm-3"),
    ]);
    // It took effect although the answer was a failure.
    let stripe = Stripe::that([failure().replayed(), is("requires_capture")]).await;
    assert_eq!(state_of(stripe.authorises().await), PaymentState::Authorised);
    // It was cancelled meanwhile: nothing more is requested.
    let stripe = Stripe::that([failure().replayed(), is("canceled")]).await;
    moved_on(stripe.authorises().await);
    assert_eq!(stripe.asked().len(), 2);
}

#[tokio::test]
async fn the_keys_come_to_an_end() {
    let round = || [failure().replayed(), is("requires_confirmation")];
    let stripe = Stripe::that((0..5).flat_map(|_| round())).await;
    unavailable(stripe.authorises().await);
    let last = stripe.asked().remove(8).told();
    assert_eq!(last, format!("POST {INTENT}/confirm under pi_1a:confirm-5"));
    assert_eq!(stripe.asked().len(), 10);
}

// Capturing and voiding.

#[tokio::test]
async fn money_is_taken_in_whole_or_in_part() {
    let mut part = intent("succeeded");
    part["amount_received"] = json!(600);
    let stripe = Stripe::that([is("succeeded"), answers(200, &part)]).await;
    let whole = stripe.captures().await.unwrap();
    assert_eq!((whole.state, whole.captured), (PaymentState::Captured, pounds("24.30")));
    let part = stripe.provider.capture(&payment(), pounds("6.00")).await.unwrap();
    assert_eq!((part.state, part.captured), (PaymentState::Captured, pounds("6.00")));
    let capture = format!("POST {INTENT}/capture under pi_1a:capture");
    stripe.was_asked(&[&capture, &capture]);
    let sent: Vec<_> = stripe.asked().iter().map(Asked::sent).collect();
    assert_eq!(sent[0], ["expand[]=latest_charge", "amount_to_capture=2430"]);
    assert_eq!(sent[1], ["expand[]=latest_charge", "amount_to_capture=600"]);
}

#[tokio::test]
async fn what_was_done_before_is_done_and_what_has_moved_on_is_told() {
    let stripe = Stripe::that([unexpected_state(), is("succeeded")]).await;
    assert_eq!(state_of(stripe.captures().await), PaymentState::Captured);
    stripe.was_asked(&[&format!("POST {INTENT}/capture under pi_1a:capture"), LOOK_UP]);
    for code in ["payment_intent_unexpected_state", "charge_expired_for_capture"] {
        let error = json!({"type": "invalid_request_error", "code": code});
        let stripe = Stripe::that([refuses(400, &error), is("canceled")]).await;
        moved_on(stripe.captures().await);
    }
    let stripe = Stripe::that([unexpected_state(), is("canceled")]).await;
    assert_eq!(state_of(stripe.voids().await), PaymentState::Voided);
    let stripe = Stripe::that([unexpected_state(), is("succeeded")]).await;
    moved_on(stripe.voids().await);
}

#[tokio::test]
async fn a_payment_is_let_go() {
    let stripe = Stripe::that([is("canceled")]).await;
    assert_eq!(state_of(stripe.voids().await), PaymentState::Voided);
    stripe.was_asked(&[&format!("POST {INTENT}/cancel under pi_1a:cancel")]);
    // The resulting state is not the requested one.
    let stripe = Stripe::that([is("requires_capture")]).await;
    invalid(stripe.voids().await);
}

// Refunds.

#[tokio::test]
async fn money_is_given_back_once_under_the_refunds_key() {
    let stripe = Stripe::that([
        is("succeeded"),
        refunds(&[]),
        answers(200, &refund("succeeded")),
        given_back(2_430),
        refunds(&["succeeded"]),
        // A repeat finds it.
        given_back(2_430),
        refunds(&["succeeded"]),
        given_back(2_430),
        refunds(&["succeeded"]),
    ])
    .await;
    for _ in 0..2 {
        let payment = stripe.refunds().await.unwrap();
        assert_eq!((payment.state, payment.captured), (PaymentState::Refunded, pounds("24.30")));
    }
    let create = "POST /v1/refunds under order-1:refund";
    stripe.was_asked(&[
        LOOK_UP, REFUNDS, create, LOOK_UP, REFUNDS, LOOK_UP, REFUNDS, LOOK_UP, REFUNDS,
    ]);
    assert_eq!(
        stripe.asked()[2].sent(),
        ["payment_intent=pi_1a", "amount=2430", "metadata[refund_key]=order-1:refund",]
    );
}

#[tokio::test]
async fn a_refund_is_found_by_its_key_and_the_newest_of_a_key_counts() {
    let mut failed = refund("failed");
    failed["failure_reason"] = json!("expired_or_canceled_card");
    let of_another = json!({
        "id": "re_9z", "object": "refund", "amount": 100, "currency": "gbp",
        "status": "succeeded", "metadata": {"refund_key": "order-2:refund"},
    });
    let listed = |data: Value| answers(200, &json!({"object": "list", "data": data}));
    let stripe = Stripe::that([
        listed(json!([of_another.clone()])),
        listed(json!([of_another.clone(), refund("pending"), failed.clone()])),
        listed(json!([of_another, failed])),
    ])
    .await;
    let mut found = Vec::new();
    for _ in 0..3 {
        let newest = stripe.provider.look_up_refund(&payment(), "order-1:refund").await.unwrap();
        found.push(newest.map(|refund| (refund.state, refund.amount, refund.failure)));
    }
    let whole = pounds("24.30");
    let why = Some("expired_or_canceled_card".to_owned());
    assert_eq!(
        found,
        [None, Some((AtProvider::Pending, whole, None)), Some((AtProvider::Failed, whole, why))]
    );
    stripe.was_asked(&[REFUNDS, REFUNDS, REFUNDS]);
}

#[tokio::test]
async fn a_refund_that_is_pending_is_waited_for() {
    let stripe = Stripe::that([
        is("succeeded"),
        refunds(&[]),
        answers(200, &refund("pending")),
        given_back(2_430),
        refunds(&["pending"]),
        is("succeeded"),
        refunds(&["requires_action"]),
    ])
    .await;
    for _ in 0..3 {
        let (retry_after, why) = unavailable(stripe.refunds().await);
        assert_eq!(retry_after, None);
        assert!(why.contains("pending"), "{why}");
    }
    // Until it is decided, the money is not refunded.
    let stripe = Stripe::that([given_back(2_430), refunds(&["pending"])]).await;
    assert_eq!(state_of(stripe.looks_up().await), PaymentState::Captured);
    let stripe = Stripe::that([given_back(2_430), refunds(&["failed"])]).await;
    assert_eq!(state_of(stripe.looks_up().await), PaymentState::Captured);
    let stripe = Stripe::that([given_back(2_430), refunds(&["failed", "succeeded"])]).await;
    assert_eq!(state_of(stripe.looks_up().await), PaymentState::Refunded);
}

#[tokio::test]
async fn a_refund_that_has_failed_is_asked_for_anew_under_the_next_key() {
    let stripe = Stripe::that([
        is("succeeded"),
        refunds(&[]),
        answers(200, &refund("failed")),
        is("succeeded"),
        refunds(&["failed", "canceled"]),
        answers(200, &refund("succeeded")),
        given_back(2_430),
        refunds(&["succeeded", "failed", "canceled"]),
    ])
    .await;
    let (_, why) = unavailable(stripe.refunds().await);
    assert!(why.contains("failed"), "{why}");
    assert_eq!(state_of(stripe.refunds().await), PaymentState::Refunded);
    stripe.was_asked(&[
        LOOK_UP,
        REFUNDS,
        "POST /v1/refunds under order-1:refund",
        LOOK_UP,
        REFUNDS,
        "POST /v1/refunds under order-1:refund-3",
        LOOK_UP,
        REFUNDS,
    ]);
}

#[tokio::test]
async fn a_refund_whose_answer_was_kept_is_found_among_the_refunds() {
    let stripe = Stripe::that([
        is("succeeded"),
        refunds(&[]),
        failure().replayed(),
        refunds(&[]),
        // The second key's refund was made, and its answer lost.
        answers(200, &refund("succeeded")).replayed(),
        refunds(&["succeeded"]),
        given_back(2_430),
        refunds(&["succeeded"]),
    ])
    .await;
    assert_eq!(state_of(stripe.refunds().await), PaymentState::Refunded);
    let asked: Vec<_> = stripe.asked().iter().map(Asked::told).collect();
    assert_eq!(asked[2], "POST /v1/refunds under order-1:refund");
    assert_eq!(asked[4], "POST /v1/refunds under order-1:refund-2");
    assert_eq!(asked.len(), 8);
}

#[tokio::test]
async fn what_a_person_has_given_back_is_not_given_back_again() {
    let already = json!({"type": "invalid_request_error", "code": "charge_already_refunded"});
    let stripe = Stripe::that([
        is("succeeded"),
        refunds(&[]),
        refuses(400, &already),
        given_back(2_430),
        refunds(&["succeeded"]),
    ])
    .await;
    assert_eq!(state_of(stripe.refunds().await), PaymentState::Refunded);
    // Only a part is left: the whole amount cannot be refunded any more, and no other amount is.
    let stripe = Stripe::that([given_back(430), refunds(&[])]).await;
    moved_on(stripe.refunds().await);
    stripe.was_asked(&[LOOK_UP, REFUNDS]);
    let stripe = Stripe::that([given_back(430)]).await;
    let found = stripe.provider.look_up(&payment()).await.unwrap();
    assert_eq!((found.captured, found.refunded), (pounds("24.30"), pounds("4.30")));
    // Only captured money is refunded.
    let stripe = Stripe::that([is("requires_capture")]).await;
    moved_on(stripe.refunds().await);
}

#[tokio::test]
async fn a_page_of_refunds_that_is_not_the_last_is_not_counted() {
    let page = json!({"data": [refund("failed")], "has_more": true});
    let stripe = Stripe::that([is("succeeded"), answers(200, &page)]).await;
    invalid(stripe.refunds().await);
}

// Invalid answers.

#[tokio::test]
async fn a_stripe_that_is_busy_says_when_to_come_again() {
    let in_use = json!({"type": "invalid_request_error", "code": "idempotency_key_in_use"});
    let busy = json!({"type": "invalid_request_error", "code": "rate_limit"});
    for (answer, pause) in [
        (refuses(429, &busy).with("retry-after", "7"), Some(7)),
        (refuses(409, &in_use).with("retry-after", "2"), Some(2)),
        (refuses(409, &in_use), None),
        (refuses(429, &json!({"code": "lock_timeout"})), None),
        (refuses(424, &json!({"type": "api_error"})), None),
        (failure(), None),
    ] {
        let stripe = Stripe::that([answer]).await;
        let (retry_after, _) = unavailable(stripe.captures().await);
        assert_eq!(retry_after, pause.map(Duration::from_secs));
        assert_eq!(stripe.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_key_that_is_not_accepted_keeps_orders_waiting_and_says_what_to_do() {
    for (answer, advice) in [
        (refuses(401, &json!({"type": "invalid_request_error"})), "set STRIPE_API_KEY"),
        (refuses(403, &json!({"code": "more_permissions_required"})), "lacks a right"),
        (refuses(400, &json!({"code": "balance_insufficient"})), "top up the balance"),
    ] {
        let stripe = Stripe::that([answer]).await;
        let (_, why) = unavailable(stripe.looks_up().await);
        assert!(why.contains(advice) && why.contains("req_1a"), "{why}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_none() {
    let page = || Scripted {
        status: 200,
        headers: vec![("content-type", "text/html")],
        body: Some("<html>It works!</html>".to_owned()),
    };
    let endless = || {
        let mut endless = is("requires_capture");
        endless.body = endless.body.map(|body| body + &" ".repeat(1024 * 1024));
        endless
    };
    let half = || {
        let mut half = is("requires_capture");
        half.body = half.body.map(|body| body[..100].to_owned());
        half
    };
    let moved =
        || Scripted { status: 302, ..is("requires_capture") }.with("location", "/elsewhere");
    let makers: [&dyn Fn() -> Scripted; 4] = [&page, &endless, &half, &moved];
    for answer in makers {
        let stripe = Stripe::that([answer()]).await;
        invalid(stripe.looks_up().await);
        assert_eq!(stripe.asked().len(), 1, "nobody is followed");
        let stripe = Stripe::that([answer()]).await;
        invalid(stripe.authorises().await);
    }
    let stripe = Stripe::that([is("requires_patience")]).await;
    invalid(stripe.looks_up().await);
}

#[tokio::test]
async fn a_refusal_that_nobody_foresaw_is_told_in_stripes_words_and_no_others() {
    let error = json!({
        "type": "invalid_request_error", "code": "amount_too_small", "param": "amount",
    });
    let stripe = Stripe::that([refuses(400, &error)]).await;
    let why = invalid(stripe.provider.open(&charge("pm_card_visa")).await);
    assert!(why.contains("amount_too_small, about amount (req_1a)"), "{why}");
    let error = json!({"type": MESSAGE, "code": MESSAGE, "param": MESSAGE});
    let stripe = Stripe::that([refuses(400, &error), is("requires_capture")]).await;
    let why = invalid(stripe.captures().await);
    assert!(why.contains("unspecified, unspecified, about unspecified"), "{why}");
}

#[tokio::test]
async fn a_payment_that_stripe_does_not_know_is_not_found() {
    let missing = json!({
        "type": "invalid_request_error", "code": "resource_missing", "param": "intent",
    });
    let stripe = Stripe::that([refuses(404, &missing), refuses(404, &missing)]).await;
    for answer in [stripe.looks_up().await, stripe.captures().await] {
        let error = answer.unwrap_err();
        assert!(matches!(error, ProviderError::NotFound), "{error:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let provider = StripeProvider::new(&StripeSettings {
        api_key: KEY.parse().unwrap(),
        api_url: Url::parse(&api_url).unwrap(),
        return_url: None,
    });
    let (retry_after, why) = unavailable(provider.unwrap().look_up(&payment()).await);
    assert_eq!(retry_after, None);
    assert!(!why.contains("pi_1a"), "{why}");
}

// Disputes.

/// A dispute of the whole payment.
pub(crate) fn dispute(status: &str, moved: &[Value]) -> Value {
    json!({
        "id": "du_1a", "object": "dispute", "amount": 2_430, "currency": "gbp", "status": status,
        "balance_transactions": moved, "charge": "ch_1a", "payment_intent": "pi_1a",
        "reason": "fraudulent", "evidence": {"customer_name": "Ada Lovelace"},
        "evidence_details": {
            "due_by": 1_793_534_400, "has_evidence": false, "past_due": false,
            "submission_count": 0,
        },
        "is_charge_refundable": false, "livemode": false, "metadata": {},
    })
}

/// A balance transaction of Stripe's.
pub(crate) fn balance(id: &str, amount: i64, fee: i64, currency: &str) -> Value {
    json!({
        "id": id, "object": "balance_transaction", "amount": amount, "fee": fee,
        "net": amount.saturating_sub(fee), "currency": currency, "type": "adjustment",
        "reporting_category": "dispute",
    })
}

/// The dispute's movements, one per line.
fn moved(facts: &DisputeFacts) -> Vec<String> {
    let line = |Movement { reference, kind, amount }: &Movement| {
        format!("{reference} {} {amount}", kind.name())
    };
    facts.movements.iter().map(line).collect()
}

#[tokio::test]
async fn a_dispute_is_read_as_it_is_with_what_it_has_moved() {
    let taken = balance("txn_1a", -2_430, 1_500, "gbp");
    let back = balance("txn_2a", 2_430, 0, "gbp");
    let stripe = Stripe::that([
        answers(200, &dispute("needs_response", std::slice::from_ref(&taken))),
        answers(200, &dispute("won", &[taken, back])),
    ])
    .await;
    let facts = stripe.retrieves().await.unwrap();
    let fee = Money::new("15.00".parse().unwrap(), Currency::GBP).unwrap();
    let movement = |kind, amount| Movement { reference: "txn_1a".to_owned(), kind, amount };
    assert_eq!(
        facts,
        DisputeFacts {
            dispute_id: "du_1a".to_owned(),
            payment_reference: "pi_1a".to_owned(),
            amount: pounds("24.30"),
            status: DisputeStatus::NeedsResponse,
            reason: "fraudulent".to_owned(),
            evidence_due: DateTime::from_timestamp(1_793_534_400, 0),
            movements: vec![
                movement(MovementKind::Withdrawn, pounds("24.30")),
                movement(MovementKind::Fee, fee),
            ],
        }
    );
    let won = stripe.retrieves().await.unwrap();
    assert_eq!(won.status, DisputeStatus::Won);
    assert_eq!(
        moved(&won),
        ["txn_1a withdrawn 24.30 GBP", "txn_1a fee 15.00 GBP", "txn_2a reinstated 24.30 GBP"]
    );
    stripe.was_asked(&["GET /v1/disputes/du_1a", "GET /v1/disputes/du_1a"]);
}

#[tokio::test]
async fn a_fee_may_come_back_and_be_in_the_currency_that_is_paid_out() {
    let stripe = Stripe::that([
        answers(200, &dispute("lost", &[balance("txn_1a", -2_861, 2_000, "eur")])),
        answers(200, &dispute("won", &[balance("txn_2a", 2_430, -1_500, "gbp")])),
    ])
    .await;
    let paid_out_in_euros = stripe.retrieves().await.unwrap();
    assert_eq!(moved(&paid_out_in_euros), ["txn_1a withdrawn 24.30 GBP", "txn_1a fee 20.00 EUR"]);
    let returned = stripe.retrieves().await.unwrap();
    assert_eq!(moved(&returned), ["txn_2a reinstated 24.30 GBP", "txn_2a fee-returned 15.00 GBP"]);
}

#[tokio::test]
async fn every_status_of_a_dispute_has_a_meaning() {
    let statuses = [
        ("warning_needs_response", DisputeStatus::WarningNeedsResponse),
        ("warning_under_review", DisputeStatus::WarningUnderReview),
        ("warning_closed", DisputeStatus::WarningClosed),
        ("needs_response", DisputeStatus::NeedsResponse),
        ("under_review", DisputeStatus::UnderReview),
        ("prevented", DisputeStatus::Prevented),
        ("lost", DisputeStatus::Lost),
        ("won", DisputeStatus::Won),
    ];
    let told = statuses.map(|(status, _)| answers(200, &dispute(status, &[])));
    let stripe = Stripe::that(told).await;
    for (status, known) in statuses {
        assert_eq!(stripe.retrieves().await.unwrap().status, known, "{status}");
    }
}

#[tokio::test]
async fn a_dispute_that_is_none_is_not_read() {
    let mut of_nothing = dispute("lost", &[]);
    of_nothing["payment_intent"] = Value::Null;
    of_nothing["charge"] = Value::Null;
    let mut another = dispute("lost", &[]);
    another["id"] = json!("du_2a");
    let stripe = Stripe::that([
        answers(200, &dispute("reconsidered", &[])),
        answers(200, &of_nothing),
        answers(200, &another),
        answers(200, &dispute("lost", &[balance("", -1, 0, "gbp")])),
    ])
    .await;
    for _ in 0..4 {
        invalid(stripe.retrieves().await);
    }
    for elsewhere in ["du_1a/../../refunds", "pi_1a", ""] {
        let error = stripe.provider.retrieve_dispute(elsewhere).await.unwrap_err();
        assert!(matches!(error, ProviderError::NotFound), "{error:?}");
    }
    assert_eq!(stripe.asked().len(), 4);
}

#[tokio::test]
async fn a_charge_without_an_intent_and_objects_in_the_place_of_ids_are_read() {
    let mut by_charge = dispute("lost", &[]);
    by_charge["payment_intent"] = Value::Null;
    let mut whole = dispute("lost", &[]);
    whole["payment_intent"] = intent("succeeded");
    whole["evidence_details"] = Value::Null;
    whole["reason"] = json!("Ada Lovelace did not like it");
    let stripe = Stripe::that([answers(200, &by_charge), answers(200, &whole)]).await;
    assert_eq!(stripe.retrieves().await.unwrap().payment_reference, "ch_1a");
    let facts = stripe.retrieves().await.unwrap();
    assert_eq!((facts.payment_reference.as_str(), facts.evidence_due), ("pi_1a", None));
    assert_eq!(facts.reason, "unspecified", "nothing of a body is told but words");
}

#[tokio::test]
async fn a_payment_that_a_bank_has_is_not_given_back_and_asked_for_again() {
    let disputed = json!({"type": "invalid_request_error", "code": "charge_disputed"});
    let stripe = Stripe::that([is("succeeded"), refunds(&[]), refuses(400, &disputed)]).await;
    let (_, told) = unavailable(stripe.refunds().await);
    assert!(told.contains("charge_disputed"), "{told}");
}
