//! The receivers of orders' events during the chaos, and what they have received at the end: a
//! webhook receiver, a broker and a mail server.
//!
//! A broker that persists its records (Apache Kafka) must have everything at the end, however often
//! it was killed. One that keeps them in memory (tansu) restarts empty: it must only have no gap
//! within an order. The webhook receiver is this program, which is not killed.

mod mails;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use tokio::process::Command;
use tokio::time::sleep;
use uuid::Uuid;

use super::checks::{self, Check, Heard, Told};
use super::launcher::Program;
use super::receiver::Receiver;
use super::{ChaosError, Ground};
use crate::consumer::ConsumerArgs;
use crate::ordersaga::Once;
use crate::screen::say;

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The topic for events of orders.
const TOPIC: &str = "ordersaga.order";

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../embedded/read_kafka.py");

/// The receivers, as far as they are available.
#[derive(Clone, Debug, Args)]
pub(super) struct HearerArgs {
    /// The relay's broker, as host:port; without it, there is none
    #[arg(long, env = "ORDERSAGA_KAFKA_BROKERS", requires = "kafka_reader")]
    kafka_brokers: Option<String>,

    /// The folder of the client that reads the broker's records
    #[arg(long, env = "ORDERSAGA_KAFKA_READER")]
    kafka_reader: Option<PathBuf>,

    /// The broker keeps its records in memory only, and loses them when it is killed
    #[arg(long, env = "ORDERSAGA_KAFKA_IN_MEMORY")]
    kafka_in_memory: bool,

    #[command(flatten)]
    consumer: ConsumerArgs,

    /// The mail server's API; without it, there is no mail server
    #[arg(long, env = "ORDERSAGA_MAILPIT_URL")]
    mailpit: Option<String>,
}

/// Connections to the receivers, and the webhook receiver itself.
pub(super) struct Hearers {
    args: HearerArgs,
    receiver: Receiver,
    endpoint_id: String,
}

/// The API's answer with a new endpoint.
#[derive(Deserialize)]
struct Created {
    endpoint_id: String,
    secret: Option<String>,
}

/// A record of the broker.
#[derive(Deserialize)]
struct Record {
    key: String,
    headers: Headers,
}

#[derive(Deserialize)]
struct Headers {
    ce_sequence: String,
}

impl Hearers {
    /// Connects the receivers before the first order.
    pub(super) async fn reach(ground: &Ground) -> Result<Self, ChaosError> {
        let args = ground.hearers.clone();
        let receiver = Receiver::listening().await?;
        let body = json!({ "url": receiver.url(), "begins_with": "oldest" });
        let key = Uuid::now_v7().to_string();
        let doing = "creating a webhook endpoint";
        let Created { endpoint_id, secret } =
            ground.operator.post(doing, "/v1/webhook-endpoints", &key, &body).await?;
        if !secret.is_some_and(|secret| receiver.trusts(&secret)) {
            let why = "its endpoint was created without a secret that can be used".to_owned();
            return Err(ChaosError::Unheard { whom: "the receiver of webhooks", why });
        }
        if args.mailpit.is_some() {
            mails::enter_addresses(ground).await?;
        }
        for (name, is_there) in
            [("broker", args.kafka_brokers.is_some()), ("mail server", args.mailpit.is_some())]
        {
            if !is_there {
                say(format_args!("NOTE: there is no {name}, so what it receives is NOT checked"))?;
            }
        }
        if args.kafka_brokers.is_some() && args.kafka_in_memory {
            say(
                "NOTE: the broker keeps its records in memory, so it is NOT shown that they outlive \
                 its death; Apache Kafka shows it, where there are Java and Maven",
            )?;
        }
        Ok(Self { args, receiver, endpoint_id })
    }

    /// The relay, and the receivers that may be killed.
    pub(super) fn programs(&self) -> Vec<Program> {
        let broker = self.args.kafka_brokers.as_ref().map(|_| Program::Broker);
        let mail = self.args.mailpit.as_ref().map(|_| Program::Mailpit);
        [Some(Program::Relay), broker, mail].into_iter().flatten().collect()
    }

    /// After all orders have ended: commits an event late, waits until all sinks have everything,
    /// and checks what the receivers have. `broker_back` is the broker's last restart, if it was
    /// killed. Also returns the file with the events that a consumer has applied, if there is one.
    pub(super) async fn checks(
        &self,
        ground: &Ground,
        broker_back: Option<DateTime<Utc>>,
    ) -> Result<(Vec<Check>, Option<PathBuf>), ChaosError> {
        say("every order has ended; waiting until everybody has heard of it")?;
        let (late, is_overtaken) = self.commit_late(ground).await?;
        let left = until_told(ground).await?;
        let told = told(ground).await?;
        let by_webhook = self.receiver.heard();
        let mut found = vec![
            left,
            Self::late(&late, is_overtaken, &by_webhook),
            checks::heard("webhooks: each event came, first in order", &by_webhook, &told, None),
            self.signed(),
        ];
        if let Some(brokers) = &self.args.kafka_brokers {
            let (promise, empty_at) = if self.args.kafka_in_memory {
                ("broker: each event since its last death came, first in order", broker_back)
            } else {
                ("broker: each event came and outlived its deaths, first in order", None)
            };
            found.push(checks::heard(promise, &self.read(brokers).await?, &told, empty_at));
        }
        if let Some(mailpit) = &self.args.mailpit {
            found.push(mails::check(ground, mailpit).await?);
        }
        let (consumed, inbox) = self.consumed(ground, told.len(), &late).await?.unzip();
        found.extend(consumed);
        self.leave(ground, &late).await?;
        Ok((found, inbox))
    }

    /// Lets a consumer read all events, and writes down what it has applied, except for the orders
    /// that were written only as messages.
    async fn consumed(
        &self,
        ground: &Ground,
        told: usize,
        alone: &[Uuid],
    ) -> Result<Option<(Check, PathBuf)>, ChaosError> {
        let consumer = self.args.consumer.of(self.args.kafka_brokers.as_deref());
        let consumer = match consumer {
            Ok(_) if self.args.kafka_in_memory => {
                say("NOTE: consumers' effects (I8) are NOT shown: the broker lost what it had")?;
                return Ok(None);
            }
            Ok(consumer) => consumer,
            Err(why) => {
                say(format_args!("NOTE: consumers' effects (I8) are NOT shown: {why}"))?;
                return Ok(None);
            }
        };
        let (taken, is_enough) = consumer.take(told, ground.patience).await?;
        let missing = (!is_enough).then(|| "it receives no more of them".to_owned());
        let alone = alone.iter().map(Uuid::to_string).collect::<Vec<_>>();
        let is_alone = |event: &str| alone.iter().any(|order| event.starts_with(order.as_str()));
        let of_orders = taken.iter().map(String::as_str).filter(|event| !is_alone(event));
        let inbox = consumer.write_down(&of_orders.collect::<Vec<_>>())?;
        let check = Check {
            promise: "a consumer that was killed took effect of each event",
            looked_at: format!("{} of {told} events", taken.len()),
            complaints: missing.into_iter().collect(),
        };
        Ok(Some((check, inbox)))
    }

    /// Writes an order's events in a transaction that is kept open until events written later have
    /// been received; returns these orders, and whether the later events were received.
    async fn commit_late(&self, ground: &Ground) -> Result<([Uuid; 2], bool), ChaosError> {
        let orders = [Uuid::now_v7(), Uuid::now_v7()];
        let [late, prompt] = orders;
        let held = written(ground, late, 2).await?;
        written(ground, prompt, 1).await?.commit().await.map_err(ChaosError::Owner)?;
        let (began, prompt) = (Instant::now(), prompt.to_string());
        while !self.receiver.heard().knows(&prompt) && began.elapsed() < ground.patience {
            sleep(BETWEEN_LOOKS).await;
        }
        let heard = self.receiver.heard();
        let is_overtaken = heard.knows(&prompt) && !heard.knows(&late.to_string());
        held.commit().await.map_err(ChaosError::Owner)?;
        Ok((orders, is_overtaken))
    }

    fn late([late, prompt]: &[Uuid; 2], is_overtaken: bool, heard: &Heard) -> Check {
        let mut complaints = Vec::new();
        if !is_overtaken {
            complaints.push(format!("{prompt} was held up by {late}, which was not committed"));
        }
        if !heard.knows(&late.to_string()) {
            complaints.push(format!("{late} was committed late, and not delivered"));
        }
        let promise = "what commits late is told, and holds up nobody";
        Check { promise, looked_at: "2 events".to_owned(), complaints }
    }

    fn signed(&self) -> Check {
        let (messages, unsigned) = self.receiver.counts();
        let complaint = (unsigned > 0).then(|| format!("{unsigned} are not the shop's"));
        Check {
            promise: "each webhook is signed by the shop",
            looked_at: format!("{messages} messages, repeats included"),
            complaints: complaint.into_iter().collect(),
        }
    }

    /// The broker's records, read by a client that shares no code with the relay.
    async fn read(&self, brokers: &str) -> Result<Heard, ChaosError> {
        let unheard = |why: String| ChaosError::Unheard { whom: "the broker", why };
        let mut reader = Command::new("python3");
        reader.args([READER, brokers, TOPIC, "all"]).stderr(Stdio::inherit());
        if let Some(folder) = &self.args.kafka_reader {
            reader.env("PYTHONPATH", folder);
        }
        let read = reader.stdin(Stdio::null()).output().await?;
        if !read.status.success() {
            return Err(unheard(format!("the reader ended with {}", read.status)));
        }
        let lines = String::from_utf8_lossy(&read.stdout);
        let records = lines.lines().map(|line| {
            let record = serde_json::from_str::<Record>(line);
            let Record { key, headers } = record.map_err(|error| unheard(error.to_string()))?;
            let number = headers.ce_sequence.parse::<i32>();
            Ok::<_, ChaosError>((key, number.map_err(|error| unheard(error.to_string()))?))
        });
        records.collect()
    }

    /// Removes the endpoint, and the messages that were written without an order, so that the
    /// records are consistent again.
    async fn leave(&self, ground: &Ground, orders: &[Uuid]) -> Result<(), ChaosError> {
        let gone = Once {
            what: "removing a webhook endpoint",
            method: Method::DELETE,
            path: format!("/v1/webhook-endpoints/{}", self.endpoint_id),
            key: None,
            body: None,
        };
        ground.operator.once(&gone).await?;
        let orders = orders.iter().map(Uuid::to_string).collect::<Vec<_>>();
        // Parked messages stay, and are reported above.
        let removed = sqlx::query_scalar::<_, i64>(
            "delete from outbox.messages as message
             where aggregateid = any($1) and not exists (
                select from outbox.parked where parked.position = message.position
             ) returning position",
        );
        let removed = removed.bind(orders).fetch_all(&ground.owner).await;
        removed.map(drop).map_err(ChaosError::Owner)
    }
}

/// Writes this many events of an order that does not exist, with a type that causes no mail or
/// invoice, in an open transaction.
async fn written(
    ground: &Ground,
    order: Uuid,
    events: i32,
) -> Result<Transaction<'static, Postgres>, ChaosError> {
    let mut transaction = ground.owner.begin().await.map_err(ChaosError::Owner)?;
    let written = sqlx::query_scalar::<_, i64>(
        "insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
         select 'order', $1::text, number, 'ordersaga.stock.reserved.v1',
            jsonb_build_object('order_id', $1::text)
         from generate_series(1, $2::integer) as number order by number
         returning position",
    );
    let written = written.bind(order.to_string()).bind(events).fetch_all(&mut *transaction).await;
    written.map_err(ChaosError::Owner)?;
    Ok(transaction)
}

/// Waits until every sink has everything, or has made no progress for the patience.
async fn until_told(ground: &Ground) -> Result<Check, ChaosError> {
    let (mut before, mut last_change) = (None, Instant::now());
    loop {
        let left = ground.records.left_to_tell().await?;
        if before.as_ref() != Some(&left) {
            last_change = Instant::now();
        }
        let waits = left.iter().filter(|(_, messages)| **messages > 0);
        let complaints = waits.map(|(sink, messages)| format!("{sink}: {messages} are left"));
        let complaints = complaints.collect::<Vec<_>>();
        if complaints.is_empty() || last_change.elapsed() > ground.patience {
            let names = left.keys().map(|sink| sink.split(':').next().unwrap_or(sink.as_str()));
            let names = names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
            return Ok(Check {
                promise: "every sink of the relay has had everything",
                looked_at: names.join(", "),
                complaints,
            });
        }
        before = Some(left);
        sleep(BETWEEN_LOOKS).await;
    }
}

/// All published events.
async fn told(ground: &Ground) -> Result<Vec<Told>, ChaosError> {
    let told = sqlx::query_scalar::<_, Value>(
        "select coalesce(jsonb_agg(jsonb_build_object(
            'order', aggregateid, 'number', sequence, 'at', created_at
         )), '[]') from outbox.messages",
    );
    let told = told.fetch_one(&ground.owner).await.map_err(ChaosError::Owner)?;
    serde_json::from_value(told)
        .map_err(|error| ChaosError::Unheard { whom: "the outbox", why: error.to_string() })
}
