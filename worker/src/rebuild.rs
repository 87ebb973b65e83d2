//! Tells orders' rows anew from their events, and compares them with the rows that are there, while
//! orders come in.
//!
//! A batch is one statement, so a row and its events are from one moment, whoever records meanwhile;
//! nothing is locked, and nothing is written. The rule is the one by which rows are kept up to date
//! (`orders.standing_after`), so a difference says that a row was changed past it, that an event was,
//! or that the rule is another than when the row was written.
//!
//! Putting a row right is a decision about that one order: [`repair`] does it under the order's lock,
//! for a reason that goes on record. There is no way to have all of them put right at once, because a
//! row that is wrong has a cause, and programs may have decided by it.

use std::collections::HashSet;
use std::fmt;

use domain::{OrderId, as_one_line};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// How many orders are compared in one statement: some hundred milliseconds of work.
const BATCH: i64 = 500;

/// The column that a row and its events cannot disagree about, unless one of them is missing.
const KEY: &str = "order_id";

/// How much of a value is shown.
const SHOWN_MAX: usize = 200;

/// A comparison of all orders, as far as it has come.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The last order that was looked at.
    after: Uuid,
    looked_at: u64,
}

/// Where an order's row is not what its events tell.
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
    /// A column holds something else. Nothing is a null.
    Column {
        /// The column's name.
        name: String,
        /// What the row holds.
        kept: Option<String>,
        /// What the events tell.
        told: Option<String>,
    },
    /// There are events, and no row.
    NoRow,
    /// There is a row, and no event of its placing.
    NeverPlaced,
}

impl Comparison {
    /// How many orders were looked at until now.
    #[must_use]
    pub const fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Compares the next orders; nothing once there are none left.
    ///
    /// Orders are taken by their ids, so one that is placed meanwhile is looked at if its id comes
    /// later.
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
                write!(f, "{order}  {name} is {}, and its events tell {}", shown(kept), shown(told))
            }
            Wrong::NoRow => write!(f, "{order}  has events and no row"),
            Wrong::NeverPlaced => write!(f, "{order}  has a row and was never placed"),
        }
    }
}

/// Makes an order's row what its events tell, as this person wants it for this reason; answers which
/// columns were wrong. Nothing, if the row or the event of its placing is missing: what is not on
/// record cannot be told.
///
/// **Repeats.** A row that is right is left as it is, and nothing goes on record.
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
