#![doc = include_str!("../README.md")]

mod attempt;
mod attention;
mod contract;
mod failure;
mod process;
mod progress;
mod saga;

pub use attempt::{QUICK_ATTEMPTS, note, try_note};
pub use attention::{AttentionNeeded, Decision, Resolution, Resolved};
#[doc(hidden)]
pub use contract::__private;
pub use contract::{Activity, Contract, HEARTBEAT_TIMEOUT, Role, Step, WORKFLOW_TASK_TIMEOUT};
pub use failure::{BROKEN, BUSY, INVALID_ANSWER, NOT_OPEN, REJECTED, StepFailure, UNAVAILABLE};
pub use process::{Process, answer_all, tell};
pub use progress::{
    MESSAGES_MAX, Progress, StepProgress, StepState, TIMELINE_MAX, TimelineEntry, Wait, WaitingFor,
};
pub use saga::{Answer, Declared, Saga, Stop, Undeclared, Unwound};
