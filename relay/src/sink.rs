//! The interface of a destination of messages.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;

use crate::Message;

/// A destination of messages: a broker, a webhook endpoint, mails, invoices.
///
/// **Input.** A batch in which each order's messages are in order and follow, without a gap, what
/// the sink has already delivered. Messages of different orders may be delivered concurrently.
///
/// **Contract.** A message counts as delivered only once the receiver has stored it. After the
/// first message of an order that is not delivered, none of that order's later ones is tried.
///
/// **Repeats.** At-least-once: after a crash a message and those after it are delivered again, with
/// the same ids.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Delivers a batch, and returns one verdict for each message, in the batch's order.
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict>;
}

/// The result for one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// The receiver is not interested in it.
    NotWanted,
    /// The receiver will never accept it. It is parked, and its order's later messages behind it.
    Refused {
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// The receiver does not answer, asks for a pause, or is not set up completely. The message is
    /// not the cause, and is retried without limit.
    Unavailable {
        /// When the receiver wants to be tried again, if it says so.
        retry_after: Option<Duration>,
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// The receiver has answered and not accepted it; the cause may be the message or the receiver.
    /// It is retried, and counts as refused after enough failures while the receiver accepted
    /// others.
    NotTaken {
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// Not tried, because an earlier message of its order was not delivered.
    NotTried,
}

/// The verdicts for a batch of which nothing was tried, for this reason: the first message of each
/// order is unavailable, and the later ones are not tried.
#[must_use]
pub fn untried(batch: &[Message], why: &str, retry_after: Option<Duration>) -> Vec<Verdict> {
    let mut orders = HashSet::new();
    let verdicts = batch.iter().map(|message| {
        if orders.insert(message.aggregate_id.as_str()) {
            Verdict::Unavailable { retry_after, why: why.to_owned() }
        } else {
            Verdict::NotTried
        }
    });
    verdicts.collect()
}
