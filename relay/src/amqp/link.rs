//! The sink, implemented with lapin.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind,
    ExchangeKind,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{AmqpArgs, Unroutable, UnusableAmqp};
use crate::message::CONTENT_TYPE;
use crate::secret::Secret;
use crate::waves::{Wave, in_waves};
use crate::{Message, Sink, Verdict};

/// Persistent delivery: a durable queue keeps the message on disk.
const PERSISTENT: u8 = 2;

/// The maximum length of a broker's text in a reason.
const REASON_MAX: usize = 300;

struct Amqp {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    exchange: ShortString,
    declares: bool,
    unroutable: Unroutable,
    source: String,
    patience: Duration,
    /// Used by one batch at a time. `None` after a batch that could not be delivered.
    link: Mutex<Option<Link>>,
}

struct Link {
    /// Closed when dropped.
    connection: Connection,
    channel: Channel,
}

/// A message, and its texts as the protocol's short strings.
struct Labelled<'a> {
    message: &'a Message,
    id: ShortString,
    event_type: ShortString,
}

/// One batch in flight.
struct Batch<'a> {
    amqp: &'a Amqp,
    link: Option<Link>,
}

/// The broker's answer to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Every queue that it was routed to has it.
    Confirmed,
    /// No queue is bound to its type.
    Returned,
    /// It cannot be sent, or the broker has closed the channel because of it or of another message.
    WithItsChannel(String),
    /// It may be accepted later.
    NotNow(String),
}

/// See [`super::sink`].
pub(super) fn built(
    args: &AmqpArgs,
    url: &Secret,
    source: &str,
) -> Result<Arc<dyn Sink>, UnusableAmqp> {
    let uri: AMQPUri = url.reveal().parse().map_err(|_| UnusableAmqp::Address)?;
    // The client panics on a longer one when it connects.
    ShortString::try_new(uri.vhost.as_str()).map_err(|_| UnusableAmqp::VirtualHost)?;
    let exchange = ShortString::try_new(args.amqp_exchange.as_str());
    let ca = args.amqp_tls_ca.as_ref().map(|file| {
        fs::read_to_string(file).map_err(|error| UnusableAmqp::Ca {
            file: file.display().to_string(),
            why: error.to_string(),
        })
    });
    Ok(Arc::new(Amqp {
        uri,
        tls: OwnedTLSConfig { identity: None, cert_chain: ca.transpose()? },
        exchange: exchange.map_err(|_| UnusableAmqp::Exchange)?,
        declares: args.amqp_declare,
        unroutable: args.amqp_unroutable,
        source: source.to_owned(),
        patience: Duration::from_secs(args.amqp_timeout_seconds.into()),
        link: Mutex::new(None),
    }))
}

#[async_trait]
impl Sink for Amqp {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        let until = Instant::now().checked_add(self.patience).unwrap_or_else(Instant::now);
        // Taken out, so that a cancelled batch leaves no channel with unconfirmed messages behind.
        let mut link = self.link.lock().await;
        let mut sender = Batch { amqp: self, link: link.take() };
        let verdicts = in_waves(&mut sender, batch, until).await;
        *link = sender.link;
        verdicts
    }
}

#[async_trait]
impl Wave for Batch<'_> {
    async fn send(&mut self, wave: &[&Message], until: Instant) -> Vec<Verdict> {
        let labelled: Vec<_> = wave.iter().map(|message| Labelled::of(message)).collect();
        let sendable: Vec<_> = labelled.iter().flatten().collect();
        let mut sent = self.sent(&sendable, until).await.into_iter();
        let verdict = |one| match one {
            Ok(_) => sent.next(),
            Err(why) => Some(Verdict::Refused { why }),
        };
        labelled.into_iter().filter_map(verdict).collect()
    }
}

impl Batch<'_> {
    /// The verdict on each message.
    async fn sent(&mut self, wave: &[&Labelled<'_>], until: Instant) -> Vec<Verdict> {
        let mut answers = self.answers(wave, until).await;
        // If the channel was closed, the cause may be another message.
        let in_company = wave.len() > 1;
        for (message, answer) in wave.iter().zip(&mut answers) {
            if in_company && matches!(answer, Answer::WithItsChannel(_)) {
                let alone = self.answers(&[message], until).await;
                if let Some(alone) = alone.into_iter().next() {
                    *answer = alone;
                }
            }
        }
        wave.iter()
            .zip(answers)
            .map(|(labelled, answer)| self.amqp.verdict(labelled.message, answer))
            .collect()
    }

    /// Sends all messages at once, and waits for the broker's answers. Drops the link unless all
    /// were confirmed or returned.
    async fn answers(&mut self, wave: &[&Labelled<'_>], until: Instant) -> Vec<Answer> {
        if wave.is_empty() {
            return Vec::new();
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => match self.amqp.connect(until).await {
                Ok(link) => link,
                Err(why) => return vec![Answer::NotNow(why); wave.len()],
            },
        };
        let answers = self.amqp.send(&link, wave, until).await;
        if answers.iter().all(|one| matches!(one, Answer::Confirmed | Answer::Returned)) {
            self.link = Some(link);
        }
        answers
    }
}

impl<'a> Labelled<'a> {
    /// **Errors.** Why the message can never be sent: one of its texts exceeds the protocol's
    /// limit, and without its id or its type it would be useless to readers.
    fn of(message: &'a Message) -> Result<Self, String> {
        let short = |what: &str, text: &str| {
            ShortString::try_new(text).map_err(|_| {
                format!("its {what} has {} bytes, and AMQP has room for 255", text.len())
            })
        };
        let (id, event_type) = (short("id", &message.id)?, short("type", &message.event_type)?);
        Ok(Self { message, id, event_type })
    }
}

impl Amqp {
    /// Opens a channel with publisher confirms and checks the exchange, or returns why that failed.
    async fn connect(&self, until: Instant) -> Result<Link, String> {
        let connecting = async {
            let properties = ConnectionProperties::default()
                .with_connection_name(runtime::process_name().into());
            let runtime = lapin::runtime::default_runtime()?;
            let (uri, tls) = (self.uri.clone(), self.tls.clone());
            let connection =
                Connection::connect_uri_with_config(uri, properties, tls, runtime).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let options = ExchangeDeclareOptions {
                passive: !self.declares,
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let exchange = self.exchange.clone();
            channel
                .exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default())
                .await?;
            Ok::<_, lapin::Error>(Link { connection, channel })
        };
        match timeout_at(until, connecting).await {
            Ok(connected) => connected.map_err(|error| self.explained(&error)),
            Err(_) => Err(self.silence(None)),
        }
    }

    async fn send(&self, link: &Link, wave: &[&Labelled<'_>], until: Instant) -> Vec<Answer> {
        let publishing = wave.iter().map(|message| timeout_at(until, self.publish(link, message)));
        let answers = join_all(publishing).await;
        let ended_by_one =
            answers.iter().flatten().any(|answer| answer.as_ref().is_err_and(is_for_a_message));
        // The client reports returned messages with any later confirmation, so they are matched by
        // id. All messages of the wave have been answered by now, so all returned ones are known.
        let mut returned = BTreeSet::new();
        let mut of_each = Vec::with_capacity(answers.len());
        for answer in answers {
            of_each.push(match answer {
                Ok(Ok(confirmation)) => {
                    let answer = match &confirmation {
                        Confirmation::Ack(_) => Answer::Confirmed,
                        Confirmation::Nack(_) | Confirmation::NotRequested => Answer::NotNow(
                            "the broker has not stored it: check whether a queue is full"
                                .to_owned(),
                        ),
                    };
                    if let Some(message) = confirmation.take_message() {
                        returned.extend(message.delivery.properties.message_id().clone());
                    }
                    answer
                }
                Ok(Err(error)) if ended_by_one => {
                    Answer::WithItsChannel(one_line(&error.to_string()))
                }
                Ok(Err(error)) => Answer::NotNow(self.explained(&error)),
                Err(_) => Answer::NotNow(self.silence(Some(link))),
            });
        }
        for (labelled, answer) in wave.iter().zip(&mut of_each) {
            if *answer == Answer::Confirmed && returned.contains(&labelled.id) {
                *answer = Answer::Returned;
            }
        }
        of_each
    }

    async fn publish(&self, link: &Link, labelled: &Labelled<'_>) -> lapin::Result<Confirmation> {
        let Labelled { message, id, event_type } = labelled;
        let headers = message.attributes(&self.source).into_iter().fold(
            FieldTable::default(),
            |mut headers, (name, value)| {
                let name = format!("cloudEvents:{name}").into();
                headers.insert(name, AMQPValue::LongString(value.into()));
                headers
            },
        );
        let properties = BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id.clone())
            .with_type(event_type.clone())
            .with_timestamp(u64::try_from(message.created_at.timestamp()).unwrap_or_default())
            .with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (self.exchange.clone(), event_type.clone());
        let payload = message.payload.get().as_bytes();
        link.channel.basic_publish(exchange, key, options, payload, properties).await?.await
    }

    fn verdict(&self, message: &Message, answer: Answer) -> Verdict {
        match answer {
            Answer::Confirmed => Verdict::Delivered,
            Answer::Returned => match self.unroutable {
                Unroutable::Drop => Verdict::NotWanted,
                Unroutable::Wait => Verdict::Unavailable {
                    retry_after: None,
                    why: format!(
                        "no queue is bound to exchange {} for {}: bind one, or set \
                         RELAY_AMQP_UNROUTABLE=drop if nobody wants it",
                        self.exchange, message.event_type
                    ),
                },
            },
            Answer::WithItsChannel(why) => {
                Verdict::Refused { why: format!("the broker does not take it: {why}") }
            }
            Answer::NotNow(why) => Verdict::Unavailable { retry_after: None, why },
        }
    }

    /// Why nothing was answered in time.
    fn silence(&self, link: Option<&Link>) -> String {
        if link.is_some_and(|link| link.connection.status().blocked()) {
            return "the broker accepts nothing for now: it is short of memory or disk".to_owned();
        }
        format!("the broker has not answered within {} s", self.patience.as_secs())
    }

    /// Explains an error to an operator, with the remedy.
    fn explained(&self, error: &lapin::Error) -> String {
        let advice = match protocol_error(error) {
            Some(AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)) => format!(
                "exchange {} does not exist: make it, or set RELAY_AMQP_DECLARE=true",
                self.exchange
            ),
            Some(AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)) => format!(
                "exchange {} is not a durable topic exchange: name another in RELAY_AMQP_EXCHANGE",
                self.exchange
            ),
            Some(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) => {
                "the broker does not accept the user, the password, or what the relay does: check \
                 RELAY_AMQP_URL and the user's rights"
                    .to_owned()
            }
            Some(AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)) => {
                "the broker denies the user access there: check the virtual host in \
                 RELAY_AMQP_URL"
                    .to_owned()
            }
            _ if error.is_io_error() => {
                "the broker does not answer: check that it runs, and RELAY_AMQP_URL".to_owned()
            }
            _ => "the broker does not accept it now".to_owned(),
        };
        format!("{advice} ({})", one_line(&error.to_string()))
    }
}

/// The error with which the broker has closed a channel or connection.
fn protocol_error(error: &lapin::Error) -> Option<&AMQPErrorKind> {
    if let ErrorKind::ProtocolError(error) = error.kind() { Some(error.kind()) } else { None }
}

/// Whether a message has caused it, rather than the exchange or the user.
fn is_for_a_message(error: &lapin::Error) -> bool {
    matches!(
        protocol_error(error),
        Some(AMQPErrorKind::Soft(
            AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::CONTENTTOOLARGE
        ))
    )
}

/// The beginning of a foreign text, on one line.
fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::value::to_raw_value;

    use super::*;

    #[derive(Parser)]
    struct Relay {
        #[command(flatten)]
        amqp: AmqpArgs,
    }

    fn message(id: &str, event_type: &str) -> Message {
        Message {
            position: 1,
            id: id.to_owned(),
            aggregate_type: "order".to_owned(),
            aggregate_id: id.to_owned(),
            sequence: 1,
            event_type: event_type.to_owned(),
            payload: to_raw_value("").unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn a_message_with_a_text_that_is_too_long_is_refused_and_holds_up_no_other() {
        // Nothing listens on a port that was just released.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Secret::from(format!("amqp://{free}").as_str());
        let args = Relay::parse_from(["relay"]).amqp;
        let sink = built(&args, &url, "/shop").unwrap();
        let (room, more) = ("x".repeat(255), "x".repeat(256));

        let batch = [
            message(&more, "an-event"),
            message("an-order", &more),
            message(&room, "an-event"),
            message("another-order", &room),
        ];
        let verdicts = sink.deliver(&batch).await;
        let refused = |what: &str| Verdict::Refused {
            why: format!("its {what} has 256 bytes, and AMQP has room for 255"),
        };
        assert_eq!(verdicts[..2], [refused("id"), refused("type")]);
        // Only those that can be sent are given to the broker.
        for verdict in &verdicts[2..] {
            assert!(matches!(verdict, Verdict::Unavailable { .. }), "{verdict:?}");
        }
        assert_eq!(sink.deliver(&batch[..1]).await, [refused("id")]);
    }
}
