//! Stripe's counterpart, as far as the shop has to do with it: what goes wrong there, customers who
//! answer their banks, and its own account of the money.

use std::collections::BTreeMap;
use std::io;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::screen::{heading, say};

/// One request in so many goes wrong, of each kind of request.
const ONE_IN: usize = 4;

/// A plan of more faults than this goes wrong at the beginning only.
const FAULTS_MAX: usize = 400;

/// The requests that the shop makes of Stripe.
const REQUESTS: [(&str, &str); 7] = [
    ("POST", "/v1/payment_intents"),
    ("POST", "/v1/payment_intents/*/confirm"),
    ("POST", "/v1/payment_intents/*/capture"),
    ("POST", "/v1/payment_intents/*/cancel"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/payment_intents/*"),
    ("GET", "/v1/refunds"),
];

/// Whose key it is does not matter to the counterpart.
const KEY: &str = "sk_test_shop";

/// More requests than are ever made while all of them hang.
const EVERY_REQUEST: u32 = 1_000_000;

/// Why the counterpart is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CounterpartError {
    /// It is not named.
    #[error("payments go to Stripe's counterpart alone: ORDERSAGA_STRIPE_URL says where it is")]
    NotNamed,
    /// It does not answer, or not as it should.
    #[error("Stripe's counterpart does not answer")]
    NoAnswer(#[from] reqwest::Error),
    /// It does not do as it is told.
    #[error("Stripe's counterpart answers {0}")]
    Refused(StatusCode),
    /// The terminal is gone.
    #[error("cannot write to the terminal")]
    Screen(#[from] io::Error),
}

/// Stripe's counterpart.
pub(crate) struct Counterpart {
    http: Client,
    url: String,
}

/// What Stripe has taken for an order, by its own account, in the currency's smallest units.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    payments: u32,
    received: u64,
    returned: u64,
}

/// What Stripe must have done for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// It has taken the order's money once, and given so much of it back, in the currency's
    /// smallest units.
    HaveTaken {
        /// How much.
        returned: u64,
    },
    /// It has given everything back that it took.
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

/// What stripe-mock thinks of the requests.
#[derive(Deserialize)]
struct Judged {
    judge: Option<String>,
    asked: u64,
    refused: Vec<Value>,
}

#[derive(Deserialize)]
struct Struck {
    struck: u64,
}

impl Counterpart {
    /// The one at this URL.
    ///
    /// **Errors.** It is not named, or no client can be built on this machine.
    pub(crate) fn at(url: Option<&str>) -> Result<Self, CounterpartError> {
        let url = url.ok_or(CounterpartError::NotNamed)?;
        let http = runtime::http::client_builder().no_proxy().build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// From now on requests go wrong, so often that each of so many orders may meet it.
    pub(crate) async fn begins_to_fail(&self, orders: usize) -> Result<(), CounterpartError> {
        self.told("faults", &json!(plan(orders))).await
    }

    /// From now on no request is answered, nor is anything done.
    pub(crate) async fn begins_to_hang(&self) -> Result<(), CounterpartError> {
        let all = json!([{ "path": "**", "times": EVERY_REQUEST, "fault": "hang" }]);
        self.told("faults", &all).await
    }

    /// From now on nothing goes wrong there. A request that hangs is not answered any more.
    pub(crate) async fn goes_well(&self) -> Result<(), CounterpartError> {
        self.told("faults", &json!([])).await
    }

    /// From now on every event is sent to this webhook as it happens, once, whether or not anybody
    /// listens there.
    pub(crate) async fn sends_events_to(
        &self,
        webhook: &str,
        secret: &str,
    ) -> Result<(), CounterpartError> {
        let webhook = json!({ "url": webhook, "secrets": [secret] });
        self.told("settings", &json!({ "webhook": webhook, "deliver_at_once": true })).await
    }

    /// Tells the counterpart itself, and not Stripe.
    async fn told(&self, what: &str, body: &Value) -> Result<(), CounterpartError> {
        let request = self.http.post(format!("{}/_proxy/{what}", self.url)).json(body);
        answered(request).await.map(drop)
    }

    /// The customer answers their bank on this page. An answer that the bank has already changes
    /// nothing, and the bank may say no to what its customer approves.
    pub(crate) async fn answers_bank(
        &self,
        page: &str,
        approves: bool,
    ) -> Result<(), CounterpartError> {
        self.http.post(page).json(&json!({ "success": approves })).send().await?;
        Ok(())
    }

    /// Shows what Stripe itself knows of these orders, by their ids; whether it did for each what
    /// it must have done, and keeps nothing for any other.
    pub(crate) async fn account(
        &self,
        orders: &BTreeMap<String, Must>,
    ) -> Result<bool, CounterpartError> {
        let taken = self.taken().await?;
        let wrong = wrong(&taken, orders);
        let Struck { struck } = self.get("/_proxy/struck").await?;
        let Judged { judge, asked, refused } = self.get("/_proxy/judgements").await?;
        heading("by Stripe's own account")?;
        say(format_args!("{} orders have paid; {struck} requests went wrong", taken.len()))?;
        match judge {
            Some(_) => say(format_args!(
                "stripe-mock has judged {asked} requests and refused {}",
                refused.len()
            ))?,
            None => say("nobody has judged the requests: stripe-mock is not there")?,
        }
        for refusal in &refused {
            say(format_args!("✘ {refusal}"))?;
        }
        for order in &wrong {
            say(format_args!("✘ {order}: {:?}", taken.get(*order)))?;
        }
        Ok(wrong.is_empty() && refused.is_empty())
    }

    /// By order.
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

    /// What every event of this type is about.
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

/// Which requests go wrong, and how: in one way after the other, of each kind of request.
fn plan(orders: usize) -> Vec<Value> {
    let many = orders.div_ceil(ONE_IN).min(FAULTS_MAX);
    let planned = |(method, path): (&str, &str)| {
        let faults = troubles().into_iter().cycle().take(many).enumerate();
        let planned = faults.map(|(number, mut fault)| {
            fault["method"] = json!(method);
            fault["path"] = json!(path);
            // The first of each kind goes wrong already.
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

/// The orders of which Stripe has something else than it must have.
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
