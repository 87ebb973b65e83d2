//! Tests with `RabbitMQ`.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};

use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use relay::amqp::AmqpArgs;
use relay::secret::Secret;
use relay::{Message, Sink, Verdict, amqp};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    LIFE, Read, SOURCE, all_are_there, amqp_args, arrives, event, launched, orders, placed,
    waits_because,
};

/// The broker, and an exchange of its own for one test.
struct Rabbit {
    url: String,
    exchange: String,
    channel: Channel,
    _connection: Connection,
}

impl Rabbit {
    async fn there() -> Option<Self> {
        static SAID: Once = Once::new();
        let url = launched("ORDERSAGA_AMQP_URL", "RabbitMQ", &SAID)?;
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let exchange = format!("orders-{}", Uuid::now_v7());
        Some(Self { url, exchange, channel, _connection: connection })
    }

    fn args(&self, flags: &[&str]) -> AmqpArgs {
        let mut all = vec!["--amqp-exchange", &self.exchange];
        all.extend(flags);
        AmqpArgs { amqp_url: Some(Secret::from(self.url.as_str())), ..amqp_args(&all) }
    }

    fn sink(&self, flags: &[&str]) -> Arc<dyn Sink> {
        amqp::sink(&self.args(flags), SOURCE).unwrap().unwrap()
    }

    async fn make_exchange(&self) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = self.exchange.as_str().into();
        let made = self.channel.exchange_declare(
            exchange,
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        made.await.unwrap();
    }

    /// Binds a queue, named like the exchange, for this type.
    async fn bind(&self, types: &str) {
        let (queue, exchange) = (self.exchange.as_str(), self.exchange.as_str());
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        let bound = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            types.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
    }

    /// All messages of the queue, in order, with the headers named like Kafka's.
    async fn read(&self) -> Vec<Read> {
        let mut read = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) =
            self.channel.basic_get(self.exchange.as_str().into(), options).await.unwrap()
        {
            let properties = &got.delivery.properties;
            let mut headers = BTreeMap::new();
            for (name, value) in properties.headers().as_ref().unwrap() {
                let AMQPValue::LongString(value) = value else { panic!("{name}: {value:?}") };
                let name = name.as_str().strip_prefix("cloudEvents:").unwrap();
                headers.insert(format!("ce_{name}"), value.to_string());
            }
            let text = |of: &Option<lapin::types::ShortString>| of.as_ref().unwrap().to_string();
            assert_eq!(text(properties.message_id()), headers["ce_id"]);
            assert_eq!(got.delivery.routing_key.as_str(), headers["ce_type"]);
            assert_eq!(*properties.delivery_mode(), Some(2));
            headers.insert("content-type".to_owned(), text(properties.content_type()));
            let value = serde_json::from_slice(&got.delivery.data).unwrap();
            read.push(Read { partition: 0, key: headers["ce_subject"].clone(), headers, value });
        }
        read
    }
}

#[tokio::test]
async fn every_event_is_in_the_queue_behind_the_one_before_it() {
    let Some(rabbit) = Rabbit::there().await else { return };
    rabbit.make_exchange().await;
    rabbit.bind("ordersaga.#").await;
    let orders = orders(20);
    arrives(&*rabbit.sink(&[]), &orders).await;
    all_are_there(&rabbit.read().await, &orders);
}

#[tokio::test]
async fn an_exchange_that_is_missing_is_named_and_waited_for() {
    let Some(rabbit) = Rabbit::there().await else { return };
    let (sink, orders) = (rabbit.sink(&[]), orders(1));
    waits_because(&*sink, &orders, &format!("exchange {} does not exist", rabbit.exchange)).await;
    rabbit.make_exchange().await;
    rabbit.bind("#").await;
    arrives(&*sink, &orders).await;
    all_are_there(&rabbit.read().await, &orders);
}

#[tokio::test]
async fn what_no_queue_is_bound_to_waits_for_one() {
    let Some(rabbit) = Rabbit::there().await else { return };
    let (sink, orders) = (rabbit.sink(&["--amqp-declare"]), orders(1));
    let why = format!("no queue is bound to exchange {} for {}", rabbit.exchange, LIFE[0]);
    waits_because(&*sink, &orders, &why).await;
    rabbit.bind("#").await;
    arrives(&*sink, &orders).await;
    all_are_there(&rabbit.read().await, &orders);
}

/// Returned messages are matched by id: one confirmation may cover several messages.
#[tokio::test]
async fn what_nobody_wants_is_told_from_what_somebody_has() {
    let Some(rabbit) = Rabbit::there().await else { return };
    let sink = rabbit.sink(&["--amqp-declare", "--amqp-unroutable", "drop"]);
    rabbit.make_exchange().await;
    rabbit.bind(LIFE[0]).await;
    let wanted = placed(100);
    let unwanted = || event(Uuid::now_v7(), 1, LIFE[1], &json!({}));
    let batch: Vec<Message> = wanted.iter().flat_map(|one| [unwanted(), one.clone()]).collect();
    for (message, verdict) in batch.iter().zip(sink.deliver(&batch).await) {
        let is_wanted = message.event_type == LIFE[0];
        let expected = if is_wanted { Verdict::Delivered } else { Verdict::NotWanted };
        assert_eq!(verdict, expected, "{}", message.event_type);
    }
    all_are_there(&rabbit.read().await, &wanted);
}

/// The launcher's broker accepts up to 64 KiB.
#[tokio::test]
async fn a_message_that_the_broker_does_not_take_stops_its_order_and_nothing_else() {
    let Some(rabbit) = Rabbit::there().await else { return };
    rabbit.make_exchange().await;
    rabbit.bind("#").await;
    let (sink, mut batch) = (rabbit.sink(&["--amqp-timeout-seconds", "10"]), placed(50));
    let (small, large) = (batch.clone(), Uuid::now_v7());
    batch.insert(25, event(large, 1, LIFE[0], &json!({ "note": "x".repeat(70_000) })));
    batch.push(event(large, 2, LIFE[1], &json!({})));
    let verdicts = sink.deliver(&batch).await;
    for (message, verdict) in batch.iter().zip(verdicts) {
        match (message.aggregate_id == large.to_string(), message.sequence) {
            (true, 1) => assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}"),
            (true, _) => assert_eq!(verdict, Verdict::NotTried),
            (false, _) => assert_eq!(verdict, Verdict::Delivered, "{}", message.id),
        }
    }
    all_are_there(&rabbit.read().await, &small);
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let Some(rabbit) = Rabbit::there().await else { return };
    let wrong = rabbit.url.replacen("relay:", "relay:wrong", 1);
    let args = AmqpArgs { amqp_url: Some(Secret::from(wrong.as_str())), ..rabbit.args(&[]) };
    let sink = amqp::sink(&args, SOURCE).unwrap().unwrap();
    waits_because(&*sink, &orders(1), "the broker does not accept the user, the password").await;
}

/// A connection to the broker that can be cut; then nothing listens.
struct Way {
    to: String,
    port: u16,
    open: CancellationToken,
    carrying: JoinSet<()>,
}

impl Way {
    async fn to(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, open) = (broker.to_owned(), CancellationToken::new());
        let mut way = Self { to, port, open, carrying: JoinSet::new() };
        way.carry(listener);
        way
    }

    fn carry(&mut self, listener: TcpListener) {
        let (to, open) = (self.to.clone(), self.open.clone());
        self.carrying.spawn(async move {
            let mut connections = JoinSet::new();
            let accepting = async {
                loop {
                    let (mut near, _) = listener.accept().await.unwrap();
                    let mut far = TcpStream::connect(&to).await.unwrap();
                    // Errors at the end of a connection are ignored.
                    connections.spawn(async move {
                        drop(copy_bidirectional(&mut near, &mut far).await);
                    });
                }
            };
            open.run_until_cancelled(accepting).await;
        });
    }

    async fn cut(&mut self) {
        self.open.cancel();
        while self.carrying.join_next().await.is_some() {}
    }

    async fn mend(&mut self) {
        self.open = CancellationToken::new();
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.carry(listener);
    }
}

#[tokio::test]
async fn a_broker_that_is_away_delays_and_that_is_all() {
    let Some(rabbit) = Rabbit::there().await else { return };
    rabbit.make_exchange().await;
    rabbit.bind("#").await;
    let (signed_in, rest) = rabbit.url.split_once('@').unwrap();
    let (broker, vhost) = rest.split_once('/').unwrap();
    let mut way = Way::to(broker).await;
    let url = format!("{signed_in}@127.0.0.1:{}/{vhost}", way.port);
    let args = AmqpArgs { amqp_url: Some(Secret::from(url.as_str())), ..rabbit.args(&[]) };
    let sink = amqp::sink(&args, SOURCE).unwrap().unwrap();
    let orders = orders(5);
    let (before, after) = orders.split_at(12);
    arrives(&*sink, before).await;
    way.cut().await;
    waits_because(&*sink, after, "the broker does not answer").await;
    way.mend().await;
    arrives(&*sink, after).await;
    all_are_there(&rabbit.read().await, &orders);
}
