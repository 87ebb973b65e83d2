//! Delivers what the outbox holds, at least once and in order per order: to brokers, to webhook
//! endpoints, and to what writes to customers.

pub mod invoices;
pub mod message;
pub mod sink;

pub use message::Message;
pub use sink::{Sink, Verdict};
