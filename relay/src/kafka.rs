//! Apache Kafka, and other brokers that speak its protocol.
//!
//! A message becomes a record in the binary mode of the CloudEvents Kafka binding: its payload is
//! the value, its attributes are headers (`ce_id`, `ce_type` and so on), and its key is the order's
//! id. So all events of an order are in one partition, chosen by the same hash as in Java's
//! producer.
//!
//! **Acknowledged** means stored by all in-sync replicas (`acks=all`). The producer is idempotent,
//! so its own retries are written once; a redelivery by the relay after a crash is written again,
//! with the same `ce_id`.
//!
//! **Given up.** A batch that is not acknowledged in time is given up together with its producer,
//! so that nothing of it stays queued; the next batch begins with a new producer. If some records
//! are acknowledged, as when only one partition has no leader, the time limit for the rest is
//! short. Records have no timeout of their own: if librdkafka gives up a record in flight, the
//! producer loses its sequence numbers.
//!
//! **Refused.** A broker refuses records by the batch: if one is too large, all records of its
//! batch fail. Each is therefore sent again alone, and only one that is refused alone counts as
//! refused. All other failures are not caused by the message, which is retried without limit.

#[cfg(feature = "kafka")]
mod producer;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::Sink;
use crate::secret::Secret;

#[cfg(feature = "kafka")]
use self::producer::built;

/// The name of this sink in `outbox.sinks`.
pub const NAME: &str = "kafka";

/// Kafka's address, and how messages get there. Passwords are read from the environment only:
/// `RELAY_KAFKA_PASSWORD`, `RELAY_KAFKA_TLS_KEY_PASSWORD`.
#[derive(Clone, Debug, clap::Args)]
pub struct KafkaArgs {
    /// Kafka's brokers, as host:port separated by commas; without it, nothing is sent to Kafka
    #[arg(long, env = "RELAY_KAFKA_BROKERS")]
    pub kafka_brokers: Option<String>,
    /// Topics by aggregate type, as `order=shop.orders` separated by commas; the default topic is
    /// `ordersaga.` and the type, such as `ordersaga.order`
    #[arg(long, env = "RELAY_KAFKA_TOPICS", value_delimiter = ',')]
    pub kafka_topics: Vec<Topic>,
    /// Let the brokers create missing topics, with their default number of partitions
    #[arg(long, env = "RELAY_KAFKA_CREATE_TOPICS")]
    pub kafka_create_topics: bool,
    /// The maximum size of a record and of a batch: no more than the topics' `max.message.bytes`
    #[arg(long, env = "RELAY_KAFKA_MESSAGE_BYTES_MAX", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1_000..=1_000_000_000))]
    pub kafka_message_bytes_max: u32,
    /// Seconds after which a batch that was not acknowledged is tried again
    #[arg(long, env = "RELAY_KAFKA_TIMEOUT_SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=10))]
    pub kafka_timeout_seconds: u32,
    /// Authenticate as this user (SASL), with `RELAY_KAFKA_PASSWORD`
    #[arg(long, env = "RELAY_KAFKA_USERNAME")]
    pub kafka_username: Option<String>,
    /// That user's password.
    #[arg(skip = Secret::from_env("RELAY_KAFKA_PASSWORD"))]
    pub kafka_password: Option<Secret>,
    /// The SASL mechanism
    #[arg(long, env = "RELAY_KAFKA_SASL", value_enum, default_value_t = Mechanism::Plain)]
    pub kafka_sasl: Mechanism,
    /// Connect with TLS
    #[arg(long, env = "RELAY_KAFKA_TLS")]
    pub kafka_tls: bool,
    /// Certificates to trust, as a PEM file; without it, those of the system
    #[arg(long, env = "RELAY_KAFKA_TLS_CA")]
    pub kafka_tls_ca: Option<PathBuf>,
    /// The relay's own certificate, as a PEM file
    #[arg(long, env = "RELAY_KAFKA_TLS_CERTIFICATE")]
    pub kafka_tls_certificate: Option<PathBuf>,
    /// Its key, as a PEM file; `RELAY_KAFKA_TLS_KEY_PASSWORD` decrypts it if it is encrypted
    #[arg(long, env = "RELAY_KAFKA_TLS_KEY")]
    pub kafka_tls_key: Option<PathBuf>,
    /// The key's password.
    #[arg(skip = Secret::from_env("RELAY_KAFKA_TLS_KEY_PASSWORD"))]
    pub kafka_tls_key_password: Option<Secret>,
}

/// How the user authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// With the plain password: use it over TLS only, or on a private network.
    Plain,
    /// With SCRAM-SHA-256.
    #[value(name = "scram-sha-256")]
    ScramSha256,
    /// With SCRAM-SHA-512.
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

/// The topic for messages of an aggregate type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The aggregate type, such as `order`.
    pub aggregate_type: String,
    /// The topic's name.
    pub name: String,
}

/// A text that does not assign a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic is named as `order=shop.orders`, in letters, digits, dots, `_` and `-`")]
pub struct NoTopic;

impl FromStr for Topic {
    type Err = NoTopic;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (aggregate_type, name) = text.trim().split_once('=').ok_or(NoTopic)?;
        let is_allowed = |one: char| one.is_ascii_alphanumeric() || "._-".contains(one);
        let is_name = (1..=249).contains(&name.len()) && name.chars().all(is_allowed);
        if aggregate_type.is_empty() || !is_name {
            return Err(NoTopic);
        }
        Ok(Self { aggregate_type: aggregate_type.to_owned(), name: name.to_owned() })
    }
}

/// Why these settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKafka {
    /// This build has no Kafka support.
    #[error(
        "RELAY_KAFKA_BROKERS is set, and this program was built without Kafka: build it with the \
         feature `kafka`"
    )]
    NotBuilt,
    /// This build has no TLS support for Kafka.
    #[error(
        "{0} is set, and this program was built without TLS and SCRAM for Kafka: build it with the \
         feature `kafka-tls`, which takes OpenSSL and its headers"
    )]
    NoTls(&'static str),
    /// One setting requires another.
    #[error("{is_set} is set, and is of no use without {missing}")]
    Half {
        /// The setting that is set.
        is_set: &'static str,
        /// The setting that is missing.
        missing: &'static str,
    },
    /// The client library rejects them.
    #[error("Kafka's client cannot be made with these settings: {0}")]
    Client(String),
}

/// The sink for these settings; `None` if they name no brokers.
///
/// `source` identifies the shop, as a URI reference. Connects when there is something to send.
///
/// **Errors.** [`UnusableKafka`].
pub fn sink(args: &KafkaArgs, source: &str) -> Result<Option<Arc<dyn Sink>>, UnusableKafka> {
    let Some(brokers) = &args.kafka_brokers else { return Ok(None) };
    args.check(cfg!(feature = "kafka-tls"))?;
    built(args, brokers, source).map(Some)
}

#[cfg(not(feature = "kafka"))]
fn built(_: &KafkaArgs, _: &str, _: &str) -> Result<Arc<dyn Sink>, UnusableKafka> {
    Err(UnusableKafka::NotBuilt)
}

impl KafkaArgs {
    fn check(&self, has_tls: bool) -> Result<(), UnusableKafka> {
        let half = |is_set, missing| Err(UnusableKafka::Half { is_set, missing });
        match (&self.kafka_username, &self.kafka_password) {
            (Some(_), None) => return half("RELAY_KAFKA_USERNAME", "RELAY_KAFKA_PASSWORD"),
            (None, Some(_)) => return half("RELAY_KAFKA_PASSWORD", "RELAY_KAFKA_USERNAME"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        for (is_set, path) in [
            ("RELAY_KAFKA_TLS_CA", &self.kafka_tls_ca),
            ("RELAY_KAFKA_TLS_CERTIFICATE", &self.kafka_tls_certificate),
            ("RELAY_KAFKA_TLS_KEY", &self.kafka_tls_key),
        ] {
            if path.is_some() && !self.kafka_tls {
                return half(is_set, "RELAY_KAFKA_TLS=true");
            }
        }
        match (&self.kafka_tls_certificate, &self.kafka_tls_key) {
            (Some(_), None) => return half("RELAY_KAFKA_TLS_CERTIFICATE", "RELAY_KAFKA_TLS_KEY"),
            (None, Some(_)) => return half("RELAY_KAFKA_TLS_KEY", "RELAY_KAFKA_TLS_CERTIFICATE"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let is_scram = self.kafka_username.is_some() && self.kafka_sasl != Mechanism::Plain;
        match (self.kafka_tls, is_scram) {
            (true, _) if !has_tls => Err(UnusableKafka::NoTls("RELAY_KAFKA_TLS")),
            (_, true) if !has_tls => Err(UnusableKafka::NoTls("RELAY_KAFKA_SASL")),
            _ => Ok(()),
        }
    }

    /// The configured topics, by aggregate type.
    #[cfg(any(test, feature = "kafka"))]
    fn named_topics(&self) -> std::collections::BTreeMap<String, String> {
        let named = self.kafka_topics.iter().cloned();
        named.map(|topic| (topic.aggregate_type, topic.name)).collect()
    }
}

/// The default topic of an aggregate type.
#[cfg(any(test, feature = "kafka"))]
fn usual_topic(aggregate_type: &str) -> String {
    format!("ordersaga.{aggregate_type}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Relay {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    fn parsed(flags: &str) -> KafkaArgs {
        let flags = ["relay", "--kafka-brokers", "127.0.0.1:1"].into_iter().chain(flags.split(' '));
        Relay::parse_from(flags.filter(|flag| !flag.is_empty())).kafka
    }

    #[test]
    fn a_topic_is_named_for_what_its_messages_are_about() {
        let named = parsed("--kafka-topics order=shop.orders,refund=shop.refunds").named_topics();
        assert_eq!(named.get("order").map(String::as_str), Some("shop.orders"));
        assert_eq!(named.get("refund").map(String::as_str), Some("shop.refunds"));
        assert_eq!(usual_topic("order"), "ordersaga.order");
        for nonsense in ["orders", "=orders", "order=", "order=a b", "order=a/b"] {
            assert_eq!(nonsense.parse::<Topic>(), Err(NoTopic), "{nonsense}");
        }
    }

    #[test]
    fn without_brokers_nothing_is_sent() {
        let none = Relay::parse_from(["relay"]).kafka;
        assert!(sink(&KafkaArgs { kafka_brokers: None, ..none }, "/shop").unwrap().is_none());
    }

    #[test]
    fn half_of_what_belongs_together_is_refused_in_one_line_that_names_the_rest() {
        for (flags, missing) in [
            ("--kafka-username relay", "RELAY_KAFKA_PASSWORD"),
            ("--kafka-tls-ca ca.pem", "RELAY_KAFKA_TLS=true"),
            ("--kafka-tls --kafka-tls-key key.pem", "RELAY_KAFKA_TLS_CERTIFICATE"),
            ("--kafka-tls --kafka-tls-certificate one.pem", "RELAY_KAFKA_TLS_KEY"),
        ] {
            let refusal = parsed(flags).check(true).unwrap_err().to_string();
            assert!(refusal.ends_with(&format!("of no use without {missing}")), "{refusal}");
        }
    }

    #[test]
    fn a_build_without_tls_says_so_before_it_sends_anything() {
        let mut scram = parsed("--kafka-username relay --kafka-sasl scram-sha-512");
        scram.kafka_password = Some(Secret::from("secret"));
        assert_eq!(scram.check(true), Ok(()));
        assert_eq!(scram.check(false), Err(UnusableKafka::NoTls("RELAY_KAFKA_SASL")));
        let tls = parsed("--kafka-tls");
        assert_eq!(tls.check(true), Ok(()));
        assert_eq!(tls.check(false), Err(UnusableKafka::NoTls("RELAY_KAFKA_TLS")));
        let mut plain = parsed("--kafka-username relay");
        plain.kafka_password = Some(Secret::from("secret"));
        assert_eq!(plain.check(false), Ok(()));
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut args = parsed("--kafka-username relay");
        args.kafka_password = Some(Secret::from("hunter2"));
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
