//! A payment's whole life cycle through the port, against a Stripe emulator: localstripe, behind
//! the proxy of `counterparts/`, which injects faults into the requests that a test names. If
//! stripe-mock is available, it validates every request against Stripe's own API description.
//!
//! The tests run if the launcher has started these programs (`make counterparts-test`), and
//! otherwise report that they were not run. Each test has its own proxy, so that its faults do not
//! affect other tests.

use std::env;
use std::io::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use activities::payment::port::{Payment, PaymentId, PaymentProvider, ProviderError};
use activities::payment::stripe::{StripeProvider, StripeSettings};
use counterparts::{Config, router, serve};
use domain::payment::PaymentState;
use domain::refund::AtProvider;
use domain::{Charge, Order, OrderId, PaymentToken};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use testkit::pounds;
use tokio::net::TcpListener;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::order;

const KEY: &str = "sk_test_nobody";

/// When an attempt that hangs is abandoned; it is retried, so a slow machine does not change the
/// result.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(500);

/// More attempts than any passing test needs.
const TRIES_MAX: u32 = 1_000;

/// The Stripe emulator, as configured by one test.
struct Counterpart {
    provider: StripeProvider,
    proxy: String,
    http: Client,
    /// The number of failed attempts.
    in_vain: AtomicU32,
}

/// The address of localstripe, if the launcher has started it. Otherwise reports that once.
fn localstripe() -> Option<String> {
    static SAID: Once = Once::new();
    if env::var_os("ORDERSAGA_STRIPE_URL").is_some() {
        return Some(env::var("LOCALSTRIPE_URL").expect("the launcher names it with the other"));
    }
    SAID.call_once(|| {
        // Bypasses the test runner, which hides the output of passing tests.
        let why = "stripe_counterpart: NOT RUN, for nobody stands for Stripe here; \
                   `make counterparts-test` has them";
        writeln!(io::stderr(), "{why}").unwrap();
    });
    None
}

impl Counterpart {
    /// For customers who are not present to approve anything.
    async fn there() -> Option<Self> {
        Self::with(None).await
    }

    async fn with(return_url: Option<&str>) -> Option<Self> {
        let localstripe = localstripe()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let judge = env::var("STRIPE_MOCK_URL").ok();
        let config = Config { public_url: proxy.clone(), localstripe, judge };
        tokio::spawn(serve(listener, router(config).unwrap()));
        let provider = StripeProvider::new(&StripeSettings {
            api_key: KEY.parse().unwrap(),
            api_url: Url::parse(&proxy).unwrap(),
            return_url: return_url.map(|url| Url::parse(url).unwrap()),
        });
        let http = runtime::http::client_builder().no_proxy().build().unwrap();
        let in_vain = AtomicU32::default();
        Some(Self { provider: provider.unwrap(), proxy, http, in_vain })
    }

    async fn tell(&self, path: &str, what: &Value) -> Value {
        let request = self.http.post(format!("{}/_proxy/{path}", self.proxy)).json(what);
        let told = request.send().await.unwrap();
        let (status, body) = (told.status(), told.bytes().await.unwrap());
        assert!(status.is_success(), "{path} {what}: {status}");
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// Injects a fault into the next `times` requests that match, and no others.
    async fn goes_wrong(&self, (method, path): (&str, &str), trouble: &Value, times: u32) {
        let mut planned = trouble.clone();
        planned["method"] = json!(method);
        planned["path"] = json!(path);
        planned["times"] = json!(times);
        self.in_vain.store(0, Ordering::SeqCst);
        self.tell("faults", &json!([planned])).await;
    }

    /// Retries until there is an answer, as the saga does.
    async fn known<T>(&self, ask: impl AsyncFn() -> Result<T, ProviderError>) -> T {
        for _ in 0..TRIES_MAX {
            match timeout(GIVEN_UP_AFTER, ask()).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(ProviderError::Unavailable { .. } | ProviderError::InvalidAnswer(_)))
                | Err(_) => {
                    self.in_vain.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Err(error @ (ProviderError::MovedOn | ProviderError::NotFound))) => {
                    panic!("{error:?}")
                }
            }
        }
        panic!("asked {TRIES_MAX} times, and nobody knows")
    }

    async fn opens(&self, charge: &Charge) -> PaymentId {
        self.known(async || self.provider.open(charge).await).await
    }

    async fn authorises(&self, payment: &PaymentId) -> Payment {
        self.known(async || self.provider.authorise(payment).await).await
    }

    async fn captures(&self, payment: &PaymentId, amount: &str) -> Payment {
        self.known(async || self.provider.capture(payment, pounds(amount)).await).await
    }

    async fn voids(&self, payment: &PaymentId) -> Payment {
        self.known(async || self.provider.void(payment).await).await
    }

    async fn refunds(&self, payment: &PaymentId, name: &str, amount: &str) -> Payment {
        let (key, amount) = (refund_key(payment, name), pounds(amount));
        self.known(async || self.provider.refund(payment, &key, amount).await).await
    }

    async fn finds(&self, payment: &PaymentId) -> Payment {
        self.known(async || self.provider.look_up(payment).await).await
    }

    /// A refund's state, amount, and reason for failure.
    async fn finds_refund(
        &self,
        payment: &PaymentId,
        name: &str,
    ) -> Option<(AtProvider, String, Option<String>)> {
        let key = refund_key(payment, name);
        let found = self.known(async || self.provider.look_up_refund(payment, &key).await).await;
        found.map(|refund| (refund.state, refund.amount.to_string(), refund.failure))
    }

    /// An authorised payment of 24.30 pounds.
    async fn authorised(&self) -> PaymentId {
        let payment = self.opens(&charge("pm_card_visa")).await;
        assert_eq!(self.authorises(&payment).await.state, PaymentState::Authorised);
        payment
    }

    /// A payment of 24.30 pounds of which this amount was captured.
    async fn captured(&self, amount: &str) -> PaymentId {
        let payment = self.authorised().await;
        assert_eq!(self.captures(&payment, amount).await.state, PaymentState::Captured);
        payment
    }

    /// How often this event has happened to a payment, by Stripe's own records.
    async fn happened(&self, PaymentId(id): &PaymentId, kind: &str) -> usize {
        let url = format!("{}/v1/events?type={kind}&limit=100", self.proxy);
        let events = self.http.get(url).bearer_auth(KEY).send().await.unwrap();
        let events: Value = events.json().await.unwrap();
        let events = events["data"].as_array().unwrap().iter().map(|one| &one["data"]["object"]);
        let of_payment = |object: &&Value| {
            object["id"] == id.as_str() || object["payment_intent"] == id.as_str()
        };
        events.filter(of_payment).count()
    }

    /// Asserts that each of these events has happened once.
    async fn moved_once(&self, payment: &PaymentId, kinds: &[&str]) {
        for kind in kinds {
            assert_eq!(self.happened(payment, kind).await, 1, "{kind}");
        }
    }

    /// Asserts that every request conforms to Stripe's own API description.
    async fn was_well_asked(&self) {
        let judged = self.http.get(format!("{}/_proxy/judgements", self.proxy)).send().await;
        let judged: Value = judged.unwrap().json().await.unwrap();
        assert_eq!(judged["refused"], json!([]));
    }

    /// The customer approves the payment, or does not.
    async fn is_answered(&self, payment: &Payment, approves: bool) {
        let page = payment.approval.as_ref().unwrap().url.as_str();
        let answer = self.http.post(page).json(&json!({ "success": approves })).send().await;
        // The bank may decline a payment that its customer has approved.
        assert!(matches!(answer.unwrap().status().as_u16(), 200 | 402));
    }
}

/// A charge of 24.30 pounds, for its own order.
fn charge(token: &str) -> Charge {
    let order = Order { order_id: OrderId::of(Uuid::now_v7()), ..order(1) };
    let payment_token = PaymentToken::parse(token).unwrap();
    Charge { amount: pounds("24.30"), payment_token, ..order.charge(1) }
}

/// Unique per payment, like the shop's own keys.
fn refund_key(PaymentId(id): &PaymentId, name: &str) -> String {
    format!("{id}:{name}")
}

#[track_caller]
fn moved_on(answer: Result<Payment, ProviderError>) {
    let error = answer.unwrap_err();
    assert!(matches!(error, ProviderError::MovedOn), "{error:?}");
}

const CONFIRM: (&str, &str) = ("POST", "/v1/payment_intents/*/confirm");
const CANCEL: (&str, &str) = ("POST", "/v1/payment_intents/*/cancel");
const REFUND: (&str, &str) = ("POST", "/v1/refunds");

/// The requests for a payment that is captured and refunded.
const REQUESTS: [(&str, &str); 6] = [
    ("POST", "/v1/payment_intents"),
    CONFIRM,
    ("POST", "/v1/payment_intents/*/capture"),
    REFUND,
    ("GET", "/v1/payment_intents/*"),
    ("GET", "/v1/refunds"),
];

/// Every fault of a request in transit, or of its answer.
fn troubles() -> [Value; 9] {
    [
        json!({ "fault": "lose-answer" }),
        json!({ "fault": "reset" }),
        json!({ "fault": "server-error" }),
        json!({ "fault": "server-error", "after_effect": true }),
        json!({ "fault": { "too-many-requests": 1 } }),
        json!({ "fault": "hang" }),
        json!({ "fault": "hang", "after_effect": true }),
        json!({ "fault": { "html-page": 502 } }),
        json!({ "fault": { "html-page": 200 }, "after_effect": true }),
    ]
}

#[tokio::test]
async fn money_is_taken_once_and_given_back_once_whatever_happens_to_a_request() {
    let Some(stripe) = Counterpart::there().await else { return };
    for trouble in troubles() {
        for request in REQUESTS {
            for times in [1, 2] {
                let told = format!("{trouble} {request:?} {times} times");
                stripe.goes_wrong(request, &trouble, times).await;
                let payment = stripe.opens(&charge("pm_card_visa")).await;
                let held = stripe.authorises(&payment).await;
                assert_eq!(held.state, PaymentState::Authorised, "{told}");
                assert!(held.expires_at.is_some(), "{told}");
                assert_eq!(stripe.finds(&payment).await, held, "{told}");
                let taken = stripe.captures(&payment, "24.30").await;
                assert_eq!(
                    (taken.state, taken.captured),
                    (PaymentState::Captured, pounds("24.30"))
                );
                let returned = stripe.refunds(&payment, "refund-1", "24.30").await;
                assert_eq!(returned.state, PaymentState::Refunded, "{told}");
                let refund = stripe.finds_refund(&payment, "refund-1").await;
                let made = (AtProvider::Succeeded, "24.30 GBP".to_owned(), None);
                assert_eq!(refund, Some(made), "{told}");
                assert!(stripe.in_vain.load(Ordering::SeqCst) > 0, "nothing went wrong: {told}");
                let once = ["charge.succeeded", "charge.captured", "refund.created"];
                stripe.moved_once(&payment, &once).await;
            }
        }
    }
    stripe.was_well_asked().await;
}

#[tokio::test]
async fn a_payment_is_let_go_once_whatever_happens_to_the_request() {
    let Some(stripe) = Counterpart::there().await else { return };
    for trouble in troubles() {
        let payment = stripe.authorised().await;
        stripe.goes_wrong(CANCEL, &trouble, 2).await;
        assert_eq!(stripe.voids(&payment).await.state, PaymentState::Voided, "{trouble}");
        assert!(stripe.in_vain.load(Ordering::SeqCst) > 0, "nothing went wrong: {trouble}");
        assert_eq!(stripe.voids(&payment).await.state, PaymentState::Voided, "{trouble}");
        stripe.moved_once(&payment, &["payment_intent.canceled"]).await;
        moved_on(stripe.provider.capture(&payment, pounds("24.30")).await);
        moved_on(stripe.provider.authorise(&payment).await);
    }
    let opened = stripe.opens(&charge("pm_card_visa")).await;
    assert_eq!(stripe.voids(&opened).await.state, PaymentState::Voided);
    let taken = stripe.captured("24.30").await;
    moved_on(stripe.provider.void(&taken).await);
    stripe.was_well_asked().await;
}

#[tokio::test]
async fn a_decline_is_told_in_the_banks_word_whatever_happens_to_its_answer() {
    let Some(stripe) = Counterpart::there().await else { return };
    for (token, code) in [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        // Nobody is present to approve it.
        ("pm_card_authenticationRequired", "authentication_required"),
        // Stripe does not know them.
        ("pm_gone", "resource_missing"),
        ("tok_visa", "no_payment_method_of_stripe"),
    ] {
        for trouble in troubles() {
            stripe.goes_wrong(CONFIRM, &trouble, 1).await;
            let payment = stripe.opens(&charge(token)).await;
            let declined = stripe.authorises(&payment).await;
            assert_eq!(declined.state, PaymentState::Declined, "{token} {trouble}");
            assert_eq!(declined.decline_code.as_deref(), Some(code), "{token} {trouble}");
            // A decline in the answer to a confirmation does not contain the bank's risk
            // assessment.
            let found = stripe.finds(&payment).await;
            let found = Payment { risk: declined.risk, ..found };
            assert_eq!(found, declined, "{token} {trouble}");
            assert_eq!(stripe.voids(&payment).await.state, PaymentState::Voided);
        }
    }
    stripe.was_well_asked().await;
}

#[tokio::test]
async fn a_customer_who_is_asked_by_the_bank_decides_whatever_happens_to_the_answers() {
    let Some(stripe) = Counterpart::with(Some("https://shop.example/back")).await else { return };
    let refused = "payment_intent_authentication_failure";
    for (token, approves, becomes, code) in [
        ("pm_card_authenticationRequired", true, PaymentState::Authorised, None),
        ("pm_card_authenticationRequired", false, PaymentState::Declined, Some(refused)),
        (
            "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
            true,
            PaymentState::Declined,
            Some("insufficient_funds"),
        ),
    ] {
        for trouble in troubles() {
            stripe.goes_wrong(CONFIRM, &trouble, 1).await;
            let payment = stripe.opens(&charge(token)).await;
            let waits = stripe.authorises(&payment).await;
            assert_eq!(waits.state, PaymentState::AwaitingCustomer, "{token} {trouble}");
            stripe.is_answered(&waits, approves).await;
            let decided = stripe.finds(&payment).await;
            assert_eq!((decided.state, decided.decline_code.as_deref()), (becomes, code));
            // On a repeat, the bank is not asked again.
            let again = stripe.authorises(&payment).await;
            assert_eq!(again, decided, "{token} {trouble}");
        }
    }
    stripe.was_well_asked().await;
}

#[tokio::test]
async fn a_part_is_taken_and_given_back_in_parts() {
    let Some(stripe) = Counterpart::there().await else { return };
    for trouble in troubles() {
        let payment = stripe.captured("6.00").await;
        assert_eq!(stripe.finds(&payment).await.captured, pounds("6.00"));
        stripe.goes_wrong(REFUND, &trouble, 1).await;
        // Each is requested twice.
        for (key, amount, state) in [
            ("refund-1", "2.00", PaymentState::Captured),
            ("refund-1", "2.00", PaymentState::Captured),
            ("refund-2", "4.00", PaymentState::Refunded),
            ("refund-2", "4.00", PaymentState::Refunded),
        ] {
            let payment = stripe.refunds(&payment, key, amount).await;
            assert_eq!((payment.state, payment.captured), (state, pounds("6.00")), "{trouble}");
        }
        for (key, amount) in [("refund-1", "2.00 GBP"), ("refund-2", "4.00 GBP")] {
            let made = (AtProvider::Succeeded, amount.to_owned(), None);
            assert_eq!(stripe.finds_refund(&payment, key).await, Some(made), "{trouble}");
        }
        assert_eq!(stripe.finds_refund(&payment, "refund-3").await, None);
        assert_eq!(stripe.happened(&payment, "refund.created").await, 2, "{trouble}");
    }
    stripe.was_well_asked().await;
}

#[tokio::test]
async fn a_refund_that_fails_later_is_known_and_made_anew_under_the_same_key() {
    let Some(stripe) = Counterpart::there().await else { return };
    let payment = stripe.captured("24.30").await;
    stripe.refunds(&payment, "refund-1", "24.30").await;
    let url = format!("{}/v1/refunds?payment_intent={}", stripe.proxy, payment.0);
    let listed = stripe.http.get(url).bearer_auth(KEY).send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    let fails = json!({ "refund-failed": { "refund": listed["data"][0]["id"] } });
    stripe.tell("happen", &fails).await;
    assert_eq!(stripe.finds(&payment).await.state, PaymentState::Captured);
    let why = Some("lost_or_stolen_card".to_owned());
    let failed = (AtProvider::Failed, "24.30 GBP".to_owned(), why);
    assert_eq!(stripe.finds_refund(&payment, "refund-1").await, Some(failed));

    let returned = stripe.refunds(&payment, "refund-1", "24.30").await;
    assert_eq!(returned.state, PaymentState::Refunded);
    let made = (AtProvider::Succeeded, "24.30 GBP".to_owned(), None);
    assert_eq!(stripe.finds_refund(&payment, "refund-1").await, Some(made));
    assert_eq!(stripe.happened(&payment, "refund.created").await, 2);
    stripe.was_well_asked().await;
}

#[tokio::test]
async fn a_hold_that_runs_out_is_a_payment_that_is_let_go() {
    let Some(stripe) = Counterpart::there().await else { return };
    let payment = stripe.authorised().await;
    let expires = json!({ "authorisation-expired": { "payment_intent": payment.0 } });
    stripe.tell("happen", &expires).await;
    assert_eq!(stripe.finds(&payment).await.state, PaymentState::Voided);
    moved_on(stripe.provider.capture(&payment, pounds("24.30")).await);
    assert_eq!(stripe.voids(&payment).await.state, PaymentState::Voided);
}

#[tokio::test]
async fn a_day_later_the_payments_own_state_still_decides() {
    let Some(stripe) = Counterpart::there().await else { return };
    let forgotten = json!(null);
    let payment = stripe.authorised().await;
    stripe.tell("forget-keys", &forgotten).await;
    assert_eq!(stripe.authorises(&payment).await.state, PaymentState::Authorised);
    stripe.captures(&payment, "24.30").await;
    stripe.tell("forget-keys", &forgotten).await;
    assert_eq!(stripe.captures(&payment, "24.30").await.state, PaymentState::Captured);
    stripe.refunds(&payment, "refund-1", "10.00").await;
    stripe.tell("forget-keys", &forgotten).await;
    assert_eq!(stripe.refunds(&payment, "refund-1", "10.00").await.state, PaymentState::Captured);
    let once = ["charge.succeeded", "charge.captured", "refund.created"];
    stripe.moved_once(&payment, &once).await;
    stripe.was_well_asked().await;
}
