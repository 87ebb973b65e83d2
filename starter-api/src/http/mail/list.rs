//! `GET /v1/mail`: lists mails and text messages to customers.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::app::input::number;
use crate::app::mail::{self, Filter, Notification, NotificationState};
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
    /// The state: `queued`, `sending`, `sent`, `parked` or `skipped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "parked")]
    state: Option<NotificationState>,
    /// Only those about this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<i64>,
}

/// Lists mails and text messages to customers, oldest first, with their state.
///
/// With `state=parked`, those that wait for an operator: `why` says why. Either the server has
/// refused it for good, or the outcome of sending is unknown and it must be sent at most once.
#[utoipa::path(
    get, path = "/v1/mail", tag = "mail", security(("bearer" = ["mail:operate"])),
    params(ListQuery),
    responses((status = 200, description = "A page of mails", body = Page<Notification>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn notifications(
    _allowed: Authorized<scope::OperateMail>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let filter = Filter { state: query.state, order_id: query.order_id };
    let page = mail::list(&state.app, filter, query.cursor, query.limit).await?;
    page::respond(page, "/v1/mail", &query)
}
