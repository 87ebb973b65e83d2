//! The books, for those who want proof.

pub(crate) mod balance;
pub(crate) mod transactions;
pub(crate) mod validate;

use domain::ledger::Account;

use crate::problem::{Kind, Problem};

/// The account by this text in a path.
fn account(text: &str) -> Result<Account, Problem> {
    Account::by_id(text).ok_or_else(|| {
        let accounts = Account::ALL.map(Account::as_str).join(", ");
        Problem::new(Kind::AccountNotFound, format!("The accounts are {accounts}."))
    })
}

/// An account or a currency that the database's own checks should have refused.
#[derive(Debug, thiserror::Error)]
#[error("the books have an entry that is not usable: {0}")]
struct BadEntry(String);
