//! The order on record: what its steps read, and what its saga notes beside their effects.

use chrono::{DateTime, Utc};
use domain::event::OrderEvent;
use domain::{
    AddressId, CountryCode, Currency, CustomerId, Destination, DiscountCode, Ending, Money, Order,
    OrderId, OrderLine, OrderStatus, PaymentToken, StepKey, Terms, Totals,
};
use metrics::{counter, describe_counter};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;
use workflows::order::{AttentionNote, EndNote, ResolvedNote, UnwindingNote};

use crate::ActivityFault;
use crate::idempotency::{self, Recorded};

/// Orders that have ended, by how. The end that a worker dies of is not counted.
const ENDED: &str = "ordersaga_orders_ended_total";

/// Begins the count of every end at zero.
pub fn begin_to_count() {
    describe_counter!(ENDED, "Orders that have ended, by how");
    for status in OrderStatus::NAMES.into_iter().filter(|name| *name != "processing") {
        counter!(ENDED, "status" => status).absolute(0);
    }
}

/// Counts one order that has ended.
pub(crate) fn count_end(status: &OrderStatus) {
    counter!(ENDED, "status" => status.name()).increment(1);
}

/// A step about to be taken: the order that it is for, and what is known under its key.
pub(crate) struct Begun<T> {
    pub(crate) order: Order,
    pub(crate) recorded: Recorded<T>,
}

/// Reads what a step needs, in one round trip.
///
/// **Errors.** Not open: the order is not on record, or has ended and the step has no answer of
/// its own. So a workflow that was started by hand, with an order that nobody placed, does
/// nothing. Rejected as undone: the order is being unwound, and the step has no answer of its own.
/// Whoever still comes with it is late, whether or not its undo has left a tombstone yet.
pub(crate) async fn begin<T: DeserializeOwned>(
    db: &PgPool,
    key: StepKey,
) -> Result<Begun<T>, ActivityFault> {
    let row = read(db, key).await?;
    let (status, is_unwinding) = (row.status_data.clone(), row.is_unwinding);
    let begun = row.begun(key)?;
    match begun.recorded {
        Recorded::Open if is_terminal(&status)? => {
            Err(ActivityFault::not_open(format!("order {} has ended", key.order_id), Some(status)))
        }
        Recorded::Open if is_unwinding => Err(idempotency::already_undone(key)),
        Recorded::Open | Recorded::Answered(_) | Recorded::Undone => Ok(begun),
    }
}

/// Reads what an undo needs. An order that has ended is undone like any other: the keys decide
/// whether there is anything to undo.
pub(crate) async fn on_record(db: &PgPool, key: StepKey) -> Result<Order, ActivityFault> {
    let begun: Begun<Value> = read(db, key).await?.begun(key)?;
    Ok(begun.order)
}

/// Whether the order's record was set back, and may lack what a lost run has asked a party for.
pub(crate) async fn was_set_back(db: &PgPool, order: OrderId) -> Result<bool, ActivityFault> {
    sqlx::query_scalar!(
        r#"select exists (select from orders.set_back where order_id = $1) as "is_there!""#,
        order.uuid(),
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database("reading an order", error))
}

/// The order as the database has it, with the idempotency record of one step.
struct Row {
    customer_id: String,
    placed_at: DateTime<Utc>,
    record_version: i32,
    currency: String,
    subtotal: Decimal,
    discount: Decimal,
    shipping: Decimal,
    tax: Decimal,
    total: Decimal,
    cost_of_goods: Decimal,
    discount_code: Option<String>,
    country: String,
    address_id: Option<Uuid>,
    lines: Json<Vec<OrderLine>>,
    terms: Json<Terms>,
    status_data: Value,
    is_unwinding: bool,
    method: Option<String>,
    outcome: Option<Value>,
    is_undone: bool,
}

/// Reads the order, with the payment method that this attempt uses.
async fn read(db: &PgPool, key: StepKey) -> Result<Row, ActivityFault> {
    const DOING: &str = "reading an order";
    let row = sqlx::query_as!(
        Row,
        r#"
        select
            customer_id, placed_at, record_version, currency, subtotal, discount, shipping, tax,
            total, cost_of_goods, discount_code, country, address_id,
            lines as "lines: Json<Vec<OrderLine>>", terms as "terms: Json<Terms>", status_data,
            ending is not null as "is_unwinding!", method as "method?", outcome as "outcome?",
            undone_at is not null as "is_undone!"
        from orders.orders
        left join lateral (
            select method from payments.methods
            where methods.order_id = orders.order_id and methods.attempt <= $4
            order by methods.attempt desc limit 1
        ) as chosen on true
        left join orders.step_keys
            on (step_keys.order_id, step_keys.step, step_keys.version) = ($1, $2, $3)
        where orders.order_id = $1 and record_version = $3
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        i32::try_from(key.attempt).map_err(|error| ActivityFault::broken(DOING, error))?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    row.ok_or_else(|| not_on_record(key.order_id))
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
    fn begun<T: DeserializeOwned>(self, key: StepKey) -> Result<Begun<T>, ActivityFault> {
        let recorded = Recorded::of(self.outcome.clone(), self.is_undone)?;
        let unusable = |what: &str| {
            ActivityFault::broken("reading an order", format!("{key}: {what} is not usable"))
        };
        let order = self.order(key).map_err(unusable)?;
        Ok(Begun { order, recorded })
    }

    /// The order; or what of it is not usable as the database has it.
    fn order(self, key: StepKey) -> Result<Order, &'static str> {
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

/// Puts on record that the order is unwound from now on, and answers the ending that counts.
///
/// **Errors.** Not open: the order is not on record, or has ended; then nothing of it is undone.
/// An order that the same run has completed has not ended yet: that run's last workflow task was
/// lost.
/// **Repeats.** The first ending counts, whichever run noted it.
pub async fn note_unwinding(
    db: &PgPool,
    note: &UnwindingNote,
    run_id: &str,
) -> Result<Ending, ActivityFault> {
    const DOING: &str = "noting that an order is unwound";
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

/// Puts on record how the order ended, and answers the status that counts.
///
/// **Repeats.** The first end counts, whichever run noted it.
pub async fn note_end(db: &PgPool, note: &EndNote) -> Result<OrderStatus, ActivityFault> {
    const DOING: &str = "noting how an order ended";
    let event = match note.status.clone() {
        OrderStatus::Completed => OrderEvent::OrderCompleted(domain::event::Completed {}),
        OrderStatus::Cancelled { reason } => Ending::Cancelled { reason }.into(),
        OrderStatus::Rejected { rejection } => Ending::Rejected { rejection }.into(),
        OrderStatus::Failed { incident } => Ending::Failed { incident }.into(),
        OrderStatus::Processing => {
            return Err(ActivityFault::broken(DOING, "an order that is processing has not ended"));
        }
    };
    // What the order was before is read as it was when the statement began.
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

/// Puts on record that a step needs a person, and answers the number of the occurrence.
///
/// **Repeats.** The same note of the same run is one occurrence. Another run of the workflow, after
/// a reset, notes its own.
pub async fn note_attention(db: &PgPool, note: &AttentionNote) -> Result<u32, ActivityFault> {
    const DOING: &str = "noting that an order needs a person";
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

/// Puts a decision on record.
///
/// **Errors.** Not open: the order is not on record.
/// **Repeats.** An occurrence is decided once.
pub async fn note_resolved(db: &PgPool, note: &ResolvedNote) -> Result<(), ActivityFault> {
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
