//! Tests with real brokers, read by independent clients.

use std::collections::BTreeMap;
use std::env;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use relay::secret::Secret;
use relay::{Sink, Verdict, kafka};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    LIFE, Read, SOURCE, all_are_there, arrives, event, kafka_args, launched, orders, placed,
    waits_because,
};

/// Every test has its own topic.
fn topic_name() -> String {
    format!("orders-{}", Uuid::now_v7())
}

async fn make_topic(brokers: &str, topic: &str, settings: &[(&str, &str)]) {
    let mut config = ClientConfig::new();
    let client: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", brokers).create().unwrap();
    let mut wanted = NewTopic::new(topic, 3, TopicReplication::Fixed(1));
    for (name, value) in settings {
        wanted = wanted.set(name, value);
    }
    let made = client.create_topics(&[wanted], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn sink(brokers: &str, topic: &str, flags: &[&str]) -> Arc<dyn Sink> {
    let topics = format!("order={topic}");
    let mut all = vec!["--kafka-brokers", brokers, "--kafka-topics", &topics];
    all.extend(flags);
    kafka::sink(&kafka_args(&all), SOURCE).unwrap().unwrap()
}

/// Reads with kafka-python, which does not use librdkafka.
fn read(brokers: &str, topic: &str, count: usize) -> Vec<Read> {
    #[derive(Deserialize)]
    struct Line {
        partition: i32,
        key: String,
        headers: BTreeMap<String, String>,
        value: Value,
    }
    let reader = env::var("ORDERSAGA_KAFKA_READER").expect("the launcher names it with the broker");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../embedded/read_kafka.py");
    let read = Command::new("python3")
        .args([script, brokers, topic, &count.to_string()])
        .env("PYTHONPATH", reader)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(read.status.success(), "the reader ended with {}", read.status);
    let lines = String::from_utf8(read.stdout).unwrap();
    let read = lines.lines().map(|line| {
        let Line { partition, key, headers, value } = serde_json::from_str(line).unwrap();
        Read { partition, key, headers, value }
    });
    read.collect()
}

/// An in-memory broker for one test: when it ends, all its data is lost.
struct Tansu {
    program: String,
    port: u16,
    process: Child,
}

impl Tansu {
    fn there() -> Option<Self> {
        static SAID: Once = Once::new();
        let program = launched("ORDERSAGA_TANSU", "tansu", &SAID)?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Self::started(&program, port);
        Some(Self { program, port, process })
    }

    fn started(program: &str, port: u16) -> Child {
        let url = format!("tcp://127.0.0.1:{port}");
        let mut process = Command::new(program)
            .args(["broker", "--listener-url", &url, "--advertised-listener-url", &url])
            .args(["--storage-engine", "memory://tansu/"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "tansu ends at its start");
        }
        process
    }

    fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = Self::started(&self.program, self.port);
    }
}

impl Drop for Tansu {
    fn drop(&mut self) {
        // One that has already ended cannot be killed.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Apache Kafka, shared by all tests.
fn apache_kafka() -> Option<String> {
    static SAID: Once = Once::new();
    launched("ORDERSAGA_KAFKA_BROKERS", "Apache Kafka", &SAID)
}

async fn another_client_reads_every_event_behind_the_one_before_it(brokers: &str) {
    let (topic, orders) = (topic_name(), orders(20));
    make_topic(brokers, &topic, &[]).await;
    arrives(&*sink(brokers, &topic, &[]), &orders).await;
    all_are_there(&read(brokers, &topic, orders.len()), &orders);
}

#[tokio::test]
async fn another_client_reads_every_event_from_tansu() {
    let Some(tansu) = Tansu::there() else { return };
    another_client_reads_every_event_behind_the_one_before_it(&tansu.brokers()).await;
}

#[tokio::test]
async fn another_client_reads_every_event_from_apache_kafka() {
    let Some(brokers) = apache_kafka() else { return };
    another_client_reads_every_event_behind_the_one_before_it(&brokers).await;
}

/// If a broker has lost its data, later messages must still arrive. What it had acknowledged is its
/// own responsibility.
#[tokio::test]
async fn a_broker_that_comes_back_empty_gets_what_is_still_to_come() {
    let Some(mut tansu) = Tansu::there() else { return };
    let (topic, brokers, orders) = (topic_name(), tansu.brokers(), orders(3));
    let (before, after) = orders.split_at(9);
    make_topic(&brokers, &topic, &[]).await;
    let sink = sink(&brokers, &topic, &["--kafka-timeout-seconds", "2"]);
    arrives(&*sink, before).await;
    tansu.end();
    waits_because(&*sink, after, "Kafka does not answer").await;
    tansu.start_again();
    waits_because(&*sink, after, &format!("topic {topic} does not exist")).await;
    make_topic(&brokers, &topic, &[]).await;
    arrives(&*sink, after).await;
    all_are_there(&read(&brokers, &topic, after.len()), after);
}

/// The topic's own limit is lower than the setting's, so small records are rejected because they
/// share a batch with a large one.
#[tokio::test]
async fn a_record_that_its_topic_does_not_take_stops_its_order_and_nothing_else() {
    let Some(brokers) = apache_kafka() else { return };
    let (topic, mut batch) = (topic_name(), placed(100));
    make_topic(&brokers, &topic, &[("max.message.bytes", "20000")]).await;
    let (small, large) = (batch.clone(), Uuid::now_v7());
    batch.insert(50, event(large, 1, LIFE[0], &json!({ "note": "x".repeat(30_000) })));
    batch.push(event(large, 2, LIFE[1], &json!({})));
    let sink = sink(&brokers, &topic, &["--kafka-timeout-seconds", "10"]);
    arrives(&*sink, &small[..1]).await;
    let verdicts = sink.deliver(&batch).await;
    for (message, verdict) in batch.iter().zip(verdicts) {
        match (message.aggregate_id == large.to_string(), message.sequence) {
            (true, 1) => assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}"),
            (true, _) => assert_eq!(verdict, Verdict::NotTried),
            (false, _) => assert_eq!(verdict, Verdict::Delivered, "{}", message.id),
        }
    }
    // The first of them was sent twice.
    all_are_there(&read(&brokers, &topic, 101), &small);
}

#[tokio::test]
async fn kafkas_own_console_shows_the_attributes() {
    let Some(brokers) = apache_kafka() else { return };
    let (topic, orders) = (topic_name(), orders(1));
    make_topic(&brokers, &topic, &[]).await;
    arrives(&*sink(&brokers, &topic, &[]), &orders).await;
    let library = env::var("ORDERSAGA_KAFKA_LIBRARY").expect("the launcher names it with Kafka");
    let shown = Command::new("java")
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &format!("{library}/*")])
        .arg("org.apache.kafka.tools.consumer.ConsoleConsumer")
        .args(["--bootstrap-server", &brokers, "--topic", &topic, "--from-beginning"])
        .args(["--max-messages", &orders.len().to_string(), "--timeout-ms", "60000"])
        .args(["--property", "print.headers=true", "--property", "print.key=true"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for (line, message) in shown.lines().zip(&orders) {
        let [headers, key, value] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!(key, message.aggregate_id);
        assert_eq!(value, message.payload.get());
        for (name, value) in message.attributes(SOURCE) {
            assert!(headers.contains(&format!("ce_{name}:{value}")), "{name} in {headers}");
        }
    }
    assert_eq!(shown.lines().count(), orders.len(), "{shown}");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_right_one_is_taken() {
    static SAID: Once = Once::new();
    let Some(signed_in) = launched("ORDERSAGA_KAFKA_SASL_BROKERS", "Apache Kafka", &SAID) else {
        return;
    };
    let brokers = apache_kafka().expect("the launcher names both");
    let password = env::var("ORDERSAGA_KAFKA_PASSWORD").expect("the launcher makes it");
    let (topic, orders) = (topic_name(), orders(1));
    make_topic(&brokers, &topic, &[]).await;
    let topics = format!("order={topic}");
    let with = |password: &str| {
        let mut args = kafka_args(&[
            "--kafka-brokers",
            &signed_in,
            "--kafka-topics",
            &topics,
            "--kafka-username",
            "relay",
            "--kafka-timeout-seconds",
            "2",
        ]);
        args.kafka_password = Some(Secret::from(password));
        kafka::sink(&args, SOURCE).unwrap().unwrap()
    };
    waits_because(&*with("wrong"), &orders, "Kafka does not accept the credentials").await;
    arrives(&*with(&password), &orders).await;
    all_are_there(&read(&brokers, &topic, orders.len()), &orders);
}
