//! Chaos tests: the system's guarantees must hold under every fault injected here.

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

/// Places real orders continuously while faults are injected, and then checks the results. First a
/// storm, which kills workers, starter, Postgres, Temporal, the relay and its receivers again and
/// again; then hangs of the payment provider, of a Temporal frontend and of an article's row; then
/// three disasters. With Stripe's counterpart or a bank instead of the sandbox, runs only the parts
/// that depend on the payment provider.
///
/// Exits with 0 only if nothing is lost, duplicated, stuck or unbalanced, orders continued soon
/// enough after each kill, a hang delayed nothing that does not depend on it, and every disaster
/// was reported and settled as promised.
#[derive(Clone, Args)]
pub(crate) struct Chaos {
    /// Run only this part. By default all, one after another
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
    /// Everything is killed again and again, while all sinks receive each order's events.
    Storm,
    /// Every call to the payment provider hangs.
    HangingProvider,
    /// One of two Temporal frontends hangs, with its connections open.
    HangingFrontend,
    /// Another transaction locks an article's row.
    LockedArticle,
    /// Temporal is stopped for a minute.
    TemporalStopped,
    /// Temporal's namespace is deleted and created again.
    NamespaceLost,
    /// Postgres is restored to a state behind Temporal. Last, because some of the damage must stay
    /// unsettled until the shop repeats its requests.
    PostgresSetBack,
}

impl Part {
    /// Whether this part is run with this provider. Hangs of a frontend and of an article, and a
    /// stopped Temporal, do not depend on the provider. The disasters that lose state need orders
    /// that wait for a person, which only the sandbox creates on demand. The shop never calls a
    /// bank, so a bank cannot hang.
    const fn is_played_with(self, provider: ProviderName) -> bool {
        match provider {
            ProviderName::Sandbox => true,
            ProviderName::Stripe => matches!(self, Self::Storm | Self::HangingProvider),
            ProviderName::BankTransfer => matches!(self, Self::Storm),
        }
    }
}

/// The parts that are skipped with this provider, and why.
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
    /// Runs the parts. Returns whether all guarantees held.
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

    /// The parts to run, in order.
    ///
    /// **Errors.** The only requested part is not run with this provider.
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

/// Why the chaos test cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    /// There are already orders of unknown origin.
    #[error(
        "there are orders in this database, or workflows in this namespace, already: chaos counts \
         what became of all of them, so give it a fresh database and namespace"
    )]
    NotFresh,
    /// There are no orders to place.
    #[error(transparent)]
    Retail(#[from] RetailError),
    /// The API cannot be called.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no launcher to kill programs.
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Stripe's counterpart cannot be used.
    #[error(transparent)]
    Counterpart(#[from] CounterpartError),
    /// The bank is not configured.
    #[error(
        "BANK_IBAN is the shop's account, ORDERSAGA_BANK_FILES the folder for the bank's files: run \
         this by `make`"
    )]
    NoBank,
    /// The requested part is not run with this provider.
    #[error("this part is not played with this provider. {0}")]
    NotPlayed(&'static str),
    /// The terminal, a file or a child process failed.
    #[error("cannot write to the terminal or to a file, or run `ordersaga`")]
    Process(#[from] io::Error),
    /// A receiver's record cannot be read.
    #[error("cannot read what {whom} has received: {why}")]
    Unheard {
        /// Whose record.
        whom: &'static str,
        /// The reason.
        why: String,
    },
    /// The article of a race could not be loaded.
    #[error("`ordersaga load-catalogue` failed: its message above says why")]
    NoArticle,
    /// None of the requested faults can be injected here.
    #[error("none of these faults can be injected here, for the reasons above")]
    NothingToPlay,
    /// A precondition of a fault was not reached in time.
    #[error("not within {seconds} s: {what}")]
    Never {
        /// The precondition.
        what: &'static str,
        /// The time limit in seconds.
        seconds: u64,
    },
    /// A statement that needs the schemas' owner failed.
    #[error("the schemas' owner can do nothing in the database")]
    Owner(#[source] sqlx::Error),
    /// This system does not show processes' resources.
    #[error("a soak looks at every process in /proc, which this system does not have: use Linux")]
    NoProcesses,
    /// The launcher's process ids are missing.
    #[error("ORDERSAGA_PIDS names no processes: run this by `make`")]
    NoPids,
    /// There is not enough stock for this many orders.
    #[error(
        "{orders} orders are more than there are goods for, {at_most} at most: have fewer MINUTES or \
         fewer PER_SECOND"
    )]
    TooManyOrders {
        /// The number of orders requested.
        orders: u32,
        /// The maximum number.
        at_most: u32,
    },
    /// An order's id is invalid.
    #[error("the shop got an order with an invalid id")]
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
