//! Bank transfers for operators: the shop's account, signals to orders whose money has arrived, and
//! payment-list files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;

use activities::payment::bank_transfer::list::{self, PaymentList};
use activities::payment::bank_transfer::{BankAccount, import};
use domain::OrderId;
use domain::bank::Iban;
use sqlx::PgPool;
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::{Client, WorkflowHandle, WorkflowSignalOptions};
use temporalio_common::HasWorkflowDefinition;
use workflows::order::{OrderSaga, PartyUpdate, signal_payload};

/// The account that customers transfer to.
#[derive(Clone, Debug, clap::Args)]
pub struct AccountArgs {
    /// The IBAN of the account that customers transfer to
    #[arg(long, env = "BANK_IBAN")]
    pub bank_iban: Option<Iban>,
    /// The account's holder, as the bank knows them
    #[arg(long, env = "BANK_HOLDER")]
    pub bank_holder: Option<String>,
}

/// The shop's bank account is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BANK_IBAN and BANK_HOLDER name the shop's account, and are not set")]
pub struct NoAccount;

impl AccountArgs {
    /// The account.
    pub fn account(&self) -> Result<BankAccount, NoAccount> {
        let holder = self.bank_holder.clone().filter(|holder| !holder.trim().is_empty());
        let (iban, holder) = self.bank_iban.clone().zip(holder).ok_or(NoAccount)?;
        Ok(BankAccount { iban, holder })
    }
}

/// Why orders could not be notified.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// The database.
    #[error("the records of bank transfers could not be read or written")]
    Database(#[from] sqlx::Error),
    /// Temporal.
    #[error("order {order} could not be notified: {why}")]
    Temporal {
        /// Which order.
        order: OrderId,
        /// Why.
        why: String,
    },
}

/// Signals every order whose transfer has arrived, and returns how many were signalled. An order
/// that has already ended is skipped.
///
/// **Errors.** Orders that were not reached are signalled by the next call; they also check by
/// themselves when their deadline passes.
/// **Repeats.** A second signal only makes the order check again.
pub async fn tell_news(pool: &PgPool, client: &Client) -> Result<usize, NotTold> {
    let mut told = Vec::new();
    for order in import::news(pool).await? {
        if let Err(why) = tell(client, order).await {
            import::told(pool, &told).await?;
            return Err(NotTold::Temporal { order, why });
        }
        told.push(order);
    }
    import::told(pool, &told).await?;
    Ok(told.len())
}

async fn tell(client: &Client, order: OrderId) -> Result<(), String> {
    let (reference, status) = ("bank transfer".to_owned(), "received".to_owned());
    let payload = signal_payload(&PartyUpdate { reference, status });
    let payload = payload.map_err(|error| error.to_string())?;
    let saga: WorkflowHandle<Client, <OrderSaga as HasWorkflowDefinition>::Run> =
        client.get_workflow_handle(order.workflow_id());
    let options = WorkflowSignalOptions::default();
    match saga.signal(OrderSaga::payment_update, payload, options).await {
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Why a payment-list file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum NoList {
    /// The file exists: it may be a list that has not yet been handed to the bank.
    #[error("{} already exists", .0.display())]
    IsThere(PathBuf),
    /// The database.
    #[error("the payment list could not be made")]
    Database(#[from] sqlx::Error),
    /// The file.
    #[error("the payment list is on record, and its file could not be written; export again")]
    File(#[from] io::Error),
}

/// Writes the next payment list to a new file. Returns `None` if there is nothing to pay out.
///
/// **Repeats.** Returns the same list until its file has been written in full once.
pub async fn export(
    pool: &PgPool,
    account: &BankAccount,
    path: &Path,
) -> Result<Option<PaymentList>, NoList> {
    is_free(path)?;
    let Some(list) = list::next(pool, account).await? else { return Ok(None) };
    write_whole(path, &list.xml)?;
    list::written(pool, &list.message_id).await?;
    Ok(Some(list))
}

/// Writes an earlier payment list, unchanged, to a new file. Returns `None` if there is no such
/// list.
pub async fn export_again(
    pool: &PgPool,
    message_id: &str,
    path: &Path,
) -> Result<Option<PaymentList>, NoList> {
    is_free(path)?;
    let Some(list) = list::again(pool, message_id).await? else { return Ok(None) };
    write_whole(path, &list.xml)?;
    list::written(pool, message_id).await?;
    Ok(Some(list))
}

fn is_free(path: &Path) -> Result<(), NoList> {
    if fs::symlink_metadata(path).is_ok() { Err(NoList::IsThere(path.to_owned())) } else { Ok(()) }
}

/// Writes the file atomically: in full, or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial", process::id()));
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    if written.is_err() {
        fs::remove_file(&partial).ok();
    }
    written
}
