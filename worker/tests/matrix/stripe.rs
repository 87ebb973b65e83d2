//! Stripe's counterpart as the payment provider: faults are planned for single orders, and its own
//! records show what an order has paid.

use std::sync::OnceLock;

use activities::payment::stripe::StripeSettings;
use domain::{OrderId, PaymentToken};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use crate::cell::{Cell, Trouble};
use crate::support::Shop;

/// The counterpart accepts any key.
const KEY: &str = "sk_test_matrix";

/// The settings for the launcher's counterpart, if it was started.
pub fn settings() -> Option<StripeSettings> {
    let url = std::env::var("ORDERSAGA_STRIPE_URL").ok()?;
    Some(StripeSettings {
        api_key: KEY.parse().unwrap(),
        api_url: Url::parse(&url).unwrap(),
        // Customers are present to approve payments.
        return_url: Some(Url::parse("https://shop.example/back").unwrap()),
    })
}

/// Stripe's counterpart.
#[derive(Clone, Debug)]
pub struct Counterpart {
    url: String,
}

impl Counterpart {
    /// The counterpart that this shop uses, if any.
    pub fn of(shop: &Shop) -> Option<Self> {
        let url = shop.stripe()?.api_url.as_str().trim_end_matches('/').to_owned();
        Some(Self { url })
    }

    fn http() -> &'static Client {
        static HTTP: OnceLock<Client> = OnceLock::new();
        HTTP.get_or_init(|| runtime::http::client_builder().no_proxy().build().unwrap())
    }

    /// Makes the next request about the order's payment fail.
    pub async fn goes_wrong(&self, order: OrderId, trouble: &Value) {
        let mut planned = trouble.clone();
        if planned["path"].is_null() {
            planned["path"] = json!("**");
        }
        planned["of"] = json!(order.to_string());
        let url = format!("{}/_proxy/more-faults", self.url);
        let told = Self::http().post(url).json(&json!([planned])).send().await.unwrap();
        assert!(told.status().is_success(), "{planned}: {}", told.status());
    }

    /// The customer approves the order's payment, if the bank asks. Returns whether it did.
    pub async fn approves(&self, order: OrderId) -> bool {
        let payments = self.payments(order).await;
        let Some(asked) = payments.iter().find(|one| one["status"] == "requires_action") else {
            return false;
        };
        let page = asked["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
        let answer =
            Self::http().post(page).json(&json!({ "success": true })).send().await.unwrap();
        answer.status().is_success()
    }

    /// The number of the order's payments that are authorised or captured.
    pub async fn standing(&self, order: OrderId) -> i64 {
        let stands = |payment: &&Value| match payment["status"].as_str().unwrap() {
            "requires_capture" => true,
            "succeeded" => payment["latest_charge"]["refunded"] != true,
            _ => false,
        };
        let payments = self.payments(order).await;
        i64::try_from(payments.iter().filter(stands).count()).unwrap()
    }

    /// Makes the order's next refund pending.
    pub async fn refund_pends(&self, order: OrderId) {
        self.goes_wrong(order, &refund_pends()).await;
    }

    /// Makes a pending refund of the order fail at the bank; returns whether there is one.
    pub async fn refund_fails(&self, order: OrderId) -> bool {
        let refunds = self.refunds(order).await;
        let Some(pending) = refunds.iter().find(|refund| refund["status"] == "pending") else {
            return false;
        };
        let happens = json!({ "refund-failed": { "refund": pending["id"] } });
        let url = format!("{}/_proxy/happen", self.url);
        let told = Self::http().post(url).json(&happens).send().await.unwrap();
        assert!(told.status().is_success(), "{happens}: {}", told.status());
        true
    }

    /// The order's refunded amount, in the currency's smallest unit.
    pub async fn given_back(&self, order: OrderId) -> i64 {
        let refunds = self.refunds(order).await;
        let given = refunds.iter().filter(|refund| refund["status"] != "failed");
        given.map(|refund| refund["amount"].as_i64().unwrap()).sum()
    }

    async fn refunds(&self, order: OrderId) -> Vec<Value> {
        let mut all = Vec::new();
        for payment in self.payments(order).await {
            let intent = payment["id"].as_str().unwrap();
            let url = format!("{}/v1/refunds?limit=100&payment_intent={intent}", self.url);
            let answer = Self::http().get(url).bearer_auth(KEY).send().await.unwrap();
            let mut list: Value = answer.json().await.unwrap();
            all.append(list["data"].as_array_mut().unwrap());
        }
        all
    }

    /// Every payment ever created for the order, known to the shop or not.
    async fn payments(&self, order: OrderId) -> Vec<Value> {
        let answer = Self::http().get(format!("{}/_proxy/payments/{order}", self.url)).send().await;
        answer.unwrap().json().await.unwrap()
    }

    /// The requests that stripe-mock has rejected so far.
    pub async fn refused(&self) -> Vec<Value> {
        let answer = Self::http().get(format!("{}/_proxy/judgements", self.url)).send().await;
        let judged: Value = answer.unwrap().json().await.unwrap();
        judged["refused"].as_array().unwrap().clone()
    }
}

fn refund_pends() -> Value {
    json!({ "method": "POST", "path": "/v1/refunds", "fault": "refund-pends" })
}

/// Whether the cell concerns this provider and its counterpart can simulate it.
pub fn can_play(cell: &Cell) -> bool {
    cell.point.is_of_payments()
        && (is_its_own(cell.trouble) || !cell.is_its_partys_doing())
        && cell.trouble != Trouble::ExpiresEarly
}

/// Whether the fault is the provider's, and its counterpart supports it.
fn is_its_own(trouble: Trouble) -> bool {
    trouble == Trouble::HintsComeOften || at_stripe(trouble).is_some()
}

/// The fault of the provider's next request, equivalent to the sandbox's.
pub fn at_stripe(trouble: Trouble) -> Option<Value> {
    if trouble == Trouble::AnswersHtml {
        Some(json!({ "fault": { "html-page": 200 } }))
    } else if trouble == Trouble::AsksForNoPause {
        Some(json!({ "fault": { "too-many-requests": 0 } }))
    } else if trouble == Trouble::AsksForAPause {
        Some(json!({ "fault": { "too-many-requests": 2 } }))
    } else if trouble == Trouble::LosesItsConnection {
        Some(json!({ "fault": "lose-answer" }))
    } else if trouble == Trouble::AnswersLate {
        Some(json!({ "fault": "hang", "after_effect": true }))
    } else if trouble == Trouble::RefundFails {
        Some(refund_pends())
    } else {
        None
    }
}

/// The card that triggers this fault.
pub fn card(trouble: Option<Trouble>) -> PaymentToken {
    let asks = matches!(trouble, Some(Trouble::NeedsCustomer | Trouble::CustomerIsGone));
    let name = if asks { "pm_card_authenticationRequired" } else { "pm_card_visa" };
    PaymentToken::parse(name).unwrap()
}
