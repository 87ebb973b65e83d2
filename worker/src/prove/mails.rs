//! I16: each notification is sent to a customer as often as its policy allows, and none is
//! forgotten.

use domain::MailPolicy;
use sqlx::PgConnection;

use super::{Finding, Scope, Seen};

const AT_MOST_ONCE: &str = "what may be sent to a customer once was sent once at most";
const NOT_FORGOTTEN: &str =
    "every mail is sent, skipped, parked, or under way for as long as its server may put it off";

/// A recent proof checks the mails of its orders, and all that are neither sent nor skipped.
pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    Ok(vec![at_most_once(db, scope).await?, not_forgotten(db, scope).await?])
}

/// A mail that its server has definitely not accepted does not count. One that an operator sends
/// again starts a new count.
async fn at_most_once(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with checked as (
            select case when transmissions > 1 then format(
                '%s %s (%s) may have been sent %s times', channel, notification_id, template,
                transmissions
            ) end as complaint
            from mail.notifications
            where policy = 'at-most-once' and (
                $1::uuid[] is null or order_id = any ($1)
                or state in ('queued', 'sending', 'parked')
            )
        )
        select count(*) as "looked_at!", count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I16", AT_MOST_ONCE, "notifications", seen))
}

/// A sender has ten minutes for each mail. A mail that waits behind an earlier one of its order is
/// not due.
async fn not_forgotten(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let counted = sqlx::query!(
        r#"
        with checked as (
            select case
                when state = 'sending' and next_try_at < now() - interval '1 hour' then format(
                    '%s %s (%s) was being sent, and nobody has looked what became of it since %s',
                    channel, notification_id, template,
                    to_char(next_try_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                )
                when state = 'queued' and deferrals > $1 then format(
                    '%s %s (%s) was put off %s times and is not parked', channel, notification_id,
                    template, deferrals
                )
                when state = 'queued' and next_try_at < now() - interval '4 days' and not exists (
                    select from mail.notifications as earlier
                    where earlier.order_id = this.order_id and earlier.channel = this.channel
                        and earlier.state in ('queued', 'sending')
                        and earlier.notification_id < this.notification_id
                ) then format(
                    '%s %s (%s) has been due since %s', channel, notification_id, template,
                    to_char(next_try_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                )
            end as complaint, state
            from mail.notifications as this
            where $2::uuid[] is null or order_id = any ($2)
                or state in ('queued', 'sending', 'parked')
        )
        select count(*) as "looked_at!", count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!",
            count(*) filter (where state in ('queued', 'sending')) as "under_way!",
            count(*) filter (where state = 'parked') as "parked!"
        from checked
        "#,
        MailPolicy::DEFERRALS_MAX,
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    let seen = Seen {
        looked_at: counted.looked_at,
        violations: counted.violations,
        examples: counted.examples,
    };
    let remarks = [(counted.under_way, "are under way"), (counted.parked, "are parked")];
    let remarks = remarks.into_iter().filter(|(count, _)| *count > 0);
    let remarks: Vec<_> = remarks.map(|(count, what)| format!("{count} {what}")).collect();
    let remark = (!remarks.is_empty()).then(|| remarks.join(", "));
    Ok(Finding::of("I16", NOT_FORGOTTEN, "notifications", seen).with_remark(remark))
}
