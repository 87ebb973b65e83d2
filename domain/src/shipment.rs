//! What shipping a parcel and calling it off do next, from what they know: pure functions, without
//! a carrier or a database.
//!
//! A shipment is called in two halves. Drafting it costs nothing and fetches nothing; its id at the
//! carrier is stored under the step's key before the label is bought. From then on every question
//! and every request names that id, whose state the carrier answers consistently.
//!
//! The activities carry these calls out one by one. `models/` drives the same functions through
//! every order in which attempts can overtake each other and die.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::payment::KeyState;

/// What can have become of a shipment at the carrier.
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
    /// Nothing is bought, and nothing will be fetched.
    Drafted,
    /// The label is bought: the parcel will be fetched.
    Purchased,
    /// Nothing is fetched, and nothing ever will be.
    Cancelled,
}

impl ShipmentState {
    /// The name as the database and JSON write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What is known of the shipment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// No id is on record.
    #[default]
    Nothing,
    /// It is drafted, and its id is not on record yet.
    Fresh,
    /// Its id is on record; what became of it has to be asked.
    Unasked,
    /// What the carrier answered about this id.
    Is(ShipmentState),
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Reads the key's record, the shipment's id and whether the goods are held, all as of one
    /// moment.
    Read,
    /// Asks the carrier to draft a shipment. Nothing is fetched, and nothing costs.
    Draft,
    /// Stores the shipment's id under the key, in a statement that changes nothing if there is an
    /// id, an answer or a tombstone; and reads what is there then.
    Store,
    /// Asks the carrier what became of the shipment with this id.
    LookUp,
    /// Asks the carrier to fetch the parcel.
    Purchase,
    /// Asks the carrier to fetch nothing, now or ever.
    Cancel,
    /// Answers that the parcel is handed over, if nothing was answered, there is no tombstone and
    /// the goods are held; reads again otherwise.
    RecordDone,
    /// Answers that the step is refused, if nothing was answered and there is no tombstone; and,
    /// where no id is known, only if none is stored either. Reads again otherwise.
    RecordRefusal,
    /// Leaves the tombstone, in a statement of its own.
    LeaveTombstone,
    /// Records that the shipment is cancelled.
    RecordCancel,
    /// Nothing: the answer is on record.
    Finish,
}

/// What shipping does next. `is_refused`: the parcel must not leave, because its goods are not
/// held, nobody is there to receive it, or the carrier does not deliver.
///
/// A parcel that must not leave is cancelled before that is answered: an earlier attempt may have
/// bought its label, or may just be about to. One that finds the tombstone leaves the shipment
/// alone: its id was stored before the tombstone was left, so the undo sees it and cancels it.
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
        // Cancelled as above, or by the carrier itself.
        (Some(_), Known::Is(S::Cancelled)) => Call::RecordRefusal,
    }
}

/// What the undo does next. It reads the shipment's id only after the tombstone is committed: from
/// then on no id is stored any more.
///
/// A draft is cancelled, too: a late request to purchase it must find nothing.
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

/// What a request makes of a shipment at the carrier; none if the shipment has moved on, and
/// nothing was done.
#[must_use]
pub const fn at_the_carrier(call: Call, now: ShipmentState) -> Option<ShipmentState> {
    use ShipmentState as S;
    match (call, now) {
        (Call::Purchase, S::Drafted | S::Purchased) => Some(S::Purchased),
        (Call::Cancel, _) => Some(S::Cancelled),
        _ => None,
    }
}
