//! Mails and, optionally, text messages to customers.
//!
//! 1. The sink `mail` creates a *notification* for each event that customers are notified of: one
//!    row, once.
//! 2. A *sender* claims a row, reads its recipient and content, and sends it. What no longer holds
//!    is not sent: an order that was unwound meanwhile is not confirmed.
//! 3. The outcome is recorded. SMTP cannot be queried for a mail's fate, so if the server's answer
//!    is lost, the notification's policy decides whether to send it again.
//!
//! The recipient is personal data. It is read when the mail is sent, and stored in no row, message,
//! log line, metric or error.
//!
//! `docs/mail.md` is for operators and for authors of the texts.

mod breaker;
mod facts;
mod letter;
mod locale;
mod sender;
mod settings;
mod sink;
mod sms;
mod smtp;
mod store;
mod templates;

use std::sync::Arc;

use domain::MailTemplate;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use letter::{About, Letter, LineTold, OrderTold, Shop};
pub use sender::{Looked, MailServer, Sender, Sending, TextMessages};
pub use settings::{LetterArgs, MailArgs, MailError};
pub use sink::{MailSink, SINK};
pub use sms::{SmsSecret, SmsWebhook, TextMessage};
pub use smtp::{Encryption, Outcome, Server, Smtp};
pub use store::Channel;
pub use templates::{TemplateError, Templates, Written};

use self::store::Subject;

/// The senders of mails and text messages.
pub struct Mail {
    sink: Arc<MailSink>,
    sender: Sender,
}

impl Mail {
    /// Reads and tests the templates, without connecting. `None` if no mail server is set.
    ///
    /// **Errors.** A setting or a template cannot be used.
    pub fn open(args: &MailArgs, db: PgPool) -> Result<Option<Self>, MailError> {
        sender::describe_metrics();
        let Some(sending) = args.sending()? else { return Ok(None) };
        let templates = Arc::new(args.letter.templates(&args.text_message_templates())?);
        let sink = MailSink::new(
            db.clone(),
            sending.domain.clone(),
            args.mail_at_most_once.clone(),
            args.text_message_templates(),
        );
        Ok(Some(Self { sink: Arc::new(sink), sender: Sender::new(db, templates, sending) }))
    }

    /// The sink that creates notifications.
    #[must_use]
    pub fn sink(&self) -> Arc<MailSink> {
        Arc::clone(&self.sink)
    }

    /// Sends due notifications until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        Box::pin(self.sender.run(&stop)).await;
    }
}

/// Renders a mail as it would be written now, for this order or for the sample. Nothing is sent.
///
/// **Errors.** A template or a setting cannot be used, the database does not answer, or the order
/// has no event for this mail.
pub async fn preview(
    args: &LetterArgs,
    template: MailTemplate,
    locale: Option<&str>,
    order: Option<(&PgPool, Uuid)>,
) -> Result<Written, MailError> {
    let templates = args.templates(&[])?;
    let (letter, own_locale) = match order {
        None => {
            let [full, _] = Letter::samples(template).map_err(TemplateError::from)?;
            (full, None)
        }
        Some((db, order_id)) => {
            let event = facts::last_event(db, template, order_id).await?;
            let event: Subject = event.ok_or(MailError::NothingToTell(template))?;
            let token = template.can_be_switched_off().then(Uuid::nil);
            let facts = facts::read(db, template, event, token).await?;
            (facts.letter, facts.recipient.locale)
        }
    };
    let locale = templates.locale(locale.or(own_locale.as_deref()));
    Ok(templates.write(template, locale, &letter)?)
}
