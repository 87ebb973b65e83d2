//! Records orders in batches: many in one statement.

use std::sync::Arc;
use std::time::Duration;

use domain::screening::Network;
use domain::{Fingerprint, Order};
use runtime::database::DatabaseFault;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use tokio::time::timeout;

use crate::app::orders::place::command::Recipient;
use crate::app::orders::store;
use crate::app::together::{Together, Untold, Work};
use crate::error::Problem;

const DOING: &str = "putting an order on record";

/// How long a request waits for its order to be recorded: for a connection, and for its statement.
/// After that the outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(8);

/// An order to be recorded, with its related rows.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(super) order: Arc<Order>,
    pub(super) fingerprint: Fingerprint,
    pub(super) recipient: Option<Recipient>,
    /// The customer's network.
    pub(super) network: Option<Network>,
    /// How soon after its placing any launcher may take it.
    pub(super) launch_after: PgInterval,
}

/// Records orders in batches: everything that was queued while the last statement ran goes into the
/// next one.
#[derive(Clone, Debug)]
pub(crate) struct Placer(Together<Placing>);

/// Executes batches.
#[derive(Debug)]
struct Placing(PgPool);

#[derive(Debug, thiserror::Error)]
#[error("it was not on record within {} s", PATIENCE.as_secs())]
struct TooSlow;

impl Work for Placing {
    type Item = Placement;
    /// Whether the order is new. All orders of a failed statement share its error.
    type Outcome = Result<bool, Arc<sqlx::Error>>;

    /// One batch is prepared while the other one is written.
    const BATCHES: usize = 2;
    /// Small enough to keep the statement short and to lose few orders with it.
    const ITEMS: usize = 64;
    /// Above the default limit of concurrent requests, so that this limit is never reached first.
    const QUEUE: usize = 2_048;

    async fn carry_out(&self, placements: Vec<Placement>) -> Vec<Self::Outcome> {
        match store::place(&self.0, &placements).await {
            Ok(new) => new.into_iter().map(Ok).collect(),
            Err(error) if is_about_one(&error) && placements.len() > 1 => {
                self.each_alone(&placements).await
            }
            Err(error) => {
                let error = Arc::new(error);
                placements.iter().map(|_placement| Err(Arc::clone(&error))).collect()
            }
        }
    }
}

impl Placing {
    /// The database refuses one order of the batch, and nothing was written: records each order
    /// separately. Once the database does not answer, the rest is not tried.
    async fn each_alone(&self, placements: &[Placement]) -> Vec<<Self as Work>::Outcome> {
        let mut outcomes = Vec::with_capacity(placements.len());
        let mut away: Option<Arc<sqlx::Error>> = None;
        for placement in placements {
            let outcome = match &away {
                Some(error) => Err(Arc::clone(error)),
                None => store::place(&self.0, std::slice::from_ref(placement))
                    .await
                    .map(|new| new.first().copied().unwrap_or_default())
                    .map_err(Arc::new),
            };
            if let Err(error) = &outcome
                && !is_about_one(error)
            {
                away = Some(Arc::clone(error));
            }
            outcomes.push(outcome);
        }
        outcomes
    }
}

/// Whether the error is about the data of one order: nothing was written, and the others are valid.
fn is_about_one(error: &sqlx::Error) -> bool {
    match DatabaseFault::of(error) {
        DatabaseFault::Broken => error.as_database_error().is_some(),
        DatabaseFault::Transient | DatabaseFault::Misdeployed => false,
    }
}

impl Placer {
    pub(crate) fn on(database: PgPool) -> Self {
        Self(Together::on(Placing(database)))
    }

    /// Records an order with its payment method, its address, its customer's network and its launch
    /// row; returns whether this call did.
    ///
    /// **Errors.** 503 while the database does not answer; the order may have been recorded all the
    /// same.
    ///
    /// **Repeats.** Idempotent: the first call counts.
    pub(crate) async fn place(&self, placement: Placement) -> Result<bool, Problem> {
        let Ok(told) = timeout(PATIENCE, self.0.bring(placement)).await else {
            return Err(Problem::unavailable(DOING, &TooSlow));
        };
        match told {
            Ok(outcome) => outcome.map_err(|error| Problem::of_database(DOING, &error)),
            Err(Untold::Full) => {
                Err(Problem::overloaded("Too many orders wait to be recorded. Nothing was done."))
            }
            Err(broken @ Untold::Broken) => Err(Problem::internal(DOING, &broken)),
        }
    }
}
