//! The interface of a destination of messages.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;

use crate::Message;

/// A place that messages are delivered to: a broker, a webhook endpoint, the mails of the shop.
///
/// **What it is given.** A batch in which the messages of an order are in their order and without a
/// gap to what the sink has had before. Messages of different orders may be delivered at once.
///
/// **What it promises.** A message counts as delivered only once the receiver has it for good. After
/// the first message of an order that is not delivered, none of that order's later ones is tried.
///
/// **Repeats.** After a crash a message comes again, with the ones after it. Its id is the same.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Delivers a batch, and says of each message, in the batch's order, what came of it.
    async fn deliver(&self, batch: &[Message]) -> Vec<Verdict>;
}

/// What came of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// The receiver does not want to hear of it.
    NotWanted,
    /// The receiver will never take it. It is parked, and its order's later messages behind it.
    Refused {
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// The receiver does not answer, or not now, or its set-up is not complete. That is no fault of
    /// the message, which is tried again for as long as it takes.
    Unavailable {
        /// When the receiver wants to be asked again, if it says so.
        retry_after: Option<Duration>,
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// The receiver has answered and has not taken it, which may be about this message or about the
    /// receiver. It is tried again, and counts as refused once that has come to nothing often enough
    /// while the receiver took others.
    NotTaken {
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// It was not tried, because an earlier message of its order was not delivered.
    NotTried,
}

/// The verdicts on a batch of which nothing was tried, for this reason: the first message of each order
/// is unavailable, and the ones after it are not tried.
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
