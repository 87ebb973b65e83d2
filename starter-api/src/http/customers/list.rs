//! `GET /v1/customers`: lists customers.

use axum::extract::State as Shared;
use axum::response::Response;
use domain::CustomerId;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::customers::{self, CustomerResource};
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Query;
use crate::http::page;
use crate::http::problem::{AuthResponses, ReadProblems};
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
    cursor: Option<CustomerId>,
}

/// Lists customers by id. A customer sees only themself.
#[utoipa::path(
    get, path = "/v1/customers", tag = "customers", security(("bearer" = ["customers:read"])),
    params(ListQuery),
    responses((status = 200, description = "A page of customers", body = Page<CustomerResource>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn list(
    Authorized { caller, .. }: Authorized<scope::ReadCustomers>,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let page =
        customers::list::list(&state.app, &caller, query.cursor.as_ref(), query.limit).await?;
    page::respond(page, "/v1/customers", &query)
}
