//! I9 and I11: what is open is being worked on, and what was accepted is on record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use sqlx::{PgConnection, PgPool};
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowListOptions,
};
use uuid::Uuid;
use workflows::CONTRACTS;

use super::{Finding, ProveError, Seen};

const WORKED_ON: &str = "an order is open exactly if its workflow is";
const ON_RECORD: &str = "every workflow's order is on record";

/// Visibility lags behind the workflows, and the workflows are read after the orders: what does
/// not match is looked at again, this often.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// How many orders are looked at again at once.
const LOOKED_AT_AT_ONCE: usize = 16;

/// Which orders are on record, and whether they are open.
pub(super) struct Known(HashMap<Uuid, bool>);

pub(super) async fn look(db: &mut PgConnection) -> Result<(Finding, Known), sqlx::Error> {
    let seen = deadlines(db).await?;
    let open = sqlx::query!(
        r#"
        select
            count(*) filter (where status not in ('unwinding', 'stuck')) as "forward!",
            count(*) filter (where status = 'unwinding') as "unwinding!",
            count(*) filter (where status = 'stuck') as "stuck!"
        from orders.orders where status not in ('shipped', 'cancelled', 'rejected', 'failed')
        "#,
    )
    .fetch_one(&mut *db)
    .await?;
    let remark = format!(
        "{} under way, {} unwinding, {} stuck; those two have no deadline",
        open.forward, open.unwinding, open.stuck,
    );
    let orders = sqlx::query!(
        r#"
        select order_id, (
            status not in ('shipped', 'cancelled', 'rejected', 'failed')
            -- The revenue of a shipped order is still to be recognised.
            or status = 'shipped' and not exists (
                select from orders.step_keys
                where step_keys.order_id = orders.order_id
                    and step = 'recognise-revenue' and step_keys.generation = orders.generation
            )
        ) as "open!"
        from orders.orders
        "#,
    )
    .fetch_all(db)
    .await?;
    let known = orders.into_iter().map(|order| (order.order_id, order.open)).collect();
    let finding = Finding::of("I9", "nothing is open past its deadline", "open orders", seen);
    Ok((finding.with_remark(Some(remark)), Known(known)))
}

/// A step ends after its patience at the latest, and between two of them lies at most the time
/// in which the order can be cancelled. Undos and what must succeed never give up, and a stuck
/// order waits for a person.
async fn deadlines(db: &mut PgConnection) -> Result<Seen, sqlx::Error> {
    let patience = CONTRACTS.iter().filter_map(|contract| contract.patience).max();
    let slack = Duration::from_mins(5);
    let longest = patience.unwrap_or_default().saturating_add(slack).as_secs();
    sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case
                when status not in ('unwinding', 'stuck') and updated_at
                    + make_interval(secs => $1::integer + (terms ->> 'cancel_window_seconds')::integer)
                    < now()
                then format('order %s is %s since %s', order_id, status, updated_at)
            end as complaint
            from orders.orders where status not in ('shipped', 'cancelled', 'rejected', 'failed')
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

pub(super) fn without_temporal() -> [Finding; 2] {
    const WHY: &str = "not checked without Temporal";
    [Finding::not_shown("I9", WORKED_ON, WHY), Finding::not_shown("I11", ON_RECORD, WHY)]
}

/// Compares the orders with the workflows, and looks again where they differ.
pub(super) async fn look_at_workflows(
    pool: &PgPool,
    client: &Client,
    Known(known): Known,
) -> Result<[Finding; 2], ProveError> {
    let running =
        orders_of(client, "WorkflowType='OrderSaga' AND ExecutionStatus='Running'").await?;
    let ever = orders_of(client, "WorkflowType='OrderSaga'").await?;
    let open = known.iter().filter(|(_, open)| **open).map(|(order, _)| *order);
    let open: HashSet<_> = open.collect();
    let differing = running.symmetric_difference(&open).copied();
    let complaints: Vec<_> = stream::iter(differing)
        .map(|order| look_again(pool, client, order))
        .buffer_unordered(LOOKED_AT_AT_ONCE)
        .try_filter_map(async |complaint| Ok(complaint))
        .try_collect()
        .await?;
    let looked_at = count(running.union(&open).count());
    let worked_on = Finding::of("I9", WORKED_ON, "open orders", Seen::of(looked_at, complaints));

    let unknown: Vec<_> = ever.iter().copied().filter(|order| !known.contains_key(order)).collect();
    let missing = still_missing(pool, &unknown).await?;
    let on_record =
        Finding::of("I11", ON_RECORD, "workflows", Seen::of(count(ever.len()), missing));
    Ok([worked_on, on_record])
}

async fn orders_of(client: &Client, query: &str) -> Result<HashSet<Uuid>, ProveError> {
    client
        .list_workflows(query, WorkflowListOptions::default())
        .map_err(|error| ProveError::Temporal(error.to_string()))
        .try_filter_map(async |workflow| {
            Ok(workflow.id().strip_prefix("order-").and_then(|id| id.parse::<Uuid>().ok()))
        })
        .try_collect()
        .await
}

/// Looks at one order and its workflow themselves, until they agree or have had time enough to.
async fn look_again(
    pool: &PgPool,
    client: &Client,
    order: Uuid,
) -> Result<Option<String>, ProveError> {
    let mut complaint = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let running = is_running(client, order).await?;
        let open = is_open(pool, order).await?;
        let wrong = match (running, open) {
            // Neither there nor running: accepted and gone between the two looks.
            (true, Some(true)) | (false, Some(false) | None) => return Ok(None),
            (true, Some(false)) => "is over, and its workflow runs",
            (true, None) => "is not on record, and its workflow runs",
            (false, Some(true)) => "is open, and no workflow runs for it",
        };
        complaint = Some(format!("order {order} {wrong}"));
    }
    Ok(complaint)
}

async fn is_running(client: &Client, order: Uuid) -> Result<bool, ProveError> {
    let workflow_id = domain::OrderId::of(order).workflow_id();
    let workflow = client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
    match workflow.describe(WorkflowDescribeOptions::default()).await {
        Ok(description) => Ok(description.status() == WorkflowExecutionStatus::Running),
        Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
        Err(error) => Err(ProveError::Temporal(error.to_string())),
    }
}

async fn is_open(pool: &PgPool, order: Uuid) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select status not in ('shipped', 'cancelled', 'rejected', 'failed')
            or status = 'shipped' and not exists (
                select from orders.step_keys
                where step_keys.order_id = orders.order_id
                    and step = 'recognise-revenue' and step_keys.generation = orders.generation
            ) as "open!"
        from orders.orders where order_id = $1
        "#,
        order,
    )
    .fetch_optional(pool)
    .await
}

/// An order that was accepted a moment ago may not be on record at the first look.
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
            where order_id not in (select order_id from orders.orders)
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
