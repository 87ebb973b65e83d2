//! `DELETE /v1/screening/entries/{entry_id}`: removes an entry from its list.

use axum::Json;
use axum::extract::State as Shared;

use crate::app::screening::entries::{self, ListEntry};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Path;
use crate::http::problem::{AuthResponses, Document, ReadProblems};
use crate::identity::{Authorized, scope};

/// Removes an entry from its list. This applies to orders that are screened from now on.
#[utoipa::path(
    delete, path = "/v1/screening/entries/{entry_id}", tag = "operators",
    security(("bearer" = ["orders:review"])),
    params(("entry_id" = String, Path, description = "The entry")),
    responses(
        (status = 200, description = "The entry as it was", body = ListEntry),
        (status = 404, description = "There is no such entry", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        ReadProblems,
    ),
)]
pub(crate) async fn remove_entry(
    Authorized { caller, .. }: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Path(entry_id): Path<String>,
) -> Result<Json<ListEntry>, Problem> {
    entries::remove(&state.app, &caller, &entry_id).await.map(Json)
}
