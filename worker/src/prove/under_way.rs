//! I9 and I11: every open order has a workflow, and every workflow's order is on record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::OrderId;
use domain::refund::RefundId;
use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use sqlx::{PgConnection, PgPool};
use temporalio_client::{Client, WorkflowListOptions};
use uuid::Uuid;
use workflows::PROCESSES;

use super::{Finding, ProveError, Scope, Seen};
use crate::recover::{self, RecoverError, Workflow};

const WORKED_ON: &str = "an order that has not ended is under way or waits to be launched";
const TOLD: &str = "the record has whatever an open workflow has done";
const ON_RECORD: &str = "every workflow's order is on record";
const REFUNDED: &str = "a refund that has not ended is under way or waits to be launched";

/// Visibility is eventually consistent, and the workflows are read after the orders: mismatches are
/// checked again, up to this often.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// How many orders are checked again concurrently.
const LOOKED_AT_AT_ONCE: usize = 16;

/// How long an order may be unwinding, or shipped without its sale being booked, before a person
/// has to be asked.
const SILENT_HOURS: i32 = 24;

/// How an order on record relates to its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its workflow has to be running.
    UnderWay,
    /// It waits to be launched; its workflow may already be running, and must not have ended.
    WaitsForLaunch,
    /// It waits to be launched again.
    WaitsForRelaunch,
    /// Its workflow must not be running.
    Ended,
}

impl Standing {
    /// `waits` is `None` if it does not wait to be launched; otherwise it says whether this is a
    /// relaunch.
    const fn of(has_ended: bool, waits: Option<bool>) -> Self {
        match (has_ended, waits) {
            (true, _) => Self::Ended,
            (false, Some(true)) => Self::WaitsForRelaunch,
            (false, Some(false)) => Self::WaitsForLaunch,
            (false, None) => Self::UnderWay,
        }
    }
}

/// The orders on record: all, or those of a recent proof, which contain all that have not ended.
pub(super) struct Known {
    standings: HashMap<Uuid, Standing>,
    /// Those that wait to be launched and were placed before the time that a recent proof checks.
    waiting_long: Vec<Uuid>,
}

/// A visibility query for the workflows of all workflow types.
pub(crate) fn of_every_process() -> String {
    let types: Vec<_> = PROCESSES
        .iter()
        .map(|process| format!("WorkflowType='{}'", process.workflow_type))
        .collect();
    format!("({})", types.join(" OR "))
}

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<(Vec<Finding>, Known), sqlx::Error> {
    let deadlines = deadlines(db).await?;
    let silent = silent(db).await?;
    let open = sqlx::query!(
        r#"
        select
            count(*) filter (where ending is null and attention is null) as "forward!",
            count(*) filter (where ending is not null and attention is null) as "unwinding!",
            count(*) filter (where attention is not null) as "waiting!",
            (select count(*) from orders.launches) as "unlaunched!"
        from orders.orders where status = 'processing'
        "#,
    )
    .fetch_one(&mut *db)
    .await?;
    let remark = format!(
        "{} under way ({} of them wait to be launched), {} unwinding, {} wait for a person",
        open.forward, open.unlaunched, open.unwinding, open.waiting,
    );
    let known = known(db, scope).await?;
    let findings = vec![
        Finding::of("I9", "nothing is open past its deadline", "open orders", deadlines)
            .with_remark(Some(remark)),
        Finding::of(
            "I9",
            "no order is unwound, or shipped and not booked, for a day without asking a person",
            "open orders",
            silent,
        ),
    ];
    Ok((findings, known))
}

async fn known(db: &mut PgConnection, scope: &Scope) -> Result<Known, sqlx::Error> {
    let orders = sqlx::query!(
        r#"
        select order_id as "order_id!", orders.is_terminal(status) as "has_ended!",
            is_recovery as "waits?",
            coalesce(launches.placed_at < $2::timestamptz, false) as "is_old_launch!"
        from orders.orders left join orders.launches using (order_id)
        where $1::uuid[] is null or order_id = any ($1)
        "#,
        scope.orders(),
        scope.since(),
    )
    .fetch_all(db)
    .await?;
    let waiting_long = orders.iter().filter(|order| order.is_old_launch);
    Ok(Known {
        waiting_long: waiting_long.map(|order| order.order_id).collect(),
        standings: orders
            .into_iter()
            .map(|order| (order.order_id, Standing::of(order.has_ended, order.waits)))
            .collect(),
    })
}

async fn silent(db: &mut PgConnection) -> Result<Seen, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when attention is null and updated_at < now() - make_interval(hours => $1)
                    and (ending is not null or fulfilment_status in ('shipped', 'delivered'))
                    -- What is undone waits for a bank, and is told of among the disputes.
                    and not exists (
                        select from payments.disputes
                        where disputes.order_id = orders.order_id and has_payment
                    )
                then format('order %s, %s, has not moved since %s, and nobody was asked', order_id,
                    case when ending is null then 'shipped' else 'unwinding' end, updated_at)
            end as complaint
            from orders.orders where status = 'processing'
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        SILENT_HOURS,
    )
    .fetch_one(db)
    .await
}

/// A step ends within its patience. Between two steps lies at most the time in which the order can
/// be cancelled, paid by its customer, or reviewed. Undos, and steps after the point of no return,
/// never give up; an order that needs a person waits for one; an order that waits to be launched
/// loses no time.
async fn deadlines(db: &mut PgConnection) -> Result<Seen, sqlx::Error> {
    let contracts = PROCESSES.iter().flat_map(|process| process.contracts);
    let patience = contracts.filter_map(|contract| contract.patience).max();
    let slack = Duration::from_mins(5);
    let longest = patience.unwrap_or_default().saturating_add(slack).as_secs();
    sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when ending is null and attention is null
                    and fulfilment_status not in ('shipped', 'delivered')
                    and launches.order_id is null
                    and updated_at + make_interval(
                        secs => $1::integer + (terms ->> 'cancel_window_seconds')::integer
                            + coalesce((terms ->> 'approval_seconds')::integer, 0)
                            + coalesce((terms ->> 'payment_retry_seconds')::integer, 0)
                            + coalesce((terms #>> '{screening,review_seconds}')::integer, 0)
                    ) < now()
                then format('order %s has been processing since %s', order_id, updated_at)
            end as complaint
            from orders.orders left join orders.launches using (order_id)
            where status = 'processing'
        ), forgotten as (
            select case when expires_at < now() - interval '5 minutes' then format(
                'reservation %s expired at %s and was not given back', reservation_key, expires_at
            ) end as complaint
            from inventory.reservations where state = 'held'
        ), complaint as (
            select complaint from checked where complaint is not null
            union all
            select complaint from forgotten where complaint is not null
        )
        select
            (select count(*) from checked) as "looked_at!",
            (select count(*) from complaint) as "violations!",
            (select coalesce((array_agg(complaint))[1:5], '{}') from complaint) as "examples!"
        "#,
        i32::try_from(longest).unwrap_or(i32::MAX),
    )
    .fetch_one(db)
    .await
}

pub(super) fn without_temporal() -> [Finding; 4] {
    const WHY: &str = "not checked without Temporal";
    [
        Finding::not_shown("I9", WORKED_ON, WHY),
        Finding::not_shown("I9", TOLD, WHY),
        Finding::not_shown("I9", REFUNDED, WHY),
        Finding::not_shown("I11", ON_RECORD, WHY),
    ]
}

/// Compares the orders with the workflows, and checks mismatches again.
///
/// A recent proof lists the workflows that run, and those that were started in its time. An order
/// that waits to be launched for longer is therefore looked up by itself.
pub(super) async fn look_at_workflows(
    pool: &PgPool,
    client: &Client,
    scope: &Scope,
    Known { standings, waiting_long }: Known,
) -> Result<[Finding; 3], ProveError> {
    let running =
        orders_of(client, &format!("{} AND ExecutionStatus='Running'", of_every_process())).await?;
    let started = orders_of(client, &(of_every_process() + &scope.started())).await?;
    let are = |standing| {
        standings.iter().filter(move |(_, is)| **is == standing).map(|(order, _)| *order)
    };
    let must_run: HashSet<_> = are(Standing::UnderWay).collect();
    let waiting: HashSet<_> = are(Standing::WaitsForLaunch).collect();
    let may_run: HashSet<_> =
        waiting.iter().copied().chain(are(Standing::WaitsForRelaunch)).collect();
    let differing: HashSet<_> = running
        .symmetric_difference(&must_run)
        .filter(|order| !may_run.contains(order))
        .chain(
            started
                .iter()
                .chain(&waiting_long)
                .filter(|order| waiting.contains(order) && !running.contains(order)),
        )
        .copied()
        .collect();
    let complaints: Vec<_> = stream::iter(differing)
        .map(|order| look_again(pool, client, OrderId::of(order)))
        .buffer_unordered(LOOKED_AT_AT_ONCE)
        .try_filter_map(async |complaint| Ok(complaint))
        .try_collect()
        .await?;
    let looked_at = count(running.union(&must_run).count());
    let worked_on = Finding::of("I9", WORKED_ON, "open orders", Seen::all(looked_at, complaints));
    let open = running.iter().filter(|order| must_run.contains(order) || may_run.contains(order));
    let told = told(pool, client, open.copied().collect()).await?;

    // In a recent proof, these include orders that have ended and have no recent event.
    let unknown: Vec<_> =
        started.iter().copied().filter(|order| !standings.contains_key(order)).collect();
    let missing = still_missing(pool, &unknown).await?;
    let on_record =
        Finding::of("I11", ON_RECORD, "workflows", Seen::all(count(started.len()), missing));
    Ok([worked_on, told, on_record])
}

/// Compares each open refund with its workflow, until they agree or the number of checks is used
/// up.
pub(super) async fn look_at_refunds(pool: &PgPool, client: &Client) -> Result<Finding, ProveError> {
    let (mut looked_at, mut lost) = (0, Vec::new());
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        lost.clear();
        let open = recover::open_refunds(pool).await?;
        looked_at = looked_at.max(count(open.len()));
        for refund in open {
            let workflow = recover::refund_workflow(client, refund).await;
            if workflow.map_err(ProveError::Temporal)? != Workflow::Running {
                lost.push(refund);
            }
        }
        if lost.is_empty() {
            break;
        }
    }
    let complaint = |RefundId { order_id, number }: RefundId| {
        format!(
            "refund {number} of order {order_id} has not ended, and nothing carries it; `ordersaga \
             recover` launches it anew"
        )
    };
    let complaints = lost.into_iter().map(complaint).collect();
    Ok(Finding::of("I9", REFUNDED, "open refunds", Seen::all(looked_at, complaints)))
}

/// Queries open workflows for what they have done. Without a worker none answers.
async fn told(pool: &PgPool, client: &Client, open: Vec<Uuid>) -> Result<Finding, ProveError> {
    let looked_at = count(open.len());
    let complaints = stream::iter(open)
        .map(|order| lacking(pool, client, OrderId::of(order)))
        .buffer_unordered(LOOKED_AT_AT_ONCE)
        .try_filter_map(async |complaint| Ok(complaint))
        .try_collect()
        .await;
    match complaints {
        Ok(complaints) => {
            Ok(Finding::of("I9", TOLD, "open orders", Seen::all(looked_at, complaints)))
        }
        Err(RecoverError::Temporal(why)) => {
            let finding = Finding::not_shown("I9", TOLD, "not checked: no worker answers");
            Ok(finding.with_remark(Some(why)))
        }
        Err(RecoverError::Database(error)) => Err(error.into()),
        Err(error @ RecoverError::Record(_)) => Err(ProveError::Temporal(error.to_string())),
    }
}

async fn lacking(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
) -> Result<Option<String>, RecoverError> {
    let behind = recover::behind_running(pool, client, order).await?;
    Ok(behind.map(|behind| {
        let lacked = behind.lacked.join(", ");
        format!("order {order}: its record lacks {lacked}; `ordersaga recover` settles it")
    }))
}

async fn orders_of(client: &Client, query: &str) -> Result<HashSet<Uuid>, ProveError> {
    client
        .list_workflows(query, WorkflowListOptions::default())
        .map_err(|error| ProveError::Temporal(error.to_string()))
        .try_filter_map(async |workflow| Ok(OrderId::of_workflow(workflow.id()).map(OrderId::uuid)))
        .try_collect()
        .await
}

/// Checks one order and its workflow directly, until they agree or the number of checks is used up.
async fn look_again(
    pool: &PgPool,
    client: &Client,
    order: OrderId,
) -> Result<Option<String>, ProveError> {
    let mut complaint = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let workflow = recover::workflow_of(client, order).await.map_err(ProveError::Temporal)?;
        let standing = standing(pool, order).await?;
        let wrong = match (workflow == Workflow::Running, standing) {
            (true, Some(Standing::Ended)) => "has ended, and its workflow runs",
            (true, None) => "is not on record, and its workflow runs",
            (false, Some(Standing::UnderWay)) => {
                "has not ended, and neither does a workflow run for it nor is it waiting for one; \
                 `ordersaga recover` launches it anew"
            }
            (false, Some(Standing::WaitsForLaunch)) if workflow != Workflow::Missing => {
                "waits to be launched, and its workflow has ended; `ordersaga recover` launches it \
                 anew"
            }
            (true | false, _) => return Ok(None),
        };
        complaint = Some(format!("order {order} {wrong}"));
    }
    Ok(complaint)
}

async fn standing(pool: &PgPool, order: OrderId) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select orders.is_terminal(status) as "has_ended!", is_recovery as "waits?"
        from orders.orders left join orders.launches using (order_id)
        where order_id = $1
        "#,
        order.uuid(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Standing::of(row.has_ended, row.waits)))
}

/// An order placed a moment ago may have been missing at the first check.
async fn still_missing(pool: &PgPool, unknown: &[Uuid]) -> Result<Vec<String>, ProveError> {
    let mut missing = unknown.to_vec();
    for look in 0..LOOKS {
        if missing.is_empty() {
            break;
        }
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        missing = sqlx::query_scalar!(
            r#"
            select order_id as "order_id!" from unnest($1::uuid[]) as workflow (order_id)
            where not exists (
                select from orders.orders where orders.order_id = workflow.order_id
            )
            "#,
            &missing,
        )
        .fetch_all(pool)
        .await?;
    }
    Ok(missing
        .into_iter()
        .map(|order| format!("order {order} has a workflow and is not on record"))
        .collect())
}

fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}
