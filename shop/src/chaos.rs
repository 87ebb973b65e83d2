//! The system under torture: what it promises must hold whatever is done to it.

mod checks;
mod customers;
mod disasters;
mod faults;
mod ground;
mod hangs;
mod launcher;
mod ledger;
mod race;
mod records;
mod recovery;
mod relay;
mod same_key;
mod stalls;
mod storm;

use std::io;

use clap::Args;

pub(crate) use ledger::Ledger;
pub(crate) use race::Race;
pub(crate) use relay::Relay;

use crate::ordersaga::ApiError;
use crate::retail::RetailError;
use ground::{Ground, GroundArgs};
use launcher::{Launcher, LauncherError};
use records::RecordsError;
use storm::Storm;

/// Places real orders without a pause while the worst is done to the system, then looks at what
/// came of them: a storm, in which workers, starter, Postgres and Temporal are killed again and
/// again; then the payment provider, a frontend of Temporal and an article hang, each for a while;
/// then three disasters.
///
/// Ends with 0 only if nothing is lost, doubled, stuck or out of balance, orders went on soon enough
/// after each death, what hung held up nothing that does not need it, and every disaster was told and
/// settled as promised.
#[derive(Clone, Args)]
pub(crate) struct Chaos {
    /// One part alone. Without it all, one after another.
    #[arg(long, env = "DISASTER", value_enum)]
    disaster: Option<Part>,

    #[command(flatten)]
    storm: Storm,

    #[command(flatten)]
    ground: GroundArgs,
}

/// A part of the chaos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::EnumIter)]
enum Part {
    /// Everything is killed again and again.
    Storm,
    /// Every call to the payment provider hangs.
    HangingProvider,
    /// One of two frontends of Temporal hangs, its connections kept open.
    HangingFrontend,
    /// Somebody else's transaction holds an article's row.
    LockedArticle,
    /// Temporal is stopped for a minute.
    TemporalStopped,
    /// Temporal's namespace is deleted and made anew.
    NamespaceLost,
    /// Postgres is set back behind Temporal. The last, because it leaves what must stay unsettled
    /// until the shop asks again.
    PostgresSetBack,
}

impl Chaos {
    /// Runs it; whether everything that was promised held.
    pub(crate) async fn run(&self) -> Result<bool, ChaosError> {
        use strum::IntoEnumIterator as _;
        let mut launcher = Launcher::reach()?;
        let ground = Ground::of(&self.ground).await?;
        let (mut held, mut stalls) = (true, Vec::new());
        for part in Part::iter().filter(|part| self.disaster.is_none_or(|only| only == *part)) {
            held &= match part {
                Part::Storm => self.storm.run(&ground, &mut launcher).await?,
                Part::HangingProvider => Box::pin(hangs::provider(&ground, &mut stalls)).await?,
                Part::HangingFrontend => {
                    Box::pin(hangs::frontend(&ground, &mut launcher, &mut stalls)).await?
                }
                Part::LockedArticle => Box::pin(hangs::article(&ground, &mut stalls)).await?,
                Part::TemporalStopped => {
                    disasters::temporal_stopped(&ground, &mut launcher).await?
                }
                Part::NamespaceLost => disasters::namespace_lost(&ground, &mut launcher).await?,
                Part::PostgresSetBack => {
                    disasters::postgres_set_back(&ground, &mut launcher).await?
                }
            };
        }
        stalls::table(&stalls)?;
        Ok(held)
    }
}

/// Why a torture cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    /// There are orders already, of which nobody knows how they were placed.
    #[error(
        "there are orders in this database, or workflows in this namespace, already: chaos counts \
         what became of all of them, so give it a fresh database and namespace"
    )]
    NotFresh,
    /// There are no orders to place.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// Ordersaga cannot be spoken to.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody kills.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// Nobody can be asked what came of it.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The terminal is gone, or a program is not beside this one.
    #[error("cannot write to the terminal or run `ordersaga`")]
    Process(#[from] io::Error),
    /// The article that a race is for is not in the shop.
    #[error("`ordersaga load-catalogue` failed: its message above says why")]
    NoArticle,
    /// Something that has to come before a disaster does not come.
    #[error("not within {seconds} s: {what}")]
    Never {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// What only the owner of the schemas may do cannot be done.
    #[error("the schemas' owner can do nothing in the database")]
    Owner(#[source] sqlx::Error),
    /// An order's id is none.
    #[error("the shop was told of an order without an id")]
    NoId(#[from] uuid::Error),
}
