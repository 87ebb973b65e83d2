//! `GET /v1/accounts/{account}/transactions`: lists the transactions of an account.

use axum::extract::State as Shared;
use axum::response::Response;
use domain::ledger::Account;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::input::number;
use crate::app::ledger;
use crate::app::ledger::transactions::BookedTransaction;
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Path, Query};
use crate::http::page;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists the transactions with entries of an account, newest first.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/transactions", tag = "ledger", security(("bearer" = ["ledger:read"])),
    params(("account" = Account, Path, description = "The account"), ListQuery),
    responses(
        (status = 200, description = "A page of transactions", body = Page<BookedTransaction>,
         headers(("Link" = String, description = "The next page, as rel=\"next\""))),
        (status = 404, description = "There is no such account", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn list(
    _allowed: Authorized<scope::ReadLedger>,
    Shared(state): Shared<State>,
    Path(account): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let account = ledger::parse_account(&account)?;
    let page = ledger::transactions::list(&state.app, account, query.cursor, query.limit).await?;
    page::respond(page, &format!("/v1/accounts/{account}/transactions"), &query)
}
