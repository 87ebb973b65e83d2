//! One endpoint as a sink of the outbox.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use runtime::chain;
use runtime::http::outside::checked;
use uuid::Uuid;

use crate::sink::untried;
use crate::webhooks::Parts;
use crate::webhooks::answer::{GONE, Outcome};
use crate::webhooks::request::{self, Receiver};
use crate::webhooks::store::{self, Attempt};
use crate::{Message, Sink, Verdict};

/// After this many consecutive failures, the receiver counts as unavailable, and the rest of a
/// batch waits.
const FAILURES_MAX: usize = 3;

/// When a disabled endpoint is checked again. The sink of a disabled endpoint is paused, so this
/// only happens if somebody has resumed it.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// An endpoint. An operator's change takes effect with the next batch.
#[derive(Clone)]
pub struct WebhookEndpoint {
    pub(super) parts: Arc<Parts>,
    pub(super) endpoint_id: Uuid,
}

#[async_trait]
impl Sink for WebhookEndpoint {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        match store::read(&self.parts.db, self.endpoint_id).await {
            Ok(Some(endpoint)) if endpoint.is_enabled => self.deliver_to(endpoint, batch).await,
            Ok(Some(_)) => untried(batch, "the endpoint is disabled", Some(LOOK_AGAIN)),
            Ok(None) => untried(batch, "the endpoint is removed", Some(LOOK_AGAIN)),
            Err(error) => {
                tracing::warn!(error = chain(&error), "an endpoint cannot be read");
                untried(batch, "what is on record of the endpoint cannot be read", None)
            }
        }
    }
}

/// The result for a message of a batch, by its index. A message that the endpoint's filter excludes
/// has no attempt.
struct Tried<'a> {
    place: usize,
    attempt: Option<Attempt<'a>>,
}

impl WebhookEndpoint {
    /// Delivers a batch to the endpoint as it was read.
    pub(super) async fn deliver_to(
        &self,
        endpoint: store::Endpoint,
        batch: &[Message],
    ) -> Vec<Verdict> {
        let Parts { settings, .. } = &*self.parts;
        let store::Endpoint { url, events, keys, .. } = endpoint;
        let url = match checked(&url, &settings.internal_hosts) {
            Ok(url) => url,
            // The list of internal hosts has become shorter since the endpoint was created.
            Err(why) => {
                let why = format!("its URL can no longer be used: allowed is {why}");
                let (trials, others): (Vec<_>, Vec<_>) =
                    batch.iter().partition(|one| is_trial(one));
                let trials: Vec<_> = trials.into_iter().map(|one| not_made(one, &why)).collect();
                self.note(&trials, (!others.is_empty()).then_some(&*why)).await;
                return untried(batch, &why, Some(LOOK_AGAIN));
            }
        };
        let receiver = Receiver { url, keys };
        let round = Round::default();
        let orders = by_order(batch).into_iter();
        let deliveries: Vec<_> =
            orders.map(|order| self.deliver_order(&receiver, &events, &round, order)).collect();
        let at_once = usize::from(settings.concurrency);
        let tried: Vec<Vec<Tried<'_>>> =
            stream::iter(deliveries).buffer_unordered(at_once).collect().await;
        let mut verdicts = vec![Verdict::NotTried; batch.len()];
        let mut attempts = Vec::new();
        for Tried { place, attempt } in tried.into_iter().flatten() {
            if let Some(verdict) = verdicts.get_mut(place) {
                *verdict = attempt.as_ref().map_or(Verdict::NotWanted, verdict_of);
            }
            attempts.extend(attempt);
        }
        self.note(&attempts, None).await;
        verdicts
    }

    /// Delivers messages of one order, one after the other, until one fails.
    async fn deliver_order<'a>(
        &self,
        receiver: &Receiver,
        events: &[String],
        round: &Round,
        order: Vec<(usize, &'a Message)>,
    ) -> Vec<Tried<'a>> {
        let Parts { client, source, .. } = &*self.parts;
        let mut tried = Vec::new();
        for (place, message) in order {
            if !hears_of(events, &message.event_type) {
                tried.push(Tried { place, attempt: None });
                continue;
            }
            if round.is_over() {
                break;
            }
            let attempt = request::send(client, receiver, source, message).await;
            round.saw(&attempt.outcome);
            let is_delivered = attempt.outcome == Outcome::Delivered;
            tried.push(Tried { place, attempt: Some(attempt) });
            if !is_delivered {
                break;
            }
        }
        tried
    }

    /// Records the attempts and the endpoint's state. A failure to record does not change what the
    /// receiver has.
    async fn note(&self, attempts: &[Attempt<'_>], otherwise: Option<&str>) {
        if let Err(error) = self.put_on_record(attempts, otherwise).await {
            tracing::warn!(error = chain(&error), "the outcome of webhooks could not be recorded");
        }
    }

    async fn put_on_record(
        &self,
        attempts: &[Attempt<'_>],
        otherwise: Option<&str>,
    ) -> sqlx::Result<()> {
        let Parts { db, settings, .. } = &*self.parts;
        if !attempts.is_empty() {
            store::log(db, self.endpoint_id, attempts).await?;
        }
        let why = match health(attempts) {
            Health::Gone => return self.give_up("gone", GONE).await,
            Health::Answers => return store::answers(db, self.endpoint_id).await,
            Health::Fails(why) => Some(why),
            Health::Unknown => otherwise,
        };
        let Some(why) = why else { return Ok(()) };
        if store::fails(db, self.endpoint_id, why, settings.disable_after_days).await? {
            self.give_up("failing", why).await?;
        }
        Ok(())
    }

    async fn give_up(&self, reason: &str, why: &str) -> sqlx::Result<()> {
        if store::disable(&self.parts.db, self.endpoint_id, reason, why).await? {
            tracing::error!(endpoint = %self.endpoint_id, reason, why, "an endpoint is disabled");
        }
        Ok(())
    }
}

/// What a batch's attempts say about the endpoint.
enum Health<'a> {
    /// It wants no more messages.
    Gone,
    /// It has accepted a message, or refused one.
    Answers,
    /// It has accepted nothing.
    Fails(&'a str),
    /// Nothing was sent, or only a trial message failed: an operator may try out an endpoint that
    /// is not ready yet, so that does not count.
    Unknown,
}

fn health<'a>(attempts: &'a [Attempt<'_>]) -> Health<'a> {
    let mut health = Health::Unknown;
    for attempt in attempts {
        match &attempt.outcome {
            Outcome::Gone => return Health::Gone,
            Outcome::Delivered | Outcome::Refused { .. } => health = Health::Answers,
            Outcome::Unavailable { why, .. } => {
                if !matches!(health, Health::Answers) && !is_trial(attempt.message) {
                    health = Health::Fails(why);
                }
            }
        }
    }
    health
}

/// Whether to continue with a batch.
#[derive(Default)]
struct Round {
    failures: AtomicUsize,
    is_over: AtomicBool,
}

impl Round {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn saw(&self, outcome: &Outcome) {
        let ends = match outcome {
            Outcome::Delivered | Outcome::Refused { .. } => {
                self.failures.store(0, Ordering::Relaxed);
                false
            }
            // It asks for a pause.
            Outcome::Gone | Outcome::Unavailable { retry_after: Some(_), .. } => true,
            Outcome::Unavailable { retry_after: None, .. } => {
                let before = self.failures.fetch_add(1, Ordering::Relaxed);
                before.saturating_add(1) >= FAILURES_MAX
            }
        };
        if ends {
            self.is_over.store(true, Ordering::Relaxed);
        }
    }
}

/// Maps an attempt to the message's verdict. A response may be about the message; no response, or
/// one that asks for a pause, is about the receiver.
fn verdict_of(attempt: &Attempt<'_>) -> Verdict {
    match &attempt.outcome {
        Outcome::Delivered => Verdict::Delivered,
        Outcome::Refused { why } => Verdict::Refused { why: why.clone() },
        Outcome::Unavailable { retry_after: None, why } if attempt.status.is_some() => {
            Verdict::NotTaken { why: why.clone() }
        }
        Outcome::Unavailable { retry_after, why } => {
            Verdict::Unavailable { retry_after: *retry_after, why: why.clone() }
        }
        Outcome::Gone => {
            Verdict::Unavailable { retry_after: Some(LOOK_AGAIN), why: GONE.to_owned() }
        }
    }
}

/// Groups messages by order, each with its index in the batch; orders by first appearance.
fn by_order(batch: &[Message]) -> Vec<Vec<(usize, &Message)>> {
    let mut orders: Vec<Vec<(usize, &Message)>> = Vec::new();
    let mut places = HashMap::new();
    for (place, message) in batch.iter().enumerate() {
        let number = *places.entry(message.aggregate_id.as_str()).or_insert(orders.len());
        match orders.get_mut(number) {
            Some(order) => order.push((place, message)),
            None => orders.push(vec![(place, message)]),
        }
    }
    orders
}

/// Whether a message is a trial message.
fn is_trial(message: &Message) -> bool {
    message.event_type == super::TRIAL
}

/// An attempt that was not made, logged with the reason.
fn not_made<'a>(message: &'a Message, why: &str) -> Attempt<'a> {
    let outcome = Outcome::Unavailable { retry_after: None, why: why.to_owned() };
    let attempted_at = SystemTime::now().into();
    Attempt { message, attempted_at, duration_ms: 0, status: None, outcome }
}

/// Whether an endpoint with this filter gets messages of this type. Every endpoint gets trial
/// messages.
fn hears_of(events: &[String], event_type: &str) -> bool {
    events.is_empty()
        || event_type == super::TRIAL
        || events.iter().any(|name| Some(name.as_str()) == short_name(event_type))
}

/// The name used in filters: `order.placed` for `ordersaga.order.placed.v1`, in any version.
fn short_name(event_type: &str) -> Option<&str> {
    let (name, version) = event_type.strip_prefix("ordersaga.")?.rsplit_once(".v")?;
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some(name)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::event::EventType;
    use serde_json::value::RawValue;

    use super::*;

    fn message(order: &str, sequence: i32) -> Message {
        Message {
            position: sequence.into(),
            id: format!("{order}:{sequence}"),
            aggregate_type: "order".to_owned(),
            aggregate_id: order.to_owned(),
            sequence,
            event_type: EventType::OrderPlaced.cloud_event_type(),
            payload: RawValue::from_string("{}".to_owned()).unwrap(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_filter_goes_by_the_names_of_events_in_any_version() {
        let filter = vec![EventType::OrderPlaced.name().to_owned()];
        for (event_type, is_heard) in [
            (&*EventType::OrderPlaced.cloud_event_type(), true),
            ("ordersaga.order.placed.v2", true),
            (&*EventType::OrderShipped.cloud_event_type(), false),
            ("ordersaga.order.placed", false),
            ("ordersaga.order.placed.vx", false),
            ("order.placed", false),
            (super::super::TRIAL, true),
        ] {
            assert_eq!(hears_of(&filter, event_type), is_heard, "{event_type}");
            assert!(hears_of(&[], event_type), "{event_type}");
        }
    }

    #[test]
    fn a_batch_is_told_apart_by_orders_which_keep_their_order() {
        let batch = [message("a", 1), message("b", 1), message("a", 2)];
        let orders = by_order(&batch);
        let places = |order: &Vec<(usize, &Message)>| {
            order.iter().map(|(place, _message)| *place).collect::<Vec<_>>()
        };
        assert_eq!(orders.iter().map(places).collect::<Vec<_>>(), [vec![0, 2], vec![1]]);
        let away = || Verdict::Unavailable { retry_after: None, why: "why".to_owned() };
        assert_eq!(untried(&batch, "why", None), [away(), away(), Verdict::NotTried]);
    }

    #[test]
    fn a_round_ends_when_the_receiver_is_away_and_not_for_single_messages() {
        let fails = |retry_after| Outcome::Unavailable { retry_after, why: String::new() };
        let is_over_after = |outcomes: &[Outcome]| {
            let round = Round::default();
            for outcome in outcomes {
                round.saw(outcome);
            }
            round.is_over()
        };
        assert!(is_over_after(&[fails(None), fails(None), fails(None)]));
        assert!(is_over_after(&[fails(Some(LOOK_AGAIN))]));
        assert!(is_over_after(&[Outcome::Gone]));
        let one = [fails(None), fails(None), Outcome::Delivered, fails(None), fails(None)];
        assert!(!is_over_after(&one));
    }
}
