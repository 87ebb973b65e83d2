//! An operator decides what becomes of a stuck order.

use domain::OrderId;
use serde::Serialize;
use utoipa::ToSchema;
use workflows::{Resolution, ResolutionKind};

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::orders::{parse_id, read};
use crate::error::{Kind, Problem, Rules};
use crate::identity::Caller;

/// What to do with what is stuck.
#[derive(Clone, Debug)]
pub(crate) struct ResolveOrder {
    order_id: OrderId,
    decision: ResolutionKind,
    why: String,
}

/// A decision that the order was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resolved {
    /// The order.
    order_id: OrderId,
    /// What was decided.
    #[schema(value_type = String, example = "retry")]
    decision: ResolutionKind,
    /// Who decided, as the token names them.
    #[schema(example = "eve")]
    by: String,
}

impl ResolveOrder {
    /// Checks what a caller wrote.
    pub(crate) fn check(
        order_id: &str,
        decision: ResolutionKind,
        why: &str,
    ) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let why = rules.check("/why", line_of_text(why, 200));
        Ok(Self { order_id, decision, why: rules.kept(why)? })
    }
}

/// Sends the decision to the order. Who decided and why goes on record.
pub(crate) async fn resolve(
    app: &App,
    caller: &Caller,
    command: ResolveOrder,
) -> Result<Resolved, Problem> {
    let ResolveOrder { order_id, decision, why } = command;
    read::read(app, caller, order_id).await?;
    let by = caller.name().to_owned();
    let resolution = Resolution { decision, by: by.clone(), why };
    if !app.temporal.resolve(order_id, &resolution).await? {
        return Err(Problem::new(Kind::OrderNotStuck, "This order is not waiting for a decision."));
    }
    tracing::info!(%order_id, by, ?decision, "an operator decided about a stuck order");
    Ok(Resolved { order_id, decision, by })
}
