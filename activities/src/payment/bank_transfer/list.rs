//! Payment lists: outgoing payments to customers, in the bank's format (pain.001).
//!
//! A list is claimed in one transaction, which fixes its lines for ever and posts it. Only then is
//! its file written, from the record, and identically at any time. A list whose file was never
//! completely written is written before another is claimed. So a crash at any moment loses no line
//! and pays none twice; and a bank that is given a list again recognises it by its id.

use domain::Money;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::camt::Transfer;
use super::{BankAccount, pain, records};

/// The most lines of a list; further ones go on the next.
const LINES_MAX: i64 = 5_000;

/// Prefix of the end-to-end ids of the shop's transfers.
const OURS: &str = "ordersaga-";

/// A list for the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentList {
    /// The id by which the bank recognises it.
    pub message_id: String,
    /// Number of lines.
    pub lines: usize,
    /// The message.
    pub xml: String,
}

/// A line of a list.
pub(super) struct Line {
    pub(super) end_to_end: String,
    pub(super) amount: Money,
    pub(super) name: String,
    pub(super) iban: String,
    pub(super) text: String,
}

/// Whether this end-to-end id is a line's.
pub(super) fn is_ours(end_to_end: &str) -> bool {
    line_of(end_to_end).is_some()
}

fn line_of(end_to_end: &str) -> Option<i64> {
    end_to_end.strip_prefix(OURS)?.parse().ok()
}

/// The next list whose file has to be written: one that was claimed and not written, or a new one
/// of all lines that are on none. `None`: there is nothing to pay.
///
/// **Repeats.** The same list, until [`written`] is called.
pub async fn next(db: &PgPool, account: &BankAccount) -> Result<Option<PaymentList>, sqlx::Error> {
    let unwritten = sqlx::query_scalar!(
        "select message_id from bank.lists where written_at is null order by list_id limit 1"
    );
    let message_id = match unwritten.fetch_optional(db).await? {
        Some(unwritten) => Some(unwritten),
        None => claim(db, account).await?,
    };
    match message_id {
        Some(message_id) => again(db, &message_id).await,
        None => Ok(None),
    }
}

/// An earlier list, unchanged. `None`: there is no such list.
pub async fn again(db: &PgPool, message_id: &str) -> Result<Option<PaymentList>, sqlx::Error> {
    let list = sqlx::query!(
        "select list_id, message_id, created_at, holder, iban from bank.lists where message_id = $1",
        message_id,
    );
    let Some(list) = list.fetch_optional(db).await? else { return Ok(None) };
    let rows = sqlx::query!(
        r#"
        select line_id, reason, lines.currency, lines.amount, payer_name, payer_iban as "iban!",
            order_id as "order_id?"
        from bank.lines
        join bank.entries using (entry_id)
        left join bank.payments on payments.reference = entries.reference
        where list_id = $1 order by line_id
        "#,
        list.list_id,
    );
    let mut lines = Vec::new();
    for row in rows.fetch_all(db).await? {
        // Not one of our references: a returned transfer must not be mistaken for a payment.
        let text = match row.order_id {
            Some(order) => format!("{} order {order}", row.reason),
            None => format!("{} transfer", row.reason),
        };
        lines.push(Line {
            end_to_end: format!("{OURS}{}", row.line_id),
            amount: records::money(row.amount, &row.currency)?,
            name: row.payer_name.unwrap_or_else(|| "Customer".to_owned()),
            iban: row.iban,
            text,
        });
    }
    let header = pain::Header {
        message_id: &list.message_id,
        created_at: list.created_at,
        holder: &list.holder,
        iban: &list.iban,
    };
    let xml = pain::message(&header, &lines).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Some(PaymentList { message_id: list.message_id, lines: lines.len(), xml }))
}

/// Records that the list's file was completely written.
pub async fn written(db: &PgPool, message_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update bank.lists set written_at = now() where message_id = $1 and written_at is null",
        message_id,
    )
    .execute(db)
    .await
    .map(drop)
}

/// Transfers whose money has to be returned, but without a known account.
pub async fn without_account(db: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select distinct entry_id as "entry_id!" from bank.lines join bank.entries using (entry_id)
           where list_id is null and payer_iban is null order by entry_id"#
    )
    .fetch_all(db)
    .await
}

/// Claims all lines that are on no list, and posts them as outgoing. `None`: there are none.
async fn claim(db: &PgPool, account: &BankAccount) -> Result<Option<String>, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let lines = sqlx::query_scalar!(
        r#"
        select line_id from bank.lines join bank.entries using (entry_id)
        where list_id is null and payer_iban is not null
        order by line_id limit $1 for update of lines skip locked
        "#,
        LINES_MAX,
    );
    let lines = lines.fetch_all(&mut *transaction).await?;
    if lines.is_empty() {
        return Ok(None);
    }
    let message_id = Uuid::now_v7().simple().to_string();
    let list = sqlx::query_scalar!(
        "insert into bank.lists (message_id, holder, iban) values ($1, $2, $3) returning list_id",
        message_id,
        account.holder,
        account.iban.as_str(),
    );
    let list = list.fetch_one(&mut *transaction).await?;
    let claimed = sqlx::query!(
        "update bank.lines set list_id = $1 where line_id = any($2) and list_id is null",
        list,
        &lines,
    );
    claimed.execute(&mut *transaction).await?;
    book(&mut transaction, list).await?;
    transaction.commit().await?;
    Ok(Some(message_id))
}

async fn book(connection: &mut PgConnection, list: i64) -> Result<(), sqlx::Error> {
    let sums = sqlx::query!(
        r#"select currency, sum(amount) as "amount!" from bank.lines where list_id = $1
           group by currency order by currency"#,
        list,
    );
    for sum in sums.fetch_all(&mut *connection).await? {
        let amount = records::money(sum.amount, &sum.currency)?;
        let key = format!("bank-list:{list}:{}", sum.currency);
        records::book(&mut *connection, &key, false, amount).await?;
    }
    Ok(())
}

/// If this transfer belongs to a line, records that the bank has executed it.
pub(super) async fn note_executed(
    connection: &mut PgConnection,
    transfer: &Transfer,
) -> Result<(), sqlx::Error> {
    let line = transfer.told.end_to_end.as_deref().and_then(line_of);
    let Some(line) = line.filter(|_line| !transfer.told.is_return) else { return Ok(()) };
    sqlx::query!(
        "update bank.lines set executed_on = coalesce($2, current_date)
         where line_id = $1 and list_id is not null and executed_on is null
            and (currency, amount) = ($3, $4)",
        line,
        transfer.booked_on,
        transfer.amount.currency().code(),
        transfer.amount.amount(),
    )
    .execute(connection)
    .await
    .map(drop)
}
