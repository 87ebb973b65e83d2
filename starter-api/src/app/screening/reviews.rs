//! Lists the orders that wait for a review.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::screening::{Finding, ReviewDecision, Stage};
use domain::{CountryCode, CustomerId, Money, OrderId};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::app::input::Moment;
use crate::app::money::stored_money;
use crate::app::paging::{Page, PageSize};
use crate::error::{OrProblem, Problem};

/// An order that waits for a review, with the findings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingReview {
    /// The order.
    pub(crate) order_id: OrderId,
    /// The customer.
    pub(crate) customer_id: CustomerId,
    /// The total.
    pub(crate) total: Money,
    /// The destination country.
    pub(crate) country: CountryCode,
    /// The stage at which it was stopped. After the authorisation, the customer's money is held
    /// meanwhile.
    pub(crate) stage: Stage,
    /// Since when it has waited.
    pub(crate) since: DateTime<Utc>,
    /// The deadline of the review.
    pub(crate) until: DateTime<Utc>,
    /// The decision that takes effect at the deadline.
    pub(crate) otherwise: ReviewDecision,
    /// The score: the sum of the findings' weights under the active rules.
    #[schema(example = 60)]
    pub(crate) weight: i64,
    /// The findings, including those of rules on trial.
    pub(crate) reasons: Vec<Finding>,
    /// The version of the rule set.
    #[schema(example = 1)]
    pub(crate) rule_set: i32,
}

/// The cursor: where a page of reviews ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ReviewCursor {
    until: DateTime<Utc>,
    order_id: Uuid,
}

impl TryFrom<String> for ReviewCursor {
    type Error = &'static str;

    fn try_from(cursor: String) -> Result<Self, Self::Error> {
        let parsed = cursor.split_once('_').and_then(|(until, order_id)| {
            let Moment(until) = Moment::try_from(until.to_owned()).ok()?;
            Some(Self { until, order_id: order_id.parse().ok()? })
        });
        parsed.ok_or("a cursor is the `next_cursor` of the page before")
    }
}

impl From<ReviewCursor> for String {
    fn from(ReviewCursor { until, order_id }: ReviewCursor) -> Self {
        // With the precision of the database.
        format!("{}_{order_id}", until.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the review of order {0} is not valid as stored")]
struct BadReview(Uuid);

/// A review, as stored.
struct Row {
    order_id: Uuid,
    customer_id: String,
    total: Decimal,
    currency: String,
    country: String,
    attempt: i32,
    asked_at: DateTime<Utc>,
    review_until: DateTime<Utc>,
    otherwise: String,
    weight: i64,
    findings: Json<Vec<Finding>>,
    rule_set: i32,
}

impl Row {
    fn review(self) -> Option<WaitingReview> {
        Some(WaitingReview {
            order_id: OrderId::of(self.order_id),
            customer_id: CustomerId::parse(self.customer_id).ok()?,
            total: stored_money(self.total, &self.currency)?,
            country: CountryCode::parse(&self.country).ok()?,
            stage: Stage::of_attempt(u32::try_from(self.attempt).ok()?),
            since: self.asked_at,
            until: self.review_until,
            otherwise: self.otherwise.parse().ok()?,
            weight: self.weight,
            reasons: self.findings.0,
            rule_set: self.rule_set,
        })
    }
}

/// A page of the orders that wait, the earliest deadline first.
pub(crate) async fn list(
    app: &App,
    after: Option<&ReviewCursor>,
    size: PageSize,
) -> Result<Page<WaitingReview>, Problem> {
    const DOING: &str = "reading the orders that wait for a review";
    let rows = sqlx::query_as!(
        Row,
        r#"select reviews.order_id, placed.customer_id, placed.total, placed.currency,
               placed.country, reviews.attempt, reviews.asked_at, reviews.review_until,
               reviews.otherwise, screenings.weight,
               screenings.findings as "findings: Json<Vec<Finding>>", screenings.rule_set
           from fraud.reviews
           join fraud.screenings on screenings.order_id = reviews.order_id
               and screenings.version = reviews.version
               and screenings.attempt = reviews.attempt
           join orders.orders as placed on placed.order_id = reviews.order_id
           where reviews.decision is null
             and (reviews.review_until, reviews.order_id)
                 > (coalesce($1, '-infinity'::timestamptz),
                    coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid))
           order by reviews.review_until, reviews.order_id
           limit $3"#,
        after.map(|after| after.until),
        after.map(|after| after.order_id),
        size.to_read(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem(DOING)?;
    let read = |row: Row| {
        let bad = BadReview(row.order_id);
        row.review().ok_or_else(|| Problem::internal(DOING, &bad))
    };
    let waiting = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(waiting, size, |last| {
        ReviewCursor { until: last.until, order_id: last.order_id.uuid() }.into()
    }))
}
