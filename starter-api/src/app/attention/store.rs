//! SQL for everything that waits for a person.

use chrono::{DateTime, Utc};
use domain::dispute::ToAnswer;
use domain::{Attention, CustomerId, OrderId};
use reqwest::Url;
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    AttentionCursor, AttentionSubject, Waiting, WaitingEndpoint, WaitingMail, WaitingOrder,
    WaitingSink,
};
use crate::error::{OrProblem, Problem};

#[derive(Debug, thiserror::Error)]
#[error("order {0} waits, and what is on record of that is not valid")]
struct BadRecord(Uuid);

/// At most `most` of the orders that wait for a decision or for an answer to a dispute, after the
/// cursor, the longest waiting first.
pub(super) async fn orders(
    database: &PgPool,
    after: Option<&AttentionCursor>,
    most: i64,
) -> Result<Vec<WaitingOrder>, Problem> {
    const DOING: &str = "reading the orders that wait for a person";
    let rows = sqlx::query!(
        r#"select order_id as "order_id!", customer_id as "customer_id!", since as "since!",
               attention as "attention?: Json<Attention>", dispute as "dispute?: Json<ToAnswer>"
           from (
               (
                   select order_id, customer_id, attention ->> 'since' as since, attention,
                       null::jsonb as dispute
                   from orders.orders
                   where attention is not null and ((attention ->> 'since'), order_id)
                       > (coalesce($1, ''), coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid))
                   order by (attention ->> 'since'), order_id
                   limit $3
               )
               union all
               (
                   select disputes.order_id, customer_id, orders.in_utc(asked_at), null,
                       jsonb_build_object(
                           'dispute_id', dispute_id, 'number', number, 'status', disputes.status,
                           'reason', reason, 'evidence_due', evidence_due, 'since', asked_at,
                           'amount', jsonb_build_object(
                               'amount', disputes.amount::text, 'currency', disputes.currency),
                           'refunded', jsonb_build_object(
                               'amount', refunded::text, 'currency', charges.currency)
                       )
                   from payments.disputes
                   join orders.orders on orders.order_id = disputes.order_id
                   join payments.charges on charges.charge_key = disputes.charge_key
                   where asked_at is not null and (orders.in_utc(asked_at), disputes.order_id)
                       > (coalesce($1, ''), coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid))
                   order by orders.in_utc(asked_at), disputes.order_id
                   limit $3
               )
           ) as waiting
           order by since, order_id
           limit $3"#,
        after.map(|after| after.since.as_str()),
        after.map(|after| after.id),
        most,
    )
    .fetch_all(database)
    .await
    .or_problem(DOING)?;
    let waiting = rows.into_iter().map(|row| {
        let unusable = || Problem::internal(DOING, &BadRecord(row.order_id));
        let until = row.dispute.as_ref().and_then(|dispute| dispute.evidence_due);
        let dispute = row.dispute.map(|dispute| dispute.attention());
        let attention = row.attention.map(|attention| attention.0).or(dispute);
        Ok(WaitingOrder {
            order_id: OrderId::of(row.order_id),
            customer_id: CustomerId::parse(row.customer_id).map_err(|_wrong| unusable())?,
            attention: attention.ok_or_else(unusable)?,
            until,
            since_as_text: row.since,
        })
    });
    waiting.collect()
}

/// An undelivered item, as stored.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Undelivered {
    WebhookEndpoint { endpoint_id: Uuid, url: String, why: String, since: DateTime<Utc> },
    Sink(WaitingSink),
    Mail(WaitingMail),
}

impl From<Undelivered> for AttentionSubject {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::WebhookEndpoint { endpoint_id, url, why, since } => {
                let url = Url::parse(&url).ok();
                let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
                Self::WebhookEndpoint(WaitingEndpoint { endpoint_id, host, why, since })
            }
            Undelivered::Sink(sink) => Self::Sink(sink),
            Undelivered::Mail(mail) => Self::Mail(mail),
        }
    }
}

/// What the relay could not deliver and what waits for a person: disabled endpoints, sinks with
/// refused and undecided messages, and parked mails. At most so many, after the cursor, the longest
/// waiting first.
pub(super) async fn undelivered(
    database: &PgPool,
    after: Option<&AttentionCursor>,
    most: i64,
) -> Result<Vec<Waiting>, Problem> {
    let rows = sqlx::query!(
        r#"select since as "since!", id as "id!", what as "what!: Json<Undelivered>"
           from (
               select orders.in_utc(disabled_at) as since, endpoint_id as id,
                   jsonb_build_object(
                       'kind', 'webhook-endpoint', 'endpoint_id', endpoint_id, 'url', url,
                       'why', coalesce(last_failure, 'it takes nothing'), 'since', disabled_at
                   ) as what
               from webhooks.endpoints
               where disabled_because in ('gone', 'failing')
               union all
               select orders.in_utc(min(parked_at)),
                   lpad(to_hex(hashtextextended(sink, 0)), 32, '0')::uuid,
                   jsonb_build_object(
                       'kind', 'sink', 'sink', sink, 'refused', count(*),
                       'why', (array_agg(refused order by parked_at, position))[1],
                       'since', min(parked_at)
                   )
               from outbox.parked
               where refused is not null and decision is null
               group by sink
               union all
               select orders.in_utc(parked_at), lpad(to_hex(notification_id), 32, '0')::uuid,
                   jsonb_build_object(
                       'kind', 'mail', 'notification_id', notification_id, 'template', template,
                       'channel', channel, 'order_id', order_id, 'why', why, 'since', parked_at
                   )
               from mail.notifications
               where state = 'parked'
           ) as undelivered
           where (since, id)
               > (coalesce($1, ''), coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid))
           order by since, id
           limit $3"#,
        after.map(|after| after.since.as_str()),
        after.map(|after| after.id),
        most,
    )
    .fetch_all(database)
    .await
    .or_problem("reading what the relay could not deliver")?;
    let undelivered = rows.into_iter().map(|row| {
        Waiting::new(row.what.0.into(), AttentionCursor { since: row.since, id: row.id })
    });
    Ok(undelivered.collect())
}

/// An order that waits, and the occurrence of the wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occurrence {
    pub(super) order_id: Uuid,
    pub(super) occurrence: i32,
}

/// At most so many orders that wait at this step with a reason that begins with this text, the
/// longest waiting first.
pub(super) async fn waiting_alike(
    database: &PgPool,
    step: &str,
    cause: &str,
    most: i64,
) -> Result<Vec<Occurrence>, Problem> {
    sqlx::query_as!(
        Occurrence,
        r#"select order_id, (attention ->> 'occurrence')::integer as "occurrence!"
           from orders.orders
           where attention is not null
             and attention ->> 'step' = $1 and starts_with(attention ->> 'why', $2)
           order by (attention ->> 'since'), order_id
           limit $3"#,
        step,
        cause,
        most,
    )
    .fetch_all(database)
    .await
    .or_problem("reading the orders that wait for the same reason")
}
