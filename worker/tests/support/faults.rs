//! Faults by order and activity: how the outside world fails, on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{OrderId, Rejection};
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use workflows::{BROKEN, REJECTED, UNAVAILABLE};

/// What goes wrong with an activity.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The business says no; nothing takes effect.
    Refused(Rejection),
    /// Nobody answers, so many times; nothing takes effect.
    Unavailable(u32),
    /// It takes effect, but the answer is lost, so many times.
    AnswerLost(u32),
    /// A bug, so many times; nothing takes effect.
    Broken(u32),
}

/// Always, as far as a test can see.
pub const FOR_EVER: u32 = u32::MAX;

/// The faults planned for the orders of a shop.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<(String, &'static str), Fault>>>);

impl Faults {
    /// From now on the order's activity goes wrong.
    pub fn plan(&self, order: OrderId, activity: &'static str, fault: Fault) {
        self.planned().insert((order.workflow_id(), activity), fault);
    }

    /// From now on the order's activity goes right.
    pub fn heal(&self, order: OrderId, activity: &'static str) {
        self.planned().remove(&(order.workflow_id(), activity));
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, &'static str), Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong this time.
    fn next(&self, workflow: &str, activity: &str) -> Option<Fault> {
        let mut planned = self.planned();
        let (_, fault) =
            planned.iter_mut().find(|((order, name), _)| order == workflow && *name == activity)?;
        let now = fault.clone();
        match fault {
            Fault::Refused(_) => Some(now),
            Fault::Unavailable(0) | Fault::AnswerLost(0) | Fault::Broken(0) => None,
            Fault::Unavailable(left) | Fault::AnswerLost(left) | Fault::Broken(left) => {
                *left = left.saturating_sub(1);
                Some(now)
            }
        }
    }
}

impl ActivityInboundInterceptor for Faults {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        let workflow = info.workflow_id.as_deref().unwrap_or_default();
        let fault = self.next(workflow, &info.activity_type);
        Box::pin(async move {
            match fault {
                None => next.run(input).await,
                Some(Fault::Refused(rejection)) => Err(refused(rejection)),
                Some(Fault::Unavailable(_)) => Err(failed(UNAVAILABLE, false)),
                Some(Fault::AnswerLost(_)) => {
                    next.run(input).await?;
                    Err(failed(UNAVAILABLE, false))
                }
                Some(Fault::Broken(_)) => Err(failed(BROKEN, true)),
            }
        })
    }
}

fn refused(rejection: Rejection) -> ActivityError {
    ApplicationFailure::builder(rejection.to_string())
        .type_name(REJECTED.to_owned())
        .non_retryable(true)
        .details(rejection)
        .build()
        .into()
}

fn failed(class: &str, non_retryable: bool) -> ActivityError {
    ApplicationFailure::builder("as planned by the test")
        .type_name(class.to_owned())
        .non_retryable(non_retryable)
        .build()
        .into()
}
