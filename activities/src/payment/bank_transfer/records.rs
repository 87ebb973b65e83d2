//! The expected payments, and the lines by which money is returned.
//!
//! A caller that changes a payment, or what is kept for it, must have locked its row: this
//! serialises two imports, and an import and an undo.

use chrono::{DateTime, Utc};
use domain::bank::CreditorReference;
use domain::{Charge, Currency, Money, MoneyError};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool};
use strum::EnumString;
use uuid::Uuid;

use crate::payment::lists::Range;

/// The state of a payment; see the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum State {
    Opened,
    Awaiting,
    Received,
    Captured,
    Closed,
}

/// A payment that is, or was, expected.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) reference: CreditorReference,
    pub(super) charge_key: String,
    pub(super) order_id: Uuid,
    pub(super) opened_at: DateTime<Utc>,
    pub(super) amount: Money,
    pub(super) state: State,
    /// The amount received and kept for it.
    pub(super) received: Money,
    pub(super) captured: Money,
    pub(super) refunded: Money,
}

impl Expected {
    /// The amount still missing.
    pub(super) fn missing(&self) -> Result<Money, MoneyError> {
        self.amount.checked_sub(self.received)
    }
}

/// Why money is returned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason<'a> {
    /// It was captured, and is refunded under this key.
    Refund(&'a str),
    /// It is more than was captured.
    Surplus,
    /// The payment is no longer expected.
    Closed,
}

impl Reason<'_> {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Refund(_) => "refund",
            Self::Surplus => "surplus",
            Self::Closed => "closed",
        }
    }
}

/// A refund with its lines.
pub(super) struct Made {
    pub(super) first_line: i64,
    pub(super) amount: Money,
    /// Whether all of its lines are on lists.
    pub(super) is_listed: bool,
}

/// A refund in the list of all refunds.
pub(super) struct MadeInRange {
    pub(super) first_line: i64,
    pub(super) payment: String,
    pub(super) key: String,
    pub(super) is_listed: bool,
}

/// A refund's id, derived from its first line.
pub(super) fn name_of_refund(first_line: i64) -> String {
    format!("bank-refund-{first_line}")
}

/// An amount from the database.
pub(super) fn money(amount: Decimal, currency: &str) -> Result<Money, sqlx::Error> {
    let currency = Currency::from_code(currency)
        .ok_or_else(|| sqlx::Error::Decode(format!("there is no currency {currency}").into()))?;
    Money::new(amount, currency).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Creates an expected payment, or finds it.
pub(super) async fn expect(db: &PgPool, charge: &Charge) -> Result<CreditorReference, sqlx::Error> {
    let key = charge.key.to_string();
    let reference = CreditorReference::of(&key);
    sqlx::query!(
        "insert into bank.payments (reference, charge_key, order_id, currency, amount)
         values ($1, $2, $3, $4, $5) on conflict (charge_key) do nothing",
        reference.as_str(),
        key,
        charge.key.order_id.uuid(),
        charge.amount.currency().code(),
        charge.amount.amount(),
    )
    .execute(db)
    .await?;
    Ok(reference)
}

/// Records that the customer is told what to transfer, unless the money has already come.
pub(super) async fn await_customer(
    db: &PgPool,
    reference: &CreditorReference,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update bank.payments set state = 'awaiting' where reference = $1 and state = 'opened'",
        reference.as_str(),
    )
    .execute(db)
    .await
    .map(drop)
}

/// The payment with this reference, locked until the transaction ends.
pub(super) async fn lock(
    connection: &mut PgConnection,
    reference: &CreditorReference,
) -> Result<Option<Expected>, sqlx::Error> {
    sqlx::query!(
        "select reference from bank.payments where reference = $1 for update",
        reference.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    read(connection, reference).await
}

/// The payment with this reference.
pub(super) async fn read(
    connection: &mut PgConnection,
    reference: &CreditorReference,
) -> Result<Option<Expected>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select charge_key, order_id, created_at, currency, amount, state, received, captured,
            (
                select coalesce(sum(lines.amount), 0)
                from bank.lines join bank.entries using (entry_id)
                where entries.reference = payments.reference and refund_key is not null
            ) as "refunded!"
        from bank.payments where reference = $1
        "#,
        reference.as_str(),
    );
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    let state = row.state.parse::<State>();
    let in_its_currency = |amount| money(amount, &row.currency);
    Ok(Some(Expected {
        reference: reference.clone(),
        charge_key: row.charge_key,
        order_id: row.order_id,
        opened_at: row.created_at,
        amount: in_its_currency(row.amount)?,
        state: state.map_err(|error| sqlx::Error::Decode(error.into()))?,
        received: in_its_currency(row.received)?,
        captured: in_its_currency(row.captured)?,
        refunded: in_its_currency(row.refunded)?,
    }))
}

/// The payments opened within a range, after this reference.
pub(super) async fn opened_in(
    connection: &mut PgConnection,
    Range { from, to }: Range,
    after: &str,
    at_most: usize,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select reference from bank.payments
         where created_at >= $1 and created_at < $2 and reference > $3
         order by reference limit $4",
        from,
        to,
        after,
        i64::try_from(at_most).unwrap_or(i64::MAX),
    )
    .fetch_all(connection)
    .await
}

/// The refunds made within a range, after the one with this first line.
pub(super) async fn refunds_in(
    connection: &mut PgConnection,
    Range { from, to }: Range,
    after: i64,
    at_most: usize,
) -> Result<Vec<MadeInRange>, sqlx::Error> {
    sqlx::query_as!(
        MadeInRange,
        r#"
        select min(line_id) as "first_line!", entries.reference as "payment!",
            refund_key as "key!", bool_and(list_id is not null) as "is_listed!"
        from bank.lines join bank.entries using (entry_id)
        where refund_key is not null
        group by entries.reference, refund_key
        having min(lines.created_at) >= $1 and min(lines.created_at) < $2 and min(line_id) > $3
        order by min(line_id) limit $4
        "#,
        from,
        to,
        after,
        i64::try_from(at_most).unwrap_or(i64::MAX),
    )
    .fetch_all(connection)
    .await
}

/// Captures the money for the order; the rest is returned.
pub(super) async fn capture(
    connection: &mut PgConnection,
    expected: &Expected,
    amount: Money,
    rest: Money,
) -> Result<(), sqlx::Error> {
    let reference = &expected.reference;
    sqlx::query!(
        "update bank.payments set state = 'captured', captured = $2 where reference = $1",
        reference.as_str(),
        amount.amount(),
    )
    .execute(&mut *connection)
    .await?;
    if !rest.is_zero() {
        give_back(connection, reference, rest, Reason::Surplus).await?;
    }
    book(connection, &format!("bank-capture:{reference}"), false, amount).await
}

/// Closes the payment: received money is returned.
pub(super) async fn close(
    connection: &mut PgConnection,
    expected: &Expected,
) -> Result<(), sqlx::Error> {
    let Expected { reference, received, .. } = expected;
    sqlx::query!(
        "update bank.payments set state = 'closed' where reference = $1",
        reference.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    if !received.is_zero() {
        give_back(connection, reference, *received, Reason::Closed).await?;
    }
    Ok(())
}

/// Records lines that return this amount of what is kept for a payment to the payers, the earliest
/// transfers first. Returns the first line's id.
pub(super) async fn give_back(
    connection: &mut PgConnection,
    reference: &CreditorReference,
    amount: Money,
    reason: Reason<'_>,
) -> Result<i64, sqlx::Error> {
    let refund_key = if let Reason::Refund(key) = reason { Some(key) } else { None };
    let given = sqlx::query!(
        r#"
        with held as (
            select entry_id, kept, sum(kept) over (order by entry_id) - kept as before
            from bank.entries where reference = $1 and kept > 0
        ), part as (
            select entry_id, least(kept, $2::numeric - before) as amount
            from held where before < $2::numeric
        ), line as (
            insert into bank.lines (reason, entry_id, refund_key, currency, amount)
            select $3, entry_id, $4, $5, amount from part order by entry_id
            returning line_id, entry_id, amount
        ), given as (
            update bank.entries
            set kept = entries.kept - line.amount, given_back = entries.given_back + line.amount
            from line where entries.entry_id = line.entry_id
            returning line.line_id, line.amount
        )
        select min(line_id) as first_line, sum(amount) as amount from given
        "#,
        reference.as_str(),
        amount.amount(),
        reason.name(),
        refund_key,
        amount.currency().code(),
    )
    .fetch_one(connection)
    .await?;
    match (given.first_line, given.amount) {
        (Some(first), Some(given)) if given == amount.amount() => Ok(first),
        // Not a protocol error, which would be retried.
        _ => Err(sqlx::Error::Decode(format!("{reference} does not hold {amount}").into())),
    }
}

/// The refund of a payment under this key, if any.
pub(super) async fn refund(
    connection: &mut PgConnection,
    reference: &CreditorReference,
    refund_key: &str,
) -> Result<Option<Made>, sqlx::Error> {
    let made = sqlx::query!(
        r#"
        select min(line_id) as "first_line!", sum(lines.amount) as "amount!",
            bool_and(list_id is not null) as "is_listed!", min(lines.currency) as "currency!"
        from bank.lines join bank.entries using (entry_id)
        where entries.reference = $1 and refund_key = $2
        having count(*) > 0
        "#,
        reference.as_str(),
        refund_key,
    );
    let Some(made) = made.fetch_optional(connection).await? else { return Ok(None) };
    let amount = money(made.amount, &made.currency)?;
    Ok(Some(Made { first_line: made.first_line, amount, is_listed: made.is_listed }))
}

/// Posts that customers' credit grows or shrinks by this amount.
pub(super) async fn book(
    connection: &mut PgConnection,
    key: &str,
    grows: bool,
    amount: Money,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select bank.book($1, $2, $3, $4)",
        key,
        grows,
        amount.currency().code(),
        amount.amount(),
    )
    .execute(connection)
    .await
    .map(drop)
}
