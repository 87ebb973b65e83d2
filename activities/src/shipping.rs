//! The parcel: handing it to the carrier, and calling it off.

pub mod sandbox;

use std::time::Duration;

use async_trait::async_trait;
use domain::event::{OrderEvent, Parcelled};
use domain::{CountryCode, Order, Parcel, Rejection, Shipment, StepKey};
use serde_json::Value;
use sqlx::PgPool;

use crate::ActivityFault;
use crate::fault::Cause;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};
use crate::stock::ArticleQueues;

/// Who takes the parcels, as far as the shop deals with it.
///
/// **Repeats.** The carrier knows a parcel by its reference, the shipment's key: booked twice,
/// it is one parcel.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Asks the carrier to fetch a parcel.
    ///
    /// **Errors.** [`CarrierError::Undeliverable`] when it does not deliver there.
    async fn book(&self, booking: &Booking) -> Result<Shipment, CarrierError>;

    /// Calls a parcel off, and tells which one that was. None: nothing was ever booked under
    /// this reference.
    async fn cancel(&self, reference: StepKey) -> Result<Option<Shipment>, CarrierError>;
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
    /// An answer that makes no sense, as when a proxy answers in the carrier's place. The request
    /// may have been carried out. The carrier is asked again for a while.
    #[error("the carrier's answer makes no sense")]
    InvalidAnswer(#[source] Cause),
}

impl CarrierError {
    fn into_fault(self, doing: &'static str) -> ActivityFault {
        match self {
            Self::Unavailable { retry_after, source } => {
                ActivityFault::Unavailable { doing, retry_after, source }
            }
            error @ Self::InvalidAnswer(_) => {
                let party = "the carrier";
                ActivityFault::InvalidAnswer { party, doing, source: error.into() }
            }
            error @ Self::Undeliverable { .. } => ActivityFault::broken(doing, error),
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
    articles: &ArticleQueues,
    carrier: &dyn Carrier,
    key: StepKey,
) -> Result<Shipment, ActivityFault> {
    let Begun { order, recorded } = orders::begin(db, key).await?;
    let parcel = order.parcel();
    match recorded {
        Recorded::Open => {}
        Recorded::Answered(outcome) => return outcome.into_answer(),
        Recorded::Undone => return recall_late(db, articles, carrier, &order).await,
    }
    let goods = goods_of(db, &parcel).await?;
    if !goods.are_held {
        return refuse_without_goods(db, carrier, &parcel).await;
    }
    if goods.recipient.is_none() && parcel.ship_to.address_id.is_some() {
        let why = "the recipient's address is not on record any more".to_owned();
        return undeliverable(db, &parcel, why).await;
    }
    let booking = Booking {
        reference: key,
        country: parcel.ship_to.country,
        recipient: goods.recipient,
        pieces: parcel.pieces,
    };
    let shipment = match carrier.book(&booking).await {
        Ok(shipment) => shipment,
        Err(CarrierError::Undeliverable { why }) => {
            return undeliverable(db, &parcel, why).await;
        }
        Err(error) => return Err(error.into_fault("booking a parcel")),
    };
    let turn = articles.turn(&order).await?;
    let outcome = record_shipment(db, &parcel, &shipment).await?;
    drop(turn);
    let recorded = match outcome {
        Some(outcome) => Recorded::Answered(Outcome::read(outcome)?),
        None => idempotency::recall(db, key).await?,
    };
    match recorded {
        Recorded::Answered(Outcome::Done(shipment)) => Ok(shipment),
        Recorded::Answered(Outcome::Refused(rejection)) => {
            recall_parcel(carrier, &parcel).await?;
            Err(ActivityFault::Rejected(rejection))
        }
        Recorded::Undone => recall_late(db, articles, carrier, &order).await,
        Recorded::Open => recorded.into_answer(key),
    }
}

/// A booking that comes after its own undo is recalled as the undo would have done.
async fn recall_late(
    db: &PgPool,
    articles: &ArticleQueues,
    carrier: &dyn Carrier,
    order: &Order,
) -> Result<Shipment, ActivityFault> {
    settle(db, articles, carrier, order).await?;
    Err(idempotency::already_undone(order.parcel().key))
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
/// earlier attempt may have booked the parcel, so it is recalled before the refusal is answered.
async fn refuse_without_goods(
    db: &PgPool,
    carrier: &dyn Carrier,
    parcel: &Parcel,
) -> Result<Shipment, ActivityFault> {
    if let Recorded::Answered(Outcome::Done(shipment)) = idempotency::recall(db, parcel.key).await?
    {
        return Ok(shipment);
    }
    recall_parcel(carrier, parcel).await?;
    refuse(db, parcel, Rejection::ReservationExpired).await
}

async fn undeliverable(
    db: &PgPool,
    parcel: &Parcel,
    why: String,
) -> Result<Shipment, ActivityFault> {
    let country = parcel.ship_to.country;
    refuse(db, parcel, Rejection::AddressUndeliverable { country, why }).await
}

async fn refuse(
    db: &PgPool,
    parcel: &Parcel,
    rejection: Rejection,
) -> Result<Shipment, ActivityFault> {
    let recorded =
        idempotency::refuse(db, parcel.key, rejection, OrderEvent::ShipmentRefused).await?;
    idempotency::answer(db, parcel.key, recorded).await
}

/// The shipment counts only if the goods are held at the moment of recording: between looking
/// and booking the reservation may have expired.
async fn record_shipment(
    db: &PgPool,
    parcel: &Parcel,
    shipment: &Shipment,
) -> Result<Option<Value>, ActivityFault> {
    const DOING: &str = "recording a shipment";
    let pieces = pieces_of(parcel, DOING)?;
    let tracking = &shipment.tracking;
    let event = OrderEvent::OrderShipped(Parcelled { tracking: tracking.clone() });
    sqlx::query_scalar!(
        r#"
        with held as materialized (
            select reservation_key from inventory.reservations
            where reservation_key = $6 and state = 'held'
            for update
        ), taken as materialized (
            select orders.take_step(
                $1, $2, $3, case when exists (select from held) then $4::jsonb else $5 end
            ) as outcome
        ), sold as (
            update inventory.reservations set state = 'sold'
            from taken where reservation_key = $6 and outcome ? 'done'
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
            select sku, quantity, 'sold', $6 from line
        ), shipment as (
            insert into shipping.shipments
                (shipment_key, order_id, reservation_key, tracking, country, pieces)
            select $7, $1, reservation_key, $8, $9, $10 from sold
        )
        select outcome as "outcome!"
        from taken cross join lateral orders.record_outcome(
            $1, outcome, 'order.shipped', $11, 'shipment.refused'
        )
        where outcome is not null
        "#,
        parcel.key.order_id.uuid(),
        parcel.key.name_on_record(),
        idempotency::version(parcel.key)?,
        Outcome::Done(shipment).into_json(),
        Outcome::<Shipment>::Refused(Rejection::ReservationExpired).into_json(),
        parcel.reservation.to_string(),
        parcel.key.to_string(),
        tracking,
        parcel.ship_to.country.to_string(),
        pieces,
        idempotency::data(&event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))
}

fn pieces_of(parcel: &Parcel, doing: &'static str) -> Result<i64, ActivityFault> {
    i64::try_from(parcel.pieces).map_err(|error| ActivityFault::broken(doing, error))
}

/// Asks the carrier what became of the parcel and recalls it; its goods are back in the house, and
/// held for the order as before.
///
/// **Errors.** Broken if the carrier refuses the recall: the parcel may have left for good, and a
/// person decides; see [`accept`].
/// **Repeats.** The carrier recalls a parcel once, and the goods come back once. Without a parcel
/// the tombstone alone is left, and a booking that comes late is recalled.
pub async fn cancel(
    db: &PgPool,
    articles: &ArticleQueues,
    carrier: &dyn Carrier,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let order = orders::on_record(db, key).await?;
    settle(db, articles, carrier, &order).await
}

async fn settle(
    db: &PgPool,
    articles: &ArticleQueues,
    carrier: &dyn Carrier,
    order: &Order,
) -> Result<(), ActivityFault> {
    let parcel = order.parcel();
    idempotency::leave_tombstone(db, parcel.key).await?;
    let Some(shipment) = recall_parcel(carrier, &parcel).await? else { return Ok(()) };
    let _turn = articles.turn(order).await?;
    record_cancel(db, &parcel, &shipment).await
}

async fn recall_parcel(
    carrier: &dyn Carrier,
    parcel: &Parcel,
) -> Result<Option<Shipment>, ActivityFault> {
    let recalled = carrier.cancel(parcel.key).await;
    recalled.map_err(|error| error.into_fault("recalling a parcel"))
}

/// Puts on record that the parcel has left for good, by a person's decision, although it was to be
/// recalled: its goods are sold, and the tombstone of the shipment is gone.
///
/// Where the shop never had the carrier's answer, the parcel is recorded under its reference.
///
/// **Repeats.** A parcel that is recorded as handed over is not recorded again.
pub async fn accept(
    db: &PgPool,
    articles: &ArticleQueues,
    key: StepKey,
) -> Result<(), ActivityFault> {
    let order = orders::on_record(db, key).await?;
    let _turn = articles.turn(&order).await?;
    record_accepted(db, &order.parcel()).await
}

/// Its goods have left too, if the reservation expired while a person decided. The order goes forward
/// again: the decision has said so, unless its note was skipped. The parcel's event refers to the
/// one before, so that it comes after it.
async fn record_accepted(db: &PgPool, parcel: &Parcel) -> Result<(), ActivityFault> {
    const DOING: &str = "recording that a parcel has left";
    let key = parcel.key;
    let pieces = pieces_of(parcel, DOING)?;
    sqlx::query!(
        r#"
        with known as (
            select coalesce(max(tracking), $4) as tracking
            from shipping.shipments where shipment_key = $4
        ), accepted as (
            update orders.step_keys
            set undone_at = null,
                outcome = jsonb_build_object('done', jsonb_build_object('tracking', tracking))
            from known where (order_id, step, version) = ($1, $2, $3) and undone_at is not null
            returning tracking
        ), gone_with_it as materialized (
            select reservation_key, state = 'held' as is_held
            from accepted join inventory.reservations on reservation_key = $5 and state <> 'sold'
            for update of reservations
        ), sold as (
            update inventory.reservations set state = 'sold'
            from gone_with_it where reservations.reservation_key = gone_with_it.reservation_key
        ), line as materialized (
            select stock.sku, line.quantity, is_held
            from gone_with_it
            join inventory.reservation_lines as line using (reservation_key)
            join inventory.stock on stock.sku = line.sku
            order by stock.sku for update of stock
        ), gone as (
            update inventory.stock
            set on_hand = stock.on_hand - line.quantity,
                reserved = stock.reserved - case when is_held then line.quantity else 0 end,
                sold = stock.sold + line.quantity
            from line where stock.sku = line.sku
        ), movement as (
            insert into inventory.movements (sku, quantity, reason, reservation_key)
            select sku, quantity, 'sold', $5 from line
        ), shipment as (
            insert into shipping.shipments
                (shipment_key, order_id, reservation_key, tracking, country, pieces)
            select $4, $1, $5, tracking, $6, $7 from accepted
            on conflict (shipment_key) do update set cancelled_at = null
        )
        select number from accepted
        cross join lateral (
            select case when ending is null then version else orders.record(
                $1, 'order.attention-resolved', jsonb_build_object(
                    'step', $2::text, 'occurrence', attentions, 'decision', 'accept-as-done',
                    'by', 'ordersaga', 'why', 'accepted without a note of the decision'
                )
            ) end as resolved from orders.orders where order_id = $1
        ) as forward
        cross join lateral (
            select orders.record($1, 'order.shipped', jsonb_build_object('tracking', tracking))
            as number where resolved > 0
        ) as shipped
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        key.to_string(),
        parcel.reservation.to_string(),
        parcel.ship_to.country.to_string(),
        pieces,
    )
    .fetch_optional(db)
    .await
    .map(|_recorded_or_repeated| ())
    .map_err(|error| ActivityFault::of_database(DOING, error))
}

/// A parcel whose booking was never answered is recorded here for the first time, as recalled.
async fn record_cancel(
    db: &PgPool,
    parcel: &Parcel,
    shipment: &Shipment,
) -> Result<(), ActivityFault> {
    const DOING: &str = "recording that a parcel was recalled";
    let pieces = pieces_of(parcel, DOING)?;
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
        shipment.tracking,
        parcel.ship_to.country.to_string(),
        pieces,
        idempotency::data(&OrderEvent::ShipmentCancelled(Parcelled {
            tracking: shipment.tracking.clone(),
        }))?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    Ok(())
}
