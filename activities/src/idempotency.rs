//! Idempotency records: the answer of each step of an order, by its key.
//!
//! A step inserts its record in the statement that takes effect (`orders.take_step`), and takes
//! effect only if the record is new. A repeat, a late attempt that has timed out, or a step that
//! arrives after its own undo finds the record:
//!
//! | the record says | the answer |
//! |---|---|
//! | done | the first answer, again |
//! | refused | the first refusal, again |
//! | undone | refused as [`Rejection::AlreadyUndone`]: the tombstone |
//!
//! An undo first leaves its tombstone in a separate statement. PostgreSQL makes that wait for a
//! step that is inserting the same key, so everything that the undo reads afterwards includes the
//! step's effect, and no effect can follow.

use domain::event::OrderEvent;
use domain::{Rejection, StepKey};
use runtime::database::Db;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ActivityFault, orders};

/// The recorded answer under a key: `{"done":…}` or `{"refused":…}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome<T> {
    Done(T),
    Refused(Rejection),
}

/// The record under a key.
#[derive(Debug)]
pub(crate) enum Recorded<T> {
    /// None: the step has not taken effect, and has not been undone.
    Open,
    /// The step has an answer.
    Answered(Outcome<T>),
    /// The step was undone, or its undo came first.
    Undone,
}

/// The version of a record, as a database integer.
pub(crate) fn version(key: StepKey) -> Result<i32, ActivityFault> {
    i32::try_from(key.version).map_err(|error| ActivityFault::broken("naming a step", error))
}

/// The step's answer: what its statement has just recorded, or, if the key was taken, the earlier
/// record.
pub(crate) async fn answer<T: DeserializeOwned>(
    db: Db<'_>,
    key: StepKey,
    recorded: Option<Value>,
) -> Result<T, ActivityFault> {
    match recorded {
        Some(outcome) => Outcome::read(outcome)?.into_answer(),
        None => recall(db, key).await?.into_answer(key),
    }
}

/// Looks up the record under a key.
pub(crate) async fn recall<T: DeserializeOwned>(
    db: Db<'_>,
    key: StepKey,
) -> Result<Recorded<T>, ActivityFault> {
    let row = sqlx::query!(
        r#"
        select outcome, undone_at is not null as "is_undone!"
        from orders.step_keys
        where order_id = $1 and step = $2 and version = $3
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        version(key)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("looking up an idempotency record", error))?;
    match row {
        Some(row) => Recorded::of(row.outcome, row.is_undone),
        None => Ok(Recorded::Open),
    }
}

/// Leaves the tombstone: when this returns, the step has taken effect or never will.
///
/// **Errors.** Not open: the order is not on record, so nothing of it can be undone.
pub(crate) async fn leave_tombstone(db: Db<'_>, key: StepKey) -> Result<(), ActivityFault> {
    let left = sqlx::query!(
        "insert into orders.step_keys as known (order_id, step, version, undone_at)
         select order_id, $2, record_version, now() from orders.orders
         where order_id = $1 and record_version = $3
         on conflict (order_id, step, version) do update
         set undone_at = coalesce(known.undone_at, excluded.undone_at)",
        key.order_id.uuid(),
        key.name_on_record(),
        version(key)?,
    )
    .execute(db)
    .await
    .map_err(|error| ActivityFault::of_database("leaving a tombstone", error))?;
    if left.rows_affected() == 0 { Err(orders::not_on_record(key.order_id)) } else { Ok(()) }
}

/// The event's data, as a parameter for a statement.
pub(crate) fn data(event: &OrderEvent) -> Result<Value, ActivityFault> {
    let data = event.data();
    data.map(storable).map_err(|error| ActivityFault::broken("writing an event down", error))
}

/// Replaces U+0000, which the database cannot store. Input is cleaned before it gets here, but a
/// note in the history of an earlier release's order may contain one, and could never be stored.
pub(crate) fn storable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', " ")),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, storable(value))).collect()
        }
        value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
    }
}

/// The refusal of a step that arrives after its undo.
pub(crate) const fn already_undone(key: StepKey) -> ActivityFault {
    ActivityFault::Rejected(Rejection::AlreadyUndone { step: key.step })
}

impl<T> Outcome<T> {
    pub(crate) fn into_answer(self) -> Result<T, ActivityFault> {
        match self {
            Self::Done(answer) => Ok(answer),
            Self::Refused(rejection) => Err(ActivityFault::Rejected(rejection)),
        }
    }
}

impl<T: DeserializeOwned> Outcome<T> {
    pub(crate) fn read(outcome: Value) -> Result<Self, ActivityFault> {
        serde_json::from_value(outcome)
            .map_err(|error| ActivityFault::broken("reading an idempotency record", error))
    }
}

impl<T: Serialize> Outcome<T> {
    pub(crate) fn into_json(self) -> Value {
        storable(match self {
            Self::Done(answer) => serde_json::json!({ "done": answer }),
            Self::Refused(rejection) => serde_json::json!({ "refused": rejection }),
        })
    }
}

impl<T: DeserializeOwned> Recorded<T> {
    pub(crate) fn of(outcome: Option<Value>, is_undone: bool) -> Result<Self, ActivityFault> {
        let outcome = outcome.map(Outcome::read).transpose()?;
        Ok(match outcome {
            // A refused step never took effect, so its undo does not change the answer.
            Some(outcome @ Outcome::Refused(_)) => Self::Answered(outcome),
            Some(_) | None if is_undone => Self::Undone,
            Some(outcome @ Outcome::Done(_)) => Self::Answered(outcome),
            None => Self::Open,
        })
    }
}

impl Recorded<Value> {
    /// Decodes the step's own answer.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<Recorded<T>, ActivityFault> {
        Ok(match self {
            Self::Open => Recorded::Open,
            Self::Undone => Recorded::Undone,
            Self::Answered(Outcome::Refused(rejection)) => {
                Recorded::Answered(Outcome::Refused(rejection))
            }
            Self::Answered(Outcome::Done(answer)) => {
                let answer = serde_json::from_value(answer)
                    .map_err(|error| ActivityFault::broken("reading an answer", error))?;
                Recorded::Answered(Outcome::Done(answer))
            }
        })
    }
}

impl<T> Recorded<T> {
    pub(crate) fn into_answer(self, key: StepKey) -> Result<T, ActivityFault> {
        match self {
            Self::Answered(outcome) => outcome.into_answer(),
            Self::Undone => Err(already_undone(key)),
            Self::Open => {
                Err(ActivityFault::broken("recalling an answer", format!("nothing under {key}")))
            }
        }
    }
}

/// Decodes a record like a step does, for fuzz targets: a decoded record must survive a round trip.
#[cfg(fuzzing)]
pub fn is_read_back<T: DeserializeOwned + Serialize>(outcome: Value) {
    let Ok(outcome) = Outcome::<T>::read(outcome) else { return };
    let written = outcome.into_json();
    let again = Outcome::<T>::read(written.clone()).map(Outcome::into_json);
    assert_eq!(again.ok(), Some(written));
}
