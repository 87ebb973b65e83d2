//! `GET /v1/reviews`: lists the orders that wait for a review.

use axum::extract::State as Shared;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::app::paging::{Page, PageSize};
use crate::app::screening::reviews::{self, ReviewCursor, WaitingReview};
use crate::error::Problem;
use crate::http::extract::Query;
use crate::http::problem::{AuthResponses, ReadProblems};
use crate::http::{State, page};
use crate::identity::{Authorized, scope};

/// Query parameters.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReviewsQuery {
    /// The page size.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 100, default = 20)]
    limit: PageSize,
    /// The `next_cursor` of the previous page.
    #[serde(skip_serializing_if = "Option::is_some")]
    #[param(value_type = Option<String>)]
    cursor: Option<ReviewCursor>,
}

/// Lists the orders that screening has stopped and that wait for a review, with the findings,
/// earliest deadline first.
///
/// An order that is decided, cancelled, or past its deadline disappears from the list.
#[utoipa::path(
    get, path = "/v1/reviews", tag = "operators", security(("bearer" = ["orders:review"])),
    params(ReviewsQuery),
    responses((status = 200, description = "A page of the orders that wait",
               body = Page<WaitingReview>,
               headers(("Link" = String, description = "The next page, as rel=\"next\""))),
              AuthResponses, ReadProblems),
)]
pub(crate) async fn reviews(
    _allowed: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Query(query): Query<ReviewsQuery>,
) -> Result<Response, Problem> {
    let page = reviews::list(&state.app, query.cursor.as_ref(), query.limit).await?;
    page::respond(page, "/v1/reviews", &query)
}
