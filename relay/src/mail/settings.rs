//! The settings of mails.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::{MailPolicy, MailTemplate};
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Certificate;
use reqwest::Url;

use super::facts::FactsError;
use super::letter::Shop;
use super::sender::{Sending, TextMessages};
use super::sms::{SmsSecret, SmsWebhook};
use super::smtp::{Encryption, Server, Smtp};
use super::templates::{TemplateError, Templates};

/// The mails' content and templates.
#[derive(Clone, Debug, clap::Args)]
pub struct LetterArgs {
    /// A folder with the shop's own templates, in one folder per locale; missing files are the
    /// built-in ones
    #[arg(long, env = "MAIL_TEMPLATES")]
    pub mail_templates: Option<PathBuf>,
    /// The locale for customers whose own locale has no texts
    #[arg(long, env = "MAIL_LOCALE", default_value = "en")]
    pub mail_locale: String,
    /// The shop's name
    #[arg(long, env = "MAIL_SHOP_NAME", default_value = "The Shop")]
    pub mail_shop_name: String,
    /// The shop's page
    #[arg(long, env = "MAIL_SHOP_URL")]
    pub mail_shop_url: Option<String>,
    /// Where customers see and pay for an order; `{order_id}` is replaced with its id
    #[arg(long, env = "MAIL_ORDER_URL")]
    pub mail_order_url: Option<String>,
    /// Where customers see an article; `{sku}` is replaced with its number
    #[arg(long, env = "MAIL_ARTICLE_URL")]
    pub mail_article_url: Option<String>,
    /// Where the carrier tracks a parcel; `{tracking}` is replaced with its tracking number
    #[arg(long, env = "MAIL_TRACKING_URL")]
    pub mail_tracking_url: Option<String>,
    /// The public URL of the API, for unsubscribe links; without it, mails have none
    #[arg(long, env = "MAIL_API_URL")]
    pub mail_api_url: Option<String>,
}

/// Whether and how mails are sent.
#[derive(Clone, Debug, clap::Args)]
pub struct MailArgs {
    /// The mails' content.
    #[command(flatten)]
    pub letter: LetterArgs,
    /// The mail server, as host:port; without it, no mails are sent
    #[arg(long, env = "MAIL_SERVER")]
    pub mail_server: Option<String>,
    /// How the connection to the mail server is encrypted
    #[arg(long, env = "MAIL_TLS", value_enum, default_value = "starttls")]
    pub mail_tls: Encryption,
    /// Certificates to trust for it besides the system's, as a PEM file
    #[arg(long, env = "MAIL_TLS_CA")]
    pub mail_tls_ca: Option<PathBuf>,
    /// The user name for the mail server
    #[arg(long, env = "MAIL_USER", requires = "mail_password")]
    pub mail_user: Option<String>,
    /// The password for the mail server
    #[arg(long, env = "MAIL_PASSWORD", hide_env_values = true, requires = "mail_user")]
    pub mail_password: Option<Hidden>,
    /// The sender of mails, such as `The Shop <orders@shop.example>`
    #[arg(long, env = "MAIL_FROM")]
    pub mail_from: Option<String>,
    /// The address for replies, if not the sender's
    #[arg(long, env = "MAIL_REPLY_TO")]
    pub mail_reply_to: Option<String>,
    /// The locale of an order's mails by destination country, for customers without a preference
    #[arg(long, env = "MAIL_LOCALES", value_delimiter = ',', value_parser = locale_of_country,
        default_value = "DE=de,AT=de,CH=de")]
    pub mail_locales: Vec<LocaleOfCountry>,
    /// Mails that are not sent again when it is unknown whether they were sent
    #[arg(long, env = "MAIL_AT_MOST_ONCE", value_delimiter = ',', value_parser = template,
        default_value = "shipped,delivered,back-in-stock")]
    pub mail_at_most_once: Vec<MailTemplate>,
    /// How many mails are sent concurrently
    #[arg(long, env = "MAIL_CONNECTIONS", default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=32))]
    pub mail_connections: u8,
    /// Seconds to wait for each answer of the mail server, and for the webhook's answer
    #[arg(long, env = "MAIL_TIMEOUT_SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=60))]
    pub mail_timeout_seconds: u64,
    /// A webhook of the shop's own that sends text messages; without it, none are sent
    #[arg(long, env = "SMS_WEBHOOK_URL", requires = "sms_webhook_secret")]
    pub sms_webhook_url: Option<Url>,
    /// The key that signs text messages to it: whsec_ and 24 to 64 bytes in Base64
    #[arg(long, env = "SMS_WEBHOOK_SECRET", hide_env_values = true)]
    pub sms_webhook_secret: Option<Hidden>,
    /// Mails that are also sent as text messages
    #[arg(long, env = "SMS_TEMPLATES", value_delimiter = ',', value_parser = template,
        default_value = "shipped")]
    pub sms_templates: Vec<MailTemplate>,
}

/// A secret setting, which is never printed.
#[derive(Clone)]
pub struct Hidden(String);

impl From<String> for Hidden {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// The locale for orders to a country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocaleOfCountry {
    country: String,
    locale: String,
}

/// Why no mails can be sent. Contains no secret and no customer's address.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A setting cannot be used.
    #[error("{setting}: {what}")]
    Setting {
        /// The environment variable.
        setting: &'static str,
        /// What it must be.
        what: &'static str,
    },
    /// The trusted certificates cannot be read.
    #[error("no encrypted connection to a mail server can be made")]
    Tls(#[source] lettre::transport::smtp::Error),
    /// No HTTP client can be made.
    #[error("no webhook can be called")]
    Webhook(#[from] reqwest::Error),
    /// A template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The database does not answer.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    /// The content cannot be read.
    #[error("the order is not usable as the database has it")]
    Facts(#[from] FactsError),
    /// The order has no event for this mail.
    #[error("the order has no event for the mail `{0}`")]
    NothingToTell(MailTemplate),
}

impl LetterArgs {
    /// The tested templates. The mails in `text_messages` need a text message template, too.
    ///
    /// **Errors.** A template cannot be used.
    pub fn templates(&self, text_messages: &[MailTemplate]) -> Result<Templates, TemplateError> {
        let shop = Shop {
            name: self.mail_shop_name.clone(),
            url: self.mail_shop_url.clone(),
            order_url: self.mail_order_url.clone(),
            article_url: self.mail_article_url.clone(),
            tracking_url: self.mail_tracking_url.clone(),
            api_url: self.mail_api_url.clone(),
        };
        let folder = self.mail_templates.as_deref();
        Templates::load(folder, &self.mail_locale, shop, text_messages)
    }
}

impl MailArgs {
    /// The mails that are also sent as text messages.
    pub(super) fn text_message_templates(&self) -> Vec<MailTemplate> {
        self.sms_webhook_url.iter().flat_map(|_url| self.sms_templates.clone()).collect()
    }

    /// The settings for sending; `None` if no mail server is set.
    pub(super) fn sending(&self) -> Result<Option<Sending>, MailError> {
        let Some(server) = &self.mail_server else { return Ok(None) };
        let wrong = |setting, what| MailError::Setting { setting, what };
        let from = self.mail_from.as_deref();
        let from = from.and_then(|text| text.parse::<Mailbox>().ok());
        let from = from.ok_or_else(|| {
            wrong("MAIL_FROM", "a name and an address, such as `The Shop <orders@shop.example>`")
        })?;
        let reply_to = match &self.mail_reply_to {
            None => None,
            Some(text) => Some(
                text.parse::<Mailbox>().map_err(|_error| wrong("MAIL_REPLY_TO", "an address"))?,
            ),
        };
        let locales = self.mail_locales.iter();
        let locales = locales.map(|it| (it.country.clone(), it.locale.clone())).collect();
        let is_once = self.mail_at_most_once.contains(&MailTemplate::BackInStock);
        Ok(Some(Sending {
            domain: from.email.domain().to_owned(),
            from,
            reply_to,
            policy_of_waits: if is_once { MailPolicy::AtMostOnce } else { MailPolicy::AtLeastOnce },
            locales,
            api_url: self.letter.mail_api_url.clone(),
            connections: self.mail_connections.into(),
            mails: Arc::new(self.smtp(server)?),
            text_messages: self.text_messages()?,
        }))
    }

    fn smtp(&self, server: &str) -> Result<Smtp, MailError> {
        let wrong = |what| MailError::Setting { setting: "MAIL_SERVER", what };
        let (host, port) = server.rsplit_once(':').ok_or_else(|| wrong("host:port"))?;
        let port = port.parse().map_err(|_error| wrong("host:port"))?;
        let credentials = self.mail_user.clone().zip(self.mail_password.clone());
        let credentials =
            credentials.map(|(user, Hidden(password))| Credentials::new(user, password));
        Smtp::new(Server {
            host: host.to_owned(),
            port,
            encryption: self.mail_tls,
            ca: self.ca()?,
            credentials,
            patience: self.patience(),
        })
        .map_err(MailError::Tls)
    }

    fn ca(&self) -> Result<Option<Certificate>, MailError> {
        let wrong = || MailError::Setting {
            setting: "MAIL_TLS_CA",
            what: "a file that can be read, with certificates as PEM",
        };
        let read = |file: &PathBuf| {
            let pem = fs::read(file).map_err(|_error| wrong())?;
            Certificate::from_pem(&pem).map_err(|_error| wrong())
        };
        self.mail_tls_ca.as_ref().map(read).transpose()
    }

    fn text_messages(&self) -> Result<Option<Arc<dyn TextMessages>>, MailError> {
        let Some(url) = &self.sms_webhook_url else { return Ok(None) };
        let secret = self.sms_webhook_secret.as_ref().and_then(|Hidden(it)| SmsSecret::parse(it));
        let secret = secret.ok_or(MailError::Setting {
            setting: "SMS_WEBHOOK_SECRET",
            what: "whsec_ and 24 to 64 bytes in Base64",
        })?;
        let webhook = SmsWebhook::new(url.clone(), secret, self.patience())?;
        Ok(Some(Arc::new(webhook)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.mail_timeout_seconds)
    }
}

fn template(name: &str) -> Result<MailTemplate, String> {
    name.parse().map_err(|_error| format!("no mail is called {name}"))
}

fn locale_of_country(text: &str) -> Result<LocaleOfCountry, &'static str> {
    let (country, locale) = text.split_once('=').ok_or("a country and a locale, such as DE=de")?;
    Ok(LocaleOfCountry { country: country.to_owned(), locale: locale.to_owned() })
}
