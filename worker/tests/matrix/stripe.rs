//! Stripe's counterpart as the payment provider: what goes wrong there is planned for one order at a
//! time, and its own account says what an order has paid.

use std::sync::OnceLock;

use activities::payment::stripe::StripeSettings;
use domain::{OrderId, PaymentToken};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use crate::cell::{Cell, Trouble};
use crate::support::Shop;

/// Nobody's: the counterpart takes any.
const KEY: &str = "sk_test_matrix";

/// The settings under which the launcher's counterpart takes the money, if it has started one.
pub fn settings() -> Option<StripeSettings> {
    let url = std::env::var("ORDERSAGA_STRIPE_URL").ok()?;
    Some(StripeSettings {
        api_key: KEY.parse().unwrap(),
        api_url: Url::parse(&url).unwrap(),
        // Customers are there to approve what their bank asks them about.
        return_url: Some(Url::parse("https://shop.example/back").unwrap()),
    })
}

/// Stripe's counterpart.
#[derive(Clone, Debug)]
pub struct Counterpart {
    url: String,
}

impl Counterpart {
    /// The one that takes this shop's money, if one does.
    pub fn of(shop: &Shop) -> Option<Self> {
        let url = shop.stripe()?.api_url.as_str().trim_end_matches('/').to_owned();
        Some(Self { url })
    }

    fn http() -> &'static Client {
        static HTTP: OnceLock<Client> = OnceLock::new();
        HTTP.get_or_init(|| runtime::http::client_builder().no_proxy().build().unwrap())
    }

    /// The next request about the order's payment goes wrong.
    pub async fn goes_wrong(&self, order: OrderId, trouble: &Value) {
        let mut planned = trouble.clone();
        planned["path"] = json!("**");
        planned["of"] = json!(order.to_string());
        let url = format!("{}/_proxy/more-faults", self.url);
        let told = Self::http().post(url).json(&json!([planned])).send().await.unwrap();
        assert!(told.status().is_success(), "{planned}: {}", told.status());
    }

    /// The customer approves the order's payment, if their bank asks them; whether it does.
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

    /// How many payments the order has that hold its customer's money, or have taken it.
    pub async fn standing(&self, order: OrderId) -> i64 {
        let stands = |payment: &&Value| match payment["status"].as_str().unwrap() {
            "requires_capture" => true,
            "succeeded" => payment["latest_charge"]["refunded"] != true,
            _ => false,
        };
        let payments = self.payments(order).await;
        i64::try_from(payments.iter().filter(stands).count()).unwrap()
    }

    /// Every payment that was ever opened for the order, whether or not the shop knows of it.
    async fn payments(&self, order: OrderId) -> Vec<Value> {
        let answer = Self::http().get(format!("{}/_proxy/payments/{order}", self.url)).send().await;
        answer.unwrap().json().await.unwrap()
    }

    /// The requests that stripe-mock has refused so far.
    pub async fn refused(&self) -> Vec<Value> {
        let answer = Self::http().get(format!("{}/_proxy/judgements", self.url)).send().await;
        let judged: Value = answer.unwrap().json().await.unwrap();
        judged["refused"].as_array().unwrap().clone()
    }
}

/// Whether the cell says something about this provider that its counterpart can play.
pub fn can_play(cell: &Cell) -> bool {
    cell.point.is_of_payments()
        && (is_its_own(cell.trouble) || !cell.is_its_partys_doing())
        && cell.trouble != Trouble::ExpiresEarly
}

/// Whether the trouble is the provider's, and its counterpart has it.
fn is_its_own(trouble: Trouble) -> bool {
    trouble == Trouble::HintsComeOften || at_stripe(trouble).is_some()
}

/// What the provider does with the next request, where the sandbox would do the like.
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
    } else {
        None
    }
}

/// The card with which an order is paid that has this trouble.
pub fn card(trouble: Option<Trouble>) -> PaymentToken {
    let asks = matches!(trouble, Some(Trouble::NeedsCustomer | Trouble::CustomerIsGone));
    let name = if asks { "pm_card_authenticationRequired" } else { "pm_card_visa" };
    PaymentToken::parse(name).unwrap()
}
