//! `POST /v1/screening/entries`: adds an entry to the block or allow list.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use domain::screening::{ListKind, Subject};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::screening::entries::{self, EntryInput, ListEntry};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A subject to block or allow: given by `value`, or as that of an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewListEntry)]
pub(crate) struct EntryRequest {
    /// The list.
    pub list: ListKind,
    /// The kind of subject.
    pub kind: Subject,
    /// The customer's id, the provider's token for the payment method, or an IP address or network.
    /// A postal address is given by an order.
    #[schema(min_length = 1, max_length = 128, example = "17851")]
    pub value: Option<String>,
    /// An order whose customer, payment method, address or network is to be listed.
    #[schema(value_type = Option<Uuid>)]
    pub order_id: Option<String>,
    /// The reason. It is kept as long as the entry, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "three payments were charged back")]
    pub why: String,
}

/// Puts a customer, payment method, address or network on the block list or the allow list.
///
/// It applies to orders that are screened from now on. A subject has one entry: the latest list and
/// reason replace earlier ones.
#[utoipa::path(
    post, path = "/v1/screening/entries", tag = "operators",
    security(("bearer" = ["orders:review"])),
    request_body(content = EntryRequest, description = "Who is listed, where and why"),
    responses(
        (status = 201, description = "The entry", body = ListEntry),
        (status = 404, description = "There is no such order", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn add_entry(
    Authorized { caller, .. }: Authorized<scope::ReviewOrders>,
    Shared(state): Shared<State>,
    Body(request): Body<EntryRequest>,
) -> Result<(StatusCode, Json<ListEntry>), Problem> {
    let input = EntryInput {
        list: request.list,
        kind: request.kind,
        value: request.value.as_deref(),
        order_id: request.order_id.as_deref(),
        why: &request.why,
    };
    let entry = entries::add(&state.app, &caller, &input).await?;
    Ok((StatusCode::CREATED, Json(entry)))
}
