//! The order on record: what its steps read, and the notes of its saga.

use chrono::{DateTime, Utc};
use domain::event::OrderEvent;
use domain::{
    AddressId, CountryCode, Currency, CustomerId, Destination, DiscountCode, Ending, Money, Order,
    OrderId, OrderLine, OrderStatus, PaymentToken, StepKey, Terms, Totals,
};
use metrics::{counter, describe_counter};
use runtime::database::Db;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;
use workflows::order::{AttentionNote, EndNote, ResolvedNote, UnwindingNote};

use crate::ActivityFault;
use crate::idempotency::{self, Recorded};

/// Ended orders, by status. If a worker dies right after the end, that order is not counted.
const ENDED: &str = "ordersaga_orders_ended_total";

/// Initialises the counter of every status at zero.
pub fn begin_to_count() {
    describe_counter!(ENDED, "Orders that have ended, by how");
    for status in OrderStatus::NAMES.into_iter().filter(|name| *name != "processing") {
        counter!(ENDED, "status" => status).absolute(0);
    }
}

/// Counts one ended order.
pub(crate) fn count_end(status: &OrderStatus) {
    counter!(ENDED, "status" => status.name()).increment(1);
}

/// A step that is about to run: its order, and the record under its key.
pub(crate) struct Begun<T> {
    pub(crate) order: Order,
    pub(crate) recorded: Recorded<T>,
}

/// Reads what a step needs, in one round trip.
///
/// **Errors.** Not open: the order is not on record, or has ended and the step has no answer. So a
/// workflow that was started by hand, for an order that nobody placed, does nothing. Rejected as
/// undone: the order is being unwound, and the step has no answer, so the step is late, whether or
/// not its undo has left a tombstone yet.
pub(crate) async fn begin<T: DeserializeOwned>(
    db: Db<'_>,
    key: StepKey,
) -> Result<Begun<T>, ActivityFault> {
    read(db, key).await?.begun(key)
}

/// Reads what an undo needs. It may also run for an order that has ended: the keys decide whether
/// there is anything to undo.
pub(crate) async fn on_record(db: Db<'_>, key: StepKey) -> Result<Order, ActivityFault> {
    read(db, key).await?.order(key)
}

/// Whether the order's record is older than its workflow, as after a restore from a backup, so that
/// it may lack what a lost run has requested from a party.
pub(crate) async fn was_set_back(db: Db<'_>, order: OrderId) -> Result<bool, ActivityFault> {
    sqlx::query_scalar!(
        r#"select exists (select from orders.set_back where order_id = $1) as "is_there!""#,
        order.uuid(),
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database("reading an order", error))
}

/// The order's row, with the idempotency record of one step.
pub(crate) struct Row {
    pub(crate) customer_id: String,
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) record_version: i32,
    pub(crate) currency: String,
    pub(crate) subtotal: Decimal,
    pub(crate) discount: Decimal,
    pub(crate) shipping: Decimal,
    pub(crate) tax: Decimal,
    pub(crate) total: Decimal,
    pub(crate) cost_of_goods: Decimal,
    pub(crate) discount_code: Option<String>,
    pub(crate) country: String,
    pub(crate) address_id: Option<Uuid>,
    pub(crate) lines: Json<Vec<OrderLine>>,
    pub(crate) terms: Json<Terms>,
    pub(crate) status_data: Value,
    pub(crate) is_unwinding: bool,
    pub(crate) method: Option<String>,
    pub(crate) outcome: Option<Value>,
    pub(crate) is_undone: bool,
}

/// Reads the order, the payment method of this attempt, the step's idempotency record, and what
/// `columns` and `joins` add, whose first argument is `$5`: a step that also needs its party's
/// record needs only one query. Returns the [`Row`], and the rest as converted by `also`.
macro_rules! read_with {
    (
        $db:expr, $key:expr, columns: $columns:literal, joins: $joins:literal,
        arguments: [$($argument:expr),*], |$row:ident| $also:expr
    ) => {{
        let key: domain::StepKey = $key;
        let attempt = i32::try_from(key.attempt)
            .map_err(|error| $crate::ActivityFault::broken("reading an order", error))?;
        let found = sqlx::query!(
            r#"
            select
                orders.customer_id, orders.placed_at, orders.record_version, orders.currency,
                orders.subtotal, orders.discount, orders.shipping, orders.tax, orders.total,
                orders.cost_of_goods, orders.discount_code, orders.country, orders.address_id,
                orders.lines as "lines: sqlx::types::Json<Vec<domain::OrderLine>>",
                orders.terms as "terms: sqlx::types::Json<domain::Terms>", orders.status_data,
                orders.ending is not null as "is_unwinding!", chosen.method as "method?",
                known.outcome as "outcome?", known.undone_at is not null as "is_undone!"
            "# + $columns + r#"
            from orders.orders
            left join lateral (
                select method from payments.methods
                where methods.order_id = orders.order_id and methods.attempt <= $4
                order by methods.attempt desc limit 1
            ) as chosen on true
            left join orders.step_keys as known
                on (known.order_id, known.step, known.version) = ($1, $2, $3)
            "# + $joins + r#"
            where orders.order_id = $1 and orders.record_version = $3
            "#,
            key.order_id.uuid(),
            key.name_on_record(),
            $crate::idempotency::version(key)?,
            attempt,
            $($argument,)*
        )
        .fetch_optional($db)
        .await
        .map_err(|error| $crate::ActivityFault::of_database("reading an order", error))?;
        let $row = found.ok_or_else(|| $crate::orders::not_on_record(key.order_id))?;
        let also = $also;
        let order = $crate::orders::Row {
            customer_id: $row.customer_id,
            placed_at: $row.placed_at,
            record_version: $row.record_version,
            currency: $row.currency,
            subtotal: $row.subtotal,
            discount: $row.discount,
            shipping: $row.shipping,
            tax: $row.tax,
            total: $row.total,
            cost_of_goods: $row.cost_of_goods,
            discount_code: $row.discount_code,
            country: $row.country,
            address_id: $row.address_id,
            lines: $row.lines,
            terms: $row.terms,
            status_data: $row.status_data,
            is_unwinding: $row.is_unwinding,
            method: $row.method,
            outcome: $row.outcome,
            is_undone: $row.is_undone,
        };
        (order, also)
    }};
}
pub(crate) use read_with;

async fn read(db: Db<'_>, key: StepKey) -> Result<Row, ActivityFault> {
    let (row, ()) = read_with!(db, key, columns: "", joins: "", arguments: [], |row| ());
    Ok(row)
}

pub(crate) fn not_on_record(order: OrderId) -> ActivityFault {
    ActivityFault::not_open(format!("order {order} is not on record"), None)
}

fn is_terminal(status: &Value) -> Result<bool, ActivityFault> {
    serde_json::from_value::<OrderStatus>(status.clone())
        .map(|status| status.is_terminal())
        .map_err(|error| ActivityFault::broken("reading an order's status", error))
}

impl Row {
    /// **Errors.** As for [`begin`].
    pub(crate) fn begun<T: DeserializeOwned>(
        mut self,
        key: StepKey,
    ) -> Result<Begun<T>, ActivityFault> {
        let recorded = Recorded::of(self.outcome.take(), self.is_undone)?;
        if let Recorded::Open = recorded {
            if is_terminal(&self.status_data)? {
                let ended = format!("order {} has ended", key.order_id);
                return Err(ActivityFault::not_open(ended, Some(self.status_data)));
            }
            if self.is_unwinding {
                return Err(idempotency::already_undone(key));
            }
        }
        Ok(Begun { order: self.order(key)?, recorded })
    }

    fn order(self, key: StepKey) -> Result<Order, ActivityFault> {
        self.usable(key).map_err(|what| {
            ActivityFault::broken("reading an order", format!("{key}: {what} is not usable"))
        })
    }

    /// The order; or what part of it is invalid in the database.
    fn usable(self, key: StepKey) -> Result<Order, &'static str> {
        let currency = Currency::from_code(&self.currency).ok_or("its currency")?;
        let money = |amount| Money::new(amount, currency).map_err(|_error| "an amount");
        let discount_code = self.discount_code.map(DiscountCode::parse).transpose();
        Ok(Order {
            order_id: key.order_id,
            customer_id: CustomerId::parse(self.customer_id).map_err(|_error| "its customer")?,
            placed_at: self.placed_at,
            record_version: u32::try_from(self.record_version).map_err(|_error| "its version")?,
            lines: self.lines.0,
            totals: Totals {
                subtotal: money(self.subtotal)?,
                discount: money(self.discount)?,
                shipping: money(self.shipping)?,
                tax: money(self.tax)?,
                total: money(self.total)?,
            },
            cost_of_goods: money(self.cost_of_goods)?,
            discount_code: discount_code.map_err(|_error| "its discount code")?,
            ship_to: Destination {
                country: CountryCode::parse(&self.country).map_err(|_error| "its country")?,
                address_id: self.address_id.map(AddressId::of),
            },
            payment_token: PaymentToken::parse(self.method.ok_or("its payment method")?)
                .map_err(|_error| "its payment method")?,
            terms: self.terms.0,
        })
    }
}

/// Records that the order is unwound from now on, and returns the ending that counts.
///
/// **Errors.** Not open: the order is not on record, or has ended; then nothing is undone. An order
/// completed by the same run counts as not ended, because that run's last workflow task was lost.
/// **Repeats.** The first ending counts, whichever run noted it.
pub async fn note_unwinding<'a>(
    db: impl Into<Db<'a>>,
    note: &UnwindingNote,
    run_id: &str,
) -> Result<Ending, ActivityFault> {
    const DOING: &str = "noting that an order is unwound";
    let db: Db<'_> = db.into();
    let noted = sqlx::query!(
        r#"select ending as "ending?", ended as "ended?" from orders.note_unwinding($1, $2, $3)"#,
        note.order_id.uuid(),
        idempotency::storable(json!(note.ending)),
        run_id,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let Some(noted) = noted else { return Err(not_on_record(note.order_id)) };
    match (noted.ending, noted.ended) {
        (Some(ending), _) => {
            serde_json::from_value(ending).map_err(|error| ActivityFault::broken(DOING, error))
        }
        (None, ended) => {
            Err(ActivityFault::not_open(format!("order {} has ended", note.order_id), ended))
        }
    }
}

/// Records how the order ended, and returns the status that counts.
///
/// **Repeats.** The first end counts, whichever run noted it.
pub async fn note_end<'a>(
    db: impl Into<Db<'a>>,
    note: &EndNote,
) -> Result<OrderStatus, ActivityFault> {
    const DOING: &str = "noting how an order ended";
    let db: Db<'_> = db.into();
    let event = match note.status.clone() {
        OrderStatus::Completed => OrderEvent::OrderCompleted(domain::event::Completed {}),
        OrderStatus::Cancelled { reason } => Ending::Cancelled { reason }.into(),
        OrderStatus::Rejected { rejection } => Ending::Rejected { rejection }.into(),
        OrderStatus::Failed { incident } => Ending::Failed { incident }.into(),
        OrderStatus::Processing => {
            return Err(ActivityFault::broken(DOING, "an order that is processing has not ended"));
        }
    };
    // The statement sees the order's status from before its own update.
    let noted = sqlx::query!(
        "select orders.note_end($1, $2, $3) as ended,
             (select orders.is_terminal(status) from orders.orders where order_id = $1) as had_ended",
        note.order_id.uuid(),
        event.event_type().name(),
        idempotency::data(&event)?,
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let ended = noted.ended.ok_or_else(|| not_on_record(note.order_id))?;
    let status: OrderStatus =
        serde_json::from_value(ended).map_err(|error| ActivityFault::broken(DOING, error))?;
    if noted.had_ended == Some(false) {
        count_end(&status);
    }
    Ok(status)
}

/// Records that a step needs a person, and returns the number of the occurrence.
///
/// **Repeats.** Idempotent per run and number. Another run of the workflow, after a reset, adds its
/// own note.
pub async fn note_attention<'a>(
    db: impl Into<Db<'a>>,
    note: &AttentionNote,
) -> Result<u32, ActivityFault> {
    const DOING: &str = "noting that an order needs a person";
    let db: Db<'_> = db.into();
    let AttentionNote { order_id, run_id, number, step, undoing, why, decisions } = note;
    let answered = sqlx::query_scalar!(
        "select orders.note_attention($1, $2, $3)",
        order_id.uuid(),
        format!("attention:{run_id}:{number}"),
        idempotency::storable(
            json!({ "step": step, "undoing": undoing, "why": why, "decisions": decisions }),
        ),
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let answered = answered.ok_or_else(|| not_on_record(*order_id))?;
    idempotency::Outcome::read(answered)?.into_answer()
}

/// Records a decision.
///
/// **Errors.** Not open: the order is not on record.
/// **Repeats.** An occurrence is decided once.
pub async fn note_resolved<'a>(
    db: impl Into<Db<'a>>,
    note: &ResolvedNote,
) -> Result<(), ActivityFault> {
    let db: Db<'_> = db.into();
    let ResolvedNote { order_id, step, occurrence, decision, by, why } = note.clone();
    let resolved = domain::event::AttentionResolved { step, occurrence, decision, by, why };
    let event = OrderEvent::AttentionResolved(resolved);
    let is_on_record = sqlx::query_scalar!(
        r#"select orders.note_resolved($1, $2, $3) as "is_on_record!""#,
        order_id.uuid(),
        format!("resolved:{occurrence}"),
        idempotency::data(&event)?,
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database("noting a decision", error))?;
    if is_on_record { Ok(()) } else { Err(not_on_record(order_id)) }
}
