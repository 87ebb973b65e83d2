//! The sink, implemented with librdkafka.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{KafkaArgs, Mechanism, UnusableKafka, usual_topic};
use crate::message::CONTENT_TYPE;
use crate::secret::Secret;
use crate::waves::{Wave, in_waves};
use crate::{Message, Sink, Verdict};

/// How long a record waits for others to share its batch.
const LINGER_MS: &str = "2";

/// The maximum pause before reconnecting to a broker.
const RECONNECT_MS_MAX: &str = "1000";

/// Errors with which a broker refuses a whole batch because of one of its records.
const REFUSED_BY_THE_BATCH: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::MessageBatchTooLarge,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::InvalidRecord,
    RDKafkaErrorCode::InvalidDifferentRecord,
    RDKafkaErrorCode::InvalidTimestamp,
];

/// The maximum length of a broker's text in a reason.
const REASON_MAX: usize = 300;

struct Kafka {
    config: ClientConfig,
    topics: BTreeMap<String, String>,
    source: String,
    message_bytes_max: u32,
    patience: Duration,
    /// Used by one batch at a time. `None` after a batch that could not be delivered: its remaining
    /// records must not be sent any more.
    producer: Mutex<Option<Connected>>,
}

struct Connected {
    producer: FutureProducer<Overheard>,
    overheard: Overheard,
}

/// The last error that librdkafka reported outside of a delivery: an unreachable broker, or one
/// that rejects the password, answers no message.
#[derive(Clone, Debug, Default)]
struct Overheard(Arc<StdMutex<Option<(RDKafkaErrorCode, String)>>>);

/// One batch in flight.
struct Batch<'a> {
    kafka: &'a Kafka,
    connected: Option<Connected>,
}

/// Why a record was not stored.
#[derive(Debug)]
enum Failure {
    /// It exceeds the maximum size, and was not sent.
    TooLarge,
    /// The broker has refused the batch that contained it.
    WithItsBatch(RDKafkaErrorCode),
    /// It may be accepted later.
    NotNow(String),
}

/// See [`super::sink`].
pub(super) fn built(
    args: &KafkaArgs,
    brokers: &str,
    source: &str,
) -> Result<Arc<dyn Sink>, UnusableKafka> {
    let patience = Duration::from_secs(args.kafka_timeout_seconds.into());
    let config = config(args, brokers, patience);
    // Invalid settings and unreadable files are reported at startup.
    let connected =
        connected(&config).map_err(|error| UnusableKafka::Client(one_line(&error.to_string())))?;
    Ok(Arc::new(Kafka {
        config,
        topics: args.named_topics(),
        source: source.to_owned(),
        message_bytes_max: args.kafka_message_bytes_max,
        patience,
        producer: Mutex::new(Some(connected)),
    }))
}

fn config(args: &KafkaArgs, brokers: &str, patience: Duration) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", runtime::process_name())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // No timeout of its own: the batch as a whole has a time limit.
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", LINGER_MS)
        .set("message.max.bytes", args.kafka_message_bytes_max.to_string())
        .set("allow.auto.create.topics", args.kafka_create_topics.to_string())
        // A missing topic has to be reported before the batch's time limit.
        .set("topic.metadata.propagation.max.ms", half(patience))
        .set("reconnect.backoff.max.ms", RECONNECT_MS_MAX)
        .set("socket.keepalive.enable", "true");
    let is_signed_in = args.kafka_username.is_some();
    config.set(
        "security.protocol",
        match (args.kafka_tls, is_signed_in) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        },
    );
    let mechanism = is_signed_in.then_some(match args.kafka_sasl {
        Mechanism::Plain => "PLAIN",
        Mechanism::ScramSha256 => "SCRAM-SHA-256",
        Mechanism::ScramSha512 => "SCRAM-SHA-512",
    });
    let path = |file: Option<&PathBuf>| file.map(|file| file.to_string_lossy().into_owned());
    let secret = |secret: Option<&Secret>| secret.map(|secret| secret.reveal().to_owned());
    for (name, value) in [
        ("sasl.mechanism", mechanism.map(str::to_owned)),
        ("sasl.username", args.kafka_username.clone()),
        ("sasl.password", secret(args.kafka_password.as_ref())),
        ("ssl.ca.location", path(args.kafka_tls_ca.as_ref())),
        ("ssl.certificate.location", path(args.kafka_tls_certificate.as_ref())),
        ("ssl.key.location", path(args.kafka_tls_key.as_ref())),
        ("ssl.key.password", secret(args.kafka_tls_key_password.as_ref())),
    ] {
        if let Some(value) = value {
            config.set(name, value);
        }
    }
    config
}

/// Half of it, in milliseconds.
fn half(patience: Duration) -> String {
    patience.checked_div(2).unwrap_or(patience).as_millis().to_string()
}

/// A producer with its threads, which connects by itself.
fn connected(config: &ClientConfig) -> Result<Connected, KafkaError> {
    let overheard = Overheard::default();
    let producer = config.create_with_context(overheard.clone())?;
    Ok(Connected { producer, overheard })
}

#[async_trait]
impl Sink for Kafka {
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict> {
        let until = Instant::now().checked_add(self.patience).unwrap_or_else(Instant::now);
        // Taken out, so that a cancelled batch leaves no producer with pending records behind.
        let mut producer = self.producer.lock().await;
        let mut sender = Batch { kafka: self, connected: producer.take() };
        let verdicts = in_waves(&mut sender, batch, until).await;
        *producer = sender.connected;
        verdicts
    }
}

#[async_trait]
impl Wave for Batch<'_> {
    async fn send(&mut self, wave: &[&Message], until: Instant) -> Vec<Verdict> {
        let config = &self.kafka.config;
        let connected = match self.connected.take().map_or_else(|| connected(config), Ok) {
            Ok(connected) => connected,
            Err(error) => {
                let why =
                    format!("Kafka's client cannot be made: {}", one_line(&error.to_string()));
                return vec![Verdict::Unavailable { retry_after: None, why }; wave.len()];
            }
        };
        let mut sent = self.kafka.send(&connected, wave, until).await;
        // If the batch was refused, the cause may be another record.
        let in_company = wave.len() > 1;
        for (message, result) in wave.iter().zip(&mut sent) {
            if in_company && matches!(result, Err(Failure::WithItsBatch(_))) {
                let alone = self.kafka.send(&connected, &[message], until).await;
                if let Some(alone) = alone.into_iter().next() {
                    *result = alone;
                }
            }
        }
        let verdict = |(message, result): (&&Message, Result<(), Failure>)| {
            result.map_or_else(
                |failure| self.kafka.verdict(message, failure),
                |()| Verdict::Delivered,
            )
        };
        let verdicts: Vec<_> = wave.iter().zip(sent).map(verdict).collect();
        let is_away = verdicts.iter().any(|one| matches!(one, Verdict::Unavailable { .. }));
        if is_away || connected.producer.client().fatal_error().is_some() {
            // Dropping it joins its threads and closes its connections, which blocks.
            tokio::task::spawn_blocking(move || drop(connected));
        } else {
            self.connected = Some(connected);
        }
        verdicts
    }
}

impl Kafka {
    /// Sends all records at once, and waits for the acknowledgements. Once one has arrived, the
    /// others get only a part of the time: a stalled partition must not hold up the rest.
    async fn send(
        &self,
        connected: &Connected,
        wave: &[&Message],
        until: Instant,
    ) -> Vec<Result<(), Failure>> {
        connected.overheard.forget();
        let enqueued: Vec<_> =
            wave.iter().map(|message| self.enqueue(&connected.producer, message)).collect();
        let places = enqueued.into_iter().zip(wave).enumerate();
        let answering = places.map(|(place, (enqueued, message))| async move {
            (place, self.answered(message, enqueued).await)
        });
        let mut answering: FuturesUnordered<_> = answering.collect();
        let mut answers: Vec<Option<_>> = wave.iter().map(|_| None).collect();
        let mut ends = until;
        while let Ok(Some((place, answer))) = timeout_at(ends, answering.next()).await {
            if answer.is_ok() {
                ends = Instant::now().checked_add(self.patience_with_others()).unwrap_or(until);
                ends = ends.min(until);
            }
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        }
        let silence =
            |message: &Message| Failure::NotNow(self.silence(message, &connected.overheard));
        let answers = answers.into_iter().zip(wave);
        answers.map(|(answer, message)| answer.unwrap_or_else(|| Err(silence(message)))).collect()
    }

    async fn answered(
        &self,
        message: &Message,
        enqueued: Result<DeliveryFuture, Failure>,
    ) -> Result<(), Failure> {
        match enqueued?.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(self.failure(message, &error)),
            Err(_) => Err(Failure::NotNow("Kafka's client has ended".to_owned())),
        }
    }

    /// How long to wait for a record after another one was acknowledged.
    fn patience_with_others(&self) -> Duration {
        self.patience.checked_div(5).unwrap_or(self.patience)
    }

    fn enqueue(
        &self,
        producer: &FutureProducer<Overheard>,
        message: &Message,
    ) -> Result<DeliveryFuture, Failure> {
        let topic = self.topic(message);
        let headers = OwnedHeaders::new_with_capacity(8);
        let headers = headers.insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
        let attributes = message.attributes(&self.source);
        let headers = attributes.iter().fold(headers, |headers, (name, value)| {
            headers.insert(Header { key: &format!("ce_{name}"), value: Some(value.as_str()) })
        });
        // The record's timestamp is the time of sending, because Kafka's retention goes by it: a
        // message that has waited here for long would otherwise be deleted early. The event's time
        // is in `ce_time`.
        let record = FutureRecord::to(&topic)
            .key(message.aggregate_id.as_str())
            .payload(message.payload.get())
            .headers(headers);
        producer.send_result(record).map_err(|(error, _)| {
            // Not sent, so no other record was refused because of it.
            let is_too_large =
                error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
            if is_too_large { Failure::TooLarge } else { self.failure(message, &error) }
        })
    }

    fn topic<'a>(&'a self, message: &Message) -> Cow<'a, str> {
        match self.topics.get(&message.aggregate_type) {
            Some(named) => Cow::Borrowed(named),
            None => Cow::Owned(usual_topic(&message.aggregate_type)),
        }
    }

    fn failure(&self, message: &Message, error: &KafkaError) -> Failure {
        match error.rdkafka_error_code() {
            Some(code) if REFUSED_BY_THE_BATCH.contains(&code) => Failure::WithItsBatch(code),
            Some(code) => Failure::NotNow(explained(code, &self.topic(message))),
            None => Failure::NotNow(one_line(&error.to_string())),
        }
    }

    fn verdict(&self, message: &Message, failure: Failure) -> Verdict {
        match failure {
            Failure::TooLarge => Verdict::Refused {
                why: format!(
                    "it is larger than RELAY_KAFKA_MESSAGE_BYTES_MAX ({})",
                    self.message_bytes_max
                ),
            },
            Failure::WithItsBatch(code) => {
                let why = format!("topic {} does not take it: {code}", self.topic(message));
                Verdict::Refused { why }
            }
            Failure::NotNow(why) => Verdict::Unavailable { retry_after: None, why },
        }
    }

    /// Why nothing was acknowledged in time.
    fn silence(&self, message: &Message, overheard: &Overheard) -> String {
        match overheard.heard() {
            Some((code, reason)) => format!("{} ({reason})", explained(code, &self.topic(message))),
            None => format!(
                "Kafka has not acknowledged it in time: check that each partition of topic {} has a \
                 leader, and enough replicas in sync",
                self.topic(message)
            ),
        }
    }
}

/// Explains an error to an operator, with the remedy.
fn explained(code: RDKafkaErrorCode, topic: &str) -> String {
    use RDKafkaErrorCode as Code;

    let is = |codes: &[Code]| codes.contains(&code);
    if is(&[Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition]) {
        format!("topic {topic} does not exist: create it, or correct RELAY_KAFKA_TOPICS")
    } else if is(&[Code::TopicAuthorizationFailed, Code::ClusterAuthorizationFailed]) {
        format!("the relay may not write to topic {topic}: allow its user Write and Describe there")
    } else if is(&[Code::Authentication, Code::SaslAuthenticationFailed]) {
        "Kafka does not accept the credentials: check RELAY_KAFKA_USERNAME, RELAY_KAFKA_PASSWORD \
         and RELAY_KAFKA_SASL"
            .to_owned()
    } else if is(&[Code::SSL]) {
        "no TLS connection to Kafka: check RELAY_KAFKA_TLS and its files".to_owned()
    } else if is(&[Code::Resolve]) {
        "a broker's address cannot be resolved: check RELAY_KAFKA_BROKERS and what the brokers \
         advertise"
            .to_owned()
    } else if is(&[Code::BrokerTransportFailure, Code::AllBrokersDown]) {
        "Kafka does not answer: check that it runs, and RELAY_KAFKA_BROKERS".to_owned()
    } else if is(&[Code::NotEnoughReplicas, Code::NotEnoughReplicasAfterAppend]) {
        format!("topic {topic} has fewer replicas in sync than it wants (min.insync.replicas)")
    } else {
        format!("Kafka does not take it now: {code}")
    }
}

/// The beginning of a foreign text, on one line.
fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(REASON_MAX).collect()
}

impl Overheard {
    fn heard(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Overheard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // Delivery results are logged with the verdicts.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", facility, "{}", one_line(line));
            }
            RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{}", one_line(line));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" is less specific than the error of a single broker.
        if code != RDKafkaErrorCode::AllBrokersDown || heard.is_none() {
            *heard = Some((code, one_line(reason)));
        }
    }
}
