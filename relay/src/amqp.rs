//! RabbitMQ, and whatever else speaks AMQP 0.9.1.
//!
//! A message goes to a topic exchange, with its event's type as the routing key
//! (`ordersaga.order.placed.v1`), so that a queue is bound to what its readers want to hear of:
//! `ordersaga.order.#`, or `#` for everything. Its attributes are headers as the CloudEvents' AMQP
//! binding names them (`cloudEvents:id`, `cloudEvents:type` and so on), its id is the message id too,
//! and it is kept on disk where the queue is.
//!
//! **Acknowledged** is what the broker has confirmed: every queue that it was routed to has it. A
//! repeat after a crash has the same id.
//!
//! **Nobody's.** For a message that no queue is bound to, the broker says so. A queue may be missing
//! because it is bound to other types only, or because nobody has bound it yet. Nobody knows which, so
//! the message waits with its order, and the relay says which type it is; [`Unroutable::Drop`] has it go
//! on instead.
//!
//! **Refused.** A broker that does not take a message, such as one that is too large, ends the channel
//! for it, and with the channel goes whatever else was under way there. Each is therefore sent again
//! alone, and only one that is refused alone counts as refused.

#[cfg(feature = "amqp")]
mod link;

use std::path::PathBuf;
use std::sync::Arc;

use crate::Sink;
use crate::secret::Secret;

#[cfg(feature = "amqp")]
use self::link::built;

/// How this sink is called in `outbox.sinks`.
pub const NAME: &str = "amqp";

/// Where the broker is, and what becomes of messages there. Its address is read from the environment
/// alone, because the password stands in it: `RELAY_AMQP_URL`.
#[derive(Clone, Debug, clap::Args)]
pub struct AmqpArgs {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    #[arg(skip = Secret::from_env("RELAY_AMQP_URL"))]
    pub amqp_url: Option<Secret>,
    /// The topic exchange that messages go to; `RELAY_AMQP_URL`, in the environment alone, names the
    /// broker, and left out nothing is sent there
    #[arg(long, env = "RELAY_AMQP_EXCHANGE", default_value = "ordersaga")]
    pub amqp_exchange: String,
    /// Create the durable exchange if it is missing
    #[arg(long, env = "RELAY_AMQP_DECLARE")]
    pub amqp_declare: bool,
    /// What to do with a message that no queue is bound to
    #[arg(long, env = "RELAY_AMQP_UNROUTABLE", value_enum, default_value_t = Unroutable::Wait)]
    pub amqp_unroutable: Unroutable,
    /// Who signs the broker's certificate, as a PEM file, besides those whom the system trusts
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
    /// It waits for one, and the later messages of its order, too: nothing is lost while queues are
    /// still to be bound.
    Wait,
    /// Nobody wants it: it is counted, and gone. For a shop whose queues are bound to some types only.
    Drop,
}

/// Why nothing can be sent to the broker with these settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAmqp {
    /// This program knows no AMQP.
    #[error(
        "RELAY_AMQP_URL is set, and this program was built without AMQP: build it with the feature \
         `amqp`"
    )]
    NotBuilt,
    /// The address is none. It is not shown, for there may be a password in it.
    #[error("RELAY_AMQP_URL is not as amqp://user:password@host:port/vhost")]
    Address,
    /// No virtual host can have that name. It is not shown either, being a part of the address.
    #[error(
        "the virtual host in RELAY_AMQP_URL is longer than the 255 bytes that its name may have"
    )]
    VirtualHost,
    /// No exchange can have that name.
    #[error("RELAY_AMQP_EXCHANGE is empty, or longer than the 127 bytes that a name may have")]
    Exchange,
    /// The signer's file cannot be read.
    #[error("RELAY_AMQP_TLS_CA: cannot read {file}: {why}")]
    Ca {
        /// Its path.
        file: String,
        /// Why not.
        why: String,
    },
}

/// The broker as these settings have it; nothing if they do not say where it is.
///
/// `source` says which shop the messages come from, as a URI reference. Connects when there is
/// something to send.
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
