//! The system under torture: what it promises must hold whatever is done to it.

mod faults;
mod launcher;
mod ledger;
mod race;
mod records;
mod recovery;
mod same_key;
mod storm;

use std::io;

pub(crate) use ledger::Ledger;
pub(crate) use race::Race;
pub(crate) use storm::Storm;

use crate::ordersaga::ApiError;
use crate::retail::RetailError;
use launcher::LauncherError;
use records::RecordsError;

/// Why a torture cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
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
}
