//! The parcel: handing it to the carrier, and calling it off.

pub mod sandbox;

use std::time::Duration;

use async_trait::async_trait;
use domain::{Consignment, CountryCode, OrderStatus, Parcel, Rejection, StepKey};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::ActivityFault;
use crate::fault::Cause;
use crate::orders::Event;
use crate::step_keys::{Claim, Outcome, Standing};

/// Who takes the parcels, as far as the shop deals with it.
///
/// **Repeats.** The carrier knows a parcel by its reference, the shipment's key: booked twice,
/// it is one parcel.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Asks the carrier to fetch a parcel.
    ///
    /// **Errors.** [`CarrierError::Undeliverable`] when it does not deliver there.
    async fn book(&self, booking: &Booking) -> Result<Consignment, CarrierError>;

    /// Calls a parcel off, and tells which one that was. None: nothing was ever booked under
    /// this reference.
    async fn cancel(&self, reference: StepKey) -> Result<Option<Consignment>, CarrierError>;
}

/// What the carrier is told about a parcel. Holds personal data, so it is not printed.
pub struct Booking {
    /// What the shop calls the parcel.
    pub reference: StepKey,
    /// Where it goes.
    pub country: CountryCode,
    /// To whom, if the customer gave an address.
    pub recipient: Option<Recipient>,
    /// Pieces in it.
    pub pieces: u64,
}

/// Whose door the parcel goes to. Personal data, so it is not printed.
pub struct Recipient {
    /// Who receives it.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Flat, floor, care of.
    pub line2: Option<String>,
    /// Town.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
}

/// Why the carrier has not done as asked.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// It does not deliver there.
    #[error("undeliverable: {why}")]
    Undeliverable {
        /// The carrier's reason.
        why: String,
    },
    /// No answer, or an answer that asks to try again. The request may have been carried out.
    #[error("the carrier does not answer")]
    Unavailable {
        /// When to try again, if the carrier said so.
        retry_after: Option<Duration>,
        /// What happened.
        source: Cause,
    },
    /// An answer that makes no sense.
    #[error("the carrier's answer makes no sense")]
    Broken(#[source] Cause),
}

impl CarrierError {
    fn into_fault(self, doing: &'static str) -> ActivityFault {
        match self {
            Self::Unavailable { retry_after, source } => {
                ActivityFault::Unavailable { doing, retry_after, source }
            }
            error @ (Self::Undeliverable { .. } | Self::Broken(_)) => {
                ActivityFault::broken(doing, error)
            }
        }
    }
}

/// Hands the parcel to the carrier, and its goods leave the stock. Undone by [`cancel`].
///
/// **Errors.** Rejected as undeliverable; or as expired, when the goods are not held any more.
/// **Repeats.** The key is the parcel's, here and at the carrier: one parcel, whose goods leave
/// the stock once.
pub async fn ship(
    db: &PgPool,
    carrier: &dyn Carrier,
    parcel: &Parcel,
) -> Result<Consignment, ActivityFault> {
    let claim = Claim::of(parcel.key, parcel)?;
    let goods = goods_of(db, parcel).await?;
    if !goods.are_held {
        return refuse_without_goods(db, carrier, parcel, &claim).await;
    }
    if goods.recipient.is_none() && parcel.ship_to.address_id.is_some() {
        let why = "the recipient's address is not on record any more".to_owned();
        return undeliverable(db, parcel, &claim, why).await;
    }
    let booking = Booking {
        reference: parcel.key,
        country: parcel.ship_to.country,
        recipient: goods.recipient,
        pieces: parcel.pieces,
    };
    let consignment = match carrier.book(&booking).await {
        Ok(consignment) => consignment,
        Err(CarrierError::Undeliverable { why }) => {
            return undeliverable(db, parcel, &claim, why).await;
        }
        Err(error) => return Err(error.into_fault("booking a parcel")),
    };
    let recorded = match record_shipment(db, &claim, parcel, &consignment).await? {
        Some(outcome) => Standing::Answered(Outcome::read(outcome)?),
        None => claim.recall(db).await?,
    };
    match recorded {
        Standing::Answered(Outcome::Done(consignment)) => Ok(consignment),
        Standing::Answered(Outcome::Refused(rejection)) => {
            call_off(carrier, parcel).await?;
            Err(ActivityFault::Rejected(rejection))
        }
        Standing::Undone => {
            cancel(db, carrier, parcel).await?;
            Err(claim.already_undone())
        }
        Standing::Open => recorded.into_answer(&claim),
    }
}

struct Goods {
    are_held: bool,
    recipient: Option<Recipient>,
}

/// What the carrier has to be told, and whether there is anything to give it.
async fn goods_of(db: &PgPool, parcel: &Parcel) -> Result<Goods, ActivityFault> {
    let row = sqlx::query!(
        r#"
        select
            exists (
                select from inventory.reservations
                where reservation_key = $1 and state = 'held'
            ) as "are_held!",
            name as "name?", line1 as "line1?", line2,
            city as "city?", postal_code as "postal_code?"
        from (values (true)) as always
        left join customers.addresses on address_id = $2
        "#,
        parcel.reservation.to_string(),
        parcel.ship_to.address_id.map(domain::AddressId::uuid),
    )
    .fetch_one(db)
    .await
    .map_err(|error| ActivityFault::of_database("looking up what to ship", error))?;
    let recipient = match (row.name, row.line1, row.city, row.postal_code) {
        (Some(name), Some(line1), Some(city), Some(postal_code)) => {
            Some(Recipient { name, line1, line2: row.line2, city, postal_code })
        }
        _ => None,
    };
    Ok(Goods { are_held: row.are_held, recipient })
}

/// Goods that are not held have left already, or must not leave any more. In the second case an
/// earlier attempt may have booked the parcel, so it is called off before the refusal is told.
async fn refuse_without_goods(
    db: &PgPool,
    carrier: &dyn Carrier,
    parcel: &Parcel,
    claim: &Claim,
) -> Result<Consignment, ActivityFault> {
    if let Standing::Answered(Outcome::Done(consignment)) = claim.recall(db).await? {
        return Ok(consignment);
    }
    call_off(carrier, parcel).await?;
    refuse(db, claim, Rejection::ReservationExpired).await
}

async fn undeliverable(
    db: &PgPool,
    parcel: &Parcel,
    claim: &Claim,
    why: String,
) -> Result<Consignment, ActivityFault> {
    let country = parcel.ship_to.country;
    refuse(db, claim, Rejection::AddressUndeliverable { country, why }).await
}

async fn refuse(
    db: &PgPool,
    claim: &Claim,
    rejection: Rejection,
) -> Result<Consignment, ActivityFault> {
    let event = Event { kind: "shipment.refused", data: json!({ "rejection": rejection }) };
    let recorded = claim.conclude::<Consignment>(db, Outcome::Refused(rejection), event).await?;
    claim.answer(db, recorded).await
}

/// The shipment counts only if the goods are held at the moment of recording: between looking
/// and booking the reservation may have expired.
async fn record_shipment(
    db: &PgPool,
    claim: &Claim,
    parcel: &Parcel,
    consignment: &Consignment,
) -> Result<Option<Value>, ActivityFault> {
    const DOING: &str = "recording a shipment";
    let pieces =
        i64::try_from(parcel.pieces).map_err(|error| ActivityFault::broken(DOING, error))?;
    let tracking = &consignment.tracking;
    let status = OrderStatus::Shipped { tracking: tracking.clone() };
    sqlx::query_scalar!(
        r#"
        with held as materialized (
            select reservation_key from inventory.reservations
            where reservation_key = $7 and state = 'held'
            for update
        ), key as (
            insert into orders.step_keys (order_id, step, generation, argument_hash, outcome)
            values ($1, $2, $3, $4, case when exists (select from held) then $5::jsonb else $6 end)
            on conflict do nothing
            returning outcome
        ), sold as (
            update inventory.reservations set state = 'sold'
            from key where reservation_key = $7 and outcome ? 'done'
            returning reservation_key
        ), line as materialized (
            select stock.sku, line.quantity
            from sold
            join inventory.reservation_lines as line using (reservation_key)
            join inventory.stock on stock.sku = line.sku
            order by stock.sku
            for update of stock
        ), gone as (
            update inventory.stock
            set on_hand = stock.on_hand - line.quantity,
                reserved = stock.reserved - line.quantity,
                sold = stock.sold + line.quantity
            from line where stock.sku = line.sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select sku, quantity, 'sold', $7 from line
        ), shipment as (
            insert into shipping.shipments
                (shipment_key, order_id, reservation_key, tracking, country, pieces)
            select $8, $1, reservation_key, $9, $10, $11 from sold
        )
        select outcome as "outcome!"
        from key cross join lateral orders.record_outcome(
            $1, outcome, 'order.shipped', $12, 'shipment.refused'
        )
        "#,
        claim.order_id,
        claim.step,
        claim.generation,
        claim.argument_hash,
        Outcome::Done(consignment).into_json(),
        Outcome::<Consignment>::Refused(Rejection::ReservationExpired).into_json(),
        parcel.reservation.to_string(),
        parcel.key.to_string(),
        tracking,
        parcel.ship_to.country.to_string(),
        pieces,
        json!({ "status": status, "tracking": tracking }),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))
}

/// Asks the carrier what became of the parcel and calls it off; its goods are back in the house,
/// and held for the order as before.
///
/// **Repeats.** The carrier calls a parcel off once, and the goods come back once. Without a
/// parcel the tombstone alone is left, and a booking that comes late is called off.
pub async fn cancel(
    db: &PgPool,
    carrier: &dyn Carrier,
    parcel: &Parcel,
) -> Result<(), ActivityFault> {
    Claim::of(parcel.key, parcel)?.bury(db).await?;
    match call_off(carrier, parcel).await? {
        Some(consignment) => record_cancel(db, parcel, &consignment).await,
        None => Ok(()),
    }
}

async fn call_off(
    carrier: &dyn Carrier,
    parcel: &Parcel,
) -> Result<Option<Consignment>, ActivityFault> {
    let called_off = carrier.cancel(parcel.key).await;
    called_off.map_err(|error| error.into_fault("calling a parcel off"))
}

/// A parcel whose booking was never answered is recorded here for the first time, as called off.
async fn record_cancel(
    db: &PgPool,
    parcel: &Parcel,
    consignment: &Consignment,
) -> Result<(), ActivityFault> {
    const DOING: &str = "recording that a parcel was called off";
    let pieces =
        i64::try_from(parcel.pieces).map_err(|error| ActivityFault::broken(DOING, error))?;
    sqlx::query!(
        r#"
        with called_off as (
            insert into shipping.shipments as known (
                shipment_key, order_id, reservation_key, tracking, country, pieces, cancelled_at
            )
            values ($1, $2, $3, $4, $5, $6, now())
            on conflict (shipment_key) do update set cancelled_at = now()
            where known.cancelled_at is null
            returning order_id, reservation_key
        ), back as (
            update inventory.reservations set state = 'held'
            from called_off
            where reservations.reservation_key = called_off.reservation_key and state = 'sold'
            returning reservations.reservation_key
        ), line as materialized (
            select stock.sku, line.quantity
            from back
            join inventory.reservation_lines as line using (reservation_key)
            join inventory.stock on stock.sku = line.sku
            order by stock.sku
            for update of stock
        ), returned as (
            update inventory.stock
            set on_hand = stock.on_hand + line.quantity,
                reserved = stock.reserved + line.quantity,
                sold = stock.sold - line.quantity
            from line where stock.sku = line.sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select sku, quantity, 'returned', $3 from line
        )
        select number
        from called_off cross join lateral
            orders.record(order_id, 'shipment.cancelled', $7) as number
        "#,
        parcel.key.to_string(),
        parcel.key.order_id.uuid(),
        parcel.reservation.to_string(),
        consignment.tracking,
        parcel.ship_to.country.to_string(),
        pieces,
        json!({ "tracking": consignment.tracking }),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    Ok(())
}
