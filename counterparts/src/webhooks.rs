//! Delivers signed events, in any order and any number of times.

use std::sync::Arc;

use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::faults::hold_up;
use crate::proxy::{Proxy, Settings, now};

/// The destination of events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// The signing secrets; two during a rotation.
    pub secrets: Vec<String>,
}

/// How an event is delivered as it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Once.
    Once,
    /// Once, and then once more.
    Twice,
    /// This many milliseconds late, after events that happen meanwhile.
    LateMs(u64),
    /// Not at all.
    Lost,
}

/// The outcomes of events delivered as they happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Delivered {
    /// Deliveries that the receiver accepted.
    taken: u64,
    /// Deliveries that it rejected.
    refused: u64,
    /// Events that were delivered twice.
    twice: u64,
    /// Events that came late.
    late: u64,
    /// Events that were not delivered.
    lost: u64,
}

impl Settings {
    /// The delivery of an event, by the number of earlier events of its type.
    fn delivery(&self, before: usize) -> Delivery {
        let place = before.checked_rem(self.deliveries.len());
        place.and_then(|place| self.deliveries.get(place).copied()).unwrap_or(Delivery::Once)
    }
}

impl Delivery {
    /// The number of deliveries, and the delay in milliseconds.
    const fn times(self) -> (u32, u64) {
        match self {
            Self::Once => (1, 0),
            Self::Twice => (2, 0),
            Self::LateMs(milliseconds) => (1, milliseconds),
            Self::Lost => (0, 0),
        }
    }
}

impl Delivered {
    /// Counts an event about to be delivered.
    fn begin(&mut self, delivery: Delivery) {
        let counted = match delivery {
            Delivery::Once => return,
            Delivery::Twice => &mut self.twice,
            Delivery::LateMs(_) => &mut self.late,
            Delivery::Lost => &mut self.lost,
        };
        *counted = counted.saturating_add(1);
    }

    /// Counts the outcome of a delivery: this status, or no answer.
    fn end(&mut self, status: Option<u16>) {
        let is_taken = status.is_some_and(|status| (200..300).contains(&status));
        let counted = if is_taken { &mut self.taken } else { &mut self.refused };
        *counted = counted.saturating_add(1);
    }
}

/// Which events to deliver, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deliver {
    /// Their ids, in the order of delivery, possibly repeated; by default, every event in the order
    /// in which they happened.
    pub events: Option<Vec<String>>,
    /// Only events of these types.
    pub types: Option<Vec<String>>,
    /// The signing secrets, if not the webhook's.
    pub secrets: Option<Vec<String>>,
    /// The signed timestamp in Unix seconds, if not now.
    pub signed_at: Option<i64>,
    /// The delay before each delivery.
    pub delay_ms: u64,
}

/// The header `Stripe-Signature`: the timestamp, and one signature for each secret.
#[must_use]
pub fn signature(secrets: &[String], at: i64, payload: &str) -> String {
    let signed = format!("{at}.{payload}");
    let mut header = format!("t={at}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        header.push_str(",v1=");
        for byte in hmac::sign(&key, signed.as_bytes()).as_ref() {
            let digits = [byte >> 4, byte & 15].into_iter();
            header.extend(digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)));
        }
    }
    header
}

impl Proxy {
    /// Records an event, and delivers it if events are delivered as they happen.
    pub(crate) fn happened(self: &Arc<Self>, kind: &str, object: &Value) {
        let mut memory = self.memory();
        let before = memory.events.of_type(kind);
        let event = memory.events.add(kind, object);
        let Some(webhook) =
            memory.settings.webhook.clone().filter(|_| memory.settings.deliver_at_once)
        else {
            return;
        };
        let delivery = memory.settings.delivery(before);
        memory.delivered.begin(delivery);
        let proxy = Arc::clone(self);
        tokio::spawn(async move { proxy.bring(&webhook, delivery, &event).await });
    }

    async fn bring(&self, webhook: &Webhook, delivery: Delivery, event: &Value) {
        let (times, delay_ms) = delivery.times();
        let how = Deliver { delay_ms, ..Deliver::default() };
        for _ in 0..times {
            let status = self.delivered(webhook, &how, event).await;
            self.memory().delivered.end(status);
        }
    }

    /// The event and the receiver's status of each delivery; null without an answer.
    pub(crate) async fn deliver(&self, deliver: &Deliver) -> Result<Vec<Value>, String> {
        let (webhook, events) = self.to_deliver(deliver)?;
        let mut delivered = Vec::new();
        for event in events {
            let status = self.delivered(&webhook, deliver, &event).await;
            delivered
                .push(json!({ "event": event["id"], "type": event["type"], "status": status }));
        }
        Ok(delivered)
    }

    fn to_deliver(&self, deliver: &Deliver) -> Result<(Webhook, Vec<Value>), String> {
        let memory = self.memory();
        let webhook = memory.settings.webhook.clone().ok_or("the settings name no webhook")?;
        let events: Vec<Value> = match &deliver.events {
            None => memory.events.oldest_first().to_vec(),
            Some(ids) => ids
                .iter()
                .map(|id| {
                    memory.events.find(id).cloned().ok_or_else(|| format!("no event is {id}"))
                })
                .collect::<Result<_, _>>()?,
        };
        let wanted = |event: &Value| {
            let types = deliver.types.as_ref();
            types.is_none_or(|types| types.iter().any(|one| event["type"] == one.as_str()))
        };
        Ok((webhook, events.into_iter().filter(wanted).collect()))
    }

    async fn delivered(&self, webhook: &Webhook, how: &Deliver, event: &Value) -> Option<u16> {
        hold_up(how.delay_ms).await;
        let payload = event.to_string();
        let secrets = how.secrets.as_ref().unwrap_or(&webhook.secrets);
        let at = how.signed_at.unwrap_or_else(now);
        let request = self
            .http
            .post(&webhook.url)
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", signature(secrets, at, &payload));
        let response = request.body(payload).send().await.ok()?;
        Some(response.status().as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_after_the_other_is_delivered_in_another_way() {
        let deliveries = json!({ "deliveries": ["lost", "twice", { "late-ms": 5 }] });
        let settings: Settings = serde_json::from_value(deliveries).unwrap();
        let ways = [0, 1, 2, 3].map(|before| settings.delivery(before));
        let lost = Delivery::Lost;
        assert_eq!(ways, [lost, Delivery::Twice, Delivery::LateMs(5), lost]);
        assert_eq!(ways.map(Delivery::times), [(0, 0), (2, 0), (1, 5), (0, 0)]);
        assert_eq!(Settings::default().delivery(7), Delivery::Once);
    }

    /// By `printf '1700000000.{}' | openssl dgst -sha256 -hmac SECRET`.
    const OF_FIRST: &str = "455a4acf33c4b98b4cd175b4b19e08f9357ca269474116e3c55f48cfcd4e8337";
    const OF_SECOND: &str = "60c200f676cdb997c29a069d7ef5770d52040b8bdbe5804a53620238699ac6c4";

    #[test]
    fn each_secret_signs_the_moment_and_the_body() {
        let secrets = ["whsec_first".to_owned(), "whsec_second".to_owned()];
        assert_eq!(
            signature(&secrets, 1_700_000_000, "{}"),
            format!("t=1700000000,v1={OF_FIRST},v1={OF_SECOND}")
        );
    }
}
