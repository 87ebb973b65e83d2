//! A carrier to try things with. It keeps its own records, on its own connections, and reads
//! nothing of the shop's.
//!
//! It does not deliver to Antarctica (`AQ`). Any other trouble is ordered in
//! `sandbox_carrier.faults`, for one booking reference or for a whole country, as often as
//! `remaining` says, by the schemas' owner:
//!
//! | fault | what happens |
//! |---|---|
//! | `book-unavailable` | booking is answered 503, `Retry-After: 1` |
//! | `book-lost` | the parcel is booked, and the answer is lost |
//! | `book-broken` | booking is answered with nonsense |
//! | `cancel-unavailable` | calling off is answered 503, `Retry-After: 1` |
//! | `cancel-broken` | calling off is answered with nonsense |
//!
//! ```sql
//! insert into sandbox_carrier.faults values ('JP', 'book-unavailable', 3);
//! ```

use std::time::Duration;

use async_trait::async_trait;
use domain::{Shipment, StepKey};
use sqlx::PgPool;

use super::{Booking, Carrier, CarrierError};

const UNDELIVERABLE: [&str; 1] = ["AQ"];

/// The sandbox's carrier.
pub struct SandboxCarrier {
    db: PgPool,
}

impl SandboxCarrier {
    /// Opens for business. `db` holds the schema `sandbox_carrier` and should be the carrier's
    /// own pool.
    #[must_use]
    pub const fn new(db: PgPool) -> Self {
        Self { db }
    }
}

#[async_trait]
impl Carrier for SandboxCarrier {
    async fn book(&self, booking: &Booking) -> Result<Shipment, CarrierError> {
        let country = booking.country.to_string();
        if UNDELIVERABLE.contains(&country.as_str()) {
            let why = "no ship sails there".to_owned();
            return Err(CarrierError::Undeliverable { why });
        }
        let pieces = i64::try_from(booking.pieces).map_err(|_| nonsense("too many pieces"))?;
        let answer = sqlx::query!(
            r#"
            with fault as (
                update sandbox_carrier.faults set remaining = remaining - 1
                where reference in ($1, $2) and fault like 'book-%' and remaining > 0
                returning fault
            ), booked as (
                insert into sandbox_carrier.bookings as known (reference, country, pieces)
                select $1, $2, $3
                where not exists (select from fault where fault <> 'book-lost')
                -- Changes nothing, but answers with the booking, also one made at this moment.
                on conflict (reference) do update set reference = known.reference
                returning booking_id
            )
            select
                (select fault from fault limit 1),
                (select booking_id from booked) as booking_id
            "#,
            booking.reference.to_string(),
            country,
            pieces,
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)?;
        fail(answer.fault.as_deref())?;
        answer.booking_id.map(shipment).ok_or_else(|| nonsense("no booking"))
    }

    async fn cancel(&self, reference: StepKey) -> Result<Option<Shipment>, CarrierError> {
        let answer = sqlx::query!(
            r#"
            with fault as (
                update sandbox_carrier.faults set remaining = remaining - 1
                where fault like 'cancel-%' and remaining > 0 and reference in (
                    select $1::text
                    union all
                    select country from sandbox_carrier.bookings where bookings.reference = $1
                )
                returning fault
            ), cancelled as (
                update sandbox_carrier.bookings
                set cancelled_at = coalesce(cancelled_at, now())
                where reference = $1 and not exists (select from fault)
                returning booking_id
            )
            select
                (select fault from fault limit 1),
                (select booking_id from cancelled) as booking_id
            "#,
            reference.to_string(),
        )
        .fetch_one(&self.db)
        .await
        .map_err(no_answer)?;
        fail(answer.fault.as_deref())?;
        Ok(answer.booking_id.map(shipment))
    }
}

fn shipment(booking_id: i64) -> Shipment {
    Shipment { tracking: format!("SANDBOX{booking_id:08}") }
}

fn fail(fault: Option<&str>) -> Result<(), CarrierError> {
    let (retry_after, source) = match fault {
        None => return Ok(()),
        Some("book-lost") => (None, "the connection was reset after the request was sent"),
        Some("book-unavailable" | "cancel-unavailable") => {
            (Some(Duration::from_secs(1)), "503 Service Unavailable, Retry-After: 1")
        }
        Some(_) => return Err(nonsense("<html>It works!</html>")),
    };
    Err(CarrierError::Unavailable { retry_after, source: source.into() })
}

fn no_answer(error: sqlx::Error) -> CarrierError {
    CarrierError::Unavailable { retry_after: None, source: error.into() }
}

fn nonsense(answer: &'static str) -> CarrierError {
    CarrierError::InvalidAnswer(answer.into())
}
