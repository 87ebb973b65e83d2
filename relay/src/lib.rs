//! Delivers what the outbox holds, at least once and in order per order: to brokers, to webhook
//! endpoints, and to what writes to customers.
//!
//! | module | provides |
//! |---|---|
//! | [`message`] | a message of the outbox, and the `CloudEvent` that it is on the wire |
//! | [`sink`] | where messages go, and what is promised there |
//! | [`source`] | which sinks there are at a time |
//! | [`run`] | reads for every sink until it is told to stop |
//! | [`reader`] | one sink's loop: read, deliver, put on record how far the sink is |
//! | [`feed`] | what a sink has still to have |
//! | [`judge`] | what comes of each message, by the sink's verdicts |
//! | [`progress`] | how far a sink is, and what is parked, in one statement |
//! | [`parking`] | what was parked and is delivered again |
//! | [`leases`] | how the shards are shared among processes |
//! | [`news`] | whether there is anything new, for all sinks of a process |
//! | [`rebase`] | what is done about a database that was restored from a dump |
//! | [`backoff`] | how long a receiver that does not answer is left alone |
//! | [`kafka`], [`amqp`] | brokers |
//! | [`webhooks`] | tells endpoints of events by HTTP |
//! | [`mail`] | writes to customers |
//! | [`invoices`] | issues invoices and credit notes |
//! | [`secret`] | what is not to be seen |
//! | [`ops`], [`telemetry`] | what an operator and Prometheus ask the process |

pub mod amqp;
pub mod backoff;
pub mod database;
pub mod feed;
pub mod invoices;
pub mod judge;
pub mod kafka;
pub mod leases;
pub mod mail;
pub mod message;
pub mod name;
pub mod news;
pub mod ops;
pub mod parking;
pub mod progress;
pub mod reader;
pub mod rebase;
pub mod run;
pub mod secret;
pub mod sink;
pub mod source;
pub mod telemetry;
#[cfg(any(feature = "amqp", feature = "kafka"))]
mod waves;
pub mod webhooks;

pub use message::Message;
pub use name::SinkName;
pub use sink::{Sink, Verdict};
pub use source::{Begins, Fixed, Listed, SinkSource};
