//! Delivers what the outbox holds, at least once and in order per order: to brokers, to webhook
//! endpoints, and to what writes to customers.

pub mod amqp;
pub mod kafka;
pub mod message;
pub mod secret;
pub mod sink;
#[cfg(any(feature = "amqp", feature = "kafka"))]
mod waves;

pub use message::Message;
pub use sink::{Sink, Verdict};
