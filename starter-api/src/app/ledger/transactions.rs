//! Lists the transactions of an account.

use chrono::{DateTime, Utc};
use domain::ledger::{Account, Entry};
use serde::Serialize;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::paging::{Page, PageSize};
use crate::error::{OrProblem, Problem};

/// Entries that were posted together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transaction)]
pub(crate) struct BookedTransaction {
    /// Its number in the books.
    transaction_id: i64,
    /// Its idempotency key.
    key: String,
    /// The order that it belongs to, if any.
    order_id: Option<Uuid>,
    /// The transaction that this one reverses.
    reverses: Option<i64>,
    /// When it was posted.
    booked_at: DateTime<Utc>,
    /// All of its entries; debits equal credits in every currency.
    #[schema(value_type = Vec<Entry>)]
    entries: Json<Vec<Entry>>,
}

/// A page of the transactions with entries of the account, newest first, before the cursor.
pub(crate) async fn list(
    app: &App,
    account: Account,
    before: Option<i64>,
    size: PageSize,
) -> Result<Page<BookedTransaction>, Problem> {
    let transactions = sqlx::query_as!(
        BookedTransaction,
        r#"select transaction_id, key, order_id, reverses, booked_at,
               (select jsonb_agg(jsonb_build_object(
                           'account', entry.account, 'side', entry.side,
                           'amount', jsonb_build_object(
                               'amount', entry.amount::text, 'currency', entry.currency)
                       ) order by entry.line)
                from ledger.entries as entry
                where entry.transaction_id = booked.transaction_id
               ) as "entries!: Json<Vec<Entry>>"
           from ledger.transactions as booked
           where transaction_id < coalesce($2, 9223372036854775807)
             and exists (
                 select from ledger.entries as touching
                 where touching.transaction_id = booked.transaction_id
                   and touching.account = $1)
           order by transaction_id desc limit $3"#,
        account.as_str(),
        before,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing an account's transactions")?;
    Ok(Page::of(transactions, size, |booked| booked.transaction_id.to_string()))
}
