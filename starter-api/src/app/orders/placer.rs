//! Puts orders on record, many in one statement.

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

/// How long a caller waits for its order to be on record: for a connection, and for its statement.
/// After that it is not known whether it is.
const PATIENCE: Duration = Duration::from_secs(8);

/// An order that is to be put on record, with what is kept beside it.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(super) order: Arc<Order>,
    pub(super) fingerprint: Fingerprint,
    pub(super) recipient: Option<Recipient>,
    /// Where the order came from.
    pub(super) network: Option<Network>,
    /// How soon after its placing a launcher may take it from the database.
    pub(super) launch_after: PgInterval,
}

/// Puts orders on record: all that have queued while the last statement ran, in one statement.
#[derive(Clone, Debug)]
pub(crate) struct Placer(Together<Placing>);

/// Writes batches.
#[derive(Debug)]
struct Placing(PgPool);

#[derive(Debug, thiserror::Error)]
#[error("it was not on record within {} s", PATIENCE.as_secs())]
struct TooSlow;

impl Work for Placing {
    type Item = Placement;
    /// Whether the order is new. All orders of a statement share its error.
    type Outcome = Result<bool, Arc<sqlx::Error>>;

    /// One prepares its orders while the other one's are written to the disk.
    const BATCHES: usize = 2;
    /// So many that the statement is short, and lost with few if it is lost.
    const ITEMS: usize = 64;
    /// More than may be in progress at once by default, so that nobody is refused here first.
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
    /// One of them is what the database refuses, and none was written: places each by itself. Once
    /// the database does not answer, it is not asked for the rest either.
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

/// Whether the database has refused what one order says, so that nothing was written and the others
/// are well.
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

    /// Puts an order on record, with its payment method, its address, the network that it came from
    /// and the row that has it launched; whether this call did.
    ///
    /// **Errors.** 503 while the database does not answer; the order may be on record all the same.
    ///
    /// **Repeats.** The first one counts.
    pub(crate) async fn place(&self, placement: Placement) -> Result<bool, Problem> {
        let Ok(told) = timeout(PATIENCE, self.0.bring(placement)).await else {
            return Err(Problem::unavailable(DOING, &TooSlow));
        };
        match told {
            Ok(outcome) => outcome.map_err(|error| Problem::of_database(DOING, &error)),
            Err(Untold::Full) => Err(Problem::overloaded(
                "More orders wait to be put on record than this process lets wait. Nothing was done.",
            )),
            Err(broken @ Untold::Broken) => Err(Problem::internal(DOING, &broken)),
        }
    }
}
