//! What consumers receive through a broker, and the state of messages while the broker refuses
//! some, or is unavailable.
//!
//! Uses librdkafka's mock cluster, whose answers a test controls, and real brokers if the launcher
//! has fetched or found them: tansu (`make test`), Apache Kafka and `RabbitMQ` (`make brokers`).
//! Skipped tests say so.

#![cfg(test)]
#![cfg(all(feature = "amqp", feature = "kafka"))]

mod amqp;
mod kafka;
mod mock;
mod support;
