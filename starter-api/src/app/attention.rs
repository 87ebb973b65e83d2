//! Everything that waits for a person, in one list: orders, webhook endpoints that were disabled,
//! sinks with refused messages, and parked mails. Also decides about many orders at once.

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

/// The maximum number of orders that one bulk decision covers.
const ORDERS_MAX: i64 = 1_000;

/// The page size when matching orders are collected.
const READ_AT_ONCE: i64 = 1_000;

/// The number of concurrent calls to workflows.
const AT_ONCE: usize = 32;

/// Something that waits for a person, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// What waits, since when, and why.
    #[serde(flatten)]
    about: AttentionSubject,
    /// What to do about it, and what gets it off this list.
    #[schema(example = "`ordersaga mail retry 17` once the cause is repaired, or \
                        `ordersaga mail skip 17 --why WHY`")]
    advice: String,
    /// The position in the list.
    #[serde(skip)]
    #[schema(ignore)]
    place: AttentionCursor,
}

/// What waits for a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum AttentionSubject {
    /// An order, for a decision or for a dispute to be answered.
    Order(WaitingOrder),
    /// A webhook endpoint that the relay has disabled.
    WebhookEndpoint(WaitingEndpoint),
    /// A sink in which messages were refused.
    Sink(WaitingSink),
    /// A mail or a text message to a customer that is parked.
    Mail(WaitingMail),
}

/// An order that waits for a person's decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingOrder {
    /// The order.
    order_id: OrderId,
    /// Who ordered.
    customer_id: CustomerId,
    /// What it waits for.
    #[serde(flatten)]
    attention: Attention,
    /// Until when something can be done about it, if there is such a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    /// The order's part of the cursor, in the form in which the database sorts it.
    #[serde(skip)]
    #[schema(ignore)]
    since_as_text: String,
}

/// A webhook endpoint that was disabled because it accepts nothing any more. Its messages are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingEndpoint {
    /// The endpoint.
    endpoint_id: Uuid,
    /// The host that its messages go to; the rest of its URL may hold a secret.
    #[schema(example = "erp.example.org")]
    host: String,
    /// What the last attempt ended with.
    #[schema(example = "it did not answer in time")]
    why: String,
    /// Since when it is disabled.
    since: DateTime<Utc>,
}

/// A sink whose receiver has refused messages about which nobody has decided.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WaitingSink {
    /// What it is called.
    #[schema(example = "kafka")]
    sink: String,
    /// How many messages were refused: one of each order.
    #[schema(example = 1)]
    refused: i64,
    /// Why the first of them was.
    #[schema(example = "the broker refuses a message of 2 MB")]
    why: String,
    /// Since when that one is parked.
    since: DateTime<Utc>,
}

/// A parked mail or text message to a customer. The recipient is not shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WaitingMail {
    /// Its number.
    notification_id: i64,
    /// Which mail it is.
    #[schema(example = "shipped")]
    template: String,
    /// The channel: `mail` or `sms`.
    #[schema(example = "mail")]
    channel: String,
    /// The order that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    /// Why it is not sent.
    #[schema(example = "the server does not take the recipient: 550 5.1.1")]
    why: String,
    /// Since when it is parked.
    since: DateTime<Utc>,
}

/// The cursor: where a page of the list ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AttentionCursor {
    /// The start of the wait, as the database writes it, which sorts as text.
    since: String,
    /// The tie-breaker between entries of the same moment.
    id: Uuid,
}

impl TryFrom<String> for AttentionCursor {
    type Error = &'static str;

    fn try_from(cursor: String) -> Result<Self, Self::Error> {
        let parsed = cursor.split_once('_').and_then(|(since, id)| {
            since.parse::<DateTime<Utc>>().ok()?;
            Some(Self { since: since.to_owned(), id: id.parse().ok()? })
        });
        parsed.ok_or("a cursor is the `next_cursor` of the page before")
    }
}

impl From<AttentionCursor> for String {
    fn from(AttentionCursor { since, id }: AttentionCursor) -> Self {
        format!("{since}_{id}")
    }
}

impl WaitingOrder {
    fn place(&self) -> AttentionCursor {
        AttentionCursor { since: self.since_as_text.clone(), id: self.order_id.uuid() }
    }

    fn advice(&self) -> String {
        let Self { order_id, attention: Attention { step, occurrence, decisions, .. }, .. } = self;
        let decision = match decisions.as_slice() {
            [only] => only.to_string(),
            _ => "DECISION".to_owned(),
        };
        let resolve = format!(
            "`ordersaga attention resolve {order_id} {decision} --step {step} --occurrence \
             {occurrence} --why WHY`"
        );
        if *step == StepName::AnswerDispute {
            format!("answer it at the payment provider, or {resolve} once it is dealt with")
        } else {
            resolve
        }
    }
}

impl AttentionSubject {
    fn advice(&self) -> String {
        match self {
            Self::Order(order) => order.advice(),
            Self::WebhookEndpoint(WaitingEndpoint { endpoint_id, .. }) => format!(
                "`ordersaga endpoint enable {endpoint_id}` once it takes messages again, or \
                 `ordersaga endpoint remove {endpoint_id}`"
            ),
            Self::Sink(WaitingSink { sink, .. }) => format!(
                "`ordersaga relay parked {sink}` lists them; `ordersaga relay replay {sink} --why WHY` \
                 once the cause is repaired, or `ordersaga relay skip {sink} --order ORDER --why WHY`"
            ),
            Self::Mail(WaitingMail { notification_id, .. }) => format!(
                "`ordersaga mail retry {notification_id}` once the cause is repaired, or `ordersaga \
                 mail skip {notification_id} --why WHY`"
            ),
        }
    }
}

impl Waiting {
    fn new(about: AttentionSubject, place: AttentionCursor) -> Self {
        Self { advice: about.advice(), about, place }
    }
}

impl From<WaitingOrder> for Waiting {
    fn from(order: WaitingOrder) -> Self {
        let place = order.place();
        Self::new(AttentionSubject::Order(order), place)
    }
}

/// A page of everything that waits for a person, the longest waiting first.
pub(crate) async fn list(
    app: &App,
    after: Option<&AttentionCursor>,
    size: PageSize,
) -> Result<Page<Waiting>, Problem> {
    let orders = store::orders(&app.database, after, size.to_read()).await?;
    // Each list is read up to the page size, so the merged page is complete.
    let mut waiting = store::undelivered(&app.database, after, size.to_read()).await?;
    waiting.extend(orders.into_iter().map(Waiting::from));
    waiting.sort_by_cached_key(|one| one.place.clone());
    Ok(Page::of(waiting, size, |last| last.place.clone().into()))
}

/// One decision for all orders that wait at the same step for the same cause.
#[derive(Clone, Debug)]
pub(crate) struct ResolveAll {
    step: String,
    cause: String,
    decision: Decision,
    why: String,
}

/// The outcome of a decision about many orders. An order with several disputes may be listed
/// several times.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResolvedAll {
    /// The orders that act on the decision.
    resolved: Vec<OrderId>,
    /// The orders that do not.
    refused: Vec<NotResolved>,
}

/// The outcome for one order.
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
    /// Validates the input.
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

/// Applies the decision to all orders that wait at the step for the cause, up to a thousand.
///
/// **Repeats.** A second call covers those that still wait.
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

/// Sends the decision to the workflow of every order that waits.
async fn tell_all(app: &App, caller: &Caller, command: &ResolveAll) -> Result<Vec<One>, Problem> {
    let ResolveAll { step, cause, decision, why } = command;
    let alike = store::waiting_alike(&app.database, step, cause, ORDERS_MAX).await?;
    // Once one call gets no answer from a worker, the remaining calls are skipped: each would take
    // seconds to time out.
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

/// A dispute has no workflow of its own: each decision is recorded in the database, where the step
/// that holds a parcel reads it.
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
    for WaitingOrder { order_id, attention, .. } in disputes_alike(app, cause).await? {
        let number = attention.occurrence;
        let is_done = can_be && disputes::release(app, order_id, number, by, why).await?;
        told.push(if is_done { Ok(order_id) } else { Err(refused(order_id, why_not.clone())) });
    }
    Ok(told)
}

/// The disputes that wait for an answer with this cause, the longest waiting first. The cause of a
/// dispute is not a column, so all waiting entries are read.
async fn disputes_alike(app: &App, cause: &str) -> Result<Vec<WaitingOrder>, Problem> {
    let is_alike = |WaitingOrder { attention, .. }: &WaitingOrder| {
        attention.step == StepName::AnswerDispute && attention.why.starts_with(cause)
    };
    let most = usize::try_from(ORDERS_MAX).unwrap_or(usize::MAX);
    let mut alike = Vec::new();
    let mut after: Option<AttentionCursor> = None;
    loop {
        let read = store::orders(&app.database, after.as_ref(), READ_AT_ONCE).await?;
        after = read.last().map(WaitingOrder::place);
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
