//! Where the payment provider and the shop do not say the same.

use chrono::{DateTime, Utc};
use domain::OrderId;
use domain::reconciliation::DifferenceKind;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::app::ledger::with_minor_digits;
use crate::app::paging::{Page, PageSize};
use crate::error::{OrProblem, Problem};

/// A difference between the payment provider and the shop that stands open.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Difference {
    /// Its number.
    difference_id: i64,
    /// How they differ.
    kind: DifferenceKind,
    /// The provider's own name for the payment or the payout.
    #[schema(example = "pi_3MtwBwLkdIwHu7ix28a3tqPa")]
    subject: String,
    /// The order that the payment is for, if the shop has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    /// What the provider says; absent if it does not know the payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_provider: Option<DifferentAmount>,
    /// What the shop has on record; absent if it does not know the payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_shop: Option<DifferentAmount>,
    /// When it was first found.
    since: DateTime<Utc>,
    /// When it was found last.
    seen_at: DateTime<Utc>,
    /// What to do about it.
    advice: &'static str,
}

/// What one side says. Of a payout it may be below zero.
///
/// **Units.** Major units of the currency, as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DifferentAmount {
    /// How much.
    #[schema(value_type = String, example = "24.30")]
    amount: Decimal,
    /// ISO 4217.
    #[schema(example = "GBP")]
    currency: String,
}

/// A page of the differences that stand open, the oldest first, after this one.
pub(crate) async fn list(
    app: &App,
    after: Option<i64>,
    size: PageSize,
) -> Result<Page<Difference>, Problem> {
    const DOING: &str = "listing differences";
    let rows = sqlx::query!(
        r#"select difference_id, kind, subject, order_id, at_provider, at_provider_currency, in_shop,
               in_shop_currency, opened_at, started_at as seen_at
           from finance.differences join finance.runs on run_id = seen_in
           where closed_at is null and difference_id > coalesce($1::bigint, 0)
           order by difference_id limit $2"#,
        after,
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem(DOING)?;
    let mut differences = Vec::new();
    for row in rows {
        let kind = row.kind.parse::<DifferenceKind>();
        let kind = kind.map_err(|error| Problem::internal(DOING, &error))?;
        differences.push(Difference {
            difference_id: row.difference_id,
            kind,
            subject: row.subject,
            order_id: row.order_id.map(OrderId::of),
            at_provider: row.at_provider.zip(row.at_provider_currency).map(written),
            in_shop: row.in_shop.zip(row.in_shop_currency).map(written),
            since: row.opened_at,
            seen_at: row.seen_at,
            advice: kind.advice(),
        });
    }
    Ok(Page::of(differences, size, |last| last.difference_id.to_string()))
}

fn written((amount, currency): (Decimal, String)) -> DifferentAmount {
    DifferentAmount { amount: with_minor_digits(amount, &currency), currency }
}
