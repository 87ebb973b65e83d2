//! Controls Stripe's counterpart: planned faults, webhooks, customers' approvals, payouts, and its
//! own record of payments.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::SystemTime;

use chrono::{DateTime, NaiveDate, Utc};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::prove::reconcile;
use crate::screen::{heading, say};

/// Of each kind of request, one in this many fails.
const ONE_IN: usize = 4;

/// With a longer plan than this, only requests at the beginning fail.
const FAULTS_MAX: usize = 400;

/// The requests that the shop makes to Stripe.
const REQUESTS: [(&str, &str); 9] = [
    ("POST", "/v1/payment_intents"),
    ("POST", "/v1/payment_intents/*/confirm"),
    ("POST", "/v1/payment_intents/*/capture"),
    ("POST", "/v1/payment_intents/*/cancel"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/payment_intents/*"),
    ("GET", "/v1/refunds"),
    ("GET", "/v1/refunds/*"),
    ("GET", "/v1/disputes/*"),
];

/// The delay of a late event: it arrives after events that follow from it automatically.
const LATE_MS: u64 = 3_000;

/// The counterpart accepts any key.
const KEY: &str = "sk_test_shop";

/// More requests than are ever made while all of them hang.
const EVERY_REQUEST: u32 = 1_000_000;

/// Why the counterpart cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CounterpartError {
    /// Its URL is not set.
    #[error("payments go to Stripe's counterpart alone: ORDERSAGA_STRIPE_URL says where it is")]
    NotNamed,
    /// It does not answer correctly.
    #[error("Stripe's counterpart does not answer")]
    NoAnswer(#[from] reqwest::Error),
    /// It rejected a command.
    #[error("Stripe's counterpart answers {0}")]
    Refused(StatusCode),
    /// The terminal failed.
    #[error("cannot write to the terminal")]
    Screen(#[from] io::Error),
    /// `ordersaga reconcile` cannot be run.
    #[error("cannot run `ordersaga reconcile`")]
    Reconcile(#[source] io::Error),
}

/// Stripe's counterpart.
pub(crate) struct Counterpart {
    http: Client,
    url: String,
    /// The secrets for signing webhooks; without them, it sends none.
    secrets: Option<String>,
}

/// A payout to the shop's bank account.
#[derive(Deserialize)]
pub(crate) struct Payout {
    id: String,
    /// In the currency's smallest units; negative if the bank account is debited.
    amount: i64,
    currency: String,
}

/// What Stripe has captured for an order by its own records, in the currency's smallest units.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    payments: u32,
    received: u64,
    returned: u64,
}

/// What Stripe must have done for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// It has captured the order's amount once, and refunded this much, in the currency's smallest
    /// units.
    HaveTaken {
        /// The amount refunded.
        returned: u64,
    },
    /// It has refunded everything that it captured.
    KeepNothing,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Event>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    data: About,
}

#[derive(Deserialize)]
struct About {
    object: Value,
}

/// stripe-mock's judgement of the requests.
#[derive(Deserialize)]
struct Judged {
    judge: Option<String>,
    asked: u64,
    refused: Vec<Value>,
}

/// The outcomes of the events that the counterpart has sent.
#[derive(Deserialize)]
struct Delivered {
    taken: u64,
    refused: u64,
    twice: u64,
    late: u64,
    lost: u64,
}

#[derive(Deserialize)]
struct Struck {
    struck: u64,
}

impl Counterpart {
    /// The counterpart at this URL, which signs webhooks with these secrets, separated by commas.
    ///
    /// **Errors.** The URL is not set, or the HTTP client cannot be built.
    pub(crate) fn at(url: Option<&str>, secrets: Option<&str>) -> Result<Self, CounterpartError> {
        let url = url.ok_or(CounterpartError::NotNamed)?.trim_end_matches('/').to_owned();
        let http = runtime::http::client_builder().no_proxy().build()?;
        Ok(Self { http, url, secrets: secrets.map(str::to_owned) })
    }

    /// Sends most events to the shop at this URL from now on, if there are secrets to sign them,
    /// whether or not anything listens there.
    pub(crate) async fn tells(&self, shop: &str) -> Result<(), CounterpartError> {
        match &self.secrets {
            Some(secrets) => self.commanded("settings", &telling(shop, secrets)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Starts planned faults of requests, often enough that each order of this number may meet one.
    pub(crate) async fn begins_to_fail(&self, orders: usize) -> Result<(), CounterpartError> {
        self.commanded("faults", &plan(orders)).await.map(drop)
    }

    /// From now on no request is answered or executed.
    pub(crate) async fn begins_to_hang(&self) -> Result<(), CounterpartError> {
        let all = json!([{ "path": "**", "times": EVERY_REQUEST, "fault": "hang" }]);
        self.commanded("faults", &all).await.map(drop)
    }

    /// Ends all faults. A request that hangs is never answered.
    pub(crate) async fn goes_well(&self) -> Result<(), CounterpartError> {
        self.commanded("faults", &json!([])).await.map(drop)
    }

    /// An order's payments, as Stripe shows them.
    pub(crate) async fn payments_of(&self, order_id: &str) -> Result<Vec<Value>, CounterpartError> {
        self.get(&format!("/_proxy/payments/{order_id}")).await
    }

    /// Makes something happen at Stripe; returns the resulting object.
    pub(crate) async fn happens<T: DeserializeOwned>(
        &self,
        what: &Value,
    ) -> Result<T, CounterpartError> {
        Ok(self.commanded("happen", what).await?.json().await?)
    }

    /// Makes Stripe pay out the whole balance.
    pub(crate) async fn pays_out(&self) -> Result<Vec<Payout>, CounterpartError> {
        self.happens(&json!({ "paid-out": {} })).await
    }

    /// Makes Stripe pay out, and reconciles its records with the shop's for yesterday and today,
    /// which cover a whole run. Returns whether there is no difference.
    pub(crate) async fn pays_out_and_agrees(&self) -> Result<bool, CounterpartError> {
        self.goes_well().await?;
        heading("Stripe pays out")?;
        for payout in self.pays_out().await? {
            say(payout)?;
        }
        let today = DateTime::<Utc>::from(SystemTime::now()).date_naive();
        let from = today.pred_opt().unwrap_or(NaiveDate::MIN);
        let to = today.succ_opt().unwrap_or(NaiveDate::MAX);
        reconcile(from, to).await.map_err(CounterpartError::Reconcile)
    }

    /// The customer approves or refuses the payment on this page. A repeated answer changes
    /// nothing, and the bank may decline an approved payment.
    pub(crate) async fn answers_bank(
        &self,
        page: &str,
        approves: bool,
    ) -> Result<(), CounterpartError> {
        self.http.post(page).json(&json!({ "success": approves })).send().await?;
        Ok(())
    }

    /// Prints Stripe's own records of these orders. Returns whether it did for each what it must
    /// have done, and holds nothing for any other.
    pub(crate) async fn account(
        &self,
        orders: &BTreeMap<String, Must>,
    ) -> Result<bool, CounterpartError> {
        let taken = self.taken().await?;
        let wrong = wrong(&taken, orders);
        let Struck { struck } = self.get("/_proxy/struck").await?;
        let delivered: Delivered = self.get("/_proxy/deliveries").await?;
        let Judged { judge, asked, refused } = self.get("/_proxy/judgements").await?;
        heading("by Stripe's own account")?;
        say(format_args!("{} orders have paid; {struck} requests went wrong", taken.len()))?;
        say(&delivered)?;
        match judge {
            Some(_) => say(format_args!(
                "stripe-mock has validated {asked} requests and rejected {}",
                refused.len()
            ))?,
            None => say("the requests were not validated: stripe-mock is not available")?,
        }
        for refusal in &refused {
            say(format_args!("✘ {refusal}"))?;
        }
        for order in &wrong {
            say(format_args!("✘ {order}: {:?}", taken.get(*order)))?;
        }
        // With a wrong secret, the shop would accept no event.
        let is_heard = self.secrets.is_none() || delivered.taken > 0;
        if !is_heard {
            say("✘ the shop has taken no event")?;
        }
        Ok(wrong.is_empty() && refused.is_empty() && is_heard)
    }

    /// The captured payments, by order.
    async fn taken(&self) -> Result<BTreeMap<String, Taken>, CounterpartError> {
        let (mut taken, mut orders) = (BTreeMap::<String, Taken>::new(), BTreeMap::new());
        for payment in self.all("payment_intent.succeeded").await? {
            let order = text(&payment["metadata"]["order_id"]);
            orders.insert(text(&payment["id"]), order.clone());
            let of_order = taken.entry(order).or_default();
            of_order.payments = of_order.payments.saturating_add(1);
            of_order.received =
                of_order.received.saturating_add(units(&payment["amount_received"]));
        }
        for refund in self.all("refund.created").await? {
            let order = orders.get(&text(&refund["payment_intent"])).cloned().unwrap_or_default();
            let of_order = taken.entry(order).or_default();
            of_order.returned = of_order.returned.saturating_add(units(&refund["amount"]));
        }
        Ok(taken)
    }

    /// The objects of all events of this type.
    async fn all(&self, kind: &str) -> Result<Vec<Value>, CounterpartError> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page: Page = self.get(&format!("/v1/events?type={kind}&limit=100{after}")).await?;
            if let Some(last) = page.data.last() {
                after = format!("&starting_after={}", last.id);
            }
            all.extend(page.data.into_iter().map(|event| event.data.object));
            if !page.has_more {
                return Ok(all);
            }
        }
    }

    /// Sends a command to the counterpart itself.
    async fn commanded<T: Serialize + ?Sized>(
        &self,
        command: &str,
        what: &T,
    ) -> Result<Response, CounterpartError> {
        answered(self.http.post(format!("{}/_proxy/{command}", self.url)).json(what)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CounterpartError> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(KEY);
        Ok(answered(request).await?.json().await?)
    }
}

async fn answered(request: RequestBuilder) -> Result<Response, CounterpartError> {
    let answer = request.send().await?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(CounterpartError::Refused(status)),
    }
}

impl Taken {
    const NOTHING: Self = Self { payments: 0, received: 0, returned: 0 };

    const fn is_right(&self, must: Must) -> bool {
        match must {
            Must::HaveTaken { returned } => self.payments == 1 && self.returned == returned,
            Must::KeepNothing => self.returned == self.received,
        }
    }
}

/// Settings that send signed events to the shop. Of each type the first event is lost, so that the
/// shop has to find it in the list of events; the others are delivered in different ways, in
/// rotation.
fn telling(shop: &str, secrets: &str) -> Value {
    let secrets = secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty());
    json!({
        "webhook": {
            "url": format!("{shop}/v1/webhooks/stripe"),
            "secrets": secrets.collect::<Vec<_>>(),
        },
        "deliver_at_once": true,
        "deliveries": ["lost", "twice", { "late-ms": LATE_MS }, "once"],
    })
}

/// The planned faults: of each kind of request, one kind of fault after the other.
fn plan(orders: usize) -> Vec<Value> {
    let many = orders.div_ceil(ONE_IN).min(FAULTS_MAX);
    let planned = |(method, path): (&str, &str)| {
        let faults = troubles().into_iter().cycle().take(many).enumerate();
        let planned = faults.map(|(number, mut fault)| {
            fault["method"] = json!(method);
            fault["path"] = json!(path);
            // The first request of each kind already fails.
            fault["nth"] = json!(number.saturating_mul(ONE_IN).saturating_add(1));
            fault
        });
        planned.collect::<Vec<_>>()
    };
    REQUESTS.into_iter().flat_map(planned).collect()
}

fn troubles() -> [Value; 9] {
    [
        json!({ "fault": "lose-answer" }),
        json!({ "fault": "server-error" }),
        json!({ "fault": { "too-many-requests": 1 } }),
        json!({ "fault": "server-error", "after_effect": true }),
        json!({ "fault": "reset" }),
        json!({ "fault": { "html-page": 502 } }),
        json!({ "fault": { "html-page": 200 }, "after_effect": true }),
        json!({ "fault": { "delay-ms": 1_000 } }),
        json!({ "fault": "hang", "after_effect": true }),
    ]
}

/// The orders for which Stripe has a wrong record.
fn wrong<'a>(
    taken: &'a BTreeMap<String, Taken>,
    orders: &'a BTreeMap<String, Must>,
) -> Vec<&'a String> {
    let of_orders = orders.iter().filter(|(order, must)| {
        let taken = taken.get(*order).unwrap_or(&Taken::NOTHING);
        !taken.is_right(**must)
    });
    let of_nobody = taken
        .iter()
        .filter(|(order, taken)| !orders.contains_key(*order) && !taken.is_right(Must::KeepNothing))
        .map(|(order, _)| order);
    of_orders.map(|(order, _)| order).chain(of_nobody).collect()
}

impl fmt::Display for Payout {
    /// The catalogue's currency has two decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, amount, currency } = self;
        let amount = Decimal::new(*amount, 2);
        write!(f, "{id}: {amount} {}", currency.to_ascii_uppercase())
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { taken, refused, twice, late, lost } = self;
        write!(
            f,
            "events delivered {taken} times, refused {refused} times; {twice} sent twice, \
             {late} late, {lost} never"
        )
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn units(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_of_request_goes_wrong_in_every_way() {
        let planned = plan(200);
        let kinds: BTreeSet<_> = planned
            .iter()
            .map(|one| {
                format!(
                    "{} {} {} {}",
                    one["method"], one["path"], one["fault"], one["after_effect"]
                )
            })
            .collect();
        assert_eq!(kinds.len(), REQUESTS.len().saturating_mul(troubles().len()));
        let captures = planned.iter().filter(|one| one["path"] == REQUESTS[2].1);
        let struck: Vec<_> = captures.map(|one| one["nth"].as_u64().unwrap()).take(3).collect();
        assert_eq!(struck, [1, 5, 9]);
    }

    fn taken(payments: u32, received: u64, returned: u64) -> Taken {
        Taken { payments, received, returned }
    }

    #[test]
    fn the_shop_is_told_of_each_type_of_event_in_every_way_and_of_the_first_not_at_all() {
        let told = telling("http://shop", "whsec_old, whsec_new,");
        assert_eq!(told["webhook"]["url"], "http://shop/v1/webhooks/stripe");
        assert_eq!(told["webhook"]["secrets"], json!(["whsec_old", "whsec_new"]));
        assert_eq!(told["deliver_at_once"], true);
        let ways = ["lost", "twice", "late-ms", "once"].map(|way| {
            let mut deliveries = told["deliveries"].as_array().unwrap().iter();
            deliveries.position(|one| one == way || one.get(way).is_some())
        });
        assert_eq!(ways, [Some(0), Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn a_payout_is_told_in_its_currency() {
        let payout = |amount| Payout { id: "po_1".to_owned(), amount, currency: "gbp".to_owned() };
        assert_eq!(payout(123_450).to_string(), "po_1: 1234.50 GBP");
        assert_eq!(payout(-5).to_string(), "po_1: -0.05 GBP");
    }

    #[test]
    fn a_payment_is_taken_once_from_an_order_that_stands_and_from_no_other() {
        let (whole, in_part) = (Must::HaveTaken { returned: 0 }, Must::HaveTaken { returned: 150 });
        assert!(taken(1, 900, 0).is_right(whole));
        assert!(taken(1, 900, 150).is_right(in_part));
        assert!(Taken::NOTHING.is_right(Must::KeepNothing));
        assert!(taken(1, 900, 900).is_right(Must::KeepNothing));
        for wrong in [taken(0, 0, 0), taken(2, 1_800, 0), taken(1, 900, 900)] {
            assert!(!wrong.is_right(whole), "{wrong:?}");
        }
        assert!(!taken(1, 900, 0).is_right(in_part));
        assert!(!taken(1, 900, 0).is_right(Must::KeepNothing));
    }

    #[test]
    fn an_order_that_has_not_paid_and_money_of_nobodys_order_are_found() {
        let of = |order: &str, taken| (order.to_owned(), taken);
        let stands = Must::HaveTaken { returned: 0 };
        let orders = BTreeMap::from([
            ("paid".to_owned(), stands),
            ("unpaid".to_owned(), stands),
            ("undone".to_owned(), Must::KeepNothing),
        ]);
        let taken = BTreeMap::from([
            of("paid", taken(1, 900, 0)),
            of("undone", taken(1, 900, 900)),
            of("unknown", taken(1, 900, 0)),
            of("unknown, and returned", taken(1, 900, 900)),
        ]);
        assert_eq!(wrong(&taken, &orders), ["unpaid", "unknown"]);
    }
}
