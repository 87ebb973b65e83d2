//! Delivers the messages of the outbox at least once, and in order per order: to brokers, webhook
//! endpoints, and the sinks for mails and invoices.
//!
//! | module | provides |
//! |---|---|
//! | [`message`] | a message of the outbox, and its form as a `CloudEvent` |
//! | [`sink`] | the interface and contract of a destination |
//! | [`source`] | the sinks that exist at a time |
//! | [`run`] | reads for every sink until shutdown |
//! | [`reader`] | the loop of one sink: read, deliver, record progress |
//! | [`feed`] | a sink's undelivered messages |
//! | [`judge`] | the result for each message, by the sink's verdicts |
//! | [`progress`] | records a sink's position and its parked messages in one statement |
//! | [`parking`] | redelivers parked messages |
//! | [`leases`] | shares the shards among processes |
//! | [`news`] | polls for new messages, for all sinks of a process |
//! | [`rebase`] | resumes delivery in a database that was restored from a dump |
//! | [`backoff`] | the pause after a receiver does not answer |
//! | [`kafka`], [`amqp`] | brokers |
//! | [`webhooks`] | delivers events to endpoints by HTTP |
//! | [`mail`] | sends mails to customers |
//! | [`invoices`] | issues invoices and credit notes |
//! | [`secret`] | values that are never printed |
//! | [`ops`], [`telemetry`] | operations endpoints, and metrics |

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
