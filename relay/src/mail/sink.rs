//! Creates notifications from orders' events. The sender sends them.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::event::EventType;
use domain::{MailPolicy, MailTemplate};
use runtime::chain;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::store::{self, Channel, New};
use crate::sink::untried;
use crate::{Message, Sink, Verdict};

/// The sink's name.
pub const SINK: &str = "mail";

/// The sink `mail`: creates a notification for each event that customers are notified of.
///
/// **Repeats.** A notification is identified by event and template, so a redelivered event creates
/// no second one.
#[derive(Debug)]
pub struct MailSink {
    db: PgPool,
    /// The domain of message ids.
    domain: String,
    /// Mails that may be sent at most once.
    at_most_once: Vec<MailTemplate>,
    /// Mails that are also sent as text messages.
    text_messages: Vec<MailTemplate>,
    /// When the sink was created, once that is known.
    since: OnceCell<DateTime<Utc>>,
}

impl MailSink {
    /// A sink that writes to this database.
    #[must_use]
    pub fn new(
        db: PgPool,
        domain: String,
        at_most_once: Vec<MailTemplate>,
        text_messages: Vec<MailTemplate>,
    ) -> Self {
        Self { db, domain, at_most_once, text_messages, since: OnceCell::new() }
    }

    /// Whether a mail with unknown outcome may be sent again.
    fn policy(&self, template: MailTemplate) -> MailPolicy {
        if self.at_most_once.contains(&template) {
            MailPolicy::AtMostOnce
        } else {
            MailPolicy::AtLeastOnce
        }
    }

    /// When the sink was created. Earlier events are ignored: otherwise a shop that turns mails on
    /// would write to the customers of all its past orders.
    async fn since(&self) -> Result<DateTime<Utc>, sqlx::Error> {
        let read = || async {
            let created_at =
                sqlx::query_scalar!("select created_at from outbox.sinks where sink = $1", SINK);
            let created_at = created_at.fetch_optional(&self.db).await?;
            Ok::<_, sqlx::Error>(created_at.unwrap_or(DateTime::<Utc>::MIN_UTC))
        };
        self.since.get_or_try_init(read).await.copied()
    }

    /// The notifications for a message.
    fn asked_for(&self, message: &Message, template: MailTemplate) -> Option<Vec<New>> {
        let order_id: Uuid = message.aggregate_id.parse().ok()?;
        let sms = self.text_messages.contains(&template).then_some(Channel::Sms);
        let channels = [Some(Channel::Mail), sms].into_iter().flatten();
        let new = channels.map(|channel| New {
            fact: message.id.clone(),
            template,
            channel,
            order_id,
            sequence: message.sequence,
            message_id: self.message_id(message, template, channel),
            policy: self.policy(template),
        });
        Some(new.collect())
    }

    /// Derived, so that a mail sent again can be recognised as a duplicate.
    fn message_id(&self, message: &Message, template: MailTemplate, channel: Channel) -> String {
        let Message { aggregate_id, sequence, .. } = message;
        let of_event = format!("{aggregate_id}.{sequence}.{template}");
        match channel {
            Channel::Mail => format!("{of_event}@{}", self.domain),
            Channel::Sms => format!("{of_event}.sms@{}", self.domain),
        }
    }
}

#[async_trait]
impl Sink for MailSink {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        let since = match self.since().await {
            Ok(since) => since,
            Err(error) => return unavailable(batch, &error),
        };
        // Orders with a refused message.
        let mut stopped = HashSet::new();
        let mut new = Vec::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            let order = message.aggregate_id.as_str();
            if stopped.contains(order) {
                verdicts.push(Verdict::NotTried);
                continue;
            }
            let told = template_of(message).filter(|_template| message.created_at >= since);
            let verdict = match told.map(|template| self.asked_for(message, template)) {
                None => Verdict::NotWanted,
                Some(None) => {
                    stopped.insert(order);
                    Verdict::Refused { why: "its order's id is invalid".to_owned() }
                }
                Some(Some(asked_for)) => {
                    new.extend(asked_for);
                    Verdict::Delivered
                }
            };
            verdicts.push(verdict);
        }
        if new.is_empty() {
            return verdicts;
        }
        match store::make(&self.db, &new).await {
            Ok(()) => verdicts,
            Err(error) => unavailable(batch, &error),
        }
    }
}

/// The mail for a message, if any.
fn template_of(message: &Message) -> Option<MailTemplate> {
    let name = message.event_type.strip_prefix("ordersaga.")?;
    let (name, _version) = name.rsplit_once(".v")?;
    name.parse::<EventType>().ok().and_then(MailTemplate::told_by)
}

/// Verdicts for a batch of which nothing was written.
fn unavailable(batch: &[Message], error: &sqlx::Error) -> Vec<Verdict> {
    tracing::warn!(error = chain(error), "no notifications are made");
    untried(batch, "the database does not take notifications", None)
}
