//! Imports received money from the bank's files, and assigns it to payments.
//!
//! A file is one transaction. Its entries are recorded as they are, and each is assigned by the
//! reference found anywhere in it:
//!
//! | received | result |
//! |---|---|
//! | the missing amount, in one transfer or several | paid; the order is signalled |
//! | less | kept; the customer is shown the rest |
//! | more | paid; the surplus is returned |
//! | anything for a payment that is no longer expected | returned |
//! | no reference, an unknown one, several, another currency, a returned transfer | a person decides |

use domain::bank::{CreditorReference, Iban};
use domain::{Money, MoneyError, OrderId};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

use super::camt::{self, CamtFault, Transfer};
use super::records::{self, Expected, Reason, State};
use super::{BankAccount, list};

/// The result of an import.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Whether the same file had been imported before; then nothing was done.
    pub is_known: bool,
    /// The new incoming transfers, in the file's order.
    pub found: Vec<Found>,
    /// The number of entries that had been imported before, from another file.
    pub known: u64,
    /// The number of a notification's entries without a bank reference, which are imported with the
    /// statement.
    pub left: u64,
}

/// A received transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number here.
    pub entry: i64,
    /// Its amount.
    pub amount: Money,
    /// What it was assigned to.
    pub became: Became,
}

/// The assignment of received money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// The order's payment is complete; a surplus is returned.
    Paid {
        /// The order.
        order: OrderId,
        /// The surplus.
        surplus: Option<Money>,
    },
    /// It is a part of the order's payment.
    Part {
        /// The order.
        order: OrderId,
        /// The amount still missing.
        missing: Money,
    },
    /// It is returned, because the order's payment is no longer expected.
    GoesBack {
        /// The order.
        order: OrderId,
    },
    /// A person has to assign it.
    Unassigned(Unassigned),
}

/// Why a transfer needs a person to assign it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Unassigned {
    /// It contains no reference, or an incorrect one.
    NoReference,
    /// No payment has its reference.
    UnknownReference,
    /// It contains references of several payments.
    SeveralReferences,
    /// The payment is in another currency.
    OtherCurrency,
    /// It returns a transfer of the shop's, or one of a customer's.
    Returned,
    /// The transfers of a booked sum do not add up to it.
    UnclearSum,
}

impl Unassigned {
    /// Its name on record.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("nothing of the file was taken in")]
    File(#[from] CamtFault),
    /// It is about an account that is not the shop's.
    #[error("nothing of the file was taken in: it is of the account {0}")]
    OtherAccount(Iban),
    /// The database failed.
    #[error("nothing of the file was taken in: the database does not take it")]
    Database(#[from] sqlx::Error),
}

/// Imports a file of the bank, completely or not at all.
///
/// **Repeats.** A file, or an entry that is in several, is imported once.
pub async fn import(
    db: &PgPool,
    account: &BankAccount,
    file: &[u8],
) -> Result<Imported, ImportError> {
    let statements = camt::read(file)?;
    if let Some(other) = statements.iter().find(|statement| statement.account != account.iban) {
        return Err(ImportError::OtherAccount(other.account.clone()));
    }
    let mut imported = Imported::default();
    let mut transaction = db.begin().await?;
    let Some(file) = new_file(&mut transaction, file).await? else {
        return Ok(Imported { is_known: true, ..imported });
    };
    for statement in &statements {
        imported.left = imported.left.saturating_add(statement.left.into());
        for booking in &statement.bookings {
            if !is_new(&mut transaction, file, &statement.id, &booking.name).await? {
                imported.known = imported.known.saturating_add(1);
                continue;
            }
            for (transfer, detail) in booking.transfers.iter().zip(1_i32..) {
                let place = (booking.name.as_str(), detail);
                let found = take(&mut transaction, account, place, transfer).await?;
                imported.found.extend(found);
            }
        }
    }
    transaction.commit().await?;
    Ok(imported)
}

/// Records the file. `None`: it was imported before.
async fn new_file(connection: &mut PgConnection, file: &[u8]) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into bank.files (sha256) values ($1) on conflict do nothing returning file_id",
        format!("{:x}", Sha256::digest(file)),
    )
    .fetch_optional(connection)
    .await
}

/// Whether the entry was not imported before.
async fn is_new(
    connection: &mut PgConnection,
    file: i64,
    statement: &str,
    booking: &str,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into bank.bookings (booking, file_id, statement) values ($1, $2, $3)
         on conflict do nothing",
        booking,
        file,
        statement,
    );
    Ok(inserted.execute(connection).await?.rows_affected() > 0)
}

/// Records a transfer. `None`: it is outgoing.
async fn take(
    connection: &mut PgConnection,
    account: &BankAccount,
    place: (&str, i32),
    transfer: &Transfer,
) -> Result<Option<Found>, sqlx::Error> {
    let entry = keep(&mut *connection, place, transfer).await?;
    if !transfer.is_credit {
        list::note_executed(connection, transfer).await?;
        return Ok(None);
    }
    let amount = transfer.amount;
    records::book(&mut *connection, &format!("bank-entry:{entry}"), true, amount).await?;
    let became = match whose(&mut *connection, transfer).await? {
        Ok(reference) => {
            assign_to(&mut *connection, account, entry, amount, &reference, None).await?
        }
        Err(why) => Became::Unassigned(why),
    };
    if let Became::Unassigned(why) = became {
        sqlx::query!("update bank.entries set why = $2 where entry_id = $1", entry, why.name())
            .execute(connection)
            .await?;
    }
    Ok(Some(Found { entry, amount, became }))
}

async fn keep(
    connection: &mut PgConnection,
    (booking, detail): (&str, i32),
    transfer: &Transfer,
) -> Result<i64, sqlx::Error> {
    let Transfer { is_credit, amount, booked_on, told, .. } = transfer;
    sqlx::query_scalar!(
        r#"
        insert into bank.entries (
            booking, detail, is_credit, currency, amount, booked_on, payer_name, payer_iban,
            remittance, state
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $3 then 'unassigned' else 'noted' end)
        returning entry_id
        "#,
        booking,
        detail,
        *is_credit,
        amount.currency().code(),
        amount.amount(),
        *booked_on,
        told.payer_name.as_deref(),
        told.payer.as_ref().map(Iban::as_str),
        told.remittance,
    )
    .fetch_one(connection)
    .await
}

/// The one payment that a transfer is for.
async fn whose(
    connection: &mut PgConnection,
    transfer: &Transfer,
) -> Result<Result<CreditorReference, Unassigned>, sqlx::Error> {
    let told = &transfer.told;
    // A return may carry the text of the transfer that it returns.
    if told.is_return || told.end_to_end.as_deref().is_some_and(list::is_ours) {
        return Ok(Err(Unassigned::Returned));
    }
    if transfer.is_unclear {
        return Ok(Err(Unassigned::UnclearSum));
    }
    let written: Vec<_> = told.references.iter().map(|one| one.as_str().to_owned()).collect();
    let known = sqlx::query_scalar!(
        "select reference from bank.payments where reference = any($1) order by reference limit 2",
        &written,
    );
    let known = known.fetch_all(connection).await?;
    let known: Vec<_> = known.iter().filter_map(|one| CreditorReference::parse(one)).collect();
    Ok(match <[CreditorReference; 1]>::try_from(known) {
        Ok([reference]) => Ok(reference),
        Err(none) if none.is_empty() && written.is_empty() => Err(Unassigned::NoReference),
        Err(none) if none.is_empty() => Err(Unassigned::UnknownReference),
        Err(_several) => Err(Unassigned::SeveralReferences),
    })
}

/// Assigns a transfer to a payment, up to the missing amount; the rest is returned.
async fn assign_to(
    connection: &mut PgConnection,
    account: &BankAccount,
    entry: i64,
    amount: Money,
    reference: &CreditorReference,
    by: Option<&str>,
) -> Result<Became, sqlx::Error> {
    let Some(expected) = records::lock(&mut *connection, reference).await? else {
        return Ok(Became::Unassigned(Unassigned::UnknownReference));
    };
    if expected.amount.currency() != amount.currency() {
        return Ok(Became::Unassigned(Unassigned::OtherCurrency));
    }
    let impossible = |error: MoneyError| sqlx::Error::Decode(error.into());
    let order = OrderId::of(expected.order_id);
    let nothing = Money::zero(amount.currency()).map_err(impossible)?;
    let missing = match expected.state {
        State::Opened | State::Awaiting => expected.missing().map_err(impossible)?,
        State::Received | State::Captured | State::Closed => nothing,
    };
    let kept = if amount.amount() < missing.amount() { amount } else { missing };
    let rest = amount.checked_sub(kept).map_err(impossible)?;
    let missing = missing.checked_sub(kept).map_err(impossible)?;
    let is_late = expected.state == State::Closed;
    let reason = if is_late { Reason::Closed } else { Reason::Surplus };
    split(&mut *connection, entry, &expected, [kept, rest], reason, by).await?;
    if !missing.is_zero() {
        show_rest(connection, account, &expected, missing).await?;
        return Ok(Became::Part { order, missing });
    }
    Ok(match expected.state {
        State::Closed => Became::GoesBack { order },
        State::Opened | State::Awaiting | State::Received | State::Captured => {
            Became::Paid { order, surplus: (!rest.is_zero()).then_some(rest) }
        }
    })
}

/// Keeps a part of a transfer for its payment, and has the rest returned.
async fn split(
    connection: &mut PgConnection,
    entry: i64,
    expected: &Expected,
    [kept, rest]: [Money; 2],
    reason: Reason<'_>,
    by: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with payment as (
            update bank.payments
            set received = received + $3,
                state = case when received + $3 = amount then 'received' else state end,
                is_news = is_news or received + $3 = amount
            where reference = $2 and $3::numeric > 0
        ), line as (
            insert into bank.lines (reason, entry_id, currency, amount)
            select $5, $1, $6, $4 where $4::numeric > 0
        )
        update bank.entries
        set state = 'assigned', why = null, reference = $2, kept = $3, given_back = $4,
            decided_by = $7
        where entry_id = $1
        "#,
        entry,
        expected.reference.as_str(),
        kept.amount(),
        rest.amount(),
        reason.name(),
        rest.currency().code(),
        by,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Shows the customer the amount still missing, instead of the original one.
async fn show_rest(
    connection: &mut PgConnection,
    account: &BankAccount,
    expected: &Expected,
    missing: Money,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update payments.charges set approval_url = $2
         where charge_key = $1 and state = 'awaiting-customer'",
        expected.charge_key,
        account.payto(&expected.reference, missing),
    )
    .execute(connection)
    .await
    .map(drop)
}

// ---------------------------------------------------------------------------------------------
// Decisions by a person
// ---------------------------------------------------------------------------------------------

/// A transfer that a person has to assign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number here.
    pub entry: i64,
    /// Its amount.
    pub amount: Money,
    /// The bank's booking date.
    pub booked_on: Option<String>,
    /// The payer's name. Personal data.
    pub payer_name: Option<String>,
    /// The payer's account. Personal data.
    pub payer_iban: Option<String>,
    /// The payer's text. May be personal data.
    pub remittance: String,
    /// Why it waits.
    pub why: String,
}

/// Why a decision was refused.
#[derive(Debug, thiserror::Error)]
pub enum NotDecided {
    /// There is no such transfer, or it is assigned to another order or returned.
    #[error("no transfer {0} waits for a decision")]
    NotWaiting(i64),
    /// The order is not paid by transfer.
    #[error("order {0} has no payment by bank transfer")]
    NoPayment(OrderId),
    /// The payment is in another currency.
    #[error("the payment of order {0} is in another currency")]
    OtherCurrency(OrderId),
    /// A part of it is already on a list.
    #[error("there is no transfer {0}, or money of it stands on a list already")]
    Listed(i64),
    /// The database failed.
    #[error("the database does not take it")]
    Database(#[from] sqlx::Error),
}

/// The transfers that wait for a decision, the oldest first.
pub async fn unassigned(db: &PgPool) -> Result<Vec<Waiting>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select entry_id, currency, amount, booked_on::text, payer_name, payer_iban, remittance,
            coalesce(why, '') as "why!"
        from bank.entries where state = 'unassigned' order by entry_id
        "#,
    );
    let waiting = rows.fetch_all(db).await?.into_iter().map(|row| {
        Ok(Waiting {
            entry: row.entry_id,
            amount: records::money(row.amount, &row.currency)?,
            booked_on: row.booked_on,
            payer_name: row.payer_name,
            payer_iban: row.payer_iban,
            remittance: row.remittance,
            why: row.why,
        })
    });
    waiting.collect()
}

/// Assigns a transfer to an order's payment, as if it contained the payment's reference.
///
/// **Errors.** [`NotDecided`]. Nothing is changed then.
/// **Repeats.** If it is already assigned to the order, nothing changes, and the payment's current
/// state is returned.
pub async fn assign(
    db: &PgPool,
    account: &BankAccount,
    entry: i64,
    order: OrderId,
    by: &str,
) -> Result<Became, NotDecided> {
    let mut transaction = db.begin().await?;
    let Some(amount) = waiting(&mut transaction, entry).await? else {
        let before = assigned_before(&mut transaction, entry, order).await?;
        return before.ok_or(NotDecided::NotWaiting(entry));
    };
    let reference = sqlx::query_scalar!(
        "select reference from bank.payments where order_id = $1
         order by created_at desc, reference limit 1",
        order.uuid(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let reference = reference.as_deref().and_then(CreditorReference::parse);
    let reference = reference.ok_or(NotDecided::NoPayment(order))?;
    let by = Some(by);
    let became = assign_to(&mut transaction, account, entry, amount, &reference, by).await?;
    if let Became::Unassigned(_other_currency) = became {
        return Err(NotDecided::OtherCurrency(order));
    }
    transaction.commit().await?;
    Ok(became)
}

/// The transfer's assignment to this order. `None`: it is not assigned to it.
async fn assigned_before(
    connection: &mut PgConnection,
    entry: i64,
    order: OrderId,
) -> Result<Option<Became>, sqlx::Error> {
    let assigned = sqlx::query!(
        r#"
        select payments.reference as "reference!", entries.currency,
            (
                select coalesce(sum(lines.amount), 0) from bank.lines
                where lines.entry_id = entries.entry_id and refund_key is null
            ) as "surplus!"
        from bank.entries join bank.payments using (reference)
        where entry_id = $1 and order_id = $2
        "#,
        entry,
        order.uuid(),
    );
    let Some(assigned) = assigned.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let reference = CreditorReference::parse(&assigned.reference);
    let Some(reference) = reference else { return Ok(None) };
    let Some(expected) = records::read(connection, &reference).await? else { return Ok(None) };
    let surplus = records::money(assigned.surplus, &assigned.currency)?;
    Ok(Some(match expected.state {
        State::Opened | State::Awaiting => {
            let missing = expected.missing();
            let missing = missing.map_err(|error| sqlx::Error::Decode(error.into()))?;
            Became::Part { order, missing }
        }
        State::Received | State::Captured => {
            Became::Paid { order, surplus: (!surplus.is_zero()).then_some(surplus) }
        }
        State::Closed => Became::GoesBack { order },
    }))
}

/// Returns a whole transfer to its payer.
///
/// **Errors.** [`NotDecided::NotWaiting`].
pub async fn send_back(db: &PgPool, entry: i64, by: &str) -> Result<Money, NotDecided> {
    let mut transaction = db.begin().await?;
    let waiting = waiting(&mut transaction, entry).await?;
    let amount = waiting.ok_or(NotDecided::NotWaiting(entry))?;
    sqlx::query!(
        r#"
        with returned as (
            update bank.entries
            set state = 'returned', given_back = amount, decided_by = $2 where entry_id = $1
            returning entry_id, currency, amount
        )
        insert into bank.lines (reason, entry_id, currency, amount)
        select 'unassigned', entry_id, currency, amount from returned
        "#,
        entry,
        by,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(amount)
}

/// Sets the account to which a transfer's money is returned, if the bank has not named the payer's
/// account, or that is closed.
///
/// **Errors.** [`NotDecided::Listed`].
pub async fn pay_to(
    db: &PgPool,
    entry: i64,
    account: &BankAccount,
    by: &str,
) -> Result<(), NotDecided> {
    let changed = sqlx::query!(
        "update bank.entries set payer_name = $2, payer_iban = $3, decided_by = $4
         where entry_id = $1 and is_credit and not exists (
            select from bank.lines
            where lines.entry_id = entries.entry_id and list_id is not null
         )",
        entry,
        account.holder,
        account.iban.as_str(),
        by,
    )
    .execute(db)
    .await?;
    if changed.rows_affected() == 0 { Err(NotDecided::Listed(entry)) } else { Ok(()) }
}

/// Locks a waiting transfer until the transaction ends; returns its amount. `None`: it does not
/// wait.
async fn waiting(connection: &mut PgConnection, entry: i64) -> Result<Option<Money>, sqlx::Error> {
    let row = sqlx::query!(
        "select currency, amount from bank.entries
         where entry_id = $1 and state = 'unassigned' for update",
        entry,
    );
    let row = row.fetch_optional(connection).await?;
    row.map(|row| records::money(row.amount, &row.currency)).transpose()
}

// ---------------------------------------------------------------------------------------------
// Signals to orders
// ---------------------------------------------------------------------------------------------

/// The orders whose money has come and whose workflows have not been signalled.
pub async fn news(db: &PgPool) -> Result<Vec<OrderId>, sqlx::Error> {
    let orders = sqlx::query_scalar!("select order_id from bank.payments where is_news");
    Ok(orders.fetch_all(db).await?.into_iter().map(OrderId::of).collect())
}

/// Records that these orders have been signalled.
pub async fn told(db: &PgPool, orders: &[OrderId]) -> Result<(), sqlx::Error> {
    let orders: Vec<Uuid> = orders.iter().map(|order| order.uuid()).collect();
    sqlx::query!(
        "update bank.payments set is_news = false where is_news and order_id = any($1)",
        &orders,
    )
    .execute(db)
    .await
    .map(drop)
}
