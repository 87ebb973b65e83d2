//! Delivers events: signed, in any order, as often as a test wishes.

use std::sync::Arc;

use ring::hmac;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::hold_up;
use crate::proxy::{Proxy, now};

/// Where events are delivered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// The secrets that sign; two while one replaces the other.
    pub secrets: Vec<String>,
}

/// Which events are delivered, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deliver {
    /// Their ids, in the order of delivery, any of them several times; without, every event in
    /// the order in which they happened.
    pub events: Option<Vec<String>>,
    /// Only those of these types.
    pub types: Option<Vec<String>>,
    /// The secrets that sign, if not the webhook's.
    pub secrets: Option<Vec<String>>,
    /// The moment that is signed, if not now, in seconds since 1970.
    pub signed_at: Option<i64>,
    /// How long each delivery waits.
    pub delay_ms: u64,
}

/// What Stripe sends in `Stripe-Signature`: the moment, and one signature for each secret.
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
    /// Writes down what has happened, and delivers it if it is to be delivered at once.
    pub(crate) fn happened(self: &Arc<Self>, kind: &str, object: &Value) {
        let mut memory = self.memory();
        let event = memory.events.add(kind, object);
        let Some(webhook) =
            memory.settings.webhook.clone().filter(|_| memory.settings.deliver_at_once)
        else {
            return;
        };
        let proxy = Arc::clone(self);
        tokio::spawn(async move {
            proxy.delivered(&webhook, &Deliver::default(), &event).await;
        });
    }

    /// Each delivery's event and the status that the receiver answered with; null if it did not.
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
