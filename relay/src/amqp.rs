//! RabbitMQ, and other brokers that speak AMQP 0.9.1.
//!
//! A message is published to a topic exchange with its event's type as the routing key
//! (`ordersaga.order.placed.v1`), so a queue binds to the types that its consumers want:
//! `ordersaga.order.#`, or `#` for everything. Its attributes are headers named by the CloudEvents
//! AMQP binding (`cloudEvents:id`, `cloudEvents:type` and so on), its id is also the message id,
//! and it is persistent.
//!
//! **Acknowledged** means confirmed by the broker: every queue that the message was routed to has
//! it. A redelivery after a crash has the same id.
//!
//! **Unroutable.** The broker returns a message that no queue is bound to. A queue may be missing
//! on purpose, or because it has not been bound yet. The relay cannot know which, so the message
//! waits with its order, and the relay names its type; with [`Unroutable::Drop`] it is skipped
//! instead.
//!
//! **Refused.** A broker that rejects a message, such as one that is too large, closes the channel,
//! and all other unconfirmed messages are lost with it. Each is therefore sent again alone, and
//! only one that is refused alone counts as refused.

#[cfg(feature = "amqp")]
mod link;

use std::path::PathBuf;
use std::sync::Arc;

use crate::Sink;
use crate::secret::Secret;

#[cfg(feature = "amqp")]
use self::link::built;

/// The name of this sink in `outbox.sinks`.
pub const NAME: &str = "amqp";

/// The broker, and what happens to messages there. Its address contains a password, so it is read
/// from the environment only: `RELAY_AMQP_URL`.
#[derive(Clone, Debug, clap::Args)]
pub struct AmqpArgs {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    #[arg(skip = Secret::from_env("RELAY_AMQP_URL"))]
    pub amqp_url: Option<Secret>,
    /// The topic exchange that messages go to; the broker is set by `RELAY_AMQP_URL`, in the
    /// environment only, and without it nothing is sent
    #[arg(long, env = "RELAY_AMQP_EXCHANGE", default_value = "ordersaga")]
    pub amqp_exchange: String,
    /// Create the durable exchange if it is missing
    #[arg(long, env = "RELAY_AMQP_DECLARE")]
    pub amqp_declare: bool,
    /// What to do with a message that no queue is bound to
    #[arg(long, env = "RELAY_AMQP_UNROUTABLE", value_enum, default_value_t = Unroutable::Wait)]
    pub amqp_unroutable: Unroutable,
    /// Certificates to trust besides the system's, as a PEM file
    #[arg(long, env = "RELAY_AMQP_TLS_CA")]
    pub amqp_tls_ca: Option<PathBuf>,
    /// Seconds after which a batch that was not confirmed is tried again
    #[arg(long, env = "RELAY_AMQP_TIMEOUT_SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=10))]
    pub amqp_timeout_seconds: u32,
}

/// What to do with a message that no queue is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unroutable {
    /// It waits until a queue is bound, and so do the later messages of its order: nothing is lost
    /// while queues are still to be bound.
    Wait,
    /// It is counted and skipped. For a shop whose queues are bound to only some types.
    Drop,
}

/// Why these settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAmqp {
    /// This build has no AMQP support.
    #[error(
        "RELAY_AMQP_URL is set, and this program was built without AMQP: build it with the feature \
         `amqp`"
    )]
    NotBuilt,
    /// The URL is invalid. It is not shown, because it may contain a password.
    #[error("RELAY_AMQP_URL is not as amqp://user:password@host:port/vhost")]
    Address,
    /// The virtual host's name is too long. It is not shown, because it is part of the URL.
    #[error(
        "the virtual host in RELAY_AMQP_URL is longer than the 255 bytes that its name may have"
    )]
    VirtualHost,
    /// The exchange's name is invalid.
    #[error("RELAY_AMQP_EXCHANGE is empty, or longer than the 127 bytes that a name may have")]
    Exchange,
    /// The file with certificates cannot be read.
    #[error("RELAY_AMQP_TLS_CA: cannot read {file}: {why}")]
    Ca {
        /// Its path.
        file: String,
        /// The reason.
        why: String,
    },
}

/// The sink for these settings; `None` if they do not name a broker.
///
/// `source` identifies the shop, as a URI reference. Connects when there is something to send.
///
/// **Errors.** [`UnusableAmqp`].
pub fn sink(args: &AmqpArgs, source: &str) -> Result<Option<Arc<dyn Sink>>, UnusableAmqp> {
    let Some(url) = &args.amqp_url else { return Ok(None) };
    if !(1..=127).contains(&args.amqp_exchange.len()) {
        return Err(UnusableAmqp::Exchange);
    }
    built(args, url, source).map(Some)
}

#[cfg(not(feature = "amqp"))]
fn built(_: &AmqpArgs, _: &Secret, _: &str) -> Result<Arc<dyn Sink>, UnusableAmqp> {
    Err(UnusableAmqp::NotBuilt)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Relay {
        #[command(flatten)]
        amqp: AmqpArgs,
    }

    #[cfg(feature = "amqp")]
    fn refusal(url: &str, flags: &[&str]) -> Option<UnusableAmqp> {
        let mut args = Relay::parse_from(["relay"].iter().chain(flags)).amqp;
        args.amqp_url = Some(Secret::from(url));
        sink(&args, "/shop").err()
    }

    #[test]
    fn without_an_address_nothing_is_sent() {
        let none = AmqpArgs { amqp_url: None, ..Relay::parse_from(["relay"]).amqp };
        assert!(sink(&none, "/shop").unwrap().is_none());
    }

    #[cfg(feature = "amqp")]
    #[test]
    fn what_cannot_be_used_is_said_at_the_start_without_the_password() {
        let address = refusal("http://relay:hunter2@rabbit", &[]).unwrap();
        assert_eq!(address, UnusableAmqp::Address);
        assert!(!address.to_string().contains("hunter2"));
        let url = "amqp://relay:hunter2@rabbit";
        for nameless in [String::new(), "x".repeat(128)] {
            let refused = refusal(url, &["--amqp-exchange", &nameless]);
            assert_eq!(refused, Some(UnusableAmqp::Exchange));
        }
        assert_eq!(refusal(url, &["--amqp-exchange", &"x".repeat(127)]), None);
        assert_eq!(refusal(&format!("{url}/{}", "x".repeat(255)), &[]), None);
        let host = refusal(&format!("{url}/{}", "x".repeat(256)), &[]);
        assert_eq!(host, Some(UnusableAmqp::VirtualHost));
        let missing = refusal(url, &["--amqp-tls-ca", "/nowhere/ca.pem"]).unwrap().to_string();
        assert!(missing.contains("cannot read /nowhere/ca.pem"), "{missing}");
    }
}
