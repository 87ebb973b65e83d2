//! A simulated carrier for trying things out. It stands for an HTTP service: it keeps its own
//! records, on its own connections, reads nothing of the shop's, and answers in JSON that is
//! decoded like any party's answer.
//!
//! It does not deliver to Antarctica (`AQ`). Other faults are configured in
//! `sandbox_carrier.behaviours`, by the schemas' owner: for a `call` (`draft`, `purchase`,
//! `cancel`, `look-up`, or `*`), for `whom` (a shipment's reference, an order's id, a country, or
//! `*`), for the next `remaining` calls (null: until the row is deleted). The first matching row
//! applies:
//!
//! | behaviour | what happens |
//! |---|---|
//! | `unavailable` | 503, with `retry_after` as its `Retry-After`, verbatim; nothing is done |
//! | `html` | 200 with a proxy's page; nothing is done |
//! | `not-found` | 404, as of an index that lags; nothing is done |
//! | `lost` | it is done, and the connection is reset |
//! | `truncated` | it is done, and the answer is truncated |
//! | `too-large` | it is done, and the answer is longer than the limit |
//! | `hangs` | it is done and answered, after `seconds` (a day, if that is null) |
//! | `late` | the connection is reset, and it is done on a call of [`land_late_requests`](SandboxCarrier::land_late_requests) |
//! | `forgets` | of `draft`: references older than `seconds` (0, if null) are forgotten |
//! | `has-left` | of `cancel`: refused, because the parcel is on the road |
//!
//! ```sql
//! insert into sandbox_carrier.behaviours (call, whom, behaviour, retry_after, remaining)
//! values ('draft', 'JP', 'unavailable', '1', 3);
//! ```

mod records;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use domain::shipment::ShipmentState;
use runtime::database::Database;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::port::{Booking, Capabilities, Carrier, CarrierError, Consignment, ShipmentId};
use crate::party::answer::{Answer, Said};
use crate::party::line::{self, Behaviour, NOT_FOUND, NoAnswer, Refused};

/// The sandbox's carrier.
pub struct SandboxCarrier {
    db: Database,
}

/// A request to the carrier, as it is sent.
#[derive(Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
enum Request {
    Draft { reference: String, country: String, pieces: u64 },
    Purchase { shipment: i64 },
    Cancel { shipment: i64 },
    LookUp { shipment: i64 },
}

/// A shipment in the carrier's answer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    id: String,
    pub(crate) state: ShipmentState,
    tracking: Option<String>,
}

impl SandboxCarrier {
    /// Creates the carrier. `db` holds the schema `sandbox_carrier` and should be the carrier's own.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Executes all delayed requests, in the order in which they were sent; returns how many. Their
    /// answers are dropped.
    ///
    /// **Errors.** The carrier's database failed.
    pub async fn land_late_requests(&self) -> Result<u64, sqlx::Error> {
        let mut landed = 0_u64;
        while let Some(request) = self.next_late_request().await? {
            self.handle(&request, None).await?;
            landed = landed.saturating_add(1);
        }
        Ok(landed)
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CarrierError> {
        let answer = self.send(request).await.map_err(no_answer)?;
        match answer.read::<T, Refused>(SystemTime::now())? {
            Said::Yes(told) => Ok(told),
            Said::No { why: Refused { code, why }, .. } => Err(match code.as_str() {
                "undeliverable" => CarrierError::Undeliverable { why },
                "moved-on" => CarrierError::MovedOn,
                "has-left" => CarrierError::HasLeft,
                NOT_FOUND => CarrierError::NotFound,
                _ => CarrierError::InvalidAnswer(code.into()),
            }),
        }
    }

    async fn send(&self, request: &Request) -> Result<Answer, NoAnswer> {
        let behaviour = self.behaviour_of(request).await?;
        if behaviour.as_ref().is_some_and(|behaviour| behaviour.is("late")) {
            self.hold_up(request).await?;
            return Err(NoAnswer::Reset);
        }
        let behaviour = behaviour.as_ref();
        line::send(behaviour, Box::pin(self.handle(request, behaviour))).await
    }

    /// Executes a request that has arrived, and returns the answer.
    async fn handle(
        &self,
        request: &Request,
        behaviour: Option<&Behaviour>,
    ) -> Result<Answer, sqlx::Error> {
        match request {
            Request::Draft { country, .. } if UNDELIVERABLE.contains(&country.as_str()) => {
                Ok(line::refused(422, "undeliverable", "no ship sails there"))
            }
            Request::Draft { reference, country, pieces } => {
                if let Some(Behaviour { seconds, .. }) = behaviour.filter(|one| one.is("forgets")) {
                    self.forget(reference, seconds.unwrap_or_default()).await?;
                }
                let drafted = self.draft_once(reference, country, *pieces).await?;
                Ok(Answer::json(201, &drafted))
            }
            Request::Purchase { shipment } => match self.purchase_once(*shipment).await? {
                Some(purchased) => Ok(Answer::json(200, &purchased)),
                None => Ok(line::refused(409, "moved-on", "it is cancelled")),
            },
            Request::Cancel { .. } if behaviour.is_some_and(|one| one.is("has-left")) => {
                Ok(line::refused(409, "has-left", "the parcel is on the road"))
            }
            Request::Cancel { shipment } => Ok(found(self.cancel_once(*shipment).await?.as_ref())),
            Request::LookUp { shipment } => Ok(found(self.shipment(*shipment).await?.as_ref())),
        }
    }
}

const UNDELIVERABLE: [&str; 1] = ["AQ"];

#[async_trait]
impl Carrier for SandboxCarrier {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            may_lag: Duration::from_secs(5),
            keys_last: None,
            cannot: &["call off a parcel that is on the road"],
        }
    }

    async fn draft(&self, booking: &Booking) -> Result<ShipmentId, CarrierError> {
        let Told { id, .. } = self
            .ask(&Request::Draft {
                reference: booking.reference.to_string(),
                country: booking.country.to_string(),
                pieces: booking.pieces,
            })
            .await?;
        Ok(ShipmentId(id))
    }

    async fn purchase(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        let request = Request::Purchase { shipment: number_of(shipment)? };
        self.ask(&request).await.map(Told::consignment)
    }

    async fn cancel(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        let request = Request::Cancel { shipment: number_of(shipment)? };
        self.ask(&request).await.map(Told::consignment)
    }

    async fn look_up(&self, shipment: &ShipmentId) -> Result<Consignment, CarrierError> {
        let request = Request::LookUp { shipment: number_of(shipment)? };
        self.ask(&request).await.map(Told::consignment)
    }
}

impl Told {
    pub(crate) fn consignment(self) -> Consignment {
        Consignment { state: self.state, tracking: self.tracking }
    }
}

fn found(shipment: Option<&Told>) -> Answer {
    match shipment {
        Some(shipment) => Answer::json(200, shipment),
        None => line::refused(404, NOT_FOUND, "there is no such shipment"),
    }
}

fn number_of(ShipmentId(id): &ShipmentId) -> Result<i64, CarrierError> {
    let number = id.strip_prefix("sandbox-shipment-").and_then(|id| id.parse().ok());
    number.ok_or_else(|| CarrierError::InvalidAnswer("there is no such shipment".into()))
}

fn no_answer(error: NoAnswer) -> CarrierError {
    CarrierError::Unavailable { retry_after: None, source: error.into() }
}
