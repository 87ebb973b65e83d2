//! `POST /v1/graphql`: executes a GraphQL query.

use async_graphql::Variables;
use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::turn::Turn;
use crate::error::Problem;
use crate::http::State;
use crate::http::extract::Body;
use crate::http::problem::{AuthResponses, WriteProblems};
use crate::identity::{Authorized, scope};

/// A GraphQL request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = GraphqlQuestion)]
pub(crate) struct GraphqlRequest {
    /// The query.
    #[schema(
        example = "{ orders(first: 2) { items { id status payments { captured { amount } } } } }"
    )]
    query: String,
    /// Which operation of the query to execute, if it has several.
    operation_name: Option<String>,
    /// The values of its variables.
    #[schema(value_type = Option<Object>)]
    variables: Option<Map<String, Value>>,
    /// Sent by some clients; ignored.
    #[schema(value_type = Option<Object>)]
    #[expect(dead_code, reason = "accepted, because clients send it unasked")]
    extensions: Option<Map<String, Value>>,
}

/// Executes a GraphQL query on orders with their events, payments, shipments and, for callers who
/// may read the ledger, journal entries.
///
/// As usual in GraphQL, the response is 200 with `errors` when the query is wrong. A query is at
/// most 16 KiB long and 12 levels deep, selects at most 1,000 fields with its fragments expanded,
/// and has a complexity of at most 5,000: each field counts once for each order of a page, and each
/// database query has an additional cost.
#[utoipa::path(
    post, path = "/v1/graphql", tag = "orders", security(("bearer" = ["orders:read"])),
    request_body(content = GraphqlRequest, description = "The query and its variables"),
    responses(
        (status = 200, description = "`data`, and `errors` if there are any", body = Object),
        AuthResponses,
        WriteProblems,
    ),
)]
pub(crate) async fn ask(
    Authorized { caller, .. }: Authorized<scope::ReadOrders>,
    Shared(state): Shared<State>,
    turn: Turn,
    Body(body): Body<GraphqlRequest>,
) -> Result<Json<async_graphql::Response>, Problem> {
    let mut request = async_graphql::Request::new(body.query);
    if let Some(name) = body.operation_name {
        request = request.operation_name(name);
    }
    if let Some(variables) = body.variables {
        request = request.variables(Variables::from_json(Value::Object(variables)));
    }
    state.graphql.execute(&state.app, caller, &turn, request).await.map(Json)
}
