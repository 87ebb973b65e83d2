//! The GraphQL API: orders with all related data in one query.
//!
//! The cost of a query is limited before it is executed, and related data of several orders is
//! batched into one database query per kind. The number of concurrent queries is limited, because
//! executing them takes CPU time from the threads that serve all requests.

mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod loads;
mod order;
mod size;
mod types;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::DataLoader;
use async_graphql::{
    Context, EmptyMutation, EmptySubscription, Error, ID, Object, Request, Response, Schema,
    ServerError,
};
use domain::CustomerId;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::app::App;
use crate::app::input::SearchText;
use crate::app::orders;
use crate::app::orders::filter::{
    FulfilmentStatuses, ListOrders, OrderCursor, PaymentStatuses, Statuses,
};
use crate::app::paging::PageSize;
use crate::app::turn::Turn;
use crate::error::{Kind, Problem};
use crate::graphql::error::graphql_error;
use crate::graphql::loads::Reader;
use crate::graphql::order::{GraphOrder, OrderPage};
use crate::identity::Caller;
use crate::shares::{Callers, Place, Places};

/// Deep enough for an order's ledger entries, and for the introspection query of tools.
const DEPTH_MAX: usize = 12;

/// A hundred orders with a page of fields each.
const COMPLEXITY_MAX: usize = 5_000;

/// The maximum number of directives on one field.
const DIRECTIVES_MAX: usize = 4;

/// The maximum number of queries executed concurrently, and how long further ones wait.
const AT_ONCE_MAX: usize = 16;
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// The maximum number of queries executing or waiting, and those of one caller: few enough that a
/// queue of other callers' queries still finishes in time.
const QUERIES_MAX: usize = 256;
const QUERIES_PER_CALLER: usize = 64;

/// The schema with its limits. Built once, and cheap to clone.
#[derive(Clone)]
pub(crate) struct GraphqlSchema {
    schema: Schema<Query, EmptyMutation, EmptySubscription>,
    turns: Turns,
}

/// Limits the concurrent execution of queries.
#[derive(Clone)]
struct Turns {
    at_once: Arc<Semaphore>,
    /// Slots for queries that are executing or waiting.
    queries: Places,
}

impl fmt::Debug for GraphqlSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GraphqlSchema")
    }
}

impl GraphqlSchema {
    pub(crate) fn new() -> Self {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription)
            .limit_depth(DEPTH_MAX)
            .limit_complexity(COMPLEXITY_MAX)
            .limit_directives(DIRECTIVES_MAX);
        Self { schema: schema.finish(), turns: Turns::new() }
    }

    /// The schema in GraphQL's schema language.
    pub(crate) fn sdl(&self) -> String {
        self.schema.sdl()
    }

    /// Executes a query for a caller who may read orders.
    ///
    /// **Errors.** 503 if the concurrency limit is reached, in total or for this caller. An invalid
    /// or too expensive query is answered with `errors`.
    pub(crate) async fn execute(
        &self,
        app: &Arc<App>,
        caller: Caller,
        turn: &Turn,
        mut request: Request,
    ) -> Result<Response, Problem> {
        match size::parse(&request.query) {
            Ok(parsed) => request.set_parsed_query(parsed),
            Err(refused) => {
                let error = ServerError::new(refused.to_string(), None);
                return Ok(Response::from_errors(vec![error]));
            }
        }
        let _turn = self.turns.take(turn.callers(&caller)).await?;
        let request = request
            .data(caller)
            .data(DataLoader::new(Reader(Arc::clone(app)), tokio::spawn))
            .data(Arc::clone(app));
        Ok(self.schema.execute(request).await)
    }
}

impl Turns {
    fn new() -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            queries: Places::of(QUERIES_MAX, QUERIES_PER_CALLER),
        }
    }

    /// Waits for permission to execute a query of this caller.
    async fn take(&self, callers: Callers) -> Result<(Place, SemaphorePermit<'_>), Problem> {
        let overloaded = || {
            Problem::overloaded(
                "The limit of concurrent GraphQL queries is reached, in total or for this caller. \
                 Send the query again after the time in Retry-After.",
            )
        };
        let place = self.queries.take(callers).map_err(|_full| overloaded())?;
        let Ok(Ok(turn)) = timeout(TURN_WITHIN, self.at_once.acquire()).await else {
            return Err(overloaded());
        };
        Ok((place, turn))
    }
}

/// The root of every query.
pub(crate) struct Query;

/// A field that queries the database has a minimum complexity, however little is selected of it, so
/// that it cannot be repeated a thousand times under different aliases.
#[Object]
impl Query {
    /// One order; null if there is none that the caller may see.
    #[graphql(complexity = "100 + child_complexity")]
    async fn order(&self, ctx: &Context<'_>, id: ID) -> Result<Option<GraphOrder>, Error> {
        let (app, caller) = (ctx.data::<Arc<App>>()?, ctx.data::<Caller>()?);
        let Ok(id) = orders::parse_id(&id) else { return Ok(None) };
        match orders::read::read(app, caller, id).await {
            Ok(order) => Ok(Some(order.into())),
            Err(problem) if problem.kind() == Kind::OrderNotFound => Ok(None),
            Err(problem) => Err(graphql_error(&problem)),
        }
    }

    /// Orders, newest first.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the GraphQL field")]
    #[graphql(complexity = "100 + usize::from(first) * (1 + child_complexity)")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The customer; all if left out. A customer always sees only their own orders."
        )]
        customer_id: Option<String>,
        #[graphql(desc = "One status, or several separated by commas.")] status: Option<String>,
        #[graphql(desc = "One payment status, or several separated by commas.")]
        payment_status: Option<String>,
        #[graphql(desc = "One fulfilment status, or several separated by commas.")]
        fulfilment_status: Option<String>,
        #[graphql(desc = "Whether it waits for a person's decision.")] needs_attention: Option<
            bool,
        >,
        #[graphql(desc = "Whether it is being unwound.")] unwinding: Option<bool>,
        #[graphql(desc = "As the q of GET /v1/orders.")] text: Option<String>,
        #[graphql(desc = "How many, 1 to 100.", default = 20)] first: u16,
        #[graphql(desc = "The nextCursor of the previous page.")] after: Option<String>,
    ) -> Result<OrderPage, Error> {
        let (app, caller) = (ctx.data::<Arc<App>>()?, ctx.data::<Caller>()?);
        let listing = ListOrders {
            customer_id: customer_id.map(CustomerId::parse).transpose()?,
            statuses: status.map(Statuses::try_from).transpose()?,
            payment_statuses: payment_status.map(PaymentStatuses::try_from).transpose()?,
            fulfilment_statuses: fulfilment_status.map(FulfilmentStatuses::try_from).transpose()?,
            needs_attention,
            unwinding,
            text: text.map(SearchText::try_from).transpose()?,
            size: PageSize::try_from(first)?,
            after: after.map(OrderCursor::try_from).transpose()?,
            ..ListOrders::default()
        };
        let page = orders::list::list(app, caller, &listing).await;
        let page = page.map_err(|problem| graphql_error(&problem))?;
        let items = page.items.into_iter().map(Into::into).collect();
        Ok(OrderPage { items, next_cursor: page.next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::poll;

    use super::*;
    use crate::shares::Who;

    #[tokio::test]
    async fn one_caller_does_not_keep_the_queries_of_others_from_their_turn() {
        let turns = Turns::new();
        let callers = |token| [None, Some(Who::Token(token))];
        let mut asked: Vec<_> =
            (0..QUERIES_PER_CALLER).map(|_query| Box::pin(turns.take(callers(1)))).collect();
        let mut taken = Vec::new();
        for query in &mut asked {
            if let Poll::Ready(turn) = poll!(query) {
                taken.push(turn.unwrap());
            }
        }
        assert_eq!(taken.len(), AT_ONCE_MAX);
        let refused = poll!(Box::pin(turns.take(callers(1))));
        assert!(matches!(refused, Poll::Ready(Err(_))), "it waits, too");
        let mut other = Box::pin(turns.take(callers(2)));
        assert!(poll!(&mut other).is_pending());
        // The next query may run as soon as those before it are done.
        drop((asked, taken));
        assert!(matches!(poll!(&mut other), Poll::Ready(Ok(_))));
    }
}
