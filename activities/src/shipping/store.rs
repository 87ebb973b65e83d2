//! The shop's records of its parcels.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::event::{OrderEvent, Parcelled};
use domain::shipment::ShipmentState;
use domain::{Order, Parcel, Rejection, Shipment, StepKey, StepName};
use runtime::database::Db;

use super::port::{Consignment, Recipient, ShipmentId};
use crate::ActivityFault;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};

/// The record of a parcel, in one snapshot.
pub(super) struct Stored {
    pub(super) recorded: Recorded<Shipment>,
    pub(super) shipment: Option<ShipmentId>,
    /// How long ago the shipment's id was stored.
    pub(super) age: Duration,
    /// Whether the goods are reserved, so that they can be handed over.
    pub(super) are_goods_held: bool,
    /// Whether the customer has the money by a dispute; `None` if no dispute holds the parcel.
    pub(super) is_payment_lost: Option<bool>,
    pub(super) recipient: Option<Recipient>,
}

/// The row of an order's parcel.
struct Found {
    shipment: Option<String>,
    recorded_at: Option<DateTime<Utc>>,
    read_at: DateTime<Utc>,
    are_goods_held: bool,
    is_payment_lost: Option<bool>,
    recipient: Option<Recipient>,
}

/// Reads the order and its parcel in one statement. The goods are sold in the transaction that
/// answers the key, so if they are gone and the key is unanswered, no other attempt has handed them
/// over.
async fn find(db: Db<'_>, key: StepKey) -> Result<(orders::Row, Found), ActivityFault> {
    let reservation = StepKey { step: StepName::ReserveStock, ..key };
    Ok(orders::read_with!(
        db, key,
        columns: r#",
            parcel.carrier_reference as "carrier_reference?", parcel.recorded_at as "recorded_at?",
            now() as "read_at!",
            exists (
                select from inventory.reservations
                where reservation_key = $6 and reservations.state = 'held'
            ) as "are_goods_held!",
            (
                select bool_or(is_lost) from payments.disputes
                where disputes.order_id = $1 and (is_open and released_at is null or is_lost)
            ) as "is_payment_lost?",
            recipient.name as "name?", recipient.line1 as "line1?", recipient.line2 as "line2?",
            recipient.city as "city?", recipient.postal_code as "postal_code?"
        "#,
        joins: r#"
            left join shipping.shipments as parcel on parcel.shipment_key = $5
            left join customers.addresses as recipient
                on recipient.address_id = orders.address_id
        "#,
        arguments: [key.to_string(), reservation.to_string()],
        |row| Found {
            shipment: row.carrier_reference,
            recorded_at: row.recorded_at,
            read_at: row.read_at,
            are_goods_held: row.are_goods_held,
            is_payment_lost: row.is_payment_lost,
            recipient: match (row.name, row.line1, row.city, row.postal_code) {
                (Some(name), Some(line1), Some(city), Some(postal_code)) => {
                    Some(Recipient { name, line1, line2: row.line2, city, postal_code })
                }
                _ => None,
            },
        }
    ))
}

/// Reads what the step needs, as [`orders::begin`] does, together with its parcel.
pub(super) async fn begin(db: Db<'_>, key: StepKey) -> Result<(Order, Stored), ActivityFault> {
    let (row, found) = find(db, key).await?;
    let Begun { order, recorded } = row.begun(key)?;
    Ok((order, found.stored(recorded)))
}

/// Reads the record of a parcel.
pub(super) async fn read(db: Db<'_>, key: StepKey) -> Result<Stored, ActivityFault> {
    let (row, found) = find(db, key).await?;
    Ok(found.stored(Recorded::of(row.outcome, row.is_undone)?))
}

impl Found {
    fn stored(self, recorded: Recorded<Shipment>) -> Stored {
        let age = self.recorded_at.map(|stored_at| self.read_at.signed_duration_since(stored_at));
        Stored {
            recorded,
            shipment: self.shipment.map(ShipmentId),
            age: age.and_then(|age| age.to_std().ok()).unwrap_or_default(),
            are_goods_held: self.are_goods_held,
            is_payment_lost: self.is_payment_lost,
            recipient: self.recipient,
        }
    }
}

/// Stores the id of a newly drafted shipment, together with the beginning of its step's idempotency
/// record; returns whether it did. Neither is stored if the step already has a shipment, an answer
/// or a tombstone, or if a dispute came meanwhile. An undo (`is_undo`) stores it despite a dispute,
/// because it cancels the parcel.
pub(super) async fn store(
    db: Db<'_>,
    parcel: &Parcel,
    ShipmentId(reference): &ShipmentId,
    is_undo: bool,
) -> Result<bool, ActivityFault> {
    let stored = sqlx::query!(
        r#"
        with begun as (
            insert into orders.step_keys (order_id, step, version)
            select $1::uuid, $2::text, $3::integer
            where $9 or not exists (
                select from payments.disputes
                where disputes.order_id = $1 and (is_open and released_at is null or is_lost)
            )
            on conflict do nothing
            returning order_id
        )
        insert into shipping.shipments (
            shipment_key, order_id, reservation_key, carrier_reference, country, pieces, state
        )
        select $4, order_id, $5, $6, $7, $8, 'drafted' from begun
        "#,
        parcel.key.order_id.uuid(),
        parcel.key.name_on_record(),
        idempotency::version(parcel.key)?,
        parcel.key.to_string(),
        parcel.reservation.to_string(),
        reference,
        parcel.ship_to.country.to_string(),
        pieces(parcel)?,
        is_undo,
    )
    .execute(db)
    .await
    .map_err(|error| ActivityFault::of_database("storing a shipment", error))?;
    Ok(stored.rows_affected() > 0)
}

/// Answers the step with its shipment, and takes the goods out of the stock; returns whether it
/// did. It does not if the step has an answer or a tombstone, or if the goods are no longer
/// reserved: their reservation may have expired while the carrier answered.
pub(super) async fn record_done(
    db: Db<'_>,
    parcel: &Parcel,
    shipment: &Shipment,
) -> Result<bool, ActivityFault> {
    let event = OrderEvent::OrderShipped(parcelled(&shipment.tracking));
    let recorded = sqlx::query!(
        r#"
        with held as materialized (
            select reservation_key from inventory.reservations
            where reservation_key = $5 and state = 'held'
            for update
        ), taken as materialized (
            select orders.take_step($1, $2, $3, $4) as outcome from held
        ), shipped as (
            update shipping.shipments set state = 'purchased', tracking = $7
            from taken where shipment_key = $6 and outcome is not null
            returning order_id, reservation_key
        )
        select number, is_sold
        from shipped
        cross join lateral orders.record(order_id, 'order.shipped', $8) as number
        -- Refers to the event, so that the order is locked before its articles are, as elsewhere.
        cross join lateral (
            select inventory.sell(reservation_key) as is_sold where number > 0
        ) as sold
        "#,
        parcel.key.order_id.uuid(),
        parcel.key.name_on_record(),
        idempotency::version(parcel.key)?,
        Outcome::Done(shipment).into_json(),
        parcel.reservation.to_string(),
        parcel.key.to_string(),
        shipment.tracking,
        idempotency::data(&event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a shipment", error))?;
    Ok(recorded.is_some())
}

/// Answers the step with a refusal; returns whether it did. It does not if the step has an answer
/// or a tombstone; or, if no shipment is known, if one has been stored meanwhile.
pub(super) async fn record_refusal(
    db: Db<'_>,
    key: StepKey,
    is_shipment_known: bool,
    rejection: Rejection,
) -> Result<bool, ActivityFault> {
    let recorded = sqlx::query_scalar!(
        r#"
        with taken as materialized (
            select case
                when $4 then orders.take_step($1, $2, $3, $5)
                else orders.take_unbegun_step($1, $2, $3, $5)
            end as outcome
        )
        select number
        from taken cross join lateral orders.record(
            $1, 'shipment.refused', jsonb_build_object('rejection', outcome -> 'refused')
        ) as number
        where outcome is not null
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        is_shipment_known,
        Outcome::<()>::Refused(rejection).into_json(),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a refusal", error))?;
    Ok(recorded.is_some())
}

/// Records that a shipment is cancelled, once. If its label was bought, the parcel is recorded as
/// recalled; if its goods had left the stock, they are back, and reserved for the order as before.
pub(super) async fn record_cancel(
    db: Db<'_>,
    parcel: &Parcel,
    consignment: &Consignment,
) -> Result<(), ActivityFault> {
    let tracking = consignment.tracking.as_deref();
    let event = tracking.map(|tracking| OrderEvent::ShipmentCancelled(parcelled(tracking)));
    sqlx::query!(
        r#"
        with called_off as (
            update shipping.shipments
            set state = $2, cancelled_at = now(), tracking = coalesce($3, tracking)
            where shipment_key = $1 and state <> $2
            returning order_id, reservation_key
        ), back as (
            update inventory.reservations set state = 'held'
            from called_off
            where reservations.reservation_key = called_off.reservation_key
                and reservations.state = 'sold'
            returning reservations.reservation_key
        ), gone as materialized (
            select sku, quantity
            from back join inventory.reservation_lines using (reservation_key)
        ), locked as materialized (
            select sku from inventory.stock
            where sku = any (array(select sku from gone))
            order by sku
            for update
        ), line as materialized (
            select sku, quantity from locked join gone using (sku)
        ), returned as (
            update inventory.stock
            set on_hand = stock.on_hand + line.quantity,
                reserved = stock.reserved + line.quantity,
                sold = stock.sold - line.quantity
            from line
            where stock.sku = any (array(select sku from line)) and stock.sku = line.sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select line.sku, line.quantity, 'returned', back.reservation_key from line, back
        )
        select case
            when $4::jsonb is not null then orders.record(order_id, 'shipment.cancelled', $4)
        end as number
        from called_off
        "#,
        parcel.key.to_string(),
        ShipmentState::Cancelled.name(),
        tracking,
        event.as_ref().map(idempotency::data).transpose()?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording that a parcel was recalled", error))?;
    Ok(())
}

/// Records that a parcel has left although it was to be recalled: the tombstone is removed, the
/// step is done, and the goods are sold. If the shop never received the carrier's answer, the
/// parcel is recorded under its reference.
pub(super) async fn record_accepted(db: Db<'_>, parcel: &Parcel) -> Result<(), ActivityFault> {
    let key = parcel.key;
    sqlx::query!(
        r#"
        with known as (
            select coalesce(
                (select tracking from shipping.shipments where shipment_key = $4), $4
            ) as tracking
        ), accepted as (
            update orders.step_keys
            set undone_at = null,
                outcome = jsonb_build_object('done', jsonb_build_object('tracking', tracking))
            from known
            where (order_id, step, version) = ($1, $2, $3) and undone_at is not null
            returning tracking
        ), shipment as (
            insert into shipping.shipments (
                shipment_key, order_id, reservation_key, carrier_reference, tracking, country,
                pieces, state
            )
            select $4, $1, $5, $4, tracking, $6, $7, 'purchased' from accepted
            on conflict (shipment_key) do update
            set state = 'purchased', cancelled_at = null, tracking = excluded.tracking
        )
        select number, is_sold
        from accepted
        -- The order goes forward again. The decision has said so, unless its note was skipped.
        cross join lateral (
            select case when ending is null then version else orders.record(
                $1, 'order.attention-resolved', jsonb_build_object(
                    'step', $2::text, 'occurrence', attentions, 'decision', 'accept-as-done',
                    'by', 'ordersaga', 'why', 'accepted without a note of the decision'
                )
            ) end as resolved
            from orders.orders where order_id = $1
        ) as forward
        -- Refers to the event before, so that it comes after it; and the goods leave last.
        cross join lateral (
            select orders.record(
                $1, 'order.shipped', jsonb_build_object('tracking', tracking)
            ) as number
            where resolved > 0
        ) as shipped
        cross join lateral (select inventory.sell($5) as is_sold where number > 0) as sold
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        key.to_string(),
        parcel.reservation.to_string(),
        parcel.ship_to.country.to_string(),
        pieces(parcel)?,
    )
    .fetch_optional(db)
    .await
    .map(|_recorded_or_repeated| ())
    .map_err(|error| ActivityFault::of_database("recording that a parcel has left", error))
}

fn pieces(parcel: &Parcel) -> Result<i64, ActivityFault> {
    i64::try_from(parcel.pieces).map_err(|error| ActivityFault::broken("counting pieces", error))
}

fn parcelled(tracking: &str) -> Parcelled {
    Parcelled { tracking: tracking.to_owned() }
}
