//! Where messages go.

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
    /// The receiver does not answer, or not now: it is tried again, and everything after it waits.
    Unavailable {
        /// When the receiver wants to be asked again, if it says so.
        retry_after: Option<Duration>,
        /// Why, in one line, without personal data and secrets.
        why: String,
    },
    /// It was not tried, because an earlier message of its order was not delivered.
    NotTried,
}
