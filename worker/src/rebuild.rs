//! Recomputes orders' rows from their events and compares them with the stored rows, while orders
//! come in.
//!
//! A batch is one statement, so a row and its events come from the same snapshot despite concurrent
//! writes; nothing is locked or written. It uses the function that maintains the rows
//! (`orders.standing_after`), so a difference means that a row was changed directly, that an event
//! was, or that the function has changed since the row was written.
//!
//! Repairing a row is a decision about that one order: [`repair`] does it under the order's lock
//! and records the reason. There is no bulk repair, because a wrong row has a cause, and programs
//! may have acted on it.

use std::collections::HashSet;
use std::fmt;

use domain::{OrderId, as_one_line};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// The number of orders compared in one statement, which takes a few hundred milliseconds.
const BATCH: i64 = 500;

/// The column in which a row and its events can only differ if one of them is missing.
const KEY: &str = "order_id";

/// The maximum length of a value in the output.
const SHOWN_MAX: usize = 200;

/// The progress of a comparison of all orders.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The last order that was compared.
    after: Uuid,
    looked_at: u64,
}

/// A difference between an order's row and its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The order.
    pub order: OrderId,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with an order's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A column has another value. `None` is null.
    Column {
        /// The column's name.
        name: String,
        /// The stored value.
        kept: Option<String>,
        /// The value derived from the events.
        told: Option<String>,
    },
    /// There are events, and no row.
    NoRow,
    /// There is a row, and no event of its placement.
    NeverPlaced,
}

impl Comparison {
    /// The number of orders compared so far.
    #[must_use]
    pub const fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Compares the next batch of orders; `None` when none are left.
    ///
    /// Orders are taken by id, so one that is placed meanwhile is compared if its id comes later.
    pub async fn next(&mut self, db: &PgPool) -> Result<Option<Vec<Difference>>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"
            with batch as (
                (
                    select order_id from orders.orders
                    where order_id > $1 order by order_id limit $2
                )
                union
                (
                    select order_id from orders.order_events
                    where order_id > $1 and sequence = 1 order by order_id limit $2
                )
                order by order_id limit $2
            )
            select batch.order_id as "order_id!", what as "what?", kept as "kept?", told as "told?"
            from batch left join lateral orders.differences(batch.order_id) as differing on true
            order by batch.order_id
            "#,
            self.after,
            BATCH,
        )
        .fetch_all(db)
        .await?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = last.order_id;
        let orders: HashSet<_> = rows.iter().map(|row| row.order_id).collect();
        self.looked_at = self.looked_at.saturating_add(u64::try_from(orders.len()).unwrap_or(0));
        let one_is_missing = rows.iter().filter(|row| row.what.as_deref() == Some(KEY));
        let missing: HashSet<_> = one_is_missing.map(|row| row.order_id).collect();
        let differences = rows.into_iter().filter_map(|row| {
            let (name, kept, told) = (row.what?, row.kept, row.told);
            let wrong = if !missing.contains(&row.order_id) {
                Wrong::Column { name, kept, told }
            } else if name != KEY {
                // Every column of a missing row differs.
                return None;
            } else if kept.is_none() {
                Wrong::NoRow
            } else {
                Wrong::NeverPlaced
            };
            Some(Difference { order: OrderId::of(row.order_id), wrong })
        });
        Ok(Some(differences.collect()))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = self.order;
        let shown = |value: &Option<String>| {
            value.as_ref().map_or_else(|| "nothing".to_owned(), |text| as_one_line(text, SHOWN_MAX))
        };
        match &self.wrong {
            Wrong::Column { name, kept, told } => {
                write!(f, "{order}  {name} is {}, and its events say {}", shown(kept), shown(told))
            }
            Wrong::NoRow => write!(f, "{order}  has events and no row"),
            Wrong::NeverPlaced => write!(f, "{order}  has a row and was never placed"),
        }
    }
}

/// Replaces an order's row with the state derived from its events, on behalf of this person and for
/// this reason; returns the columns that were wrong. `None` if the row or the event of its
/// placement is missing: then the state cannot be derived.
///
/// **Repeats.** A correct row is left unchanged, and nothing is recorded.
pub async fn repair(
    owner: &PgPool,
    order: OrderId,
    by: &str,
    why: &str,
) -> Result<Option<Vec<String>>, sqlx::Error> {
    let wrong = sqlx::query_scalar!("select orders.repair($1, $2, $3)", order.uuid(), by, why)
        .fetch_one(owner)
        .await?;
    let names = |wrong: Value| {
        let mut names: Vec<_> =
            wrong.as_object().into_iter().flat_map(|columns| columns.keys().cloned()).collect();
        names.sort();
        names
    };
    Ok(wrong.map(names))
}
