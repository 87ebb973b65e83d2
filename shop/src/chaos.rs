//! The system under torture: what it promises must hold whatever is done to it.

mod bank;
mod checks;
mod cluster;
mod customers;
mod disasters;
mod faults;
mod ground;
mod hangs;
mod hearers;
mod launcher;
mod ledger;
mod provider;
mod race;
mod receiver;
mod records;
mod recovery;
mod relay;
mod same_key;
mod soak;
mod stalls;
mod storm;

use std::io;

use clap::Args;
use domain::ProviderName;

pub(crate) use cluster::ClusterChaos;
pub(crate) use ledger::Ledger;
pub(crate) use race::Race;
pub(crate) use relay::Relay;
pub(crate) use soak::Soak;

use crate::ordersaga::ApiError;
use crate::retail::RetailError;
use crate::screen::say;
use crate::stripe::CounterpartError;
use ground::{Ground, GroundArgs};
use launcher::{Launcher, LauncherError};
use records::RecordsError;
use storm::Storm;

/// Places real orders without a pause while the worst is done to the system, then looks at what
/// came of them: a storm, in which workers, starter, Postgres, Temporal, the relay and who
/// hears of orders are killed again and again; then the payment provider, a frontend of Temporal and
/// an article hang, each for a while; then three disasters. With Stripe's counterpart or a bank in
/// the sandbox's place, only what has to do with who takes the money.
///
/// Ends with 0 only if nothing is lost, doubled, stuck or out of balance, orders went on soon
/// enough after each death, what hung held up nothing that does not need it, and every disaster was
/// told and settled as promised.
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
    /// Everything is killed again and again, and everybody hears of each order.
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

impl Part {
    /// Whether it is played with this provider. A frontend and an article hang, and Temporal is
    /// stopped, whoever takes the money. What Temporal and Postgres lose is settled for orders that
    /// wait for a person, too, and only the sandbox makes such orders on demand. Nobody calls a
    /// bank, so it cannot hang.
    const fn is_played_with(self, provider: ProviderName) -> bool {
        match provider {
            ProviderName::Sandbox => true,
            ProviderName::Stripe => matches!(self, Self::Storm | Self::HangingProvider),
            ProviderName::BankTransfer => matches!(self, Self::Storm),
        }
    }
}

/// Which parts are left out with this provider, and why.
const fn left_out(provider: ProviderName) -> Option<&'static str> {
    match provider {
        ProviderName::Sandbox => None,
        ProviderName::Stripe => Some(
            "Played with the sandbox alone: a hanging frontend, a locked article and Temporal \
             stopped, because they are the same whoever takes the money; the namespace lost and \
             Postgres set back, because they need orders whose refunds break on demand.",
        ),
        ProviderName::BankTransfer => Some(
            "Played with the sandbox alone: a hanging provider, because nobody calls a bank; a \
             hanging frontend, a locked article and Temporal stopped, because they are the same \
             whoever takes the money; the namespace lost and Postgres set back, because they need \
             orders whose refunds break on demand, and what the bank has told is set back with \
             the rest.",
        ),
    }
}

impl Chaos {
    /// Runs it; whether everything that was promised held.
    pub(crate) async fn run(&self) -> Result<bool, ChaosError> {
        let mut launcher = Launcher::reach()?;
        let ground = Ground::of(&self.ground).await?;
        let parts = self.parts(ground.provider.name())?;
        if let Some(why) = left_out(ground.provider.name()) {
            say(why)?;
        }
        let (mut held, mut stalls) = (true, Vec::new());
        for part in parts {
            held &= match part {
                Part::Storm => Box::pin(self.storm.run(&ground, &mut launcher)).await?,
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

    /// What is played, one after another.
    ///
    /// **Errors.** The only part that is asked for is none of them.
    fn parts(&self, provider: ProviderName) -> Result<Vec<Part>, ChaosError> {
        use strum::IntoEnumIterator as _;
        let asked = Part::iter().filter(|part| self.disaster.is_none_or(|only| only == *part));
        let parts: Vec<_> = asked.filter(|part| part.is_played_with(provider)).collect();
        if parts.is_empty()
            && let Some(why) = left_out(provider)
        {
            return Err(ChaosError::NotPlayed(why));
        }
        Ok(parts)
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
    /// Stripe's counterpart is of no use.
    #[error(transparent)]
    Counterpart(#[from] CounterpartError),
    /// There is no bank.
    #[error(
        "BANK_IBAN is the shop's account, ORDERSAGA_BANK_FILES the folder for the bank's files: run \
         this by `make`"
    )]
    NoBank,
    /// The part that was asked for says nothing with this provider.
    #[error("this part is not played with this provider. {0}")]
    NotPlayed(&'static str),
    /// The terminal is gone, a file cannot be written, or a program is not beside this one.
    #[error("cannot write to the terminal or to a file, or run `ordersaga`")]
    Process(#[from] io::Error),
    /// What others have heard of orders cannot be seen.
    #[error("cannot see what {whom} has heard: {why}")]
    Unheard {
        /// Whose record it is.
        whom: &'static str,
        /// What it says.
        why: String,
    },
    /// The article that a race is for is not in the shop.
    #[error("`ordersaga load-catalogue` failed: its message above says why")]
    NoArticle,
    /// None of the faults that are asked for can be played here.
    #[error("none of these faults can be played here: why not stands above")]
    NothingToPlay,
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
    /// This system does not show what a process takes.
    #[error("a soak looks at every process in /proc, which this system does not have: use Linux")]
    NoProcesses,
    /// Nobody says which processes there are.
    #[error("ORDERSAGA_PIDS names no processes: run this by `make`")]
    NoPids,
    /// More orders than there are goods for.
    #[error(
        "{orders} orders are more than there are goods for, {at_most} at most: have fewer MINUTES or \
         fewer PER_SECOND"
    )]
    TooManyOrders {
        /// How many were asked for.
        orders: u32,
        /// How many there may be.
        at_most: u32,
    },
    /// An order's id is none.
    #[error("the shop was told of an order without an id")]
    NoId(#[from] uuid::Error),
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn the_storm_is_played_with_everybody_and_what_is_left_out_is_told() {
        for provider in ProviderName::NAMES {
            let provider = provider.parse::<ProviderName>().unwrap();
            assert!(Part::Storm.is_played_with(provider), "{provider:?}");
            let is_all_played = Part::iter().all(|part| part.is_played_with(provider));
            assert_eq!(is_all_played, left_out(provider).is_none(), "{provider:?}");
        }
        assert!(Part::HangingProvider.is_played_with(ProviderName::Stripe));
    }
}
