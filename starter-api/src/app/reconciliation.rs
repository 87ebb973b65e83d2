//! Differences between the payment provider and the shop, and their settlement.

use chrono::{DateTime, Utc};
use domain::OrderId;
use domain::reconciliation::DifferenceKind;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::{line_of_text, number_as_written};
use crate::app::ledger::with_minor_digits;
use crate::app::paging::{Page, PageSize};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// A difference between the payment provider and the shop.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the answer says whose number it is")]
pub(crate) struct Difference {
    /// Its number.
    difference_id: i64,
    /// How they differ.
    kind: DifferenceKind,
    /// The id of the payment or payout at the provider.
    #[schema(example = "pi_3MtwBwLkdIwHu7ix28a3tqPa")]
    subject: String,
    /// The order that the payment is for, if the shop has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// What the provider has on record; absent if it does not know the payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_provider: Option<DifferentAmount>,
    /// What the shop has on record; absent if it does not know the payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_shop: Option<DifferentAmount>,
    /// When it was first found.
    since: DateTime<Utc>,
    /// When it was found last.
    seen_at: DateTime<Utc>,
    /// What to do about it, and what closes it.
    advice: String,
    /// When a person has settled it, if somebody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<DateTime<Utc>>,
    /// Who settled it, as named by their token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "eve")]
    settled_by: Option<String>,
    /// The reason for settling it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "given back by bank transfer")]
    settled_why: Option<String>,
}

/// The amount according to one side. That of a payout may be negative.
///
/// **Units.** Major units of the currency, as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DifferentAmount {
    /// The amount.
    #[schema(value_type = String, example = "24.30")]
    amount: Decimal,
    /// ISO 4217.
    #[schema(example = "GBP")]
    currency: String,
}

/// Reads existing differences as [`Row`]s: every query selects the same columns.
macro_rules! differences_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            "select difference_id, kind, subject, order_id, at_provider, at_provider_currency,
                 in_shop, in_shop_currency, opened_at, started_at as seen_at, settled_at,
                 settled_by, settled_why
             from finance.differences join finance.runs on run_id = seen_in
             where closed_at is null and " + $condition,
            $($argument),+
        )
    };
}

/// A difference, as stored.
struct Row {
    difference_id: i64,
    kind: String,
    subject: String,
    order_id: Option<Uuid>,
    at_provider: Option<Decimal>,
    at_provider_currency: Option<String>,
    in_shop: Option<Decimal>,
    in_shop_currency: Option<String>,
    opened_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
    settled_by: Option<String>,
    settled_why: Option<String>,
}

impl TryFrom<Row> for Difference {
    type Error = Problem;

    fn try_from(row: Row) -> Result<Self, Problem> {
        let kind = row.kind.parse::<DifferenceKind>();
        let kind = kind.map_err(|error| Problem::internal("reading a difference", &error))?;
        Ok(Self {
            difference_id: row.difference_id,
            kind,
            subject: row.subject,
            order_id: row.order_id.map(OrderId::of),
            at_provider: row.at_provider.zip(row.at_provider_currency).map(written),
            in_shop: row.in_shop.zip(row.in_shop_currency).map(written),
            since: row.opened_at,
            seen_at: row.seen_at,
            advice: advice(kind, row.difference_id),
            settled_at: row.settled_at,
            settled_by: row.settled_by,
            settled_why: row.settled_why,
        })
    }
}

/// What to do, and how the difference is closed.
fn advice(kind: DifferenceKind, difference_id: i64) -> String {
    format!(
        "{}; the next comparison closes what is gone, and `ordersaga differences settle \
         {difference_id}` what was settled in another way",
        kind.advice()
    )
}

/// A page of the differences after the cursor, oldest first: open ones, or settled ones that still
/// exist.
pub(crate) async fn list(
    app: &App,
    is_settled: bool,
    after: Option<i64>,
    size: PageSize,
) -> Result<Page<Difference>, Problem> {
    let rows = differences_where!(
        "(settled_at is not null) = $1 and difference_id > coalesce($2::bigint, 0)
         order by difference_id limit $3",
        is_settled,
        after,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("listing differences")?;
    let differences = rows.into_iter().map(Difference::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(differences, size, |last: &Difference| last.difference_id.to_string()))
}

/// Records that a person has settled a difference: it is not listed any more for as long as both
/// sides stay unchanged.
///
/// **Repeats.** The difference is not open any more: the second request is answered 404.
///
/// **Errors.** 404 if there is no open difference with this number.
pub(crate) async fn settle(
    app: &App,
    caller: &Caller,
    difference_id: &str,
    why: &str,
) -> Result<Difference, Problem> {
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    let why = rules.kept(why)?;
    let not_found =
        || Problem::new(Kind::DifferenceNotFound, "There is no open difference with this number.");
    let difference_id = number_as_written::<i64>(difference_id).ok_or_else(not_found)?;
    let by = caller.name();
    let is_settled = sqlx::query_scalar!(
        r#"select finance.settle_difference($1, $2, $3) as "is_settled!""#,
        difference_id,
        by,
        why,
    )
    .fetch_one(&app.database)
    .await
    .or_problem("settling a difference")?;
    if !is_settled {
        return Err(not_found());
    }
    tracing::warn!(difference_id, by, "a difference is settled");
    read(&app.database, difference_id).await?.ok_or_else(not_found)
}

/// The difference, unless a run has found it gone in the meantime.
async fn read(database: &PgPool, difference_id: i64) -> Result<Option<Difference>, Problem> {
    let row = differences_where!("difference_id = $1", difference_id)
        .fetch_optional(database)
        .await
        .or_problem("reading a difference")?;
    row.map(Difference::try_from).transpose()
}

fn written((amount, currency): (Decimal, String)) -> DifferentAmount {
    DifferentAmount { amount: with_minor_digits(amount, &currency), currency }
}
