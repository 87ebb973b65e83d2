//! The task queues. Each is scaled, rate-limited and paused separately.

use strum::{EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr};

/// The queue on which patient attempts wait.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumString, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Queue {
    /// Workflows, and all activities that only need the shop's own database.
    Orders,
    /// Activities that call the payment provider.
    Payments,
    /// Activities that call the carrier.
    Fulfilment,
}

impl Queue {
    /// The task queue's name in Temporal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Fulfilment => "fulfilment",
        }
    }

    /// Every queue.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_has_one_name() {
        for queue in Queue::all() {
            assert_eq!(<&str>::from(queue), queue.name());
            assert_eq!(queue.name().parse(), Ok(queue));
        }
    }
}
