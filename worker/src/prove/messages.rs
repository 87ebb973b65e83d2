//! I7: every message reaches every sink that wants it, in order within an order.

use sqlx::PgConnection;

use super::{Finding, Scope, Seen};

const REACHED: &str = "every message has reached every sink, is parked, or under way for an hour";
const IN_ORDER: &str = "messages are delivered, within an order in order";

/// A recent proof checks the messages since the beginning of its time, and all that are under way.
pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
) -> Result<Vec<Finding>, sqlx::Error> {
    let sinks = sqlx::query!(
        r#"
        select count(*) as "all!", count(paused_at) as "paused!",
            outbox.is_restored() as "is_restored!"
        from outbox.sinks
        "#,
    )
    .fetch_one(&mut *db)
    .await?;
    if sinks.is_restored {
        let complaint = "the database was restored from a dump: `ordersaga relay rebase` has all \
                         that is kept delivered again";
        let seen = Seen::of(sinks.all, vec![complaint.to_owned()]);
        return Ok(vec![Finding::of("I7", REACHED, "sinks", seen)]);
    }
    if sinks.all == 0 {
        return Ok(vec![published(db, scope).await?]);
    }
    Ok(vec![reached(db, scope, sinks.paused).await?, in_order(db, scope).await?])
}

/// A sink that an operator has paused may be late.
async fn reached(
    db: &mut PgConnection,
    scope: &Scope,
    paused: i64,
) -> Result<Finding, sqlx::Error> {
    let counted = sqlx::query!(
        r#"
        with going as (
            select sink from outbox.sinks where paused_at is null
        ), under_way as (
            select sink, message_position, written_at
            from going join outbox.progress using (sink)
            cross join lateral
                outbox.waiting(shard, seen, reading, after_position, 2147483647)
        ), late as (
            select format(
                'message %s has been under way to %s since %s',
                (select id from outbox.messages where position = message_position), sink,
                to_char(written_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            ) as complaint
            from under_way
            where written_at < now() - interval '1 hour'
            order by written_at, sink
        )
        select
            (
                select count(*) from going, outbox.messages
                where $1::bigint is null or position >= $1
            ) as "looked_at!",
            (select count(*) from late) as "violations!",
            (select coalesce((array_agg(complaint))[1:5], '{}') from late) as "examples!",
            (select count(*) from under_way) as "under_way!",
            (select count(*) from going join outbox.parked using (sink)) as "parked!"
        "#,
        scope.first_message(),
    )
    .fetch_one(db)
    .await?;
    let seen = Seen {
        looked_at: counted.looked_at,
        violations: counted.violations,
        examples: counted.examples,
    };
    let remarks = [
        (counted.under_way, "are under way"),
        (counted.parked, "are parked"),
        (paused, "sinks are paused and left out"),
    ];
    let remarks = remarks.into_iter().filter(|(count, _)| *count > 0);
    let remarks: Vec<_> = remarks.map(|(count, what)| format!("{count} {what}")).collect();
    let remark = (!remarks.is_empty()).then(|| remarks.join(", "));
    Ok(Finding::of("I7", REACHED, "messages to a sink each", seen).with_remark(remark))
}

/// Every message before a sink's position is delivered, not wanted, or parked; and once a message
/// of an order is parked, so are all later ones of that order.
async fn in_order(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with first as (
            select sink, aggregateid, min(sequence) as first_parked
            from outbox.parked group by sink, aggregateid
        ), checked as (
            select case when parked.position is null and (
                pg_visible_in_snapshot(written_by, seen) or (
                    reading is not null and pg_visible_in_snapshot(written_by, reading)
                    and message.position <= after_position
                )
            ) then format('message %s has overtaken number %s in %s', id, first_parked, sink)
            end as complaint
            from first
            join outbox.messages as message using (aggregateid)
            join outbox.progress using (sink, shard)
            left join outbox.parked using (sink, aggregateid, sequence)
            where message.sequence > first_parked
                and ($1::bigint is null or message.position >= $1)
        )
        select
            (
                select count(*) from outbox.sinks, outbox.messages
                where $1 is null or position >= $1
            ) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.first_message(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I7", IN_ORDER, "messages to a sink each", seen))
}

/// Without sinks, another program delivers. If it has not marked any message as published, there is
/// nothing to check.
async fn published(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with message as (
            select id, published_at,
                bool_and(published_at is not null)
                    over (partition by aggregateid order by sequence) as all_so_far
            from outbox.messages where $1::bigint is null or position >= $1
        ), checked as (
            select case when not all_so_far
                then format('message %s was published before an earlier one', id)
            end as complaint
            from message where published_at is not null
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.first_message(),
    )
    .fetch_one(&mut *db)
    .await?;
    let waiting = sqlx::query_scalar!(
        r#"
        select count(*) as "waiting!" from outbox.messages
        where published_at is null and ($1::bigint is null or position >= $1)
        "#,
        scope.first_message(),
    )
    .fetch_one(db)
    .await?;
    if seen.looked_at == 0 && waiting > 0 {
        return Ok(Finding::not_shown("I7", IN_ORDER, "nothing has been delivered yet"));
    }
    let remark = (waiting > 0).then(|| format!("{waiting} messages wait"));
    Ok(Finding::of("I7", IN_ORDER, "delivered messages", seen).with_remark(remark))
}
