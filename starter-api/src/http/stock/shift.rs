//! `POST /v1/products/{sku}/stock-movements`: records goods received, found or written off.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Sku;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::stock::Stock;
use crate::app::stock::movement::{self, Moved, MovementInput, Reason};
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::{Body, Path};
use crate::http::problem::{AuthResponses, Document, WriteProblems};
use crate::identity::{Authorized, scope};

/// A movement of goods in the warehouse.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Movement)]
pub(crate) struct MovementRequest {
    /// The number of pieces; the reason determines the direction.
    #[schema(minimum = 1, maximum = 100_000, example = 100)]
    pub quantity: i64,
    /// Why.
    pub reason: Reason,
    /// The document of the movement, such as a delivery note. The same reference of the same
    /// article is the same movement: a repeat changes nothing.
    #[schema(min_length = 1, max_length = 100, example = "delivery note 4711")]
    pub reference: String,
    /// A remark. It is kept permanently, so do not name persons.
    #[schema(min_length = 1, max_length = 200, example = "two cartons wet")]
    pub note: Option<String>,
}

/// Records a movement of goods, and posts its cost to the books.
#[utoipa::path(
    post, path = "/v1/products/{sku}/stock-movements", tag = "stock",
    security(("bearer" = ["stock:write"])),
    params(("sku" = Sku, Path, description = "The article's number", example = "85123A")),
    request_body(content = MovementRequest, description = "How many pieces, which way and why"),
    responses(
        (status = 201, description = "The stock as it is now", body = Stock),
        (status = 200, description = "This movement had been recorded before; the stock as it is now",
         body = Stock),
        (status = 404, description = "The shop does not sell it", body = Document,
         content_type = "application/problem+json"),
        (status = 409, description = "The pieces are not in stock, or are reserved for orders; or \
                                      the reference belongs to another movement", body = Document,
         content_type = "application/problem+json"),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn shift(
    Authorized { caller, .. }: Authorized<scope::WriteStock>,
    Shared(state): Shared<State>,
    Path(sku): Path<String>,
    Body(request): Body<MovementRequest>,
) -> Result<Response, Problem> {
    let movement = MovementInput {
        quantity: request.quantity,
        reason: request.reason,
        reference: &request.reference,
        note: request.note.as_deref(),
    };
    let moved = movement::move_goods(&state.app, &caller, &sku, &movement).await?;
    Ok(match moved {
        Moved::Recorded(stock) => (StatusCode::CREATED, Json(stock)).into_response(),
        Moved::Repeated(stock) => Json(stock).into_response(),
    })
}
