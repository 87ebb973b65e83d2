//! `GET /v1/accounts/{account}/transactions`: what was booked there?

use axum::extract::State as Shared;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ledger::{Account, Entry};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::extract::{Path, Query};
use crate::identity::access::{May, scope};
use crate::ledger;
use crate::paging::{Page, PageSize};
use crate::problem::{Document, Guarded, OrProblem, Problem, ReadProblems};
use crate::state::State;

/// Entries that were booked together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transaction)]
pub(crate) struct BookedTransaction {
    /// Its number in the books.
    transaction_id: i64,
    /// Its name: the same key is the same transaction.
    key: String,
    /// The order it belongs to, if it belongs to one.
    order_id: Option<Uuid>,
    /// The transaction that this one cancels out.
    reverses: Option<i64>,
    /// When it was booked.
    booked_at: DateTime<Utc>,
    /// All of its entries; debits equal credits in every currency.
    #[schema(value_type = Vec<Entry>)]
    entries: Json<Vec<Entry>>,
}

/// Which transactions to list.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// How many to a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// Where the page before this one ended: its `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the transactions that touch an account, newest first.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/transactions", tag = "ledger", security(("bearer" = ["ledger:read"])),
    params(("account" = Account, Path, description = "The account"), Listing),
    responses(
        (status = 200, description = "A page of transactions", body = Page<BookedTransaction>,
         headers(("Link" = String, description = "The next page, as rel=\"next\""))),
        (status = 404, description = "There is no such account", body = Document,
         content_type = "application/problem+json"),
        Guarded,
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    _allowed: May<scope::ReadLedger>,
    Shared(state): Shared<State>,
    Path(account): Path<String>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let account = ledger::account(&account)?;
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
        listing.cursor,
        listing.limit.to_read(),
    )
    .fetch_all(&state.database)
    .await
    .or_problem("listing an account's transactions")?;
    Page::of(transactions, listing.limit, |booked| booked.transaction_id.to_string())
        .answer(&format!("/v1/accounts/{account}/transactions"), &listing)
}
