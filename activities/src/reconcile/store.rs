//! The records of runs: their progress, what they have read, and the differences found.

use chrono::{DateTime, Utc};
use domain::event::{OrderEvent, PaymentMoved};
use domain::reconciliation::{DifferenceKind, Facts, OrderStanding, Ours, RefundStanding, Theirs};
use domain::refund::RefundId;
use domain::{Currency, Money, OrderId, is_foreign_id, minor_digits};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};
use workflows::reconcile::Hint;

use super::{Amount, Asked, Difference, Report};
use crate::ActivityFault;
use crate::idempotency;
use crate::ledger::{self, Booking};
use crate::payment::lists::{ListedPayment, ListedRefund, Payout, Range, Settled, Standing};
use crate::payment::port::PROVIDER;

/// Where a run's records are written.
pub(super) enum Notes<'a> {
    /// In the database.
    Kept(&'a PgPool),
    /// In a transaction that is rolled back.
    Undone(&'a mut PgConnection),
}

impl Notes<'_> {
    pub(super) const fn is_rehearsal(&self) -> bool {
        matches!(self, Self::Undone(_))
    }

    async fn begin(
        &mut self,
        doing: &'static str,
    ) -> Result<Transaction<'_, Postgres>, ActivityFault> {
        let begun = match self {
            Self::Kept(pool) => pool.begin().await,
            Self::Undone(connection) => connection.begin().await,
        };
        begun.map_err(|error| fault(doing, error))
    }
}

pub(super) fn fault(doing: &'static str, error: sqlx::Error) -> ActivityFault {
    ActivityFault::of_database(doing, error)
}

async fn commit(
    transaction: Transaction<'_, Postgres>,
    doing: &'static str,
) -> Result<(), ActivityFault> {
    transaction.commit().await.map_err(|error| fault(doing, error))
}

/// A run and its progress.
pub(super) struct Run {
    pub(super) id: i64,
    pub(super) range: Range,
    pub(super) at: Checkpoint,
    pub(super) has_finished: bool,
}

/// The progress of a run.
pub(super) struct Checkpoint {
    pub(super) phase: Phase,
    /// The cursor of the next page.
    pub(super) cursor: Option<String>,
}

/// The next phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Payments,
    Refunds,
    LeftOut,
    Payouts,
    Judging,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::Payments, Self::Refunds, Self::LeftOut, Self::Payouts, Self::Judging];

    const fn name(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::Refunds => "refunds",
            Self::LeftOut => "left-out",
            Self::Payouts => "payouts",
            Self::Judging => "judging",
        }
    }

    fn called(name: &str) -> Result<Self, ActivityFault> {
        let known = Self::ALL.into_iter().find(|phase| phase.name() == name);
        known.ok_or_else(|| ActivityFault::broken(BEGINNING, format!("no phase is {name}")))
    }
}

const BEGINNING: &str = "beginning a reconciliation";

/// Begins a run, or continues the one with this name.
pub(super) async fn begin(notes: &mut Notes<'_>, asked: &Asked) -> Result<Run, ActivityFault> {
    let mut transaction = notes.begin(BEGINNING).await?;
    let known = sqlx::query!(
        "select run_id, covers_from, covers_to, state, phase, cursor from finance.runs
         where request = $1 for update",
        asked.name,
    )
    .fetch_optional(&mut *transaction)
    .await
    .map_err(|error| fault(BEGINNING, error))?;
    let Some(row) = known else {
        let run = begin_anew(&mut transaction, asked).await?;
        commit(transaction, BEGINNING).await?;
        return Ok(run);
    };
    if row.state == "abandoned" {
        return Err(abandoned(row.run_id));
    }
    commit(transaction, BEGINNING).await?;
    Ok(Run {
        id: row.run_id,
        range: Range { from: row.covers_from, to: row.covers_to },
        at: Checkpoint { phase: Phase::called(&row.phase)?, cursor: row.cursor },
        has_finished: row.state == "finished",
    })
}

async fn begin_anew(connection: &mut PgConnection, asked: &Asked) -> Result<Run, ActivityFault> {
    let days = i32::try_from(asked.days).unwrap_or(i32::MAX);
    sqlx::query!(
        "update finance.runs set state = 'abandoned', finished_at = now()
         where state = 'under-way' and touched_at < clock_timestamp() - interval '5 minutes'",
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| fault(BEGINNING, error))?;
    let begun = sqlx::query!(
        r#"
        insert into finance.runs (request, covers_from, covers_to)
        select $1, date_trunc('second', coalesce($2, ends - make_interval(days => $4))),
            date_trunc('second', ends)
        from (values (coalesce($3, now() - interval '15 minutes'))) as asked (ends)
        on conflict do nothing
        returning run_id, covers_from, covers_to
        "#,
        asked.name,
        asked.from,
        asked.to,
        days,
    )
    .fetch_optional(connection)
    .await
    .map_err(|error| fault(BEGINNING, error))?;
    let Some(begun) = begun else {
        let source = "another reconciliation is under way".into();
        return Err(ActivityFault::Unavailable { doing: BEGINNING, retry_after: None, source });
    };
    Ok(Run {
        id: begun.run_id,
        range: Range { from: begun.covers_from, to: begun.covers_to },
        at: Checkpoint { phase: Phase::Payments, cursor: None },
        has_finished: false,
    })
}

fn abandoned(run: i64) -> ActivityFault {
    let message = format!(
        "reconciliation {run} was abandoned, because nothing was heard of it for five minutes"
    );
    ActivityFault::not_open(message, None)
}

/// The number of items in a page.
#[derive(Clone, Copy, Default)]
struct Shown {
    payments: usize,
    refunds: usize,
    payouts: usize,
}

/// Saves the run's heartbeat and progress. This must be the first statement of its transaction, so
/// that a run which was abandoned changes nothing any more.
async fn advance(
    connection: &mut PgConnection,
    run: i64,
    next: Option<&Checkpoint>,
    shown: Shown,
) -> Result<(), ActivityFault> {
    const DOING: &str = "carrying a reconciliation on";
    let count = |items: usize| i64::try_from(items).unwrap_or(i64::MAX);
    let advanced = sqlx::query!(
        r#"
        update finance.runs
        set phase = coalesce($2, phase),
            cursor = case when $2::text is null then cursor else $3 end,
            payments = payments + $4, refunds = refunds + $5, payouts = payouts + $6,
            touched_at = clock_timestamp()
        where run_id = $1 and state = 'under-way'
        "#,
        run,
        next.map(|next| next.phase.name()),
        next.and_then(|next| next.cursor.as_deref()),
        count(shown.payments),
        count(shown.refunds),
        count(shown.payouts),
    )
    .execute(connection)
    .await
    .map_err(|error| fault(DOING, error))?;
    if advanced.rows_affected() == 0 { Err(abandoned(run)) } else { Ok(()) }
}

/// Advances without a page.
pub(super) async fn go_on(
    notes: &mut Notes<'_>,
    run: i64,
    next: &Checkpoint,
) -> Result<(), ActivityFault> {
    count_payouts(notes, run, 0, next).await
}

/// Advances after a page of payouts, which were posted one by one.
pub(super) async fn count_payouts(
    notes: &mut Notes<'_>,
    run: i64,
    payouts: usize,
    next: &Checkpoint,
) -> Result<(), ActivityFault> {
    const DOING: &str = "carrying a reconciliation on";
    let mut transaction = notes.begin(DOING).await?;
    let shown = Shown { payouts, ..Shown::default() };
    advance(&mut transaction, run, Some(next), shown).await?;
    commit(transaction, DOING).await
}

/// A payment's state at the provider, as stored.
#[derive(Serialize)]
pub(super) struct Said<'a> {
    reference: &'a str,
    order_id: Option<OrderId>,
    opened_at: Option<DateTime<Utc>>,
    standing: &'static str,
    state: Option<&'static str>,
    currency: Option<&'static str>,
    amount: Decimal,
    captured: Decimal,
    refunded: Decimal,
}

impl<'a> Said<'a> {
    /// **Errors.** An invalid answer: the payment's id cannot be stored.
    pub(super) fn of(payment: &'a ListedPayment) -> Result<Self, ActivityFault> {
        let reference = payment.id.0.as_str();
        if !is_foreign_id(reference) {
            return Err(ActivityFault::InvalidAnswer {
                party: PROVIDER,
                doing: "listing payments",
                source: "an id that cannot be stored".into(),
            });
        }
        let (order_id, opened_at) = (payment.order_id, Some(payment.opened_at));
        let said = Self { order_id, opened_at, ..Self::missing(reference) };
        Ok(match payment.standing {
            Standing::Known { state, amount, captured, refunded } => Self {
                standing: "known",
                state: Some(state.name()),
                currency: Some(amount.currency().code()),
                amount: amount.amount(),
                captured: captured.amount(),
                refunded: refunded.amount(),
                ..said
            },
            Standing::Undecided => Self { standing: "undecided", ..said },
            Standing::Unreadable => Self { standing: "unreadable", ..said },
        })
    }

    /// The provider does not know it.
    pub(super) const fn missing(reference: &'a str) -> Self {
        Self {
            reference,
            order_id: None,
            opened_at: None,
            standing: "missing",
            state: None,
            currency: None,
            amount: Decimal::ZERO,
            captured: Decimal::ZERO,
            refunded: Decimal::ZERO,
        }
    }
}

/// Stores the provider's payments; `next` is given for a page, whose progress is saved with it.
pub(super) async fn keep_payments(
    notes: &mut Notes<'_>,
    run: i64,
    said: &[Said<'_>],
    next: Option<&Checkpoint>,
) -> Result<(), ActivityFault> {
    const DOING: &str = "keeping what the provider says of payments";
    let shown = if next.is_some() { said.len() } else { 0 };
    let mut transaction = notes.begin(DOING).await?;
    let shown = Shown { payments: shown, ..Shown::default() };
    advance(&mut transaction, run, next, shown).await?;
    sqlx::query!(
        r#"
        insert into finance.provider_payments as known (
            reference, order_id, opened_at, standing, state, currency, amount, captured, refunded,
            seen_in
        )
        select distinct on (reference)
            reference, order_id, opened_at, standing, state, currency, amount, captured, refunded, $1
        from jsonb_to_recordset($2) as said (
            reference text, order_id uuid, opened_at timestamptz, standing text, state text,
            currency text, amount numeric, captured numeric, refunded numeric
        )
        on conflict (reference) do update set
            order_id = coalesce(excluded.order_id, known.order_id),
            opened_at = coalesce(excluded.opened_at, known.opened_at),
            standing = excluded.standing,
            state = excluded.state,
            currency = excluded.currency,
            amount = excluded.amount,
            captured = excluded.captured,
            refunded = excluded.refunded,
            seen_in = excluded.seen_in
        "#,
        run,
        written(DOING, said)?,
    )
    .execute(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await
}

/// Rows as JSON, so that one statement takes any number of them.
fn written<T: Serialize + ?Sized>(doing: &'static str, rows: &T) -> Result<Value, ActivityFault> {
    serde_json::to_value(rows).map_err(|error| ActivityFault::broken(doing, error))
}

/// Stores a page of refunds.
pub(super) async fn keep_refunds(
    notes: &mut Notes<'_>,
    run: i64,
    refunds: &[ListedRefund],
    next: &Checkpoint,
) -> Result<(), ActivityFault> {
    const DOING: &str = "keeping what the provider says of refunds";
    #[derive(Serialize)]
    struct Row<'a> {
        reference: &'a str,
        payment: &'a str,
        key: Option<&'a str>,
        state: &'static str,
    }
    let can_be_stored =
        |refund: &&ListedRefund| is_foreign_id(&refund.id) && is_foreign_id(&refund.payment.0);
    let rows = refunds.iter().filter(can_be_stored).map(|refund| Row {
        reference: &refund.id,
        payment: &refund.payment.0,
        key: refund.key.as_deref().filter(|key| is_foreign_id(key)),
        state: refund.state.into(),
    });
    let rows: Vec<_> = rows.collect();
    let mut transaction = notes.begin(DOING).await?;
    let shown = Shown { refunds: refunds.len(), ..Shown::default() };
    advance(&mut transaction, run, Some(next), shown).await?;
    sqlx::query!(
        r#"
        insert into finance.provider_refunds (reference, payment, key, state, seen_in)
        select distinct on (reference) reference, payment, key, state, $1
        from jsonb_to_recordset($2) as said (reference text, payment text, key text, state text)
        on conflict (reference) do update set
            state = excluded.state, key = excluded.key, seen_in = excluded.seen_in
        "#,
        run,
        written(DOING, &rows)?,
    )
    .execute(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await
}

/// Some of the payments that this run has not read and has to look up: the shop's payments of the
/// range, the payments of the range's refunds, and those with an open difference.
pub(super) async fn left_out(
    notes: &mut Notes<'_>,
    run: &Run,
) -> Result<Vec<String>, ActivityFault> {
    const DOING: &str = "looking for payments that were not listed";
    let mut transaction = notes.begin(DOING).await?;
    let about_payouts: Vec<_> = DifferenceKind::all().filter(|kind| kind.is_of_payout()).collect();
    let about_payouts: Vec<_> =
        about_payouts.into_iter().map(|kind| kind.name().to_owned()).collect();
    let left_out = sqlx::query_scalar!(
        r#"
        select reference as "reference!" from (
            select provider_reference as reference from payments.charges
            where recorded_at >= $2 and recorded_at < $3
            union
            select payment from finance.provider_refunds where seen_in = $1
            union
            select subject from finance.differences
            where closed_at is null and kind <> all ($4)
        ) as wanted
        where not exists (
            select from finance.provider_payments as known
            where known.reference = wanted.reference and known.seen_in = $1
        )
        order by reference limit 100
        "#,
        run.id,
        run.range.from,
        run.range.to,
        &about_payouts,
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await?;
    Ok(left_out)
}

/// Both sides' facts about a payment.
pub(super) struct Pair {
    pub(super) reference: String,
    /// The order, if the shop has it.
    pub(super) order_id: Option<OrderId>,
    pub(super) standing: PairStanding,
    pub(super) facts: Facts,
}

/// Whether the two sides can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairStanding {
    /// They can.
    Told,
    /// The provider has not decided.
    Undecided,
    /// The provider's state is not understood.
    Unreadable,
}

/// The number of payments judged per batch.
const JUDGED_AT_ONCE: i32 = 500;

/// The next payments that the run has read, after this one.
pub(super) async fn pairs(
    notes: &mut Notes<'_>,
    run: i64,
    after: &str,
) -> Result<Vec<Pair>, ActivityFault> {
    compared(notes, run, None, after, JUDGED_AT_ONCE).await
}

/// One payment that the run has read.
pub(super) async fn pair(
    notes: &mut Notes<'_>,
    run: i64,
    reference: &str,
) -> Result<Option<Pair>, ActivityFault> {
    Ok(compared(notes, run, Some(reference), "", 1).await?.pop())
}

const COMPARING: &str = "comparing payments";

/// A row of `finance.compared`.
struct Row {
    reference: String,
    standing: String,
    their_state: Option<String>,
    their_currency: Option<String>,
    their_amount: Decimal,
    their_captured: Decimal,
    their_refunded: Decimal,
    our_state: Option<String>,
    our_currency: Option<String>,
    our_captured: Option<Decimal>,
    our_refunded: Option<Decimal>,
    order_id: Option<uuid::Uuid>,
    order_standing: String,
    refund_standing: String,
    is_surplus: bool,
    is_settled_by_hand: bool,
}

async fn compared(
    notes: &mut Notes<'_>,
    run: i64,
    only: Option<&str>,
    after: &str,
    most: i32,
) -> Result<Vec<Pair>, ActivityFault> {
    let mut transaction = notes.begin(COMPARING).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            reference as "reference!", standing as "standing!",
            their_state, their_currency, their_amount as "their_amount!",
            their_captured as "their_captured!", their_refunded as "their_refunded!",
            our_state, our_currency, our_captured, our_refunded,
            order_id, order_standing as "order_standing!", refund_standing as "refund_standing!",
            is_surplus as "is_surplus!", is_settled_by_hand as "is_settled_by_hand!"
        from finance.compared($1, $2, $3, $4)
        "#,
        run,
        only,
        after,
        most,
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(|error| fault(COMPARING, error))?;
    commit(transaction, COMPARING).await?;
    rows.into_iter().map(Row::pair).collect()
}

impl Row {
    fn pair(self) -> Result<Pair, ActivityFault> {
        let standing = match self.standing.as_str() {
            "known" | "missing" => PairStanding::Told,
            "undecided" => PairStanding::Undecided,
            _ => PairStanding::Unreadable,
        };
        let facts = Facts {
            theirs: self.theirs()?,
            ours: self.ours()?,
            order: match self.order_standing.as_str() {
                "moving" => OrderStanding::Moving,
                "waiting" => OrderStanding::Waiting,
                "over" => OrderStanding::Over,
                "completed-unpaid" => OrderStanding::CompletedUnpaid,
                _ => OrderStanding::Unknown,
            },
            refunds: match self.refund_standing.as_str() {
                "under-way" => RefundStanding::UnderWay,
                "failed-there" => RefundStanding::FailedThere,
                _ => RefundStanding::AtRest,
            },
            is_surplus: self.is_surplus,
            is_settled_by_hand: self.is_settled_by_hand,
        };
        let order_id = self.order_id.map(OrderId::of);
        Ok(Pair { reference: self.reference, order_id, standing, facts })
    }

    fn theirs(&self) -> Result<Option<Theirs>, ActivityFault> {
        let Some((state, currency)) = self.their_state.as_ref().zip(self.their_currency.as_ref())
        else {
            return Ok(None);
        };
        Ok(Some(Theirs {
            state: state.parse().map_err(|error| ActivityFault::broken(COMPARING, error))?,
            amount: money(self.their_amount, currency)?,
            captured: money(self.their_captured, currency)?,
            refunded: money(self.their_refunded, currency)?,
        }))
    }

    fn ours(&self) -> Result<Option<Ours>, ActivityFault> {
        let Some((state, currency)) = self.our_state.as_ref().zip(self.our_currency.as_ref())
        else {
            return Ok(None);
        };
        Ok(Some(Ours {
            state: state.parse().map_err(|error| ActivityFault::broken(COMPARING, error))?,
            captured: money(self.our_captured.unwrap_or_default(), currency)?,
            refunded: money(self.our_refunded.unwrap_or_default(), currency)?,
        }))
    }
}

fn money(amount: Decimal, currency: &str) -> Result<Money, ActivityFault> {
    let known = Currency::from_code(currency).and_then(|known| Money::new(amount, known).ok());
    known
        .ok_or_else(|| ActivityFault::broken(COMPARING, format!("{amount} {currency} is no money")))
}

/// A difference that a run has found.
#[derive(Serialize)]
pub(super) struct Found {
    pub(super) kind: DifferenceKind,
    pub(super) subject: String,
    pub(super) order_id: Option<OrderId>,
    pub(super) at_provider: Option<Amount>,
    pub(super) in_shop: Option<Amount>,
}

/// Opens the differences found, once each, and closes those of examined payments that are gone. One
/// that a person has settled stays settled, unless its amounts change.
pub(super) async fn settle(
    notes: &mut Notes<'_>,
    run: i64,
    examined: &[String],
    found: &[Found],
) -> Result<(), ActivityFault> {
    const DOING: &str = "recording differences";
    let found = written(DOING, found)?;
    let mut transaction = notes.begin(DOING).await?;
    advance(&mut transaction, run, None, Shown::default()).await?;
    sqlx::query!(
        r#"
        update finance.differences as known set closed_at = now(), closed_in = $1
        where closed_at is null and subject = any ($2) and not exists (
            select from jsonb_to_recordset($3) as found (
                kind text, subject text, at_provider jsonb, in_shop jsonb
            )
            where (found.kind, found.subject) = (known.kind, known.subject)
                -- What a person has settled is settled as it was: with another amount, it is new.
                and (known.settled_at is null or (
                    known.at_provider, known.at_provider_currency::text,
                    known.in_shop, known.in_shop_currency::text
                ) is not distinct from (
                    (found.at_provider ->> 'amount')::numeric, found.at_provider ->> 'currency',
                    (found.in_shop ->> 'amount')::numeric, found.in_shop ->> 'currency'
                ))
        )
        "#,
        run,
        examined,
        found,
    )
    .execute(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    sqlx::query!(
        r#"
        insert into finance.differences (
            kind, subject, order_id, at_provider, at_provider_currency, in_shop, in_shop_currency,
            opened_in, seen_in
        )
        select kind, subject, order_id,
            (at_provider ->> 'amount')::numeric, at_provider ->> 'currency',
            (in_shop ->> 'amount')::numeric, in_shop ->> 'currency', $1, $1
        from jsonb_to_recordset($2) as found (
            kind text, subject text, order_id uuid, at_provider jsonb, in_shop jsonb
        )
        on conflict (kind, subject) where closed_at is null do update set
            order_id = excluded.order_id,
            at_provider = excluded.at_provider,
            at_provider_currency = excluded.at_provider_currency,
            in_shop = excluded.in_shop,
            in_shop_currency = excluded.in_shop_currency,
            seen_in = excluded.seen_in
        "#,
        run,
        found,
    )
    .execute(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await
}

/// Records that a leftover payment was voided. The order gets an event, if it shows the payment.
pub(super) async fn voided(
    notes: &mut Notes<'_>,
    run: i64,
    reference: &str,
    amount: Money,
) -> Result<(), ActivityFault> {
    const DOING: &str = "recording that a payment was voided";
    let provider_reference = reference.to_owned();
    let event = OrderEvent::PaymentVoided(PaymentMoved { amount, provider_reference });
    let mut transaction = notes.begin(DOING).await?;
    advance(&mut transaction, run, None, Shown::default()).await?;
    sqlx::query!("update finance.runs set voided = voided + 1 where run_id = $1", run)
        .execute(&mut *transaction)
        .await
        .map_err(|error| fault(DOING, error))?;
    sqlx::query!(
        r#"
        with voided as (
            update payments.charges set state = 'voided', approval_url = null
            where provider_reference = $1
                and state in ('opened', 'awaiting-customer', 'declined', 'authorised')
            returning order_id
        )
        select orders.record(order_id, $2, $3) as number
        from voided join orders.orders using (order_id)
        where payment_status in ('authorised', 'awaiting-customer')
        "#,
        reference,
        event.event_type().name(),
        idempotency::data(&event)?,
    )
    .fetch_optional(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await
}

/// At most `most` refunds that wait for something that the provider has already decided.
pub(super) async fn decided_refunds(
    notes: &mut Notes<'_>,
    run: i64,
    most: usize,
) -> Result<Vec<Hint>, ActivityFault> {
    const DOING: &str = "looking for refunds that are decided";
    let mut transaction = notes.begin(DOING).await?;
    let decided = sqlx::query!(
        r#"
        select asked.order_id, asked.number, theirs.reference, theirs.state
        from payments.refund_requests as asked
        join orders.orders as placed on placed.order_id = asked.order_id
        join finance.provider_refunds as theirs
            on theirs.key = concat_ws(':', asked.order_id, 'issue-refund', placed.record_version,
                nullif(asked.number, 1))
        where asked.state = 'pending' and asked.updated_at < now() - interval '15 minutes'
            and theirs.seen_in = $1 and theirs.state in ('succeeded', 'failed')
            and theirs.reference is distinct from asked.failed_reference
        order by asked.updated_at limit $2
        "#,
        run,
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await?;
    let hint = decided.into_iter().map(|row| {
        // The database counts from 1.
        let number = u32::try_from(row.number).unwrap_or_default();
        let refund = RefundId { order_id: OrderId::of(row.order_id), number };
        Hint { workflow_id: refund.workflow_id(), reference: row.reference, status: row.state }
    });
    Ok(hint.collect())
}

const SETTLING: &str = "booking a payout";

/// Stores a page of a payout's items, and posts their fees.
pub(super) async fn keep_settled(
    notes: &mut Notes<'_>,
    run: i64,
    payout: &str,
    settled: &[Settled],
    fees: &[Booking],
) -> Result<(), ActivityFault> {
    #[derive(Serialize)]
    struct Row<'a> {
        transaction: &'a str,
        kind: &'static str,
        payment: Option<&'a str>,
        currency: &'static str,
        amount: Decimal,
        fee: Decimal,
    }
    let rows = settled.iter().map(|one| Row {
        transaction: &one.id,
        kind: one.kind.name(),
        payment: one.payment.as_ref().map(|payment| payment.0.as_str()),
        currency: one.currency.code(),
        amount: one.amount,
        fee: one.fee,
    });
    let rows: Vec<_> = rows.collect();
    let mut transaction = notes.begin(SETTLING).await?;
    advance(&mut transaction, run, None, Shown::default()).await?;
    sqlx::query!(
        r#"
        insert into finance.balance_transactions
            (transaction, payout, kind, payment, currency, amount, fee)
        select transaction, $1, kind, payment, currency, amount, fee
        from jsonb_to_recordset($2) as settled (
            transaction text, kind text, payment text, currency text, amount numeric, fee numeric
        )
        on conflict (transaction) do nothing
        "#,
        payout,
        written(SETTLING, &rows)?,
    )
    .execute(&mut *transaction)
    .await
    .map_err(|error| fault(SETTLING, error))?;
    ledger::book_once(&mut transaction, fees).await.map_err(|error| fault(SETTLING, error))?;
    commit(transaction, SETTLING).await
}

/// Posts a payout that the bank has.
pub(super) async fn book_payout(
    notes: &mut Notes<'_>,
    run: i64,
    payout: &Payout,
    transaction: &str,
    booking: Option<Booking>,
) -> Result<(), ActivityFault> {
    let mut books = notes.begin(SETTLING).await?;
    advance(&mut books, run, None, Shown::default()).await?;
    sqlx::query!(
        r#"
        insert into finance.payouts (payout, transaction, currency, amount, seen_in)
        values ($1, $2, $3, $4, $5)
        on conflict (payout) do update set seen_in = excluded.seen_in
        "#,
        payout.id,
        transaction,
        payout.currency.code(),
        payout.amount,
        run,
    )
    .execute(&mut *books)
    .await
    .map_err(|error| fault(SETTLING, error))?;
    let booked = ledger::book_once(&mut books, booking.as_slice()).await;
    booked.map_err(|error| fault(SETTLING, error))?;
    commit(books, SETTLING).await
}

/// Posts that a payout has come back, if it was posted before.
pub(super) async fn book_return(
    notes: &mut Notes<'_>,
    run: i64,
    payout: &Payout,
    transaction: &str,
    booking: Option<Booking>,
) -> Result<(), ActivityFault> {
    let mut books = notes.begin(SETTLING).await?;
    advance(&mut books, run, None, Shown::default()).await?;
    let returned = sqlx::query!(
        "update finance.payouts set returned_by = $2, seen_in = $3 where payout = $1",
        payout.id,
        transaction,
        run,
    )
    .execute(&mut *books)
    .await
    .map_err(|error| fault(SETTLING, error))?;
    if returned.rows_affected() > 0 {
        let booked = ledger::book_once(&mut books, booking.as_slice()).await;
        booked.map_err(|error| fault(SETTLING, error))?;
    }
    commit(books, SETTLING).await
}

/// The payouts that this run has posted or has to check again, and their differences from the
/// ledger.
pub(super) async fn payouts(
    notes: &mut Notes<'_>,
    run: i64,
) -> Result<(Vec<String>, Vec<Found>), ActivityFault> {
    const DOING: &str = "comparing payouts";
    let mut transaction = notes.begin(DOING).await?;
    let rows = sqlx::query!(
        r#"
        select payout as "payout!", currency as "currency!", at_provider as "at_provider!",
            in_shop as "in_shop!", is_returned as "is_returned!", is_exchanged as "is_exchanged!"
        from finance.compared_payouts($1)
        "#,
        run,
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    commit(transaction, DOING).await?;
    let (mut examined, mut found) = (Vec::new(), Vec::new());
    for row in rows {
        examined.push(row.payout.clone());
        if row.is_returned || row.at_provider == row.in_shop {
            continue;
        }
        let amount = |amount| Some(Amount { amount, currency: row.currency.clone() });
        found.push(Found {
            kind: if row.is_exchanged {
                DifferenceKind::SettledInAnotherCurrency
            } else {
                DifferenceKind::PayoutDiffers
            },
            order_id: None,
            at_provider: amount(row.at_provider),
            in_shop: amount(row.in_shop),
            subject: row.payout,
        });
    }
    Ok((examined, found))
}

/// Ends a run, and stores its totals.
pub(super) async fn finish(
    notes: &mut Notes<'_>,
    run: i64,
    hinted: usize,
) -> Result<(), ActivityFault> {
    const DOING: &str = "ending a reconciliation";
    let mut transaction = notes.begin(DOING).await?;
    let finished = sqlx::query!(
        r#"
        update finance.runs
        set state = 'finished', finished_at = now(), hinted = $2,
            opened = (select count(*) from finance.differences where opened_in = $1),
            closed = (select count(*) from finance.differences where closed_in = $1),
            found = (
                select count(*) from finance.differences
                where closed_at is null and settled_at is null
            )
        where run_id = $1 and state = 'under-way'
        "#,
        run,
        i64::try_from(hinted).unwrap_or(i64::MAX),
    )
    .execute(&mut *transaction)
    .await
    .map_err(|error| fault(DOING, error))?;
    if finished.rows_affected() == 0 {
        return Err(abandoned(run));
    }
    commit(transaction, DOING).await
}

const REPORTING: &str = "reading what a reconciliation found";

/// The report of a finished run.
pub(super) async fn report(
    notes: &mut Notes<'_>,
    run: i64,
    hints: Vec<Hint>,
) -> Result<Report, ActivityFault> {
    let mut transaction = notes.begin(REPORTING).await?;
    let differences = open_differences(&mut transaction).await?;
    let row = sqlx::query!(
        "select covers_from, covers_to, payments, refunds, payouts, opened, closed, found, voided
         from finance.runs where run_id = $1",
        run,
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(|error| fault(REPORTING, error))?;
    commit(transaction, REPORTING).await?;
    Ok(Report {
        run,
        from: row.covers_from,
        to: row.covers_to,
        payments: row.payments,
        refunds: row.refunds,
        payouts: row.payouts,
        opened: row.opened,
        closed: row.closed,
        found: row.found,
        voided: row.voided,
        hints,
        differences,
    })
}

async fn open_differences(connection: &mut PgConnection) -> Result<Vec<Difference>, ActivityFault> {
    let rows = sqlx::query!(
        r#"
        select kind, subject, order_id, at_provider, at_provider_currency, in_shop,
            in_shop_currency, opened_at
        from finance.differences where closed_at is null and settled_at is null
        order by difference_id limit 1000
        "#,
    )
    .fetch_all(connection)
    .await
    .map_err(|error| fault(REPORTING, error))?;
    let difference = rows.into_iter().map(|row| {
        let kind: DifferenceKind =
            row.kind.parse().map_err(|error| ActivityFault::broken(REPORTING, error))?;
        Ok(Difference {
            kind,
            subject: row.subject,
            order_id: row.order_id.map(OrderId::of),
            at_provider: row.at_provider.zip(row.at_provider_currency).map(written_amount),
            in_shop: row.in_shop.zip(row.in_shop_currency).map(written_amount),
            since: row.opened_at,
            advice: kind.advice(),
        })
    });
    difference.collect()
}

/// The amount with its currency's decimals; the driver drops trailing zeros.
fn written_amount((mut amount, currency): (Decimal, String)) -> Amount {
    let digits = Currency::from_code(&currency).and_then(|known| minor_digits(known).ok());
    amount.rescale(digits.unwrap_or_default().max(amount.normalize().scale()));
    Amount { amount, currency }
}
