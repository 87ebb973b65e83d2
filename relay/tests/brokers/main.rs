//! What a shop's consumers get of its events through a broker, and what becomes of them while it
//! refuses some, or is away.
//!
//! Behind the sinks are librdkafka's own mock of a cluster, which answers as a test tells it to, and
//! real brokers where the launcher has fetched or found them: tansu (`make test`), Apache Kafka and
//! `RabbitMQ` (`make brokers`). What could not be run says so.

#![cfg(test)]
#![cfg(all(feature = "amqp", feature = "kafka"))]

mod amqp;
mod kafka;
mod mock;
mod support;
