//! Sends queued notifications: claims one, reads its data, renders and sends it, and records the
//! outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::{MailPolicy, MailTemplate};
use futures::future::join_all;
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use metrics::{counter, gauge};
use runtime::chain;
use runtime::database::{DatabaseFault, alarm};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::facts::{self, Facts, FactsError, Recipient, Standing};
use super::letter::Letter;
use super::sms::TextMessage;
use super::smtp::{Outcome, Smtp};
use super::store::{self, Channel, Claim, Settled, Subject, Transmission};
use super::templates::Templates;

/// Longer than it takes to read, render and send a mail; after that, another sender may claim it. A
/// mail has at most eight exchanges with its server, of at most a minute each.
const LEASE: Duration = Duration::from_mins(10);

/// When a notification that does not hold yet is checked again.
const NOT_YET: Duration = Duration::from_mins(1);

/// How long an idle sender sleeps.
const REST: Duration = Duration::from_secs(1);
const REST_AFTER_FAULT: Duration = Duration::from_secs(2);

/// How often waits for articles are checked and the notifications counted.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Accepts mails.
#[async_trait]
pub trait MailServer: Send + Sync {
    /// Sends a mail to one recipient.
    async fn send(&self, from: &Address, to: &Address, mail: &[u8]) -> Outcome;
}

/// Accepts text messages: an interface, so that a shop can attach its own provider.
#[async_trait]
pub trait TextMessages: Send + Sync {
    /// Sends a text message. A repeated id is the same message.
    async fn send(&self, message: &TextMessage<'_>) -> Outcome;
}

#[async_trait]
impl MailServer for Smtp {
    async fn send(&self, from: &Address, to: &Address, mail: &[u8]) -> Outcome {
        Smtp::send(self, from, to, mail).await
    }
}

/// The settings for sending.
pub struct Sending {
    /// The sender's address.
    pub from: Mailbox,
    /// The address for replies, if it differs.
    pub reply_to: Option<Mailbox>,
    /// The domain of message ids.
    pub domain: String,
    /// The policy of mails about articles that are available again.
    pub policy_of_waits: MailPolicy,
    /// The locale by country, for customers without a preference.
    pub locales: Vec<(String, String)>,
    /// The base URL of the API, for unsubscribe links.
    pub api_url: Option<String>,
    /// How many mails are sent concurrently.
    pub connections: usize,
    /// Accepts mails.
    pub mails: Arc<dyn MailServer>,
    /// Accepts text messages, if any are sent.
    pub text_messages: Option<Arc<dyn TextMessages>>,
}

/// Sends notifications. One per process, in any number of processes.
pub struct Sender {
    db: PgPool,
    templates: Arc<Templates>,
    sending: Sending,
    mail_breaker: Breaker,
    sms_breaker: Breaker,
}

/// The result of looking for something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A notification was handled.
    Dealt,
    /// There is nothing to send.
    Nothing,
    /// The server accepts nothing; try again after this time.
    Rest(Duration),
}

/// A rendered notification.
enum Ready {
    Mail { to: Address, mail: Vec<u8> },
    Sms { to: String, text: String },
}

impl Sender {
    /// Creates a sender that is not running yet.
    #[must_use]
    pub fn new(db: PgPool, templates: Arc<Templates>, sending: Sending) -> Self {
        let (mail_breaker, sms_breaker) = (Breaker::default(), Breaker::default());
        Self { db, templates, sending, mail_breaker, sms_breaker }
    }

    /// Sends due notifications until `stop`, and finishes those in progress.
    pub async fn run(&self, stop: &CancellationToken) {
        let mails = (0..self.sending.connections).map(|_sender| self.work(Channel::Mail, stop));
        let messages = self.sending.text_messages.iter().map(|_port| self.work(Channel::Sms, stop));
        let (_mails, _messages, ()) =
            tokio::join!(join_all(mails), join_all(messages), self.look_around(stop));
    }

    async fn work(&self, channel: Channel, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let rest = match self.send_next(channel).await {
                Ok(Looked::Dealt) => continue,
                Ok(Looked::Nothing) => REST,
                Ok(Looked::Rest(pause)) => pause,
                Err(error) => {
                    report("sending mails", &error);
                    REST_AFTER_FAULT
                }
            };
            rest_for(rest, stop).await;
        }
    }

    /// Notifies customers of articles that are available again, and counts waiting notifications.
    async fn look_around(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.tell_those_who_wait().await {
                report("looking for articles that are available again", &error);
            }
            match store::counts(&self.db).await {
                Ok(counts) => show(counts),
                Err(error) => report("counting notifications", &error),
            }
            rest_for(LOOK_EVERY, stop).await;
        }
    }

    /// Creates a notification for every customer who waits for an article that is available: once
    /// for each wait.
    ///
    /// **Errors.** The database does not answer.
    pub async fn tell_those_who_wait(&self) -> Result<u64, sqlx::Error> {
        let Sending { policy_of_waits, domain, .. } = &self.sending;
        store::tell_those_who_wait(&self.db, *policy_of_waits, domain).await
    }

    /// Handles the notification that has been due for longest.
    ///
    /// **Errors.** The database does not answer. The notification is claimed again later.
    pub async fn send_next(&self, channel: Channel) -> Result<Looked, sqlx::Error> {
        let breaker = match channel {
            Channel::Mail => &self.mail_breaker,
            Channel::Sms => &self.sms_breaker,
        };
        let pass = match breaker.admit(Instant::now()) {
            Ok(pass) => pass,
            Err(pause) => return Ok(Looked::Rest(pause)),
        };
        let claim = match store::claim(&self.db, channel, LEASE).await? {
            None => return Ok(Looked::Nothing),
            Some(Ok(claim)) => claim,
            Some(Err(bad)) => {
                tracing::error!(error = %bad, "a notification is parked");
                store::park_unreadable(&self.db, &bad).await?;
                return Ok(Looked::Dealt);
            }
        };
        let (ready, locale) = match self.prepare(channel, &claim).await? {
            Ok(ready) => ready,
            Err(settled) => {
                self.settle(channel, &claim, &settled, Transmission::None).await?;
                return Ok(Looked::Dealt);
            }
        };
        // From here on, only the server's answer tells whether the mail was sent. So this is
        // committed first; a sender that has lost its claim meanwhile sends nothing.
        if !store::begin(&self.db, &claim, &locale, LEASE).await? {
            return Ok(Looked::Dealt);
        }
        let outcome = self.hand_over(&claim, &locale, ready).await;
        let looked = if is_away(&outcome, &claim) {
            Looked::Rest(pass.away(Instant::now()))
        } else {
            pass.answered();
            Looked::Dealt
        };
        let transmission = transmission(&outcome);
        self.settle(channel, &claim, &after(outcome, &claim), transmission).await?;
        Ok(looked)
    }

    /// The rendered notification and its locale, or why it must not be sent.
    async fn prepare(
        &self,
        channel: Channel,
        claim: &Claim,
    ) -> Result<Result<(Ready, String), Settled>, sqlx::Error> {
        let template = claim.template;
        let unsubscribe = template.can_be_switched_off().then_some(claim.unsubscribe);
        let facts = match facts::read(&self.db, template, claim.subject, unsubscribe).await {
            Ok(facts) => facts,
            Err(FactsError::Database(error)) => return Err(error),
            Err(error @ FactsError::Unusable) => {
                return Ok(Err(Settled::Parked { why: error.to_string() }));
            }
        };
        Ok(self.ready(channel, claim, facts))
    }

    fn ready(
        &self,
        channel: Channel,
        claim: &Claim,
        Facts { recipient, letter, standing }: Facts,
    ) -> Result<(Ready, String), Settled> {
        let template = claim.template;
        match standing {
            Standing::Stands => {}
            Standing::NotYet(why) => return Err(not_yet(claim.subject, why)),
            Standing::Over(why) => return Err(skipped(why)),
        }
        let is_off = recipient.switched_off.iter().any(|name| name == template.name());
        if template.can_be_switched_off() && is_off {
            return Err(skipped("the customer has switched it off"));
        }
        let locale = self.templates.locale(self.wanted_locale(&recipient)).to_owned();
        let ready = match channel {
            Channel::Mail => self.mail(claim, &locale, recipient, &letter)?,
            Channel::Sms => self.text_message(template, &locale, recipient, &letter)?,
        };
        Ok((ready, locale))
    }

    /// The customer's own locale, or that of the order's destination.
    fn wanted_locale<'a>(&'a self, recipient: &'a Recipient) -> Option<&'a str> {
        let by_country = || {
            let country = recipient.country.as_deref()?;
            let known = self.sending.locales.iter().find(|(code, _)| code == country);
            known.map(|(_, locale)| locale.as_str())
        };
        recipient.locale.as_deref().or_else(by_country)
    }

    fn mail(
        &self,
        claim: &Claim,
        locale: &str,
        recipient: Recipient,
        letter: &Letter,
    ) -> Result<Ready, Settled> {
        let email = recipient.email.ok_or_else(|| skipped("the customer has no address"))?;
        let to = address(&email).ok_or_else(|| parked("the customer's address is invalid"))?;
        let name = recipient.name.map(|name| domain::as_one_line(&name, 100));
        let name = name.filter(|name| !name.is_empty());
        let written = self.templates.write(claim.template, locale, letter);
        let written = written.map_err(|error| {
            tracing::error!(
                template = claim.template.name(),
                locale,
                error = chain(&error),
                "a template fails"
            );
            parked("its template failed: the log says where")
        })?;
        let mut mail = Message::builder()
            .from(self.sending.from.clone())
            .to(Mailbox::new(name, to.clone()))
            .subject(written.subject)
            .message_id(Some(format!("<{}>", claim.message_id)))
            // RFC 3834: programs must not reply automatically.
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
        if let Some(reply_to) = &self.sending.reply_to {
            mail = mail.reply_to(reply_to.clone());
        }
        if let Some((token, url)) = letter.unsubscribe.zip(self.sending.api_url.as_deref()) {
            let url = url.trim_end_matches('/');
            // RFC 2369, and RFC 8058 for one-click unsubscription.
            mail = mail
                .raw_header(header("List-Unsubscribe", format!("<{url}/v1/unsubscribe/{token}>")))
                .raw_header(header(
                    "List-Unsubscribe-Post",
                    "List-Unsubscribe=One-Click".to_owned(),
                ));
        }
        let parts = MultiPart::alternative_plain_html(written.text, written.html);
        let mail = mail.multipart(parts).map_err(|_error| parked("it cannot be assembled"))?;
        Ok(Ready::Mail { to, mail: mail.formatted() })
    }

    fn text_message(
        &self,
        template: MailTemplate,
        locale: &str,
        recipient: Recipient,
        letter: &Letter,
    ) -> Result<Ready, Settled> {
        let to = recipient.phone.ok_or_else(|| skipped("the customer has no telephone number"))?;
        let text = self.templates.write_text_message(template, locale, letter);
        let text = text.map_err(|error| {
            tracing::error!(
                template = template.name(),
                locale,
                error = chain(&error),
                "a template fails"
            );
            parked("its template failed: the log says where")
        })?;
        Ok(Ready::Sms { to, text })
    }

    async fn hand_over(&self, claim: &Claim, locale: &str, ready: Ready) -> Outcome {
        match (ready, &self.sending.text_messages) {
            (Ready::Mail { to, mail }, _) => {
                self.sending.mails.send(&self.sending.from.email, &to, &mail).await
            }
            (Ready::Sms { to, text }, Some(port)) => {
                let message = TextMessage {
                    id: &claim.message_id,
                    to: &to,
                    text: &text,
                    template: claim.template,
                    locale,
                };
                port.send(&message).await
            }
            (Ready::Sms { .. }, None) => {
                Outcome::Away { why: "no text messages are sent by this process".to_owned() }
            }
        }
    }

    async fn settle(
        &self,
        channel: Channel,
        claim: &Claim,
        settled: &Settled,
        transmission: Transmission,
    ) -> Result<(), sqlx::Error> {
        let is_ours = store::settle(&self.db, claim, settled, transmission).await?;
        let notification_id = claim.notification_id;
        let (outcome, why) = match settled {
            Settled::Sent => ("sent", None),
            Settled::Later { why, .. } => ("put-off", Some(why)),
            Settled::Parked { why } => ("parked", Some(why)),
            Settled::Skipped { why } => ("skipped", Some(why)),
            Settled::PutBack { why } => ("put-back", Some(why)),
        };
        let (template, channel) = (claim.template.name(), channel.name());
        counter!(DEALT_WITH, "template" => template, "channel" => channel, "outcome" => outcome)
            .increment(1);
        if !is_ours {
            tracing::warn!(
                notification_id,
                outcome,
                "another sender has taken over a notification"
            );
        } else if outcome == "parked" {
            tracing::warn!(notification_id, template, why, "a notification is parked");
        } else {
            tracing::debug!(
                notification_id,
                template,
                outcome,
                why,
                "a notification is dealt with"
            );
        }
        Ok(())
    }
}

/// Notifications handled, by template, channel and outcome.
const DEALT_WITH: &str = "ordersaga_notifications_total";
/// Notifications that are queued or being sent.
const WAITING: &str = "ordersaga_notifications_waiting";
/// Notifications that wait for an operator.
const PARKED: &str = "ordersaga_notifications_parked";
/// The age of the oldest waiting notification.
const OLDEST: &str = "ordersaga_notifications_oldest_seconds";

/// Describes the metrics of notifications, and initialises those without an outcome label.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(DEALT_WITH, "Notifications of customers that were dealt with");
    metrics::describe_gauge!(WAITING, "Notifications of customers that are still to be sent");
    metrics::describe_gauge!(PARKED, "Notifications of customers that wait for an operator");
    metrics::describe_gauge!(OLDEST, "How long the oldest waiting notification waits, in seconds");
    for series in [WAITING, PARKED, OLDEST] {
        gauge!(series).set(0.0);
    }
}

fn show(counts: store::Counts) {
    let figure = |number: i64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    gauge!(WAITING).set(figure(counts.waiting));
    gauge!(PARKED).set(figure(counts.parked));
    gauge!(OLDEST).set(figure(counts.oldest_seconds));
}

/// Whether the server accepts no mails at all. If it breaks off at a mail and has accepted others
/// since this one was last tried, the mail is the cause.
const fn is_away(outcome: &Outcome, claim: &Claim) -> bool {
    match outcome {
        Outcome::Away { .. } => true,
        Outcome::BrokenOff { .. } => !claim.others_were_sent,
        Outcome::Sent
        | Outcome::NotNow { .. }
        | Outcome::Never { .. }
        | Outcome::Unknown { .. } => false,
    }
}

/// Whether the server may have received the mail.
const fn transmission(outcome: &Outcome) -> Transmission {
    match outcome {
        Outcome::Sent | Outcome::Unknown { .. } => Transmission::Possible,
        Outcome::NotNow { .. }
        | Outcome::Never { .. }
        | Outcome::BrokenOff { .. }
        | Outcome::Away { .. } => Transmission::None,
    }
}

/// What an outcome means for a notification, by its policy and its earlier attempts.
fn after(outcome: Outcome, claim: &Claim) -> Settled {
    match outcome {
        Outcome::Sent => Settled::Sent,
        Outcome::Never { why } => Settled::Parked { why },
        Outcome::BrokenOff { why } if claim.others_were_sent => put_off(why, claim),
        Outcome::BrokenOff { why } | Outcome::Away { why } => {
            Settled::Later { after: Duration::ZERO, why, counts: false }
        }
        Outcome::NotNow { why } => put_off(why, claim),
        Outcome::Unknown { why } => match claim.policy {
            MailPolicy::AtLeastOnce => put_off(why, claim),
            MailPolicy::AtMostOnce => Settled::Parked { why },
        },
    }
}

/// Retries after a minute, doubled up to four hours; after the last retry a person decides.
fn put_off(why: String, claim: &Claim) -> Settled {
    if claim.deferrals >= MailPolicy::DEFERRALS_MAX {
        return Settled::Parked { why: format!("put off for days: {why}") };
    }
    let doublings = u32::try_from(claim.deferrals).unwrap_or(0).min(8);
    let after = Duration::from_mins(1).saturating_mul(2_u32.saturating_pow(doublings));
    Settled::Later { after: after.min(Duration::from_hours(4)), why, counts: true }
}

/// An order's notification is checked again soon. A wait for an article is put back, which costs
/// nothing until the article is available: many may wait for the same one.
fn not_yet(subject: Subject, why: &str) -> Settled {
    let why = why.to_owned();
    match subject {
        Subject::Event { .. } => Settled::Later { after: NOT_YET, why, counts: false },
        Subject::Wait(_) => Settled::PutBack { why },
    }
}

fn skipped(why: &str) -> Settled {
    Settled::Skipped { why: why.to_owned() }
}

fn parked(why: &str) -> Settled {
    Settled::Parked { why: why.to_owned() }
}

/// Parses the address. An invalid one is never sent to a server.
fn address(email: &str) -> Option<Address> {
    let is_plain = !email.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    email.parse().ok().filter(|_address| is_plain)
}

/// A header with a trusted value.
fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Sleeps until `stop` at the latest.
async fn rest_for(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(pause) => {}
    }
}

/// Database errors contain no customer data.
fn report(doing: &'static str, error: &sqlx::Error) {
    match DatabaseFault::of(error) {
        DatabaseFault::Misdeployed => alarm(doing, error),
        DatabaseFault::Transient => {
            tracing::warn!(doing, error = chain(error), "the database does not answer");
        }
        DatabaseFault::Broken => tracing::error!(doing, error = chain(error), "a bug"),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn claim(policy: MailPolicy, deferrals: i32) -> Claim {
        Claim {
            notification_id: 1,
            number: 1,
            template: MailTemplate::Confirmed,
            subject: Subject::Wait(1),
            message_id: "1@shop.example".to_owned(),
            policy,
            deferrals,
            others_were_sent: false,
            unsubscribe: Uuid::nil(),
        }
    }

    #[test]
    fn what_may_have_been_sent_is_sent_again_only_if_its_policy_says_so() {
        let lost = || Outcome::Unknown { why: "lost".to_owned() };
        let again = after(lost(), &claim(MailPolicy::AtLeastOnce, 0));
        assert!(matches!(again, Settled::Later { counts: true, .. }), "{again:?}");
        let once = after(lost(), &claim(MailPolicy::AtMostOnce, 0));
        assert_eq!(once, Settled::Parked { why: "lost".to_owned() });
    }

    #[test]
    fn what_is_put_off_comes_later_and_later_and_to_a_person_in_the_end() {
        let minutes =
            |deferrals| match put_off("451".to_owned(), &claim(MailPolicy::AtLeastOnce, deferrals))
            {
                Settled::Later { after, .. } => Some(after.as_secs() / 60),
                Settled::Sent
                | Settled::Parked { .. }
                | Settled::Skipped { .. }
                | Settled::PutBack { .. } => None,
            };
        assert_eq!([0, 1, 2, 7, 29].map(minutes), [1, 2, 4, 128, 240].map(Some));
        assert_eq!(minutes(MailPolicy::DEFERRALS_MAX), None);
    }

    #[test]
    fn a_server_that_breaks_off_at_a_mail_is_away_unless_others_were_sent_meanwhile() {
        let broken_off = || Outcome::BrokenOff { why: "421".to_owned() };
        let alone = claim(MailPolicy::AtMostOnce, 0);
        assert!(is_away(&broken_off(), &alone));
        assert!(matches!(after(broken_off(), &alone), Settled::Later { counts: false, .. }));
        let among_others = Claim { others_were_sent: true, ..alone };
        assert!(!is_away(&broken_off(), &among_others));
        assert!(matches!(after(broken_off(), &among_others), Settled::Later { counts: true, .. }));
    }

    #[test]
    fn an_address_that_is_none_is_given_to_no_server() {
        for good in ["ada@example.org", "a.b+c@example.co.uk", "rené@example.org"] {
            assert!(address(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "ada@example.org\r\nRCPT TO:<eve@example.org>",
            "ada@example.org> SIZE=1",
            "\"a b\"@example.org",
            "ada@exa mple.org",
        ] {
            assert!(address(bad).is_none(), "{bad:?}");
        }
    }
}
