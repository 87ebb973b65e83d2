//! An SMTP client that performs each step of the protocol separately.
//!
//! What a failure means depends on where it happens. Until the server has the whole mail, nothing
//! is sent; from its last line on, a connection that breaks leaves open whether it was. So the
//! steps are taken one by one, and not by a client that tells of all of them the same.

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

/// What became of a mail or a text message.
///
/// The reasons are lines without personal data: servers repeat addresses in their texts, so no more
/// than their codes is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Sent,
    /// The server does not take it now. It was not sent.
    NotNow {
        /// Why.
        why: String,
    },
    /// The server will never take it. It was not sent.
    Never {
        /// Why.
        why: String,
    },
    /// Nobody knows whether it was sent.
    Unknown {
        /// Why.
        why: String,
    },
    /// The server breaks off while it is asked to take this mail. It was not sent. Whether the
    /// server is away, or breaks off because of this mail, is known by what becomes of others.
    BrokenOff {
        /// Why.
        why: String,
    },
    /// The server takes no mail at all at the moment, or none of ours. It was not sent.
    Away {
        /// Why.
        why: String,
    },
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encryption {
    /// From the beginning, usually on port 465
    Tls,
    /// After a greeting in the clear, usually on port 587; a server that does not offer it gets
    /// nothing
    Starttls,
    /// Not at all, for a server on the same machine
    Off,
}

/// Where the mail server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name, which its certificate has to have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Who signs its certificate, besides those whom the system trusts.
    pub ca: Option<Certificate>,
    /// As whom to sign in, if that is needed.
    pub credentials: Option<Credentials>,
    /// How long each step may take.
    pub patience: Duration,
}

/// A mail server, with the connections that are open to it.
pub struct Smtp {
    server: Server,
    tls: Option<TlsParameters>,
    hello: ClientId,
    /// Open connections that nobody uses.
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
    /// **Errors.** The certificates that are trusted cannot be read.
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
    /// **Repeats.** Each call sends it.
    pub async fn send(&self, from: &Address, to: &Address, mail: &[u8]) -> Outcome {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(away) => return away,
        };
        let outcome = self.hand_over(&mut connection, from, to, mail).await;
        // After anything else, what the server makes of the next command is not certain.
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
                let why = "the address has letters that the server takes no mail for".to_owned();
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

    /// A connection that is open and still works, or a new one. No mail and no password is given to a
    /// server that does not encrypt as it is to.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Outcome> {
        let idle = self.lock().pop();
        if let Some(mut connection) = idle {
            let works = timeout(self.server.patience, connection.test_connected()).await;
            if works.unwrap_or(false) {
                return Ok(connection);
            }
            // The others are hardly better, and each may take its time to say so.
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

    /// A step, for as long as there is patience.
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
    /// Of a step before the server has heard of any mail: it takes none.
    fn away(&self, what: &str) -> Outcome {
        Outcome::Away { why: self.told(what) }
    }

    /// The sender is the same for every mail, so a server that refuses it for good takes none.
    fn of_sender(&self) -> Outcome {
        let why = self.told("the server does not take the sender");
        if self.is_put_off() { Outcome::NotNow { why } } else { Outcome::Away { why } }
    }

    /// Of the one mail: its recipient, or that it is to be sent.
    fn of_mail(&self, what: &str) -> Outcome {
        let why = self.told(&format!("the server does not take {what}"));
        match self {
            Self::Smtp(error) if error.is_permanent() => Outcome::Never { why },
            Self::Smtp(_) if self.is_put_off() => Outcome::NotNow { why },
            Self::TimeIsUp | Self::Smtp(_) => Outcome::BrokenOff { why },
        }
    }

    /// The server was given the whole mail: only its own answer tells what became of it.
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

    /// Whether the server has put the mail off and goes on with others. 421 ends the connection.
    fn is_put_off(&self) -> bool {
        match self {
            Self::TimeIsUp => false,
            Self::Smtp(error) => {
                error.is_transient() && error.status().is_some_and(|code| u16::from(code) != 421)
            }
        }
    }

    /// What has happened, with the server's codes and without its words.
    fn told(&self, what: &str) -> String {
        match self {
            Self::TimeIsUp => format!("{what}: it does not answer in time"),
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

/// Whether the certificate was refused: the server has not said this, but rustls has.
fn is_untrusted(error: &Error) -> bool {
    let causes = iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).any(|cause| cause.contains("invalid peer certificate"))
}

/// The reply code, and the enhanced one (RFC 3463) if the server gives one: `550 5.1.1`.
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
