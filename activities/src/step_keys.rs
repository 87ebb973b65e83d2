//! Twice is once: the key row of a step.
//!
//! A step inserts its key row in the statement that takes effect, with `on conflict do nothing`,
//! and takes effect only if the row is new. Whoever comes second, a repeat, a zombie of an
//! attempt that timed out, or a step that arrives after its own undo, finds the row:
//!
//! | the row says | the answer |
//! |---|---|
//! | done | the first answer, again |
//! | refused | the first refusal, again |
//! | undone | refused as [`Rejection::AlreadyUndone`]: the tombstone |
//! | another argument's hash | broken: two different things were asked under one name |
//!
//! An undo first leaves its tombstone in a statement of its own. PostgreSQL makes that wait for
//! a step that is just inserting the same key, so that everything the undo reads afterwards
//! includes the step's effect, and no effect can come after.

use domain::{Rejection, StatusNote, StepKey, StepName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::ActivityFault;
use crate::orders::Event;

/// What a step asks for under its key.
pub(crate) struct Claim {
    pub(crate) order_id: Uuid,
    pub(crate) step: &'static str,
    pub(crate) generation: i32,
    pub(crate) argument_hash: Vec<u8>,
}

/// What was answered under a key, as the key row keeps it: `{"done":…}` or `{"refused":…}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome<T> {
    Done(T),
    Refused(Rejection),
}

/// How a key stands for whoever did not come first.
#[derive(Debug)]
pub(crate) enum Standing<T> {
    /// Nobody has asked under this key.
    Open,
    Answered(Outcome<T>),
    Undone,
}

impl Claim {
    pub(crate) fn of(key: StepKey, argument: &impl Serialize) -> Result<Self, ActivityFault> {
        Self::named(key.order_id.uuid(), key.step.as_str(), key.generation, argument)
    }

    /// The same note of an order is told by its number.
    pub(crate) fn of_note(note: &StatusNote) -> Result<Self, ActivityFault> {
        Self::named(note.order_id.uuid(), "note-status", note.number, note)
    }

    fn named(
        order_id: Uuid,
        step: &'static str,
        generation: u32,
        argument: &impl Serialize,
    ) -> Result<Self, ActivityFault> {
        const DOING: &str = "naming a step";
        let argument =
            serde_json::to_vec(argument).map_err(|error| ActivityFault::broken(DOING, error))?;
        Ok(Self {
            order_id,
            step,
            generation: i32::try_from(generation)
                .map_err(|error| ActivityFault::broken(DOING, error))?,
            argument_hash: Sha256::digest(argument).to_vec(),
        })
    }

    /// The answer of the step: what its statement has just recorded, or, if the statement found
    /// the key taken, what was recorded before.
    pub(crate) async fn answer<T: DeserializeOwned>(
        &self,
        db: &PgPool,
        recorded: Option<Value>,
    ) -> Result<T, ActivityFault> {
        match recorded {
            Some(outcome) => Outcome::read(outcome)?.into_answer(),
            None => self.recall(db).await?.into_answer(self),
        }
    }

    /// Looks up how the key stands.
    pub(crate) async fn recall<T: DeserializeOwned>(
        &self,
        db: &PgPool,
    ) -> Result<Standing<T>, ActivityFault> {
        let row = sqlx::query!(
            r#"
            select argument_hash, outcome, undone_at is not null as "is_undone!"
            from orders.step_keys
            where order_id = $1 and step = $2 and generation = $3
            "#,
            self.order_id,
            self.step,
            self.generation,
        )
        .fetch_optional(db)
        .await
        .map_err(|error| ActivityFault::of_database("looking up a step's key", error))?;
        let Some(row) = row else { return Ok(Standing::Open) };
        if row.argument_hash != self.argument_hash {
            return Err(self.reused());
        }
        let outcome = row.outcome.map(Outcome::read).transpose()?;
        Ok(match outcome {
            // What was refused never took effect, so its undo changes nothing about the answer.
            Some(outcome @ Outcome::Refused(_)) => Standing::Answered(outcome),
            Some(_) | None if row.is_undone => Standing::Undone,
            Some(outcome @ Outcome::Done(_)) => Standing::Answered(outcome),
            None => Standing::Open,
        })
    }

    /// Leaves the tombstone: when this returns, the step has taken effect or never will.
    pub(crate) async fn bury(&self, db: &PgPool) -> Result<(), ActivityFault> {
        let buried = sqlx::query_scalar!(
            r#"
            insert into orders.step_keys as known
                (order_id, step, generation, argument_hash, undone_at)
            values ($1, $2, $3, $4, now())
            on conflict (order_id, step, generation) do update
            set undone_at = coalesce(known.undone_at, excluded.undone_at)
            where known.argument_hash = excluded.argument_hash
            returning true as "buried!"
            "#,
            self.order_id,
            self.step,
            self.generation,
            self.argument_hash,
        )
        .fetch_optional(db)
        .await
        .map_err(|error| ActivityFault::of_database("leaving a tombstone", error))?;
        buried.map(|_| ()).ok_or_else(|| self.reused())
    }

    /// Records an outcome that has no effect beyond its event: a refusal by another party, or a
    /// note. Nothing is returned, and nothing recorded, if the key is taken.
    pub(crate) async fn conclude<T: Serialize>(
        &self,
        db: &PgPool,
        outcome: Outcome<T>,
        event: Event,
    ) -> Result<Option<Value>, ActivityFault> {
        sqlx::query_scalar!(
            r#"
            with key as (
                insert into orders.step_keys (order_id, step, generation, argument_hash, outcome)
                values ($1, $2, $3, $4, $5)
                on conflict do nothing
                returning outcome
            )
            select outcome as "outcome!"
            from key cross join lateral orders.record($1, $6, $7)
            "#,
            self.order_id,
            self.step,
            self.generation,
            self.argument_hash,
            outcome.into_json(),
            event.kind,
            event.data,
        )
        .fetch_optional(db)
        .await
        .map_err(|error| ActivityFault::of_database("recording an outcome", error))
    }

    /// The refusal of a step that comes after its undo.
    pub(crate) fn already_undone(&self) -> ActivityFault {
        match StepName::ALL.into_iter().find(|step| step.as_str() == self.step) {
            Some(step) => ActivityFault::Rejected(Rejection::AlreadyUndone { step }),
            None => ActivityFault::broken("recalling a note", "a note cannot be undone"),
        }
    }

    fn reused(&self) -> ActivityFault {
        let Self { order_id, step, generation, .. } = self;
        let key = format!("{order_id}:{step}:{generation} was used with another argument before");
        ActivityFault::broken("repeating a step", key)
    }
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
            .map_err(|error| ActivityFault::broken("reading a recorded outcome", error))
    }
}

impl<T: Serialize> Outcome<T> {
    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Done(answer) => serde_json::json!({ "done": answer }),
            Self::Refused(rejection) => serde_json::json!({ "refused": rejection }),
        }
    }
}

impl<T> Standing<T> {
    pub(crate) fn into_answer(self, claim: &Claim) -> Result<T, ActivityFault> {
        match self {
            Self::Answered(outcome) => outcome.into_answer(),
            Self::Undone => Err(claim.already_undone()),
            Self::Open => Err(ActivityFault::broken("recalling an outcome", "the key has no row")),
        }
    }
}
