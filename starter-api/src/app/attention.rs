//! The orders that wait for a person's decision, and deciding about many at once.

mod store;

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use domain::{Attention, CustomerId, Decision, OrderId, StepName};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use workflows::order::Resolution;

use self::store::Occurrence;
use crate::app::App;
use crate::app::disputes;
use crate::app::input::{line_as_written, line_of_text};
use crate::app::orders::resolve::tell as tell_decision;
use crate::app::paging::{Page, PageSize};
use crate::error::{Problem, Rules};
use crate::identity::Caller;
use crate::temporal::Taken;

/// How many orders one decision reaches.
const ORDERS_MAX: i64 = 1_000;

/// How many of what waits are read at once, to look which of it is alike.
const READ_AT_ONCE: i64 = 1_000;

/// How many orders are told at once.
const AT_ONCE: usize = 32;

/// An order that waits for a person's decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// The order.
    pub(crate) order_id: OrderId,
    /// Who ordered.
    pub(crate) customer_id: CustomerId,
    /// What it waits for.
    #[serde(flatten)]
    pub(crate) attention: Attention,
    /// Until when something can be done about it, if there is such a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<DateTime<Utc>>,
    /// The cursor's part, as the database sorts it.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) since: String,
}

/// Where a page of waiting orders ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AttentionCursor {
    pub(crate) since: String,
    pub(crate) order_id: Uuid,
}

impl TryFrom<String> for AttentionCursor {
    type Error = &'static str;

    fn try_from(cursor: String) -> Result<Self, Self::Error> {
        let parsed = cursor.split_once('_').and_then(|(since, order_id)| {
            since.parse::<DateTime<Utc>>().ok()?;
            Some(Self { since: since.to_owned(), order_id: order_id.parse().ok()? })
        });
        parsed.ok_or("a cursor is the `next_cursor` of the page before")
    }
}

impl Waiting {
    fn cursor(&self) -> AttentionCursor {
        AttentionCursor { since: self.since.clone(), order_id: self.order_id.uuid() }
    }
}

impl From<AttentionCursor> for String {
    fn from(AttentionCursor { since, order_id }: AttentionCursor) -> Self {
        format!("{since}_{order_id}")
    }
}

/// A page of the orders that wait, the longest waiting first.
pub(crate) async fn list(
    app: &App,
    after: Option<&AttentionCursor>,
    size: PageSize,
) -> Result<Page<Waiting>, Problem> {
    let waiting = store::waiting(&app.database, after, size.to_read()).await?;
    Ok(Page::of(waiting, size, |last| last.cursor().into()))
}

/// One decision for everything that waits at the same step for the same cause.
#[derive(Clone, Debug)]
pub(crate) struct ResolveAll {
    step: String,
    cause: String,
    decision: Decision,
    why: String,
}

/// What became of a decision about many orders. One with several disputes may be in it as often.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResolvedAll {
    /// The orders that act on the decision.
    resolved: Vec<OrderId>,
    /// The orders that do not.
    refused: Vec<NotResolved>,
}

/// What became of a decision about one order.
type One = Result<OrderId, NotResolved>;

/// An order that did not take a decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotResolved {
    /// The order.
    order_id: OrderId,
    /// Why.
    #[schema(example = "nothing waits for a decision")]
    reason: String,
}

impl ResolveAll {
    /// Checks what a caller wrote.
    pub(crate) fn check(
        step: &str,
        cause: &str,
        decision: Decision,
        why: &str,
    ) -> Result<Self, Problem> {
        let mut rules = Rules::default();
        let step = rules.check("/step", line_of_text(step, 64));
        let why = rules.check("/why", line_of_text(why, 200));
        let cause = rules.check("/cause", line_as_written(cause, 500));
        let ((step, why), cause) = rules.kept(step.zip(why).zip(cause))?;
        Ok(Self { step, cause, decision, why })
    }
}

/// Has everything that waits at the step for the cause act on the decision, a thousand at most.
///
/// **Repeats.** A second call reaches those that still wait.
pub(crate) async fn resolve_all(
    app: &App,
    caller: &Caller,
    command: &ResolveAll,
) -> Result<ResolvedAll, Problem> {
    let told = if command.step.parse::<StepName>() == Ok(StepName::AnswerDispute) {
        release_all(app, caller, command).await?
    } else {
        tell_all(app, caller, command).await?
    };
    let (mut resolved, mut refused) = (Vec::new(), Vec::new());
    for one in told {
        match one {
            Ok(order_id) => resolved.push(order_id),
            Err(not) => refused.push(not),
        }
    }
    let ResolveAll { step, decision, .. } = command;
    let (by, orders) = (caller.name(), resolved.len());
    tracing::info!(step, by, %decision, orders, "an operator decided about many orders");
    Ok(ResolvedAll { resolved, refused })
}

/// Tells the workflow of every order that waits the decision.
async fn tell_all(app: &App, caller: &Caller, command: &ResolveAll) -> Result<Vec<One>, Problem> {
    let ResolveAll { step, cause, decision, why } = command;
    let alike = store::waiting_alike(&app.database, step, cause, ORDERS_MAX).await?;
    // Once no worker answers one order, the others are not asked: each would take seconds.
    let unanswered = AtomicBool::new(false);
    let tell = async |Occurrence { order_id, occurrence }: Occurrence| {
        let order_id = OrderId::of(order_id);
        if unanswered.load(Ordering::Relaxed) {
            return Err(refused(order_id, NO_ANSWER));
        }
        let resolution = Resolution {
            step: step.clone(),
            occurrence: u32::try_from(occurrence).unwrap_or_default(),
            decision: *decision,
            by: caller.name().to_owned(),
            why: why.clone(),
        };
        match tell_decision(app, order_id, &resolution).await {
            Ok(Taken::Yes) => Ok(order_id),
            Ok(Taken::Refused(reason)) => Err(refused(order_id, reason)),
            Ok(Taken::NotOpen) => Err(refused(order_id, WORKFLOW_ENDED)),
            Err(_logged) => {
                unanswered.store(true, Ordering::Relaxed);
                Err(refused(order_id, NO_ANSWER))
            }
        }
    };
    Ok(stream::iter(alike).map(tell).buffered(AT_ONCE).collect().await)
}

/// A dispute is no workflow's: the decision about each goes on record, where a parcel that is held
/// looks.
async fn release_all(
    app: &App,
    caller: &Caller,
    command: &ResolveAll,
) -> Result<Vec<One>, Problem> {
    let ResolveAll { step, cause, decision, why } = command;
    let (by, can_be) = (caller.name(), *decision == Decision::Skip);
    let why_not = if can_be {
        "the dispute does not wait for anybody any more".to_owned()
    } else {
        format!("{decision} cannot be decided for {step}")
    };
    let mut told = Vec::new();
    for Waiting { order_id, attention, .. } in disputes_alike(app, cause).await? {
        let number = attention.occurrence;
        let is_done = can_be && disputes::release(app, order_id, number, by, why).await?;
        told.push(if is_done { Ok(order_id) } else { Err(refused(order_id, why_not.clone())) });
    }
    Ok(told)
}

/// The disputes that wait for an answer and of which this is told, the longest waiting first. What is
/// told of a dispute is in no column, so all that waits is read.
async fn disputes_alike(app: &App, cause: &str) -> Result<Vec<Waiting>, Problem> {
    let is_alike = |Waiting { attention, .. }: &Waiting| {
        attention.step == StepName::AnswerDispute && attention.why.starts_with(cause)
    };
    let most = usize::try_from(ORDERS_MAX).unwrap_or(usize::MAX);
    let mut alike = Vec::new();
    let mut after: Option<AttentionCursor> = None;
    loop {
        let read = store::waiting(&app.database, after.as_ref(), READ_AT_ONCE).await?;
        after = read.last().map(Waiting::cursor);
        alike.extend(read.into_iter().filter(is_alike));
        if after.is_none() || alike.len() >= most {
            alike.truncate(most);
            return Ok(alike);
        }
    }
}

const WORKFLOW_ENDED: &str = "the order's workflow has ended: `ordersaga recover` lets the order go \
                              on, and it asks again if it still has to";

const NO_ANSWER: &str = "no worker answers; look at the order before deciding again";

fn refused(order_id: OrderId, reason: impl Into<String>) -> NotResolved {
    NotResolved { order_id, reason: reason.into() }
}
