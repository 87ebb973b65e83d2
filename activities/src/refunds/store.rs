//! The records of refunds.

use std::time::Duration;

use domain::event::{OrderEvent, RefundEnded};
use domain::ledger::JournalEntry;
use domain::refund::{Parts, RefundId, RefundState};
use domain::{Currency, Money, StepKey};
use runtime::database::Db;
use rust_decimal::Decimal;

use super::named;
use crate::ActivityFault;
use crate::idempotency;
use crate::ledger::Columns;
use crate::payment::port::PaymentId;

/// The record of a refund.
pub(super) struct Stored {
    pub(super) amount: Money,
    pub(super) parts: Parts,
    pub(super) state: RefundState,
    /// Whether nobody may request it from the provider any more.
    pub(super) is_given_up: bool,
    /// The refunded payment.
    pub(super) payment: PaymentId,
    /// How long ago the payment was opened.
    pub(super) age: Duration,
    /// The failed refund at the provider that a person was told of.
    pub(super) failed_reference: Option<String>,
    /// Whether the customer's bank has the payment, or has given it to the customer.
    pub(super) is_disputed: bool,
}

/// The refund's number, as a database integer.
fn number(key: StepKey) -> Result<i32, ActivityFault> {
    let RefundId { number, .. } = RefundId::of_key(key);
    i32::try_from(number).map_err(|error| ActivityFault::broken("naming a refund", error))
}

/// Reads a refund.
///
/// **Errors.** Not open: it is not on record.
pub(super) async fn read(db: Db<'_>, key: StepKey) -> Result<Stored, ActivityFault> {
    const DOING: &str = "reading a refund";
    let row = sqlx::query!(
        r#"
        select asked.currency, asked.amount, goods, goods_tax, asked.shipping, shipping_tax,
            asked.state, given_up_at is not null as "is_given_up!", failed_reference,
            charges.provider_reference as payment,
            exists (
                select from payments.disputes
                where disputes.charge_key = asked.charge_key and (has_payment or is_lost)
            ) as "is_disputed!",
            -- By a clock that may have been set back.
            extract(epoch from greatest(
                least(now() - recorded_at, interval '1 day'), interval '0'
            ))::bigint as "seconds!"
        from payments.refund_requests as asked
        join payments.charges using (charge_key)
        join orders.orders on orders.order_id = asked.order_id
        where asked.order_id = $1 and number = $2 and record_version = $3
        "#,
        key.order_id.uuid(),
        number(key)?,
        idempotency::version(key)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database(DOING, error))?;
    let Some(row) = row else {
        return Err(ActivityFault::not_open(format!("{} is not on record", named(key)), None));
    };
    let unusable = |what: &str| ActivityFault::broken(DOING, format!("{}: {what}", named(key)));
    let currency = Currency::from_code(&row.currency).ok_or_else(|| unusable("its currency"))?;
    let money =
        |amount: Decimal| Money::new(amount, currency).map_err(|_wrong| unusable("an amount"));
    Ok(Stored {
        amount: money(row.amount)?,
        parts: Parts {
            goods: money(row.goods)?,
            goods_tax: money(row.goods_tax)?,
            shipping: money(row.shipping)?,
            shipping_tax: money(row.shipping_tax)?,
        },
        state: row.state.parse().map_err(|_unknown| unusable("its state"))?,
        is_given_up: row.is_given_up,
        payment: PaymentId(row.payment),
        age: Duration::from_secs(
            u64::try_from(row.seconds).map_err(|_negative| unusable("its payment's age"))?,
        ),
        failed_reference: row.failed_reference,
        is_disputed: row.is_disputed,
    })
}

/// Records that the provider is asked from now on, unless the refund was given up.
pub(super) async fn begin(db: Db<'_>, key: StepKey) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update payments.refund_requests set state = 'pending', updated_at = now()
         where order_id = $1 and number = $2 and state = 'requested' and given_up_at is null",
        key.order_id.uuid(),
        number(key)?,
    )
    .execute(db)
    .await
    .map(|_begun| ())
    .map_err(|error| ActivityFault::of_database("beginning a refund", error))
}

/// Records that nobody may ask the provider any more, unless the refund has ended.
pub(super) async fn give_up(db: Db<'_>, key: StepKey) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update payments.refund_requests set given_up_at = now(), updated_at = now()
         where order_id = $1 and number = $2 and state in ('requested', 'pending')
            and given_up_at is null",
        key.order_id.uuid(),
        number(key)?,
    )
    .execute(db)
    .await
    .map(|_given_up| ())
    .map_err(|error| ActivityFault::of_database("giving a refund up", error))
}

/// Records that the money is refunded, and posts that, once; returns whether this call did.
/// `events` are the refund's event, in which the amount left of the payment is filled in, and that
/// of its journal entry.
pub(super) async fn succeed(
    db: Db<'_>,
    key: StepKey,
    reference: &str,
    entry: &JournalEntry,
    [succeeded, posted]: [&OrderEvent; 2],
) -> Result<bool, ActivityFault> {
    let columns = Columns::of(entry.entries());
    let recorded = sqlx::query_scalar!(
        r#"
        with known as materialized (
            select order_id from orders.orders where order_id = $1 for no key update
        ), given as (
            update payments.refund_requests as asked
            set state = 'succeeded', provider_reference = $3, updated_at = now()
            from known
            where asked.order_id = known.order_id and number = $2
                and state in ('requested', 'pending')
            returning asked.order_id, charge_key, asked.currency, asked.amount,
                -- What came back and is given again is booked under a name of its own.
                concat_ws(':', $4::text, 'again-' || nullif(reversals, 0)) as name
        ), charge as (
            update payments.charges as charged
            set refunded = charged.refunded + given.amount,
                state = case when charged.refunded + given.amount = charged.captured
                    then 'refunded' else charged.state end
            from given where charged.charge_key = given.charge_key
            returning given.currency, charged.captured - charged.refunded as remains
        ), refund as (
            insert into payments.refunds
                (refund_key, charge_key, provider_reference, currency, amount)
            select name, charge_key, $3, currency, amount from given
        ), booked as (
            insert into ledger.transactions (key, order_id) select name, order_id from given
            returning transaction_id
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency
            from booked, unnest($5::text[], $6::text[], $7::numeric[], $8::text[])
                with ordinality as entry (account, side, amount, currency, line)
        )
        select succeeded as "number!"
        from charge
        cross join lateral orders.record($1, $9, $10::jsonb || jsonb_build_object('left',
            jsonb_build_object('amount', remains::text, 'currency', currency)
        )) as succeeded
        -- Refers to the event before, so that it comes after it.
        cross join lateral (
            select orders.record($1, $11, $12) where succeeded > 0
        ) as posted
        "#,
        key.order_id.uuid(),
        number(key)?,
        reference,
        key.to_string(),
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
        succeeded.event_type().name(),
        idempotency::data(succeeded)?,
        posted.event_type().name(),
        idempotency::data(posted)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("recording a refund", error))?;
    Ok(recorded.is_some())
}

/// Stores why the provider did not refund the money, as told to a person.
pub(super) async fn tell(
    db: Db<'_>,
    key: StepKey,
    reference: &str,
    why: &str,
) -> Result<(), ActivityFault> {
    sqlx::query!(
        "update payments.refund_requests
         set failed_reference = $3, failure = $4, updated_at = now()
         where order_id = $1 and number = $2 and state = 'pending'",
        key.order_id.uuid(),
        number(key)?,
        reference,
        why,
    )
    .execute(db)
    .await
    .map(|_told| ())
    .map_err(|error| ActivityFault::of_database("recording that a refund failed", error))
}

/// Records that no money is refunded, once, and frees the amount.
pub(super) async fn end(db: Db<'_>, key: StepKey, amount: Money) -> Result<(), ActivityFault> {
    let ended = |why: &str| RefundEnded {
        number: RefundId::of_key(key).number,
        amount,
        why: why.to_owned(),
    };
    let failed = OrderEvent::RefundFailed(ended("the provider did not give the money back"));
    let cancelled = OrderEvent::RefundCancelled(ended("the provider was not asked"));
    sqlx::query_scalar!(
        r#"
        with known as materialized (
            select order_id from orders.orders where order_id = $1 for no key update
        ), ended as (
            update payments.refund_requests as asked
            set state = case asked.state when 'requested' then 'cancelled' else 'failed' end,
                updated_at = now()
            from known
            where asked.order_id = known.order_id and number = $2
                and state in ('requested', 'pending')
            returning charge_key, asked.amount, asked.state, failure
        ), freed as (
            update payments.charges as charged
            set refund_claimed = charged.refund_claimed - ended.amount
            from ended where charged.charge_key = ended.charge_key
            returning ended.state, ended.failure
        )
        select case freed.state
            when 'cancelled' then orders.record($1, $3, $4)
            -- What the provider said is on record.
            else orders.record($1, $5, case when failure is null then $6::jsonb
                else $6::jsonb || jsonb_build_object('why', failure) end)
        end as number
        from freed
        "#,
        key.order_id.uuid(),
        number(key)?,
        cancelled.event_type().name(),
        idempotency::data(&cancelled)?,
        failed.event_type().name(),
        idempotency::data(&failed)?,
    )
    .fetch_optional(db)
    .await
    .map(|_ended| ())
    .map_err(|error| ActivityFault::of_database("recording that a refund ended", error))
}
