//! The ledger: what the shop was paid, what it owes, what it has earned.
//!
//! `domain::ledger` builds only balanced journal entries; the database also refuses unbalanced
//! ones, and any change of a posted one.

use domain::event::{Booked, Completed, OrderEvent};
use domain::ledger::{Account, Entry, JournalEntry, Unbalanced};
use domain::{Money, OrderStatus, StepKey};
use runtime::database::Db;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use crate::ActivityFault;
use crate::idempotency::{self, Outcome, Recorded};
use crate::orders::{self, Begun};

/// Posts the payment: money in, and a liability to the customer. Undone by [`reverse`].
///
/// **Repeats.** By key, which is also the key of the journal entry: posted once.
pub async fn post<'a>(db: impl Into<Db<'a>>, key: StepKey) -> Result<(), ActivityFault> {
    let db = db.into();
    let Begun { order, recorded } = orders::begin(db, key).await?;
    if let Recorded::Answered(_) | Recorded::Undone = recorded {
        return recorded.into_answer(key);
    }
    let deposit = JournalEntry::deposit(&order).map_err(unbalanced)?;
    let columns = Columns::of(deposit.entries());
    let event = OrderEvent::LedgerPosted(Booked { entries: deposit.entries().to_vec() });
    let recorded = sqlx::query_scalar!(
        r#"
        with taken as materialized (
            select orders.take_step($1, $2, $3, $4) as outcome
        ), booked as (
            insert into ledger.transactions (key, order_id)
            select $5, $1 from taken where outcome is not null
            returning transaction_id
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency
            from booked, unnest($6::text[], $7::text[], $8::numeric[], $9::text[])
                with ordinality as entry (account, side, amount, currency, line)
        )
        select outcome as "outcome!"
        from taken cross join lateral orders.record($1, $10, $11)
        where outcome is not null
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        Outcome::Done(()).into_json(),
        key.to_string(),
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
        event.event_type().name(),
        idempotency::data(&event)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("booking a payment", error))?;
    idempotency::answer(db, key, recorded).await
}

/// Posts the sale once the parcel is handed over, which completes the order: the liability to the
/// customer becomes income. Undone by [`reverse`], if a lost run of the workflow posted it.
///
/// `run_id` is the workflow run that completes the order; see `orders.note_unwinding`.
///
/// **Errors.** As for [`post`]; and rejected as undone if the order is being unwound: a workflow
/// task that timed out may call this late, and must not complete what another one undoes.
/// **Repeats.** As for [`post`].
pub async fn recognise_revenue<'a>(
    db: impl Into<Db<'a>>,
    key: StepKey,
    run_id: &str,
) -> Result<(), ActivityFault> {
    let db = db.into();
    let Begun { order, recorded } = orders::begin(db, key).await?;
    if let Recorded::Answered(_) | Recorded::Undone = recorded {
        return recorded.into_answer(key);
    }
    let revenue = JournalEntry::revenue(&order).map_err(unbalanced)?;
    let entries = revenue.as_ref().map(JournalEntry::entries).unwrap_or_default();
    let columns = Columns::of(entries);
    let event = OrderEvent::RevenueRecognised(Booked { entries: entries.to_vec() });
    let completed = OrderEvent::OrderCompleted(Completed {});
    let recorded = sqlx::query_scalar!(
        r#"
        with going_forward as materialized (
            select order_id from orders.orders
            where order_id = $1 and ending is null
            for no key update
        ), taken as (
            insert into orders.step_keys (order_id, step, version, outcome, run_id)
            select order_id, $2, $3, $4, $5 from going_forward
            on conflict do nothing
            returning outcome
        ), booked as (
            insert into ledger.transactions (key, order_id)
            -- Where there is nothing to book, there is no transaction.
            select $6, $1 from taken where cardinality($7::text[]) > 0
            returning transaction_id
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency
            from booked, unnest($7::text[], $8::text[], $9::numeric[], $10::text[])
                with ordinality as entry (account, side, amount, currency, line)
        )
        select outcome as "outcome!"
        from taken
        cross join lateral orders.record($1, $11, $12) as recognised
        -- Refers to the event before, so that it comes after it.
        cross join lateral (
            select orders.record($1, $13, $14) where recognised > 0
        ) as completed
        "#,
        key.order_id.uuid(),
        key.name_on_record(),
        idempotency::version(key)?,
        Outcome::Done(()).into_json(),
        run_id,
        key.to_string(),
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
        event.event_type().name(),
        idempotency::data(&event)?,
        completed.event_type().name(),
        idempotency::data(&completed)?,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("booking a sale", error))?;
    if recorded.is_some() {
        orders::count_end(&OrderStatus::Completed);
        return idempotency::answer(db, key, recorded).await;
    }
    match idempotency::recall(db, key).await? {
        Recorded::Open => Err(idempotency::already_undone(key)),
        recorded @ (Recorded::Answered(_) | Recorded::Undone) => recorded.into_answer(key),
    }
}

/// Posts the reversal of the journal entry under the key. The original entry stays for ever.
///
/// **Repeats.** An entry is reversed once. If there is none, only the tombstone is left, and a late
/// posting is refused.
pub async fn reverse<'a>(db: impl Into<Db<'a>>, key: StepKey) -> Result<(), ActivityFault> {
    let db = db.into();
    idempotency::leave_tombstone(db, key).await?;
    sqlx::query!(
        r#"
        with reversal as (
            insert into ledger.transactions (key, order_id, reverses)
            select $2, order_id, transaction_id from ledger.transactions where key = $1
            on conflict do nothing
            returning transaction_id, order_id, reverses
        ), mirrored as (
            select reversal.transaction_id, reversal.order_id, account,
                case side when 'debit' then 'credit' else 'debit' end as side, amount, currency,
                row_number() over (order by line desc) as line
            from reversal join ledger.entries on entries.transaction_id = reverses
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency from mirrored
        ), told as (
            select order_id, jsonb_build_object('entries', jsonb_agg(jsonb_build_object(
                'account', account, 'side', side,
                'amount', jsonb_build_object('amount', amount::text, 'currency', currency)
            ) order by line)) as event
            from mirrored group by order_id
        )
        select number
        from told cross join lateral orders.record(order_id, 'ledger.reversed', event) as number
        "#,
        key.to_string(),
        format!("{key}:reversal"),
    )
    .fetch_optional(db)
    .await
    .map(|_recorded_or_repeated| ())
    .map_err(|error| ActivityFault::of_database("reversing a booking", error))
}

fn unbalanced(error: Unbalanced) -> ActivityFault {
    ActivityFault::broken("working out what to book", error)
}

/// Posts received goods: inventory grows, and their invoice is outstanding. Belongs to no order, so
/// the caller commits it.
pub(crate) async fn post_goods_received(
    transaction: &mut PgConnection,
    key: &str,
    value: Money,
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(&[
        Entry::debit(Account::Inventory, value),
        Entry::credit(Account::GoodsReceived, value),
    ]);
    sqlx::query!(
        r#"
        with booked as (
            insert into ledger.transactions (key) values ($1) returning transaction_id
        )
        insert into ledger.entries (transaction_id, line, account, side, amount, currency)
        select transaction_id, line, account, side, amount, currency
        from booked, unnest($2::text[], $3::text[], $4::numeric[], $5::text[])
            with ordinality as entry (account, side, amount, currency, line)
        "#,
        key,
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// A journal entry with two lines that is posted once under its key, and belongs to no order.
pub(crate) struct Booking {
    /// The key of the journal entry.
    pub(crate) key: String,
    /// Debit and credit.
    pub(crate) entries: [Entry; 2],
}

/// Posts what is not posted yet. Belongs to no order, so the caller commits it.
///
/// **Repeats.** By key: posted once.
pub(crate) async fn book_once(
    transaction: &mut PgConnection,
    bookings: &[Booking],
) -> Result<(), sqlx::Error> {
    let mut keys = Vec::new();
    let mut columns = Columns::default();
    for Booking { key, entries } in bookings {
        keys.extend([key.clone(), key.clone()]);
        columns.add(entries);
    }
    sqlx::query!(
        r#"
        with entry as (
            select distinct on (key, side) key, account, side, amount, currency
            from unnest($1::text[], $2::text[], $3::text[], $4::numeric[], $5::text[])
                as entry (key, account, side, amount, currency)
        ), booked as (
            insert into ledger.transactions (key) select distinct key from entry
            on conflict (key) do nothing
            returning transaction_id, key
        )
        insert into ledger.entries (transaction_id, line, account, side, amount, currency)
        select transaction_id, case side when 'debit' then 1 else 2 end, account, side, amount,
            currency
        from booked join entry using (key)
        "#,
        &keys,
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Ledger entries as columns, so that one statement inserts any number of them.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) accounts: Vec<String>,
    pub(crate) sides: Vec<String>,
    pub(crate) amounts: Vec<Decimal>,
    pub(crate) currencies: Vec<String>,
}

impl Columns {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut columns = Self::default();
        columns.add(entries);
        columns
    }

    fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.accounts.push(entry.account.as_str().to_owned());
            self.sides.push(entry.side.as_str().to_owned());
            self.amounts.push(entry.amount.amount());
            self.currencies.push(entry.amount.currency().code().to_owned());
        }
    }
}
