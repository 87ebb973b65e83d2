//! Shows that today's code still understands yesterday's orders.
//!
//! A worker that picks up a running order replays its history; code that asks for other things
//! than the history tells of cannot go on with it. So recorded histories are replayed before a
//! change reaches a running shop.

mod history;

use std::path::{Path, PathBuf};
use std::{fmt, fs, io, thread};

use temporalio_client::WorkflowHistory;
use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::history::v1::History;
use temporalio_sdk::WorkflowRegistrationError;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayError, WorkflowReplayFailure, WorkflowReplayer, WorkflowReplayerOptions,
};
use workflows::OrderSaga;

pub use history::NotAHistory;

/// What came of replaying one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose history it is.
    pub workflow_id: String,
    /// How many events it has.
    pub events: usize,
    /// Where the code leaves the history, if it does.
    pub divergence: Option<Divergence>,
}

/// Where and how the code leaves a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The first event that the code does not lead to, by number and type.
    pub event: Option<(i64, EventType)>,
    /// The SDK's words.
    pub why: String,
}

/// Why a file could not be replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder holds no `.json` file, which would otherwise pass for a success.
    #[error("{} holds no histories (*.json)", .0.display())]
    Empty(PathBuf),
    /// It is something else.
    #[error("{} is no workflow history: {source}", .path.display())]
    NotAHistory {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: NotAHistory,
    },
    /// The SDK cannot replay anything.
    #[error("{} could not be replayed: {why}", .path.display())]
    Replayer {
        /// Which.
        path: PathBuf,
        /// What the SDK says.
        why: String,
    },
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Some((id, kind)) => write!(f, "diverged at event {id} ({})", kind.as_str_name())?,
            None => f.write_str("diverged")?,
        }
        write!(f, ": {}; put the change behind `patched`", self.why)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workflow_id, events, divergence } = self;
        match divergence {
            None => write!(f, "ok        {workflow_id} ({events} events)"),
            Some(divergence) => {
                write!(f, "diverged  {workflow_id} ({events} events): {divergence}")
            }
        }
    }
}

/// The histories that a path stands for: itself, or a folder's `.json` files in order of name.
pub fn histories(path: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |source| ReplayError::File { path: path.to_owned(), source };
    let mut files = fs::read_dir(path)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    if files.is_empty() { Err(ReplayError::Empty(path.to_owned())) } else { Ok(files) }
}

/// Replays the history in a file, written by the SDK or by `temporal workflow show --output
/// json`, against the workflows as they are now.
pub fn replay_file(path: &Path) -> Result<Outcome, ReplayError> {
    let json =
        fs::read(path).map_err(|source| ReplayError::File { path: path.to_owned(), source })?;
    let history = history::read(&json)
        .map_err(|source| ReplayError::NotAHistory { path: path.to_owned(), source })?;
    replay(history).map_err(|why| ReplayError::Replayer { path: path.to_owned(), why })
}

/// Replays a history against the workflows as they are now.
///
/// The SDK's replayer stays on the thread it was made on, so it gets one of its own, and the
/// caller may be anywhere, also inside a runtime.
fn replay(history: History) -> Result<Outcome, String> {
    let on_its_own = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(replay_here(history))
    });
    on_its_own.join().map_err(|_| "the workflow's code panicked".to_owned())?
}

async fn replay_here(history: History) -> Result<Outcome, String> {
    let events = history.events.len();
    let recorded = WorkflowHistory::from(history.clone());
    let workflow_id = recorded.workflow_id().unwrap_or("a workflow without id").to_owned();
    let replayer = replayer().map_err(|error| error.to_string())?;
    let divergence = match replayer.replay_workflow(recorded).await {
        Ok(()) => None,
        Err(WorkflowReplayError::Replay(failure)) => Some(Divergence {
            event: first_diverging(&history, &failure),
            why: failure.to_string(),
        }),
        Err(error) => return Err(error.to_string()),
    };
    Ok(Outcome { workflow_id, events, divergence })
}

fn replayer() -> Result<WorkflowReplayer, ReplayerError> {
    let options = WorkflowReplayerOptions::new().register_workflow::<OrderSaga>()?.build();
    Ok(WorkflowReplayer::new(options)?)
}

#[derive(Debug, thiserror::Error)]
enum ReplayerError {
    #[error(transparent)]
    Workflow(#[from] WorkflowRegistrationError),
    #[error(transparent)]
    Replayer(#[from] WorkflowReplayError),
}

/// The SDK names the event in its message, as `HistoryEvent(id: 7, …)`.
fn first_diverging(history: &History, failure: &WorkflowReplayFailure) -> Option<(i64, EventType)> {
    let message = failure.to_string();
    let id = ["HistoryEvent(id: ", "event_id: "].into_iter().find_map(|mark| {
        let (_, rest) = message.split_once(mark)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<i64>().ok()
    })?;
    let event = history.events.iter().find(|event| event.event_id == id)?;
    Some((id, event.event_type()))
}
