//! The behaviour of Stripe that clients rely on, and the faults that tests can plan.
//!
//! Behind the proxy is a stand-in for localstripe, or the real one if `LOCALSTRIPE_URL` names it
//! (`stack.py test --with stripe`), except where a test inspects the requests that reach it.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use counterparts::{Config, router, serve, signature};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::localstripe::{self, Localstripe};

const INTENTS: &str = "/v1/payment_intents";
const MANUAL: &str = "amount=1000&currency=gbp&capture_method=manual";

struct Stripe {
    url: String,
    client: Client,
    localstripe: Arc<Localstripe>,
    keys: AtomicU32,
}

async fn listening(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, router));
    url
}

async fn stripe() -> Stripe {
    before(env::var("LOCALSTRIPE_URL").ok(), env::var("STRIPE_MOCK_URL").ok()).await
}

/// In front of the stand-in, even if the real one is available.
async fn watched() -> Stripe {
    before(None, None).await
}

async fn before(real: Option<String>, judge: Option<String>) -> Stripe {
    let localstripe = Arc::new(Localstripe::default());
    let behind = match real {
        Some(url) => url,
        None => listening(localstripe::router(Arc::clone(&localstripe))).await,
    };
    let config = Config { public_url: "http://proxy".to_owned(), localstripe: behind, judge };
    let url = listening(router(config).unwrap()).await;
    let client = runtime::http::client_builder().no_proxy().build().unwrap();
    Stripe { url, client, localstripe, keys: AtomicU32::default() }
}

impl Stripe {
    async fn try_post(&self, path: &str, form: &str, key: &str) -> reqwest::Result<Response> {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth("sk_test_shop");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.header("idempotency-key", key).body(form.to_owned()).send().await
    }

    /// Status and body, with a new idempotency key for each request.
    async fn post(&self, path: &str, form: &str) -> (u16, Value) {
        let key = format!("key-{}", self.keys.fetch_add(1, Ordering::SeqCst));
        read(self.try_post(path, form, &key).await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth("sk_test_shop");
        read(request.send().await.unwrap()).await.1
    }

    /// Sends a command to the proxy.
    async fn tell(&self, path: &str, what: &Value) -> Value {
        let request = self.client.post(format!("{}/_proxy/{path}", self.url)).json(what);
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path} {what}: {}", response.status());
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default()
    }

    async fn fails(&self, path: &str, fault: &Value) {
        self.tell("faults", &json!([{ "method": "POST", "path": path, "fault": fault }])).await;
    }

    /// Creates and confirms a payment with this card.
    async fn authorised(&self, card: &str) -> (u16, Value) {
        let (_, created) = self.post(INTENTS, &format!("{MANUAL}&payment_method={card}")).await;
        self.post(&format!("{INTENTS}/{}/confirm", id(&created)), "off_session=true").await
    }

    async fn captured(&self, amount: u32) -> String {
        let intent = id(&self.authorised("pm_card_visa").await.1);
        let form = format!("amount_to_capture={amount}");
        let (status, _) = self.post(&format!("{INTENTS}/{intent}/capture"), &form).await;
        assert_eq!(status, 200);
        intent
    }
}

async fn read(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

fn is_replayed(response: &Response) -> bool {
    response.headers().get("idempotent-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn without_a_secret_key_nothing_is_answered() {
    let stripe = stripe().await;
    for key in ["", "sk_live_shop", "sk_test_"] {
        let request = stripe.client.get(format!("{}/v1/events", stripe.url)).bearer_auth(key);
        let (status, body) = read(request.send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["type"]), (401, &json!("invalid_request_error")));
    }
}

#[tokio::test]
async fn the_same_key_is_carried_out_once_and_again_when_it_is_forgotten() {
    let stripe = stripe().await;
    let form = format!("{MANUAL}&payment_method=pm_card_visa");
    let first = stripe.try_post(INTENTS, &form, "k").await.unwrap();
    assert!(!is_replayed(&first));
    let second = stripe.try_post(INTENTS, &form, "k").await.unwrap();
    assert!(is_replayed(&second));
    let first = id(&read(first).await.1);
    assert_eq!(first, id(&read(second).await.1));

    let other = stripe.try_post(INTENTS, &format!("{form}&description=x"), "k").await.unwrap();
    let (status, body) = read(other).await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("idempotency_error")));

    stripe.tell("forget-keys", &json!(null)).await;
    let third = stripe.try_post(INTENTS, &form, "k").await.unwrap();
    assert_ne!(first, id(&read(third).await.1));
}

#[tokio::test]
async fn a_key_is_in_use_while_its_request_is_under_way() {
    let stripe = Arc::new(watched().await);
    stripe.localstripe.hold();
    let first = tokio::spawn({
        let stripe = Arc::clone(&stripe);
        async move { read(stripe.try_post(INTENTS, MANUAL, "k").await.unwrap()).await.0 }
    });
    stripe.localstripe.held().await;
    let (status, body) = read(stripe.try_post(INTENTS, MANUAL, "k").await.unwrap()).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("idempotency_key_in_use")));
    stripe.localstripe.let_go();
    assert_eq!(first.await.unwrap(), 200);
}

#[tokio::test]
async fn what_was_done_without_an_answer_is_answered_under_its_key() {
    for fault in [json!("lose-answer"), json!("server-error")] {
        let stripe = watched().await;
        let plan = json!([{ "path": INTENTS, "after_effect": true, "fault": fault }]);
        stripe.tell("faults", &plan).await;
        let form = format!("{MANUAL}&payment_method=pm_card_visa");
        let lost = stripe.try_post(INTENTS, &form, "k").await;
        let told = lost.map(|response| response.status().as_u16()).ok();
        assert_eq!(told, (fault == "server-error").then_some(500));
        let again = stripe.try_post(INTENTS, &form, "k").await.unwrap();
        assert!(is_replayed(&again));
        assert_eq!(again.status().as_u16(), if fault == "server-error" { 500 } else { 200 });
        assert_eq!(stripe.localstripe.created(), 1);
    }
}

#[tokio::test]
async fn what_was_not_done_leaves_its_key_free() {
    for fault in [json!("reset"), json!({ "too-many-requests": 7 }), json!({ "html-page": 502 })] {
        let stripe = watched().await;
        stripe.fails(INTENTS, &fault).await;
        let failed = stripe.try_post(INTENTS, MANUAL, "k").await;
        match failed {
            Err(_) => assert_eq!(fault, json!("reset")),
            Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(response.headers()["retry-after"], "7");
            }
            Ok(response) => assert!(response.text().await.unwrap().starts_with("<html>")),
        }
        assert_eq!(stripe.localstripe.created(), 0);
        let again = stripe.try_post(INTENTS, MANUAL, "k").await.unwrap();
        assert!(again.status().is_success() && !is_replayed(&again));
        assert_eq!(stripe.get("/_proxy/struck").await, json!({ "struck": 1 }));
    }
}

#[tokio::test]
async fn an_authorisation_is_shown_as_stripe_shows_it() {
    let stripe = stripe().await;
    let (_, intent) = stripe.authorised("pm_card_visa").await;
    assert_eq!(intent["status"], "requires_capture");
    assert!(intent["latest_charge"].is_string());
    let shown = stripe.get(&format!("{INTENTS}/{}?expand[]=latest_charge", id(&intent))).await;
    let card = &shown["latest_charge"]["payment_method_details"]["card"];
    assert!(card["capture_before"].is_i64());
    assert_eq!(shown["amount_capturable"], 1000);
}

#[tokio::test]
async fn a_declined_card_says_why_and_another_one_pays() {
    let stripe = stripe().await;
    let (status, body) = stripe.authorised("pm_card_chargeDeclinedInsufficientFunds").await;
    let error = &body["error"];
    assert_eq!((status, &error["type"]), (402, &json!("card_error")));
    assert_eq!(error["code"], "card_declined");
    assert_eq!(error["decline_code"], "insufficient_funds");
    assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
    let failure = &error["payment_intent"]["last_payment_error"];
    assert_eq!(failure["decline_code"], "insufficient_funds");

    let path = format!("{INTENTS}/{}/confirm", id(&error["payment_intent"]));
    let (status, paid) = stripe.post(&path, "payment_method=pm_card_visa").await;
    assert_eq!((status, &paid["status"]), (200, &json!("requires_capture")));
    assert!(paid["last_payment_error"].is_null());
}

#[tokio::test]
async fn a_customer_who_is_there_approves_and_one_who_is_not_cannot() {
    let stripe = stripe().await;
    let card = "pm_card_authenticationRequired";
    let (status, body) = stripe.authorised(card).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("authentication_required")));
    let failed = &body["error"]["payment_intent"];
    assert_eq!(failed["status"], "requires_payment_method");

    let path = format!("{INTENTS}/{}/confirm", id(failed));
    let form = format!("payment_method={card}&return_url=https://shop.example/back");
    let (_, waits) = stripe.post(&path, &form).await;
    assert_eq!(waits["status"], "requires_action");
    let page = waits["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
    let (_, command) = page.split_once("/_proxy/").unwrap();
    let approved = stripe.tell(command, &json!({ "success": true })).await;
    assert_eq!(approved["status"], "requires_capture");
}

#[tokio::test]
async fn a_card_that_nobody_has_is_a_fault_of_its_parameter() {
    let stripe = stripe().await;
    for parameter in ["payment_method", "customer"] {
        let (status, body) = stripe.post(INTENTS, &format!("{MANUAL}&{parameter}=x_1")).await;
        assert_eq!((status, &body["error"]["param"]), (400, &json!(parameter)));
        assert_eq!(body["error"]["code"], "resource_missing");
    }
}

#[tokio::test]
async fn a_payment_in_another_state_is_left_alone_and_shown() {
    let stripe = stripe().await;
    let intent = stripe.captured(1000).await;
    for call in ["confirm", "capture", "cancel"] {
        let (status, body) = stripe.post(&format!("{INTENTS}/{intent}/{call}"), "").await;
        assert_eq!(status, 400, "{call}");
        assert_eq!(body["error"]["code"], "payment_intent_unexpected_state");
        assert_eq!(body["error"]["payment_intent"]["status"], "succeeded");
    }
}

#[tokio::test]
async fn no_more_is_refunded_than_was_captured() {
    let stripe = stripe().await;
    let intent = stripe.captured(600).await;
    let refund = async |amount: &str| {
        stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount={amount}")).await
    };
    assert_eq!(refund("601").await.0, 400);
    let (status, refunded) = refund("400").await;
    assert_eq!((status, &refunded["payment_intent"]), (200, &json!(intent)));
    let (status, rest) = stripe.post("/v1/refunds", &format!("payment_intent={intent}")).await;
    assert_eq!((status, &rest["amount"]), (200, &json!(200)));
    assert_eq!(refund("1").await.1["error"]["code"], "charge_already_refunded");
}

#[tokio::test]
async fn the_rest_of_a_partial_capture_is_a_refund_that_moved_no_money() {
    let stripe = stripe().await;
    let intent = stripe.captured(600).await;
    let list = format!("/v1/refunds?payment_intent={intent}");
    let refunds = stripe.get(&list).await;
    assert_eq!(refunds["data"][0]["amount"], 400);
    assert!(refunds["data"][0]["balance_transaction"].is_null());
    assert_eq!(stripe.get(&format!("{INTENTS}/{intent}")).await["amount_received"], 600);
    stripe.tell("settings", &json!({ "remainder_is_a_refund": false })).await;
    assert_eq!(stripe.get(&list).await["data"], json!([]));
}

#[tokio::test]
async fn a_refund_is_pending_on_command_until_it_fails_and_brings_its_money_back() {
    let stripe = stripe().await;
    let intent = stripe.captured(1000).await;
    let pends = json!([{ "method": "POST", "path": "/v1/refunds", "fault": "refund-pends" }]);
    stripe.tell("faults", &pends).await;
    let form = format!("payment_intent={intent}&amount=1000");
    let (_, refund) = stripe.post("/v1/refunds", &form).await;
    assert_eq!(refund["status"], "pending");
    let at = format!("/v1/refunds/{}", id(&refund));
    assert_eq!(stripe.get(&at).await["status"], "pending");
    stripe.tell("happen", &json!({ "refund-failed": { "refund": id(&refund) } })).await;
    assert_eq!(stripe.get(&at).await["status"], "failed");
    let (status, again) = stripe.post("/v1/refunds", &form).await;
    assert_eq!((status, &again["status"]), (200, &json!("succeeded")));
}

#[tokio::test]
async fn disputes_failed_refunds_and_expired_authorisations_happen_on_command() {
    let stripe = stripe().await;
    let intent = stripe.captured(1000).await;
    let (_, refund) =
        stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=300")).await;
    let failed = json!({ "refund-failed": { "refund": id(&refund) } });
    assert_eq!(stripe.tell("happen", &failed).await["status"], "failed");
    let shown = stripe.get(&format!("/v1/refunds/{}", id(&refund))).await;
    assert_eq!(shown["status"], "failed");

    let open = json!({ "dispute-created": { "payment_intent": intent } });
    let dispute = id(&stripe.tell("happen", &open).await);
    for happening in [
        json!({ "dispute-funds-withdrawn": { "dispute": dispute } }),
        json!({ "dispute-closed": { "dispute": dispute, "won": false } }),
    ] {
        stripe.tell("happen", &happening).await;
    }
    assert_eq!(stripe.get(&format!("/v1/disputes/{dispute}")).await["status"], "lost");
    let (_, body) = stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=5")).await;
    assert_eq!(body["error"]["code"], "charge_disputed");

    let held = id(&stripe.authorised("pm_card_visa").await.1);
    let expired = json!({ "authorisation-expired": { "payment_intent": held } });
    assert_eq!(stripe.tell("happen", &expired).await["status"], "canceled");
    let events =
        stripe.get("/v1/events?types[]=charge.dispute.closed&types[]=charge.expired").await;
    let types: Vec<_> = events["data"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["charge.expired", "charge.dispute.closed"]);
}

#[tokio::test]
async fn events_are_delivered_in_any_order_as_often_as_wished_with_each_secret() {
    let (stripe, (to, mut received)) = (stripe().await, unbounded_channel());
    let url = listening(Router::new().route("/", post(receive)).with_state(to)).await;
    stripe.tell("settings", &json!({ "webhook": { "url": url, "secrets": ["old", "new"] } })).await;
    let intent = stripe.captured(1000).await;
    let events = stripe.get("/v1/events").await;
    let (last, first) = (id(&events["data"][0]), id(&events["data"][1]));
    let delivered = json!({ "events": [last, first, last], "signed_at": 5 });
    assert_eq!(stripe.tell("deliver", &delivered).await[2]["status"], 200);
    for event in [&last, &first, &last] {
        let (header, body) = next(&mut received).await;
        assert_eq!(header, signature(&["old".to_owned(), "new".to_owned()], 5, &body));
        assert_eq!(header.matches("v1=").count(), 2);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(id(&body), *event);
        assert!(body.to_string().contains(&intent));
    }
}

#[tokio::test]
async fn as_they_happen_events_come_as_often_as_was_said() {
    let (stripe, (to, mut received)) = (stripe().await, unbounded_channel());
    let url = listening(Router::new().route("/", post(receive)).with_state(to)).await;
    let webhook = json!({ "url": url, "secrets": ["new"] });
    let deliveries = json!(["twice", "lost"]);
    let settings = json!({ "webhook": webhook, "deliver_at_once": true, "deliveries": deliveries });
    stripe.tell("settings", &settings).await;
    let first = stripe.captured(1000).await;
    stripe.captured(1000).await;
    let mut came = BTreeMap::<String, u32>::new();
    for _ in 0..10 {
        let body: Value = serde_json::from_str(&next(&mut received).await.1).unwrap();
        assert!(body.to_string().contains(&first), "an event of the second payment: {body}");
        let times = came.entry(body["type"].as_str().unwrap().to_owned()).or_default();
        *times = times.saturating_add(1);
    }
    assert_eq!(came.len(), 5, "{came:?}");
    assert!(came.values().all(|times| *times == 2), "{came:?}");
    let told = stripe.get("/_proxy/deliveries").await;
    assert_eq!([&told["twice"], &told["lost"], &told["late"]], [&json!(5), &json!(5), &json!(0)]);
}

#[tokio::test]
async fn a_payout_consists_of_all_that_was_not_paid_out_before() {
    let stripe = stripe().await;
    let intent = stripe.captured(1000).await;
    stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=300")).await;
    let open = json!({ "dispute-created": { "payment_intent": intent, "amount": 200 } });
    let dispute = id(&stripe.tell("happen", &open).await);
    let withdrawn = json!({ "dispute-funds-withdrawn": { "dispute": dispute } });
    let moved = stripe.tell("happen", &withdrawn).await["balance_transactions"][0].clone();
    let paid = stripe.tell("happen", &json!({ "paid-out": {} })).await;
    assert_eq!(paid[0]["amount"], -1035);

    let payout = id(&paid[0]);
    let list = format!("/v1/balance_transactions?payout={payout}");
    let listed = stripe.get(&format!("{list}&expand[]=data.source")).await;
    let told = listed["data"].as_array().unwrap().iter().map(|one| {
        let payment = &one["source"]["payment_intent"];
        (one["type"].as_str().unwrap(), one["amount"].as_i64(), one["fee"].as_i64(), payment)
    });
    let (of_payment, of_none) = (json!(intent), json!(null));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("payout", Some(1035), Some(0), &of_none),
            ("adjustment", Some(-200), Some(1500), &of_payment),
            ("refund", Some(-300), Some(0), &of_payment),
            ("charge", Some(1000), Some(35), &of_payment),
        ]
    );
    // A dispute contains the same transaction, with the expanded source.
    assert_eq!(stripe.get(&list).await["data"][1], moved);
    assert_eq!(moved["source"], dispute.as_str());

    stripe.captured(100).await;
    let paid = stripe.tell("happen", &json!({ "paid-out": {} })).await;
    assert_eq!(paid[0]["amount"], 79);
    let payouts = stripe.get("/v1/payouts?created[gte]=1700000000").await;
    let ids: Vec<_> = payouts["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(ids, [id(&paid[0]), payout]);
    assert_eq!(stripe.get("/v1/payouts?created[lt]=1700000000").await["data"], json!([]));
}

#[tokio::test]
async fn the_payments_of_a_range_are_listed_as_they_are() {
    let stripe = watched().await;
    let (first, second) = (stripe.captured(600).await, stripe.captured(1000).await);
    let range = "created[gte]=1700000000&created[lt]=1700000001&expand[]=data.latest_charge";
    let listed = stripe.get(&format!("{INTENTS}?{range}&limit=1")).await;
    assert_eq!((id(&listed["data"][0]), &listed["has_more"]), (second.clone(), &json!(true)));
    let listed = stripe.get(&format!("{INTENTS}?{range}&starting_after={second}")).await;
    let shown = &listed["data"][0];
    assert_eq!((id(shown), &shown["amount_received"]), (first, &json!(600)));
    assert_eq!(shown["latest_charge"]["amount_captured"], 600);
    for outside in ["created[gt]=1700000000", "created[lt]=1700000000"] {
        assert_eq!(stripe.get(&format!("{INTENTS}?{outside}")).await["data"], json!([]));
    }
}

#[tokio::test]
async fn what_the_judge_refuses_is_told() {
    let judge = listening(Router::new().fallback(judge)).await;
    let stripe = before(None, Some(judge)).await;
    stripe.post(INTENTS, MANUAL).await;
    let (status, body) = stripe.post(INTENTS, &format!("{MANUAL}&colour=red")).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("colour")));
    let told = stripe.client.get(format!("{}/_proxy/judgements", stripe.url)).send().await.unwrap();
    let (_, told) = read(told).await;
    assert_eq!(told["asked"], 2);
    assert_eq!(told["refused"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["refused"][0]["why"], "unknown");
}

async fn judge(body: String) -> (StatusCode, String) {
    if body.contains("colour") {
        let refusal = json!({ "error": { "message": "unknown" } });
        return (StatusCode::BAD_REQUEST, refusal.to_string());
    }
    (StatusCode::OK, "{}".to_owned())
}

type Delivery = (String, String);

async fn receive(State(to): State<UnboundedSender<Delivery>>, headers: HeaderMap, body: String) {
    to.send((headers["stripe-signature"].to_str().unwrap().to_owned(), body)).unwrap();
}

async fn next(received: &mut UnboundedReceiver<Delivery>) -> Delivery {
    received.recv().await.unwrap()
}

#[tokio::test]
async fn a_fault_may_be_for_the_requests_about_one_payment_alone() {
    let stripe = stripe().await;
    let opened = async |order: &str| {
        let form = format!("{MANUAL}&payment_method=pm_card_visa&metadata[order_id]={order}");
        stripe.post(INTENTS, &form).await.1
    };
    let (ours, theirs) = (id(&opened("ours").await), id(&opened("theirs").await));
    let busy = json!({ "too-many-requests": 1 });
    let planned = json!([{ "path": "**", "of": "ours", "times": 2, "fault": busy }]);
    stripe.tell("more-faults", &planned).await;
    let confirm = |id: &str| format!("{INTENTS}/{id}/confirm");
    assert_eq!(stripe.post(&confirm(&theirs), "").await.0, 200);
    assert_eq!(stripe.post(&confirm(&ours), "").await.0, 429);
    let refunds = stripe.get(&format!("/v1/refunds?payment_intent={ours}")).await;
    assert_eq!(refunds["error"]["code"], "rate_limit");
    assert_eq!(stripe.post(&confirm(&ours), "").await.0, 200);

    let payments = stripe.get("/_proxy/payments/ours").await;
    let known: Vec<_> = payments.as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(known, ["requires_capture"]);
    assert_eq!(payments[0]["id"], ours.as_str());
    assert!(payments[0]["latest_charge"].is_object());
}
