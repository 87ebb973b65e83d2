//! `GET /v1/attention`: lists what waits for an operator.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::attention::{self, AttentionCursor, Waiting};
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
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
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<AttentionCursor>,
}

/// Lists what waits for an operator, the longest waiting first, with the reason and with what to
/// do: orders that wait for a decision, webhook endpoints that were disabled because of failures,
/// sinks with refused messages, and parked mails.
///
/// `kind` says which it is. An endpoint disappears once it is enabled or removed, a sink once its
/// refused messages are decided, and a mail once it is sent again or given up.
///
/// A dispute that waits for the shop's answer is in the list too, as the step `answer-dispute`,
/// with `until`: it is answered at the payment provider, and disappears once the provider reports
/// that, or with the decision `skip`.
///
/// An order also retries by itself from time to time, and disappears from the list if that
/// succeeds.
#[utoipa::path(
    get, path = "/v1/attention", tag = "operators", security(("bearer" = ["orders:resolve"])),
    params(ListQuery),
    responses((status = 200, description = "A page of the list", body = Page<Waiting>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn attention(
    _allowed: Authorized<scope::ResolveOrders>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page = attention::list(&state.app, query.cursor.as_ref(), query.limit).await?;
    page::respond(page, "/v1/attention", &query)
}
