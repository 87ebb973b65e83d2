//! `POST /v1/graphql`: orders with everything that belongs to them, in one question.
//!
//! What a question may cost is bounded before it is answered, and everything that belongs to
//! several orders is read at once.

mod loads;
mod order;

use std::fmt;

use async_graphql::dataloader::DataLoader;
use async_graphql::{
    Context, EmptyMutation, EmptySubscription, Error, ErrorExtensions, ID, Object, Schema,
    Variables,
};
use axum::Json;
use axum::extract::State as Shared;
use domain::CustomerId;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::extract::Body;
use crate::graphql::loads::Reader;
use crate::graphql::order::{GraphOrder, OrderPage};
use crate::identity::access::{Caller, May, scope};
use crate::orders;
use crate::orders::list::Listing;
use crate::problem::{Guarded, Problem, WriteProblems};
use crate::state::State;

/// Deep enough for an order's ledger entries, and for the question that tools ask first.
const DEPTH_MAX: usize = 12;

/// A hundred orders with a page of fields each.
const COMPLEXITY_MAX: usize = 5_000;

/// The schema of all questions. Made once, and cheap to clone.
#[derive(Clone)]
pub(crate) struct Questions(Schema<Query, EmptyMutation, EmptySubscription>);

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Questions")
    }
}

impl Questions {
    /// All that can be asked, and what it may cost.
    pub(crate) fn new() -> Self {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription);
        Self(schema.limit_depth(DEPTH_MAX).limit_complexity(COMPLEXITY_MAX).finish())
    }

    /// The schema in its own language.
    pub(crate) fn sdl(&self) -> String {
        self.0.sdl()
    }
}

/// A question in GraphQL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = GraphqlQuestion)]
pub(crate) struct Question {
    /// The question itself.
    #[schema(
        example = "{ orders(first: 2) { items { id status payments { captured { amount } } } } }"
    )]
    query: String,
    /// Which of several operations in it is meant.
    operation_name: Option<String>,
    /// What its variables stand for.
    #[schema(value_type = Option<Object>)]
    variables: Option<Value>,
    /// Sent by some clients; not looked at.
    #[schema(value_type = Option<Object>)]
    #[expect(dead_code, reason = "accepted, because clients send it unasked")]
    extensions: Option<Value>,
}

/// Answers a question in GraphQL about orders with their events, payments, shipments and, for
/// whoever may see the books, ledger entries.
///
/// As GraphQL has it, the answer is 200 with `errors` in it when the question itself is wrong.
/// A question goes 12 levels deep at most and has a complexity of 5,000 at most: each field
/// counts once for each order that a page may have.
#[utoipa::path(
    post, path = "/v1/graphql", tag = "orders", security(("bearer" = ["orders:read"])),
    request_body(content = Question, description = "The question, and what its variables stand for"),
    responses(
        (status = 200, description = "`data`, and `errors` if there are any", body = Object),
        Guarded,
        WriteProblems,
    ),
)]
pub(crate) async fn ask(
    May { caller, .. }: May<scope::ReadOrders>,
    Shared(state): Shared<State>,
    Body(question): Body<Question>,
) -> Json<async_graphql::Response> {
    let mut request = async_graphql::Request::new(question.query)
        .data(caller)
        .data(DataLoader::new(Reader(state.database.clone()), tokio::spawn))
        .data(state.clone());
    if let Some(name) = question.operation_name {
        request = request.operation_name(name);
    }
    if let Some(variables) = question.variables {
        request = request.variables(Variables::from_json(variables));
    }
    Json(state.questions.0.execute(request).await)
}

/// What can be asked for.
pub(crate) struct Query;

#[Object]
impl Query {
    /// One order; nothing, if there is none that the caller may see.
    async fn order(&self, ctx: &Context<'_>, id: ID) -> Result<Option<GraphOrder>, Error> {
        let (state, caller) = (ctx.data::<State>()?, ctx.data::<Caller>()?);
        let Ok(id) = id.parse() else { return Ok(None) };
        match orders::visible(state, caller, domain::OrderId::of(id)).await {
            Ok(known) => Ok(Some(known.resource.into())),
            Err(problem) if problem.status() == 404 => Ok(None),
            Err(problem) => Err(told(&problem)),
        }
    }

    /// Orders, newest first.
    #[graphql(complexity = "1 + usize::from(first) * child_complexity")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose; without it, everybody's. A customer sees their own in any case.")]
        customer_id: Option<String>,
        #[graphql(desc = "Where they stand: one status, or several with commas between.")]
        status: Option<String>,
        #[graphql(desc = "As the q of GET /v1/orders.")] text: Option<String>,
        #[graphql(desc = "How many, 1 to 100.", default = 20)] first: u16,
        #[graphql(desc = "Where the page before ended: its nextCursor.")] after: Option<String>,
    ) -> Result<OrderPage, Error> {
        let (state, caller) = (ctx.data::<State>()?, ctx.data::<Caller>()?);
        let customer = customer_id.map(CustomerId::parse).transpose()?;
        let listing = Listing::asking(customer, status, text, first, after)?;
        let page = orders::list::page(state, caller, &listing).await;
        let page = page.map_err(|problem| told(&problem))?;
        let items = page.items.into_iter().map(Into::into).collect();
        Ok(OrderPage { items, next_cursor: page.next_cursor })
    }
}

/// The problem, as HTTP would tell it.
fn told(problem: &Problem) -> Error {
    let document = problem.document();
    Error::new(document.detail.to_string())
        .extend_with(|_, extensions| extensions.set("code", document.which.heading()))
}
