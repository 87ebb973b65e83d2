//! Customers who are written to, and what their mail server has of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use super::BETWEEN_LOOKS;
use crate::chaos::checks::Check;
use crate::chaos::{ChaosError, Ground};
use crate::retail::RetailOrders;
use crate::screen::say;

/// Of so many orders' customers the shop has an address.
const ORDERS: usize = 200;

/// More mails than any run sends.
const MAILS_MAX: &str = "100000";

/// Longer than a relay's lease of a mail.
const LEASED: Duration = Duration::from_mins(11);

/// A mail that the shop is to send.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Notification {
    message_id: String,
    state: String,
    /// Whether it is never sent again where nobody knows whether it was sent: then it is a person's.
    is_at_most_once: bool,
    /// Whether nobody takes it up yet: a relay that has died held it, and its lease runs on.
    is_leased: bool,
}

#[derive(Deserialize)]
struct Kept {
    messages: Vec<Mail>,
}

#[derive(Deserialize)]
struct Mail {
    #[serde(rename = "MessageID")]
    message_id: String,
}

impl Notification {
    fn waits(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "sending")
    }

    /// What is wrong with it, if the mail server has it so many times.
    fn complaint(&self, times: usize) -> Option<String> {
        let Self { message_id, state, is_at_most_once, is_leased: _ } = self;
        let is_well = match state.as_str() {
            "sent" => times > 0 && (times == 1 || !is_at_most_once),
            "skipped" => times == 0,
            "parked" => *is_at_most_once && times <= 1,
            _ => false,
        };
        (!is_well).then(|| format!("mail {message_id} is {state}, and is there {times} times"))
    }
}

/// The shop knows where to write to, for some of its customers.
pub(super) async fn enter_addresses(ground: &Ground) -> Result<(), ChaosError> {
    let orders = RetailOrders::read(None, ORDERS)?.orders.into_iter();
    let customers = orders.map(|(_, order)| order.customer).collect::<BTreeSet<_>>();
    let customers = customers.into_iter().collect::<Vec<_>>();
    let entered = sqlx::query_scalar::<_, String>(
        "insert into customers.mail_preferences (customer_id, email)
         select customer, 'customer-' || customer || '@example.org'
         from unnest($1::text[]) as customer
         returning customer_id",
    );
    let entered = entered.bind(customers).fetch_all(&ground.owner).await;
    entered.map(drop).map_err(ChaosError::Owner)
}

/// Waits until no mail has still to be sent, and compares them with what the mail server has. What a
/// relay was sending when it died is taken up by another once its lease is over.
pub(super) async fn check(ground: &Ground, mailpit: &str) -> Result<Check, ChaosError> {
    let (mut waited, mut last_change) = (usize::MAX, Instant::now());
    let mut is_told = false;
    let notifications = loop {
        let notifications = notifications(ground).await?;
        let waits = notifications.iter().filter(|one| one.waits()).count();
        if waits < waited {
            (waited, last_change) = (waits, Instant::now());
        }
        let is_leased = notifications.iter().any(|one| one.waits() && one.is_leased);
        let is_over = last_change.elapsed() > ground.patience;
        if waits == 0 || is_over && !is_leased || last_change.elapsed() > LEASED {
            break notifications;
        }
        if is_over && !is_told {
            is_told = true;
            say("waiting for mails that a relay held when it died: ten minutes at most")?;
        }
        sleep(BETWEEN_LOOKS).await;
    };
    let kept = kept(mailpit).await.map_err(|error| unheard(&error))?;
    let times = |one: &Notification| kept.get(&one.message_id).copied().unwrap_or_default();
    let complaints = notifications.iter().filter_map(|one| one.complaint(times(one)));
    let sent = notifications.iter().filter(|one| one.state == "sent").count();
    let looked_at = format!("{sent} sent, of {}", notifications.len());
    let mut complaints = complaints.collect::<Vec<_>>();
    if sent == 0 {
        complaints.push("no mail was sent at all".to_owned());
    }
    let promise = "mails: each came, those that must not come twice at most once";
    Ok(Check { promise, looked_at, complaints })
}

fn unheard(error: &impl ToString) -> ChaosError {
    ChaosError::Unheard { whom: "the mail server", why: error.to_string() }
}

async fn notifications(ground: &Ground) -> Result<Vec<Notification>, ChaosError> {
    let all = sqlx::query_scalar::<_, Value>(
        "select coalesce(jsonb_agg(jsonb_build_object(
            'message_id', message_id, 'state', state, 'is_at_most_once', policy = 'at-most-once',
            'is_leased', next_try_at > now()
         )), '[]') from mail.notifications where channel = 'mail'",
    );
    let all = all.fetch_one(&ground.owner).await.map_err(ChaosError::Owner)?;
    serde_json::from_value(all).map_err(|error| unheard(&error))
}

/// How often the mail server has which mail.
async fn kept(mailpit: &str) -> reqwest::Result<BTreeMap<String, usize>> {
    let url = format!("{mailpit}/api/v1/messages?limit={MAILS_MAX}");
    let answer = runtime::http::client_builder().build()?.get(url).send().await?;
    let Kept { messages } = answer.error_for_status()?.json().await?;
    let mut times = BTreeMap::<String, usize>::new();
    for Mail { message_id } in messages {
        let time = times.entry(message_id).or_default();
        *time = time.saturating_add(1);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_there_at_least_once_or_at_most_once() {
        let is_well = |state: &str, is_at_most_once, times| {
            let (message_id, state) = ("m".to_owned(), state.to_owned());
            Notification { message_id, state, is_at_most_once, is_leased: false }
                .complaint(times)
                .is_none()
        };
        for (state, times) in [("sent", 1), ("sent", 2), ("skipped", 0)] {
            assert!(is_well(state, false, times), "{state} {times}");
        }
        for (state, times) in [("sent", 0), ("queued", 0), ("sending", 1), ("parked", 0)] {
            assert!(!is_well(state, false, times), "{state} {times}");
        }
        for (state, times) in [("sent", 1), ("parked", 0), ("parked", 1)] {
            assert!(is_well(state, true, times), "{state} {times}");
        }
        for (state, times) in [("sent", 0), ("sent", 2), ("parked", 2)] {
            assert!(!is_well(state, true, times), "{state} {times}");
        }
    }
}
