//! Planned faults of calls.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

/// The kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The work is done, and the connection is closed without an answer.
    LoseAnswer,
    /// The connection is reset.
    Reset,
    /// 500, kept under the idempotency key.
    ServerError,
    /// 429 with this many seconds in `Retry-After`; the key stays unused.
    TooManyRequests(u64),
    /// No answer until the caller times out.
    Hang,
    /// An HTML page with this status, as from an intermediate proxy.
    HtmlPage(u16),
    /// The work is delayed by this many milliseconds; the key is in use meanwhile.
    DelayMs(u64),
    /// The refund created by the call stays pending until something happens to it.
    RefundPends,
}

/// A fault and the calls it applies to, in JSON `{"method": "POST", "path":
/// "/v1/payment_intents/*/capture", "nth": 2, "fault": "lose-answer"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The method; any by default.
    pub method: Option<String>,
    /// The path; `*` matches one segment, `**` any path.
    pub path: String,
    /// Restricts it to payments created with this value in their metadata.
    pub of: Option<String>,
    /// The first matching call that fails, counted from 1.
    #[serde(default = "one")]
    pub nth: u32,
    /// How many calls fail from there on.
    #[serde(default = "one")]
    pub times: u32,
    /// Whether the work is still done.
    #[serde(default)]
    pub after_effect: bool,
    /// The fault.
    pub fault: Fault,
}

impl Planned {
    /// Whether it replaces the work, instead of following it.
    pub(crate) fn strikes_first(&self) -> bool {
        !self.after_effect && self.fault != Fault::LoseAnswer
    }
}

fn one() -> u32 {
    1
}

/// Delays something because a test has planned that fault. Nothing else here waits for time to
/// pass.
pub(crate) async fn hold_up(milliseconds: u64) {
    if milliseconds > 0 {
        sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// The remaining faults.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<(Planned, u32)>);

impl Plan {
    pub(crate) fn of(planned: Vec<Planned>) -> Self {
        let mut plan = Self::default();
        plan.add(planned);
        plan
    }

    /// Adds faults to the plan.
    pub(crate) fn add(&mut self, planned: Vec<Planned>) {
        self.0.extend(planned.into_iter().map(|one| (one, 0)));
    }

    /// The fault for this call about a payment with these metadata values. Every matching fault
    /// counts the call.
    pub(crate) fn strike(&mut self, method: &str, path: &str, of: &[&str]) -> Option<Planned> {
        let mut struck = None;
        for (planned, seen) in &mut self.0 {
            let of_method = planned.method.as_deref().is_none_or(|wanted| wanted == method);
            let is_its = planned.of.as_deref().is_none_or(|wanted| of.contains(&wanted));
            if !of_method || !is_its || !matches(&planned.path, path) {
                continue;
            }
            *seen = seen.saturating_add(1);
            let befalls = planned.nth..planned.nth.saturating_add(planned.times);
            if struck.is_none() && befalls.contains(&*seen) {
                struck = Some(planned.clone());
            }
        }
        self.0.retain(|(planned, seen)| {
            planned.nth.saturating_add(planned.times) > seen.saturating_add(1)
        });
        struck
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    if pattern == "**" {
        return true;
    }
    let (wanted, given): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    wanted.len() == given.len()
        && wanted.iter().zip(&given).all(|(wanted, given)| *wanted == "*" || wanted == given)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn plan(planned: serde_json::Value) -> Plan {
        Plan::of(from_value(planned).unwrap())
    }

    #[test]
    fn a_fault_befalls_the_nth_matching_call_and_as_many_as_it_says() {
        let mut plan = plan(json!([
            { "path": "/v1/payment_intents/*/capture", "nth": 2, "times": 2, "fault": "hang" }
        ]));
        let mut strikes = |id: &str| {
            plan.strike("POST", &format!("/v1/payment_intents/{id}/capture"), &[]).is_some()
        };
        let struck = ["pi_1", "pi_2", "pi_1", "pi_3"].map(&mut strikes);
        assert_eq!(struck, [false, true, true, false]);
    }

    #[test]
    fn other_paths_and_methods_are_neither_struck_nor_counted() {
        let mut plan =
            plan(json!([{ "method": "POST", "path": "/v1/refunds", "fault": { "delay-ms": 5 } }]));
        assert_eq!(plan.strike("GET", "/v1/refunds", &[]), None);
        assert_eq!(plan.strike("POST", "/v1/refunds/re_1", &[]), None);
        let struck = plan.strike("POST", "/v1/refunds", &[]).map(|planned| planned.fault);
        assert_eq!(struck, Some(Fault::DelayMs(5)));
    }

    #[test]
    fn a_fault_of_one_payment_befalls_no_other_and_is_added_to_those_of_others() {
        let mut plan = plan(json!([{ "path": "**", "of": "order-1", "fault": "hang" }]));
        plan.add(from_value(json!([{ "path": "**", "of": "order-2", "fault": "reset" }])).unwrap());
        let mut strikes = |of: &[&str]| plan.strike("GET", "/v1/refunds", of).map(|one| one.fault);
        assert_eq!(strikes(&[]), None);
        assert_eq!(strikes(&["a key", "order-2"]), Some(Fault::Reset));
        assert_eq!(strikes(&["order-2"]), None);
        assert_eq!(strikes(&["order-1"]), Some(Fault::Hang));
        assert!(plan.0.is_empty(), "what has befallen is planned no more");
    }

    #[test]
    fn a_plan_with_a_misspelt_field_is_refused() {
        let planned = json!([{ "path": "/v1/refunds", "nht": 2, "fault": "hang" }]);
        assert!(from_value::<Vec<Planned>>(planned).is_err());
    }
}
