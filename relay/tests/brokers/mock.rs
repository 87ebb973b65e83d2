//! Tests with librdkafka's mock cluster, whose errors a test controls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::MetadataPartition;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use relay::{Sink, Verdict, kafka};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    LIFE, Read, SOURCE, all_are_there, arrives, event, kafka_args, orders, placed, waits_because,
};

const TOPIC: &str = "ordersaga.order";

/// Longer than any successful read takes.
const READ_WITHIN: Duration = Duration::from_secs(30);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster_of(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

fn cluster() -> Cluster {
    cluster_of(3)
}

fn sink(cluster: &Cluster, flags: &[&str]) -> Arc<dyn Sink> {
    let brokers = cluster.bootstrap_servers();
    let mut all = vec!["--kafka-brokers", &brokers];
    all.extend(flags);
    kafka::sink(&kafka_args(&all), SOURCE).unwrap().unwrap()
}

/// Sets the errors of the next produce requests.
fn answers(cluster: &Cluster, errors: &[RDKafkaRespErr]) {
    cluster.request_errors(RDKafkaApiKey::Produce, errors);
}

fn consumer(cluster: &Cluster) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader");
    config.create().unwrap()
}

/// The number of records in each partition.
fn stored(cluster: &Cluster) -> Vec<i64> {
    let consumer = consumer(cluster);
    let metadata = consumer.fetch_metadata(Some(TOPIC), READ_WITHIN).unwrap();
    let partitions = metadata.topics()[0].partitions().iter().map(MetadataPartition::id);
    let of = |partition| consumer.fetch_watermarks(TOPIC, partition, READ_WITHIN).unwrap();
    partitions.map(of).map(|(_, end)| end).collect()
}

/// All records, each partition's in order.
fn read(cluster: &Cluster) -> Vec<Read> {
    let stored = stored(cluster);
    let consumer = consumer(cluster);
    let mut partitions = TopicPartitionList::new();
    for (partition, _) in (0..).zip(&stored) {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let records = (0..stored.iter().sum::<i64>()).map(|_| {
        let record = consumer.poll(READ_WITHIN).expect("a record that is there").unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let headers = record.headers().unwrap();
        Read {
            partition: record.partition(),
            key: text(record.key()),
            headers: headers.iter().map(|one| (one.key.to_owned(), text(one.value))).collect(),
            value: serde_json::from_slice(record.payload().unwrap()).unwrap(),
        }
    });
    records.collect()
}

#[tokio::test]
async fn every_event_is_a_record_behind_the_one_before_it() {
    let (cluster, orders) = (cluster(), orders(20));
    let sink = sink(&cluster, &[]);
    arrives(&*sink, &orders).await;
    all_are_there(&read(&cluster), &orders);
}

#[tokio::test]
async fn a_topic_is_the_one_that_the_settings_name() {
    let (cluster, orders) = (cluster(), placed(1));
    cluster.create_topic("shop.orders", 1, 1).unwrap();
    arrives(&*sink(&cluster, &["--kafka-topics", "order=shop.orders"]), &orders).await;
    assert_eq!(stored(&cluster), [0; 3]);
}

#[tokio::test]
async fn what_travelled_with_a_refused_record_is_sent_again_alone() {
    // They share one batch or, on a slow machine, a few.
    let (cluster, orders) = (cluster_of(1), placed(20));
    let sink = sink(&cluster, &[]);
    answers(&cluster, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    arrives(&*sink, &orders).await;
    all_are_there(&read(&cluster), &orders);
}

#[tokio::test]
async fn behind_a_record_that_is_refused_alone_its_order_waits() {
    let (cluster, life) = (cluster(), orders(1));
    let sink = sink(&cluster, &[]);
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    ] {
        answers(&cluster, &[refusal]);
        let verdicts = sink.deliver(&life).await;
        let [Verdict::Refused { why }, behind @ ..] = verdicts.as_slice() else {
            panic!("{refusal:?}: {verdicts:?}")
        };
        assert!(why.starts_with("topic ordersaga.order does not take it"), "{why}");
        assert!(behind.iter().all(|one| *one == Verdict::NotTried), "{behind:?}");
        assert_eq!(stored(&cluster), [0; 3]);
    }
}

#[tokio::test]
async fn one_that_is_larger_than_any_may_be_is_not_sent_and_the_others_are() {
    let (cluster, mut batch) = (cluster(), placed(2));
    let large = Uuid::now_v7();
    batch.insert(1, event(large, 1, LIFE[0], &json!({ "note": "x".repeat(5_000) })));
    batch.push(event(large, 2, LIFE[1], &json!({})));
    let sink = sink(&cluster, &["--kafka-message-bytes-max", "4000"]);
    arrives(&*sink, &batch[..1]).await;
    let verdicts = sink.deliver(&batch).await;
    let [first, Verdict::Refused { why }, second, behind] = verdicts.as_slice() else {
        panic!("{verdicts:?}")
    };
    assert!(why.contains("RELAY_KAFKA_MESSAGE_BYTES_MAX (4000)"), "{why}");
    assert_eq!((first, second), (&Verdict::Delivered, &Verdict::Delivered));
    assert_eq!(*behind, Verdict::NotTried);
}

#[tokio::test]
async fn what_is_no_fault_of_a_message_leaves_it_where_it_is() {
    let (cluster, life) = (cluster(), orders(1));
    let sink = sink(&cluster, &[]);
    answers(&cluster, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    waits_because(&*sink, &life, "may not write to topic ordersaga.order").await;
    arrives(&*sink, &life).await;
    all_are_there(&read(&cluster), &life);
}

#[tokio::test]
async fn a_partition_without_a_leader_holds_up_its_own_orders_and_no_other() {
    // Enough orders for every partition.
    let (cluster, orders) = (cluster(), orders(40));
    let sink = sink(&cluster, &["--kafka-timeout-seconds", "10"]);
    cluster.partition_leader(TOPIC, 0, None).unwrap();
    let verdicts = sink.deliver(&orders).await;
    let mut delivered = BTreeMap::new();
    for (message, verdict) in orders.iter().zip(&verdicts) {
        assert!(!matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
        let count: &mut usize = delivered.entry(&message.aggregate_id).or_default();
        *count = count.saturating_add(usize::from(*verdict == Verdict::Delivered));
    }
    assert!(delivered.values().any(|count| *count == 0), "{delivered:?}");
    assert!(delivered.values().any(|count| *count == LIFE.len()), "{delivered:?}");
    cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
    let left = orders.iter().zip(&verdicts).filter(|(_, one)| **one != Verdict::Delivered);
    let left: Vec<_> = left.map(|(message, _)| message.clone()).collect();
    arrives(&*sink, &left).await;
    all_are_there(&read(&cluster), &orders);
}

#[tokio::test]
async fn a_topic_that_is_missing_is_named_and_waited_for() {
    let cluster = MockCluster::new(1).unwrap();
    let (sink, orders) = (sink(&cluster, &["--kafka-timeout-seconds", "2"]), orders(2));
    waits_because(&*sink, &orders, "topic ordersaga.order does not exist: create it").await;
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    arrives(&*sink, &orders).await;
    all_are_there(&read(&cluster), &orders);
}

#[tokio::test]
async fn brokers_that_are_away_delay_and_that_is_all() {
    let (cluster, orders) = (cluster(), orders(5));
    let (before, after) = orders.split_at(12);
    let sink = sink(&cluster, &["--kafka-timeout-seconds", "2"]);
    arrives(&*sink, before).await;
    cluster.broker_down(-1).unwrap();
    waits_because(&*sink, after, "Kafka does not answer").await;
    cluster.broker_up(-1).unwrap();
    arrives(&*sink, after).await;
    all_are_there(&read(&cluster), &orders);
}
