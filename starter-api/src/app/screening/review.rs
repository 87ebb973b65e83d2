//! Decides about an order that screening has stopped for review.

use domain::OrderId;
use domain::screening::ReviewDecision;
use serde::Serialize;
use utoipa::ToSchema;
use workflows::order::Reviewed;

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::orders::{parse_id, read};
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// A decision about an order that waits for a review.
#[derive(Clone, Debug)]
pub(crate) struct ReviewOrder {
    order_id: OrderId,
    decision: ReviewDecision,
    note: String,
}

/// A recorded decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReviewedOrder {
    /// The order.
    order_id: OrderId,
    /// What was decided.
    decision: ReviewDecision,
    /// Who decided, as named by their token.
    #[schema(example = "eve")]
    by: String,
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
enum Deciding {
    /// It was recorded.
    Decided,
    /// It was recorded before, by the same person.
    Repeated,
    /// The order waits for no review.
    NotWaiting,
    /// The time for the review is over.
    TooLate,
}

#[derive(Debug, thiserror::Error)]
#[error("a review came to `{0}`")]
struct BadOutcome(String);

impl ReviewOrder {
    /// Validates the input.
    pub(crate) fn check(
        order_id: &str,
        decision: ReviewDecision,
        note: &str,
    ) -> Result<Self, Problem> {
        let order_id = parse_id(order_id)?;
        let mut rules = Rules::default();
        let note = rules.check("/note", line_of_text(note, 200));
        Ok(Self { order_id, decision, note: rules.kept(note)? })
    }
}

/// Records the decision, and signals the order's workflow.
///
/// **Repeats.** Idempotent: a repeat by the same person is recorded once, and the workflow is
/// signalled again.
///
/// **Errors.** 409 if the order does not wait for a review, or no longer does. Once the decision is
/// recorded, a failure to signal the workflow is not an error: the workflow finds it in the
/// database.
pub(crate) async fn review(
    app: &App,
    caller: &Caller,
    command: ReviewOrder,
) -> Result<ReviewedOrder, Problem> {
    const DOING: &str = "deciding a review";
    let ReviewOrder { order_id, decision, note } = command;
    read::read(app, caller, order_id).await?;
    let by = caller.name().to_owned();
    let row = sqlx::query!(
        r#"select outcome as "outcome!", attempt as "attempt?"
           from fraud.decide($1, $2, $3, $4)"#,
        order_id.uuid(),
        decision.name(),
        by,
        note,
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)?;
    let outcome = row.outcome.parse::<Deciding>();
    let outcome = outcome.map_err(|_unknown| Problem::internal(DOING, &BadOutcome(row.outcome)))?;
    match outcome {
        Deciding::Decided | Deciding::Repeated => {}
        Deciding::NotWaiting => return Err(Problem::new(Kind::NoReviewDue, NOT_WAITING)),
        Deciding::TooLate => return Err(Problem::new(Kind::NoReviewDue, TOO_LATE)),
    }
    tracing::info!(%order_id, by, %decision, "an operator decided a review");
    let attempt = row.attempt.and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or_default();
    // A failure is logged; the workflow also reads the database by itself.
    let _told = app.temporal.review(order_id, Reviewed { attempt }).await;
    Ok(ReviewedOrder { order_id, decision, by })
}

const NOT_WAITING: &str = "The order does not wait for a review: it was not stopped, was decided about \
                           already, or is being unwound.";

const TOO_LATE: &str = "The time for the review is over, and the rules' default decision applies.";
