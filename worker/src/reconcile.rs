//! Reconciliation of provider and shop: scheduled in Temporal according to the workers' settings,
//! or requested by a person.

use std::str::FromStr;
use std::time::Duration;

use activities::reconcile::Asked;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::schedules::{
    CreateScheduleOptions, ScheduleAction, ScheduleError, ScheduleOverlapPolicy, ScheduleSpec,
};
use temporalio_client::tonic::Code;
use temporalio_client::{Client, RpcOptions, WorkflowHandle, WorkflowSignalOptions};
use temporalio_common::HasWorkflowDefinition;
use uuid::Uuid;
use workflows::Queue;
use workflows::order::{OrderSaga, signal_payload};
use workflows::reconcile::{Hint, ReconcileStart, Reconciliation, WORKFLOW_ID_PREFIX};

use crate::waiting::until_there;

/// The schedule's id in Temporal. All workers share one schedule.
pub const SCHEDULE_ID: &str = "ordersaga-reconcile";

/// When provider and shop are reconciled, and how far back.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ScheduleArgs {
    /// How often provider and shop are compared, such as 24h; without it, only `ordersaga reconcile`
    /// compares them
    #[arg(long, env = "RECONCILE_EVERY")]
    pub reconcile_every: Option<Every>,
    /// Number of past days to compare
    #[arg(long, env = "RECONCILE_DAYS", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=365))]
    pub reconcile_days: u32,
}

/// An interval: a whole number of minutes, hours or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Duration);

impl FromStr for Every {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "it is a number of minutes, hours or days, such as 90m, 24h or 1d";
        let unit = text.chars().next_back().ok_or(FORM)?;
        let number: u32 =
            text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_none| FORM)?;
        let unit = match unit {
            'm' => Duration::from_mins(1),
            'h' => Duration::from_hours(1),
            'd' => Duration::from_hours(24),
            _ => return Err(FORM),
        };
        let pause = unit.checked_mul(number).filter(|pause| !pause.is_zero());
        pause.map(Self).ok_or(FORM)
    }
}

/// A day in UTC, as its first moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(DateTime<Utc>);

impl FromStr for Day {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day: NaiveDate = text.parse().map_err(|_none| "a day is written 2026-11-01")?;
        Ok(Self(day.and_time(NaiveTime::MIN).and_utc()))
    }
}

/// A range that ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range ends before it begins")]
pub struct EmptyRange;

/// A reconciliation requested by a person, under a unique name.
///
/// **Errors.** [`EmptyRange`].
pub fn asked(from: Option<Day>, to: Option<Day>, days: u32) -> Result<Asked, EmptyRange> {
    let (from, to) = (from.map(|Day(day)| day), to.map(|Day(day)| day));
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(EmptyRange);
    }
    Ok(Asked { name: format!("by hand:{}", Uuid::now_v7()), from, to, days })
}

/// Creates or updates the schedule once Temporal answers.
///
/// **Repeats.** There is one schedule, whichever worker creates it; the last writer's settings
/// apply.
pub async fn keep_schedule(client: Client, Every(every): Every, days: u32) {
    let put = move || put(client.clone(), every, days);
    until_there("the schedule of reconciliations", put).await;
}

async fn put(client: Client, every: Duration, days: u32) -> Result<(), ScheduleError> {
    let start = ReconcileStart { days };
    let queue = Queue::Orders.name();
    let action =
        ScheduleAction::start_workflow(Reconciliation::run, start, queue, WORKFLOW_ID_PREFIX);
    let spec = ScheduleSpec::from_interval(every);
    let options = CreateScheduleOptions::builder()
        .action(action.clone())
        .spec(spec.clone())
        // If a run takes longer than the interval, the next one is skipped.
        .overlap_policy(ScheduleOverlapPolicy::Skip)
        .build();
    match client.create_schedule(SCHEDULE_ID, options).await {
        Ok(_schedule) => return Ok(()),
        Err(ScheduleError::Rpc(status)) if status.code() == Code::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let schedule = client.get_schedule_handle(SCHEDULE_ID);
    let updated = schedule.update(
        move |schedule| {
            schedule.set_spec(spec).set_action(action);
        },
        RpcOptions::default(),
    );
    match updated.await {
        // Another worker is updating it at the same moment.
        Err(ScheduleError::Rpc(status)) if status.code() == Code::FailedPrecondition => Ok(()),
        updated => updated,
    }
}

/// Signals workflows that what they wait for has been decided; returns how many were reached. A
/// workflow that has ended meanwhile is skipped.
///
/// **Errors.** Temporal does not answer.
pub async fn tell(client: &Client, hints: &[Hint]) -> Result<usize, WorkflowInteractionError> {
    type Run = <OrderSaga as HasWorkflowDefinition>::Run;
    let mut told: usize = 0;
    for hint in hints {
        let Ok(update) = signal_payload(&hint.update()) else { continue };
        // A refund handles the same signal.
        let workflow: WorkflowHandle<Client, Run> =
            client.get_workflow_handle(hint.workflow_id.clone());
        let options = WorkflowSignalOptions::default();
        match workflow.signal(OrderSaga::payment_update, update, options).await {
            Ok(()) => told = told.saturating_add(1),
            Err(WorkflowInteractionError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_number_of_minutes_hours_or_days() {
        for (text, minutes) in [("1m", 1), ("90m", 90), ("24h", 1_440), ("1d", 1_440)] {
            assert_eq!(text.parse(), Ok(Every(Duration::from_mins(minutes))), "{text}");
        }
        for none in ["", "h", "24", "0h", "-1h", "1.5h", "24 h", "1w", "99999999999d"] {
            assert!(none.parse::<Every>().is_err(), "{none}");
        }
    }

    #[test]
    fn a_range_begins_before_it_ends() {
        let day = |text: &str| Some(text.parse::<Day>().unwrap());
        let (first, second) = (day("2026-11-01"), day("2026-11-02"));
        let asked_for = asked(first, second, 30).unwrap();
        assert_eq!(asked_for.from.unwrap().to_rfc3339(), "2026-11-01T00:00:00+00:00");
        assert_eq!(asked_for.to.unwrap().to_rfc3339(), "2026-11-02T00:00:00+00:00");
        for (from, to) in [(second, first), (first, first)] {
            assert_eq!(asked(from, to, 30).unwrap_err(), EmptyRange);
        }
        assert!(asked(None, first, 30).is_ok() && asked(first, None, 30).is_ok());
        for none in ["", "yesterday", "2026-13-01", "2026-11-31", "2026-11-01T00:00:00Z"] {
            assert!(none.parse::<Day>().is_err(), "{none}");
        }
    }
}
