//! An SMTP client that performs each step of the protocol separately.
//!
//! The meaning of a failure depends on where it happens. Until the server has the whole mail,
//! nothing is sent; once the last line is written, a broken connection leaves it unknown whether
//! the mail was sent. Clients that send in one call do not distinguish these, so the steps are
//! performed one by one.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::iter;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use tokio::time::timeout;

/// The outcome of sending a mail or a text message.
///
/// The reasons are single lines without personal data: servers repeat addresses in their texts, so
/// only their codes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has accepted it.
    Sent,
    /// The server does not accept it now. It was not sent.
    NotNow {
        /// Why.
        why: String,
    },
    /// The server will never accept it. It was not sent.
    Never {
        /// Why.
        why: String,
    },
    /// Unknown whether it was sent.
    Unknown {
        /// Why.
        why: String,
    },
    /// The server closed the connection while receiving this mail. It was not sent. Whether the
    /// server is unavailable, or this mail is the cause, shows in the outcome of other mails.
    BrokenOff {
        /// Why.
        why: String,
    },
    /// The server accepts no mail at all at the moment, or none from us. It was not sent.
    Away {
        /// Why.
        why: String,
    },
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encryption {
    /// TLS from the beginning, usually on port 465
    Tls,
    /// STARTTLS, usually on port 587; a server that does not offer it is not used
    Starttls,
    /// No encryption, for a server on the same machine
    Off,
}

/// The mail server's address and how to connect.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name, which its certificate has to match.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// A certificate to trust besides the system's.
    pub ca: Option<Certificate>,
    /// The credentials, if the server requires authentication.
    pub credentials: Option<Credentials>,
    /// The timeout of each step.
    pub patience: Duration,
}

/// A mail server, with its open connections.
pub struct Smtp {
    server: Server,
    tls: Option<TlsParameters>,
    hello: ClientId,
    /// Idle open connections.
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Why a step has failed.
enum Fault {
    TimeIsUp,
    Smtp(Error),
}

impl Smtp {
    /// Connects at the first mail.
    ///
    /// **Errors.** The trusted certificates cannot be read.
    pub fn new(server: Server) -> Result<Self, Error> {
        let tls = match server.encryption {
            Encryption::Off => None,
            Encryption::Tls | Encryption::Starttls => {
                let tls = TlsParameters::builder(server.host.clone());
                let tls = match &server.ca {
                    None => tls,
                    Some(ca) => tls.add_root_certificate(ca.clone()),
                };
                Some(tls.build()?)
            }
        };
        Ok(Self { server, tls, hello: ClientId::default(), idle: Mutex::default() })
    }

    /// Sends a mail to one recipient.
    ///
    /// **Repeats.** Each call sends the mail again.
    pub async fn send(&self, from: &Address, to: &Address, mail: &[u8]) -> Outcome {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(away) => return away,
        };
        let outcome = self.hand_over(&mut connection, from, to, mail).await;
        // After any other outcome, the state of the connection is uncertain.
        if outcome == Outcome::Sent {
            self.lock().push(connection);
        }
        outcome
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Address,
        to: &Address,
        mail: &[u8],
    ) -> Outcome {
        let mut parameters = Vec::new();
        if !(is_ascii(from) && is_ascii(to)) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let why = "the server does not accept addresses with such characters".to_owned();
                return Outcome::Never { why };
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let command = connection.command(Mail::new(Some(from.clone()), parameters));
        if let Err(fault) = self.within(command).await {
            return fault.of_sender();
        }
        let command = connection.command(Rcpt::new(to.clone(), Vec::new()));
        if let Err(fault) = self.within(command).await {
            return fault.of_mail("the recipient");
        }
        if let Err(fault) = self.within(connection.command(Data)).await {
            return fault.of_mail("the mail");
        }
        match self.within(connection.message(mail)).await {
            Ok(_accepted) => Outcome::Sent,
            Err(fault) => fault.after_the_mail(),
        }
    }

    /// An idle connection that still works, or a new one. Neither mails nor passwords are sent to a
    /// server that lacks the required encryption.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Outcome> {
        let idle = self.lock().pop();
        if let Some(mut connection) = idle {
            let works = timeout(self.server.patience, connection.test_connected()).await;
            if works.unwrap_or(false) {
                return Ok(connection);
            }
            // The other idle connections are probably broken, too, and each may take a timeout to
            // show it.
            self.lock().clear();
        }
        let Server { host, port, encryption, credentials, patience, .. } = &self.server;
        let wrapped = self.tls.clone().filter(|_tls| *encryption == Encryption::Tls);
        let address = (host.as_str(), *port);
        let opened = AsyncSmtpConnection::connect_tokio1(
            address,
            Some(*patience),
            &self.hello,
            wrapped,
            None,
        );
        let mut connection = Box::pin(self.within(opened))
            .await
            .map_err(|fault| fault.away("the server is not ready for mails"))?;
        if let Some(tls) = self.tls.clone().filter(|_tls| *encryption == Encryption::Starttls) {
            Box::pin(self.within(connection.starttls(tls, &self.hello)))
                .await
                .map_err(|fault| fault.away("the connection cannot be encrypted"))?;
        }
        if let Some(credentials) = credentials {
            self.within(connection.auth(DEFAULT_MECHANISMS, credentials))
                .await
                .map_err(|fault| fault.away("the server does not take user and password"))?;
        }
        Ok(connection)
    }

    /// Runs a step with the timeout.
    async fn within<T>(&self, step: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
        match timeout(self.server.patience, step).await {
            Ok(done) => done.map_err(Fault::Smtp),
            Err(_elapsed) => Err(Fault::TimeIsUp),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<AsyncSmtpConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

impl Fault {
    /// A fault before any mail was offered: the server accepts nothing.
    fn away(&self, what: &str) -> Outcome {
        Outcome::Away { why: self.told(what) }
    }

    /// All mails have the same sender, so a server that rejects it permanently accepts nothing.
    fn of_sender(&self) -> Outcome {
        let why = self.told("the server does not take the sender");
        if self.is_put_off() { Outcome::NotNow { why } } else { Outcome::Away { why } }
    }

    /// Of the one mail: its recipient, or its content.
    fn of_mail(&self, what: &str) -> Outcome {
        let why = self.told(&format!("the server does not take {what}"));
        match self {
            Self::Smtp(error) if error.is_permanent() => Outcome::Never { why },
            Self::Smtp(_) if self.is_put_off() => Outcome::NotNow { why },
            Self::TimeIsUp | Self::Smtp(_) => Outcome::BrokenOff { why },
        }
    }

    /// The server has received the whole mail: only its answer tells whether it was accepted.
    fn after_the_mail(&self) -> Outcome {
        let why = self.told("the server does not take the mail");
        match self {
            Self::Smtp(error) if error.is_permanent() => Outcome::Never { why },
            Self::Smtp(error) if error.is_transient() => {
                if self.is_put_off() {
                    Outcome::NotNow { why }
                } else {
                    Outcome::BrokenOff { why }
                }
            }
            Self::TimeIsUp | Self::Smtp(_) => {
                Outcome::Unknown { why: self.told("the answer to the whole mail is lost") }
            }
        }
    }

    /// Whether the server has deferred the mail and accepts others. 421 closes the connection.
    fn is_put_off(&self) -> bool {
        match self {
            Self::TimeIsUp => false,
            Self::Smtp(error) => {
                error.is_transient() && error.status().is_some_and(|code| u16::from(code) != 421)
            }
        }
    }

    /// Describes the fault with the server's codes and without its text.
    fn told(&self, what: &str) -> String {
        match self {
            Self::TimeIsUp => format!("{what}: it did not answer in time"),
            Self::Smtp(error) => match codes(error) {
                Some(codes) => format!("{what}: {codes}"),
                None if is_untrusted(error) => format!("{what}: its certificate is not trusted"),
                None if error.is_tls() => format!("{what}: no encrypted connection"),
                None if error.is_client() => format!("{what}: it lacks what this program asks for"),
                None => format!("{what}: no connection"),
            },
        }
    }
}

/// Whether the certificate was rejected: this is an error of rustls, not of the server.
fn is_untrusted(error: &Error) -> bool {
    let causes = iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).any(|cause| cause.contains("invalid peer certificate"))
}

/// The reply code, and the enhanced status code (RFC 3463) if any: `550 5.1.1`.
fn codes(error: &Error) -> Option<String> {
    let code = error.status()?;
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    let enhanced = text.split_whitespace().next().filter(|word| is_enhanced_code(word));
    Some(enhanced.map_or_else(|| code.to_string(), |enhanced| format!("{code} {enhanced}")))
}

fn is_enhanced_code(word: &str) -> bool {
    let parts: Vec<_> = word.split('.').collect();
    let is_number = |part: &&str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    parts.len() == 3 && parts.iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enhanced_code_is_three_numbers_and_nothing_else_of_a_servers_words_is_kept() {
        for code in ["5.1.1", "4.7.1", "5.7.25"] {
            assert!(is_enhanced_code(code), "{code}");
        }
        for word in ["5.1", "5.1.1.1", "ada@example.org", "5.1.a", "5.1.1234", "", "..", "<a.b.c>"]
        {
            assert!(!is_enhanced_code(word), "{word}");
        }
    }
}
