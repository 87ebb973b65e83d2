//! Decides the next call when a parcel is shipped or its shipment cancelled, from what is known:
//! pure functions, without a carrier or a database.
//!
//! A shipment is created in two phases. Drafting it costs nothing and triggers no pickup; its id at
//! the carrier is stored under the step's key before the label is bought. From then on every query
//! and request names that id, whose state the carrier answers consistently.
//!
//! The activities carry these calls out one by one. `models/` drives the same functions through
//! every order in which attempts can overtake each other and die.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::payment::KeyState;

/// The state of a shipment at the carrier.
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
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ShipmentState {
    /// No label is bought, and nothing will be picked up.
    Drafted,
    /// The label is bought: the parcel will be picked up.
    Purchased,
    /// Nothing will ever be picked up.
    Cancelled,
}

impl ShipmentState {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What is known about the shipment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// No id is on record.
    #[default]
    Nothing,
    /// It is drafted, and its id is not on record yet.
    Fresh,
    /// Its id is on record; its state has to be looked up.
    Unasked,
    /// The carrier's answer about this id.
    Is(ShipmentState),
}

/// The next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Reads the key's record, the shipment's id and whether the goods are reserved, in one
    /// snapshot.
    Read,
    /// Asks the carrier to draft a shipment. This costs nothing and triggers no pickup.
    Draft,
    /// Stores the shipment's id under the key, in a statement that changes nothing if there is an
    /// id, an answer or a tombstone; returns what is stored then.
    Store,
    /// Asks the carrier for the state of the shipment with this id.
    LookUp,
    /// Asks the carrier to pick the parcel up.
    Purchase,
    /// Asks the carrier to cancel the shipment for good.
    Cancel,
    /// Records that the parcel is handed over, if there is no answer and no tombstone and the goods
    /// are reserved; reads again otherwise.
    RecordDone,
    /// Records that the step is refused, if there is no answer and no tombstone; and, if no id is
    /// known, only if none is stored either. Reads again otherwise.
    RecordRefusal,
    /// Leaves the tombstone, in its own statement.
    LeaveTombstone,
    /// Records that the shipment is cancelled.
    RecordCancel,
    /// Nothing: the answer is on record.
    Finish,
}

/// The next call of a shipment. `is_refused`: the parcel must not leave, because its goods are not
/// reserved, there is no recipient, or the carrier does not deliver.
///
/// A parcel that must not leave is cancelled before the refusal is recorded: an earlier attempt may
/// have bought its label, or may be about to. If the tombstone is there, the shipment is left
/// alone: its id was stored before the tombstone, so the undo sees it and cancels the shipment.
#[must_use]
pub const fn ship(key: Option<KeyState>, is_refused: bool, shipment: Known) -> Call {
    use ShipmentState as S;
    match (key, shipment) {
        (None, _) => Call::Read,
        (Some(key), _) if key.is_answered || key.is_undone => Call::Finish,
        (Some(_), Known::Nothing) if is_refused => Call::RecordRefusal,
        (Some(_), Known::Nothing) => Call::Draft,
        (Some(_), Known::Fresh) => Call::Store,
        (Some(_), Known::Unasked) => Call::LookUp,
        (Some(_), Known::Is(S::Drafted | S::Purchased)) if is_refused => Call::Cancel,
        (Some(_), Known::Is(S::Drafted)) => Call::Purchase,
        (Some(_), Known::Is(S::Purchased)) => Call::RecordDone,
        // Cancelled by an attempt like this, or by the carrier itself.
        (Some(_), Known::Is(S::Cancelled)) => Call::RecordRefusal,
    }
}

/// The next call of the undo. It reads the shipment's id only after the tombstone is committed:
/// from then on no further id can be stored.
///
/// A draft is cancelled, too, so that a late request to purchase it fails.
#[must_use]
pub const fn cancel(has_left_tombstone: bool, key: Option<KeyState>, shipment: Known) -> Call {
    use ShipmentState as S;
    if !has_left_tombstone {
        return Call::LeaveTombstone;
    }
    match (key, shipment) {
        (None, _) => Call::Read,
        (Some(_), Known::Nothing | Known::Fresh) => Call::Finish,
        (Some(_), Known::Unasked) => Call::LookUp,
        (Some(_), Known::Is(S::Drafted | S::Purchased)) => Call::Cancel,
        (Some(_), Known::Is(S::Cancelled)) => Call::RecordCancel,
    }
}

/// The shipment's state after a request at the carrier; `None` if its state did not allow the
/// request, and nothing was done.
#[must_use]
pub const fn at_the_carrier(call: Call, now: ShipmentState) -> Option<ShipmentState> {
    use ShipmentState as S;
    match (call, now) {
        (Call::Purchase, S::Drafted | S::Purchased) => Some(S::Purchased),
        (Call::Cancel, _) => Some(S::Cancelled),
        _ => None,
    }
}
