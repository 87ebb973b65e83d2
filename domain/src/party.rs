//! The outside services that orders depend on, and the shop's circuit-breaker state for each.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr};

/// An outside service that does a part of an order.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Party {
    /// Takes the customers' money.
    PaymentProvider,
    /// Takes the parcels.
    Carrier,
}

impl Party {
    /// The name as the database, the API and metrics write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Every party.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }
}

/// The circuit-breaker state of a party, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumString, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum PartyState {
    /// The party answers, and is called normally.
    Answering,
    /// The party has not answered for so long that it is only called now and then, to see whether
    /// it answers again.
    LeftAlone,
    /// An operator has stopped all calls to the party.
    Stopped,
}

impl PartyState {
    /// The name as the database and metrics write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Every state.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_and_a_state_are_read_back_as_they_were_written() {
        let parties: Vec<_> = Party::all().map(Party::name).collect();
        assert_eq!(parties, ["payment-provider", "carrier"]);
        let states: Vec<_> = PartyState::all().map(PartyState::name).collect();
        assert_eq!(states, ["answering", "left-alone", "stopped"]);
        for party in Party::all() {
            assert_eq!(party.name().parse(), Ok(party));
            assert_eq!(serde_json::to_value(party).unwrap(), party.name());
        }
        for state in PartyState::all() {
            assert_eq!(state.name().parse(), Ok(state));
        }
    }
}
