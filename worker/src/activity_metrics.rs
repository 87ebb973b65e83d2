//! Metrics of steps: attempts, duration and outcome.

use std::time::Instant;

use metrics::{counter, describe_counter, describe_histogram, histogram};
use saga::{BROKEN, BUSY, INVALID_ANSWER, NOT_OPEN, REJECTED, Role, UNAVAILABLE};
use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use workflows::{PROCESSES, contract_of};

/// How long one attempt at a step took, by step and result; its count is the number of attempts.
const STEP_SECONDS: &str = "ordersaga_step_seconds";

/// /// Completed undos.
const UNDOS: &str = "ordersaga_undos_total";

/// Bugs and violated invariants. Any increase is an alarm.
const BROKEN_FAULTS: &str = "ordersaga_broken_faults_total";

/// Invalid answers by parties. The step is retried for a while; a count that keeps rising is an
/// alarm.
const INVALID_ANSWERS: &str = "ordersaga_invalid_answers_total";

/// Counts every attempt at every activity, on its way in and out.
#[derive(Clone, Copy, Debug)]
pub struct ActivityMetrics;

impl ActivityInboundInterceptor for ActivityMetrics {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let step = input.activity_info().activity_type.clone();
        let began = Instant::now();
        Box::pin(async move {
            let answer = next.run(input).await;
            let result = answer.as_ref().map_or_else(name_of, |_| "done");
            histogram!(STEP_SECONDS, "step" => step.clone(), "result" => result)
                .record(began.elapsed());
            if result == "done" && is_undo(&step) {
                counter!(UNDOS, "step" => step).increment(1);
            } else if result == "broken" {
                counter!(BROKEN_FAULTS, "step" => step).increment(1);
            } else if result == "invalid-answer" {
                counter!(INVALID_ANSWERS, "step" => step).increment(1);
            }
            answer
        })
    }
}

/// Initialises every counter to zero, so that Prometheus sees the first alarm as an increase.
pub fn begin() {
    describe_histogram!(STEP_SECONDS, "Duration of one attempt at a step, by result");
    describe_counter!(UNDOS, "Completed undos");
    describe_counter!(BROKEN_FAULTS, "Bugs and violated invariants: each is an alarm");
    describe_counter!(INVALID_ANSWERS, "Invalid answers by parties");
    activities::orders::begin_to_count();
    for contract in PROCESSES.iter().flat_map(|process| process.contracts) {
        counter!(BROKEN_FAULTS, "step" => contract.name).absolute(0);
        counter!(INVALID_ANSWERS, "step" => contract.name).absolute(0);
        if is_undo(contract.name) {
            counter!(UNDOS, "step" => contract.name).absolute(0);
        }
    }
}

fn is_undo(step: &str) -> bool {
    contract_of(step).is_some_and(|contract| contract.role == Role::Undoes)
}

fn name_of(error: &ActivityError) -> &'static str {
    match error {
        ActivityError::Application(failure) => match failure.type_name() {
            Some(REJECTED) => "rejected",
            Some(UNAVAILABLE | BUSY) => "unavailable",
            Some(INVALID_ANSWER) => "invalid-answer",
            Some(BROKEN) => "broken",
            Some(NOT_OPEN) => "not-open",
            Some(_) | None => "unclassified",
        },
        ActivityError::Cancelled { .. } => "cancelled",
        ActivityError::WillCompleteAsync => "asynchronous",
        // The SDK may add outcomes.
        _ => "unclassified",
    }
}
