//! Resolves an order that waits for an operator's decision.

use std::time::Duration;

use domain::{Attention, Decision, OrderId, StepName};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use workflows::order::Resolution;

use crate::app::App;
use crate::app::disputes;
use crate::app::input::{WholeNumber, line_of_text};
use crate::app::orders::{parse_id, read, store};
use crate::error::{Kind, Problem, Rules};
use crate::identity::Caller;
use crate::temporal::Taken;

/// An operator's decision.
#[derive(Clone, Debug)]
pub(crate) struct ResolveOrder {
    order_id: OrderId,
    step: String,
    occurrence: u32,
    decision: Decision,
    why: String,
}

/// A decision that the order has accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resolved {
    /// The order.
    order_id: OrderId,
    /// The step that the decision was about.
    #[schema(example = "ship-order")]
    step: String,
    /// The occurrence that the decision was about.
    #[schema(example = 1)]
    occurrence: u32,
    /// What was decided.
    decision: Decision,
    /// Who decided, as named by their token.
    #[schema(example = "eve")]
    by: String,
}

impl ResolveOrder {
    /// Validates the input.
    pub(crate) fn check(
        order_id: &str,
        step: &str,
        occurrence: WholeNumber,
        decision: Decision,
        why: &str,
    ) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let step = rules.check("/step", line_of_text(step, 64));
        let occurrence = occurrence.0.and_then(|number| u32::try_from(number).ok());
        let occurrence =
            rules.check("/occurrence", occurrence.ok_or("the `occurrence` that waits, from 1"));
        let why = rules.check("/why", line_of_text(why, 200));
        let checked = step.zip(occurrence).zip(why);
        let ((step, occurrence), why) = rules.kept(checked)?;
        Ok(Self { order_id, step, occurrence, decision, why })
    }
}

/// Sends a decision to the order's workflow, which records who decided and why.
///
/// **Errors.** 409 with the workflow's reason if it does not wait for this decision; 503 if no
/// worker answers in time: the order shows whether the decision was accepted after all.
///
/// **Repeats.** Idempotent: the same decision by the same person with the same reason gets the same
/// answer, and is recorded once.
pub(crate) async fn resolve(
    app: &App,
    caller: &Caller,
    command: ResolveOrder,
) -> Result<Resolved, Problem> {
    let order_id = command.order_id;
    let order = read::read(app, caller, order_id).await?;
    if command.step.parse::<StepName>() == Ok(StepName::AnswerDispute) {
        return release(app, caller, command).await;
    }
    let ResolveOrder { step, occurrence, decision, why, .. } = command;
    let by = caller.name().to_owned();
    let resolution = Resolution { step: step.clone(), occurrence, decision, by: by.clone(), why };
    let has_ended = order.state.status.is_terminal() && order.state.needs_attention.is_none();
    let why_not = if has_ended {
        Some(format!("The order has ended: it is {}.", order.state.status.name()))
    } else {
        match tell(app, order_id, &resolution).await? {
            Taken::Yes => None,
            Taken::Refused(why) => Some(format!("The order did not take the decision: {why}.")),
            Taken::NotOpen => Some(WORKFLOW_ENDED.to_owned()),
        }
    };
    if let Some(why_not) = why_not
        && !store::is_decided(&app.database, order_id, &resolution).await?
    {
        return Err(not_stuck(why_not));
    }
    tracing::info!(%order_id, step, occurrence, by, %decision, "an operator decided");
    Ok(Resolved { order_id, step, occurrence, decision, by })
}

/// A dispute has no workflow of its own: the decision is recorded in the database, where the step
/// that holds a parcel reads it.
async fn release(app: &App, caller: &Caller, command: ResolveOrder) -> Result<Resolved, Problem> {
    let ResolveOrder { order_id, step, occurrence, decision, why } = command;
    if decision != Decision::Skip {
        return Err(not_stuck(format!("{decision} cannot be decided for {step}.")));
    }
    let by = caller.name().to_owned();
    if !disputes::release(app, order_id, occurrence, &by, &why).await? {
        let detail = format!("No dispute {occurrence} of the order waits for somebody.");
        return Err(not_stuck(detail));
    }
    tracing::info!(%order_id, step, occurrence, by, %decision, "an operator decided");
    Ok(Resolved { order_id, step, occurrence, decision, by })
}

/// Sends the decision to the order's workflow. The workflow starts to accept it a moment after the
/// request for it is recorded, so a decision that arrives in between is sent again.
pub(crate) async fn tell(
    app: &App,
    order_id: OrderId,
    resolution: &Resolution,
) -> Result<Taken, Problem> {
    let listening = Instant::now().checked_add(LISTENS_WITHIN);
    loop {
        let taken = tell_once(app, order_id, resolution).await?;
        if !matches!(taken, Taken::Refused(_)) {
            return Ok(taken);
        }
        let stored = store::find(&app.database, order_id).await?;
        let Some(asked) = stored.and_then(|stored| stored.resource.state.needs_attention) else {
            return Ok(taken);
        };
        if let Some(why_not) = not_asked(&asked, resolution) {
            return Ok(Taken::Refused(why_not));
        }
        if listening.is_none_or(|listening| Instant::now() > listening) {
            return Ok(taken);
        }
        sleep(TOLD_AGAIN_AFTER).await;
    }
}

/// A refund has a workflow of its own.
async fn tell_once(
    app: &App,
    order_id: OrderId,
    resolution: &Resolution,
) -> Result<Taken, Problem> {
    if !resolution.step.parse::<StepName>().is_ok_and(StepName::is_of_refund) {
        return app.temporal.resolve(order_id, resolution.clone()).await;
    }
    match store::refunds::under_way(&app.database, order_id).await? {
        Some(refund) => app.temporal.resolve_refund(refund, resolution.clone()).await,
        None => Ok(Taken::NotOpen),
    }
}

/// For an order that has not reached a terminal status.
const WORKFLOW_ENDED: &str = "The order's workflow was ended from outside. `ordersaga recover` lets \
                             the order go on; it asks again if it still has to.";

const LISTENS_WITHIN: Duration = Duration::from_secs(3);
const TOLD_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Why the decision is not one that the order asks for; `None` if it is.
fn not_asked(asked: &Attention, resolution: &Resolution) -> Option<String> {
    let Attention { step, occurrence, decisions, .. } = asked;
    if (step.name(), *occurrence) != (resolution.step.as_str(), resolution.occurrence) {
        return Some(format!("{step} (occurrence {occurrence}) waits for a decision"));
    }
    let decision = resolution.decision;
    (!decisions.contains(&decision)).then(|| format!("{decision} cannot be decided for {step}"))
}

fn not_stuck(detail: String) -> Problem {
    Problem::new(Kind::OrderNotStuck, detail)
}
