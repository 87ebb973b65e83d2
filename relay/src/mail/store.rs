//! Stores notifications: created once, claimed by one sender at a time, and settled.

use std::time::Duration;

use domain::{MailPolicy, MailTemplate};
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

/// The channel of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Channel {
    /// An e-mail.
    Mail,
    /// A text message.
    Sms,
}

impl Channel {
    /// The name in the database and in metrics.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }
}

/// A notification to create.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub(super) fact: String,
    pub(super) template: MailTemplate,
    pub(super) channel: Channel,
    pub(super) order_id: Uuid,
    pub(super) sequence: i32,
    pub(super) message_id: String,
    pub(super) policy: MailPolicy,
}

/// The subject of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An event of an order.
    Event { order_id: Uuid, sequence: i32 },
    /// A customer's wait for an article.
    Wait(i64),
}

/// A notification that this sender has claimed.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) notification_id: i64,
    /// The fencing number of the claim: a sender with an older one has lost it.
    pub(super) number: i32,
    pub(super) template: MailTemplate,
    pub(super) subject: Subject,
    pub(super) message_id: String,
    pub(super) policy: MailPolicy,
    pub(super) deferrals: i32,
    /// Whether others were sent since its last attempt.
    pub(super) others_were_sent: bool,
    pub(super) unsubscribe: Uuid,
}

/// A row that this release cannot read: written by a newer one, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("notification {0} is not usable as the database has it")]
pub(super) struct BadNotification(i64);

/// Creates notifications. Existing ones are left unchanged.
pub(super) async fn make(db: &PgPool, new: &[New]) -> Result<(), sqlx::Error> {
    let facts: Vec<_> = new.iter().map(|one| one.fact.clone()).collect();
    let templates: Vec<_> = new.iter().map(|one| one.template.name().to_owned()).collect();
    let channels: Vec<_> = new.iter().map(|one| one.channel.name().to_owned()).collect();
    let orders: Vec<_> = new.iter().map(|one| one.order_id).collect();
    let sequences: Vec<_> = new.iter().map(|one| one.sequence).collect();
    let message_ids: Vec<_> = new.iter().map(|one| one.message_id.clone()).collect();
    let policies: Vec<_> = new.iter().map(|one| one.policy.name().to_owned()).collect();
    sqlx::query!(
        "insert into mail.notifications
             (fact, template, channel, order_id, sequence, message_id, policy)
         select * from unnest(
             $1::text[], $2::text[], $3::text[], $4::uuid[], $5::integer[], $6::text[], $7::text[])
         on conflict do nothing",
        &facts,
        &templates,
        &channels,
        &orders,
        &sequences,
        &message_ids,
        &policies,
    )
    .execute(db)
    .await
    .map(|_made| ())
}

/// Creates a notification for each customer who waits for an available article, at most a thousand,
/// once for each wait; returns how many. A wait that was put back has its notification queued
/// again.
pub(super) async fn tell_those_who_wait(
    db: &PgPool,
    policy: MailPolicy,
    domain: &str,
) -> Result<u64, sqlx::Error> {
    let told = sqlx::query!(
        "with available as (
             select wait_id from mail.waits join inventory.stock using (sku)
             where told_at is null and withdrawn_at is null and on_hand > reserved
             order by wait_id limit 1000
             for update of waits skip locked
         ), told as (
             update mail.waits set told_at = now() from available
             where waits.wait_id = available.wait_id
             returning waits.wait_id
         )
         insert into mail.notifications as known
             (fact, template, channel, wait_id, message_id, policy)
         select 'wait:' || wait_id, $1::text, 'mail', wait_id,
             format('wait.%s.%s@%s', wait_id, $1::text, $2::text), $3::text
         from told
         on conflict on constraint notifications_once do update
         set state = 'queued', next_try_at = now(), why = null
         where known.state = 'skipped'",
        MailTemplate::BackInStock.name(),
        domain,
        policy.name(),
    )
    .execute(db)
    .await?;
    Ok(told.rows_affected())
}

/// Claims the notification that has been due for longest, for the duration of the lease, unless an
/// earlier one of the same order is unsent. Those about orders come before those about articles, of
/// which there may be many at once.
///
/// If a sender died while sending, its notification is claimed again if it may be sent twice, and
/// otherwise parked here.
pub(super) async fn claim(
    db: &PgPool,
    channel: Channel,
    lease: Duration,
) -> Result<Option<Result<Claim, BadNotification>>, sqlx::Error> {
    park_lost(db, channel).await?;
    let row = sqlx::query!(
        r#"update mail.notifications as taken
           set state = 'queued', claims = claims + 1, next_try_at = now() + $2::interval
           where notification_id = (
               select notification_id from mail.notifications as due
               where channel = $1 and next_try_at <= now()
                   and (state = 'queued' or state = 'sending' and policy = 'at-least-once')
                   and not exists (
                       select from mail.notifications as earlier
                       where earlier.order_id = due.order_id and earlier.channel = due.channel
                           and earlier.state in ('queued', 'sending')
                           and earlier.notification_id < due.notification_id
                   )
               order by wait_id is not null, next_try_at, notification_id limit 1
               for update skip locked
           )
           returning notification_id, claims, template, order_id, sequence, wait_id, message_id,
               policy, deferrals, unsubscribe,
               exists (
                   select from mail.notifications as other
                   where other.channel = $1 and other.sent_at > taken.sending_at
               ) as "others_were_sent!""#,
        channel.name(),
        interval(lease),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let bad = BadNotification(row.notification_id);
        let event = row.order_id.zip(row.sequence);
        let event = event.map(|(order_id, sequence)| Subject::Event { order_id, sequence });
        let subject = event.or_else(|| row.wait_id.map(Subject::Wait));
        let (Ok(template), Ok(policy), Some(subject)) =
            (row.template.parse::<MailTemplate>(), row.policy.parse::<MailPolicy>(), subject)
        else {
            return Err(bad);
        };
        Ok(Claim {
            notification_id: row.notification_id,
            number: row.claims,
            template,
            subject,
            message_id: row.message_id,
            policy,
            deferrals: row.deferrals,
            others_were_sent: row.others_were_sent,
            unsubscribe: row.unsubscribe,
        })
    }))
}

/// Parks notifications that may be sent only once and may have been sent: their sender died while
/// sending.
async fn park_lost(db: &PgPool, channel: Channel) -> Result<(), sqlx::Error> {
    let parked = sqlx::query_scalar!(
        "update mail.notifications
         set state = 'parked', parked_at = now(), why = $2
         where channel = $1 and state = 'sending' and policy = 'at-most-once'
             and next_try_at <= now()
         returning notification_id",
        channel.name(),
        SENDER_DIED,
    )
    .fetch_all(db)
    .await?;
    for notification_id in parked {
        tracing::warn!(notification_id, why = SENDER_DIED, "a notification is parked");
    }
    Ok(())
}

const SENDER_DIED: &str = "its sender died: nobody knows whether it was sent";

/// Records that sending begins. Returns whether the claim is still valid.
pub(super) async fn begin(
    db: &PgPool,
    claim: &Claim,
    locale: &str,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query!(
        "update mail.notifications
         set state = 'sending', sending_at = now(), next_try_at = now() + $3::interval, locale = $4,
             transmissions = transmissions + 1
         where notification_id = $1 and claims = $2 and state = 'queued'",
        claim.notification_id,
        claim.number,
        interval(lease),
        locale,
    )
    .execute(db)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// The recorded result for a claimed notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was sent.
    Sent,
    /// Tried again after this time.
    Later {
        after: Duration,
        why: String,
        /// Whether it counts as an attempt that was put off.
        counts: bool,
    },
    /// A person has to decide.
    Parked { why: String },
    /// It must not be sent.
    Skipped { why: String },
    /// It must not be sent, and the customer keeps waiting for the article.
    PutBack { why: String },
}

/// Whether the server may have received the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transmission {
    /// It has received it, or that is unknown.
    Possible,
    /// It has not received it.
    None,
}

/// Records the result. Returns whether the claim was still valid.
pub(super) async fn settle(
    db: &PgPool,
    claim: &Claim,
    settled: &Settled,
    transmission: Transmission,
) -> Result<bool, sqlx::Error> {
    let (state, after, why, counts) = match settled {
        Settled::Sent => ("sent", Duration::ZERO, None, false),
        Settled::Later { after, why, counts } => ("queued", *after, Some(why.as_str()), *counts),
        Settled::Parked { why } => ("parked", Duration::ZERO, Some(why.as_str()), false),
        Settled::Skipped { why } => ("skipped", Duration::ZERO, Some(why.as_str()), false),
        Settled::PutBack { why } => return put_back(db, claim, why).await,
    };
    let done = sqlx::query!(
        "update mail.notifications
         set state = $3, next_try_at = now() + $4::interval, why = $5,
             deferrals = deferrals + $6::boolean::integer,
             transmissions = transmissions - (state = 'sending' and $7::boolean)::integer,
             sent_at = case when $3 = 'sent' then now() end,
             parked_at = case when $3 = 'parked' then now() end
         where notification_id = $1 and claims = $2 and state in ('queued', 'sending')",
        claim.notification_id,
        claim.number,
        state,
        interval(after),
        why,
        counts,
        transmission == Transmission::None,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The customer waits as before, unless they have subscribed again meanwhile. Returns whether the
/// claim was still valid.
async fn put_back(db: &PgPool, claim: &Claim, why: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with back as (
               update mail.notifications set state = 'skipped', why = $3
               where notification_id = $1 and claims = $2 and state = 'queued'
               returning wait_id
           ), waits_on as (
               update mail.waits set told_at = null from back
               where waits.wait_id = back.wait_id and not exists (
                   select from mail.waits as anew
                   where anew.customer_id = waits.customer_id and anew.sku = waits.sku
                       and anew.told_at is null and anew.withdrawn_at is null
               )
           )
           select exists (select from back) as "is_ours!""#,
        claim.notification_id,
        claim.number,
        why,
    )
    .fetch_one(db)
    .await
}

/// Parks a notification that cannot be read, so that a person sees it.
pub(super) async fn park_unreadable(
    db: &PgPool,
    BadNotification(notification_id): &BadNotification,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update mail.notifications
         set state = 'parked', parked_at = now(), why = 'this release cannot read it'
         where notification_id = $1 and state = 'queued'",
        *notification_id,
    )
    .execute(db)
    .await
    .map(|_parked| ())
}

/// The number of notifications that are waiting or parked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) waiting: i64,
    pub(super) parked: i64,
    /// The age of the oldest waiting notification, in seconds.
    pub(super) oldest_seconds: i64,
}

/// Counts them.
pub(super) async fn counts(db: &PgPool) -> Result<Counts, sqlx::Error> {
    sqlx::query_as!(
        Counts,
        r#"select count(*) filter (where state <> 'parked') as "waiting!",
               count(*) filter (where state = 'parked') as "parked!",
               coalesce(extract(epoch from now() - min(created_at)
                   filter (where state <> 'parked'))::bigint, 0) as "oldest_seconds!"
           from mail.notifications where state in ('queued', 'sending', 'parked')"#
    )
    .fetch_one(db)
    .await
}

/// Converts to Postgres' type.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
