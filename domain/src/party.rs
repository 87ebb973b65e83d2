//! The parties that orders depend on and that are not the shop's own, and how it deals with each.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr};

/// A party that does a part of an order and is not the shop's own.
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

/// How a worker deals with a party, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumString, IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum PartyState {
    /// It answers, and is called.
    Answering,
    /// It has not answered for so long that it is called only now and then, to see whether it
    /// answers again.
    LeftAlone,
    /// It is not called at all, by an operator's decision.
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
