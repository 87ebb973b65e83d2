//! Replays recorded histories against the current workflows.
//!
//! A worker that picks up a running order replays its history; code whose commands differ from
//! those in the history cannot continue. So recorded histories are replayed before a change reaches
//! a running shop.

mod history;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fmt, thread};

use temporalio_client::WorkflowHistory;
use temporalio_protos::temporal::api::enums::v1::EventType;
use temporalio_protos::temporal::api::history::v1::History;
use temporalio_protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_sdk::WorkflowRegistrationError;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayError, WorkflowReplayFailure, WorkflowReplayer, WorkflowReplayerOptions,
};

pub use history::NotAHistory;

/// The maximum size of a history, in bytes of JSON. Temporal terminates a workflow whose history
/// exceeds 50 MB, and the SDK's JSON takes up to four bytes for one.
pub const HISTORY_MAX: u64 = 256 * 1024 * 1024;

/// The time limit for one history. The SDK replays the longest in seconds, and waits forever for
/// one that it finds incomplete.
const REPLAY_MAX: Duration = Duration::from_mins(5);

/// The result of replaying one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose history it is.
    pub workflow_id: String,
    /// Its number of events.
    pub events: usize,
    /// Where the code diverges from the history, if it does.
    pub divergence: Option<Divergence>,
}

/// Where and how the code diverges from a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The first event that the code does not produce, by number and type.
    pub event: Option<(i64, EventType)>,
    /// The SDK's message.
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
        /// The system's error.
        source: io::Error,
    },
    /// The folder holds no history, which would otherwise pass as success.
    #[error("{} holds no histories (*.json, *.jsonl, *.json.gz)", .0.display())]
    Empty(PathBuf),
    /// It is not a history, or is not complete enough to replay.
    #[error("{} cannot be replayed: {source}", .path.display())]
    NotAHistory {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: NotAHistory,
    },
    /// It is the history of a workflow type that this worker does not register.
    #[error("{} is the history of a workflow {kind:?}, which this worker does not have", .path.display())]
    UnknownWorkflow {
        /// Which.
        path: PathBuf,
        /// The workflow's type.
        kind: String,
    },
    /// The SDK's replayer failed.
    #[error("{} could not be replayed: {why}", .path.display())]
    Replayer {
        /// Which.
        path: PathBuf,
        /// The SDK's message.
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

/// File name extensions of histories.
const ENDINGS: [&str; 4] = [".json", ".jsonl", ".json.gz", ".jsonl.gz"];

/// The histories at a path: the file itself, or a folder's files in order of name.
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
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        ENDINGS.iter().any(|ending| name.ends_with(ending))
    });
    files.sort();
    if files.is_empty() { Err(ReplayError::Empty(path.to_owned())) } else { Ok(files) }
}

/// Reads a history in either JSON format, for the fuzz targets. The check whether it can be
/// replayed terminates for any input.
#[cfg(fuzzing)]
pub fn read(json: &[u8]) -> Result<History, NotAHistory> {
    let history = history::read(json)?;
    history::check(&history).ok();
    Ok(history)
}

/// Replays the history in a file, written by the SDK or by `temporal workflow show --output json`,
/// against the current workflows.
pub fn replay_file(path: &Path) -> Result<Outcome, ReplayError> {
    let file = File::open(path);
    replay_from(path, file.map_err(|source| ReplayError::File { path: path.to_owned(), source })?)
}

/// Like [`replay_file`], with a history from another source; `path` names it in errors.
pub fn replay_from(path: &Path, source: impl Read) -> Result<Outcome, ReplayError> {
    let json = history::bytes_of(source, HISTORY_MAX)
        .map_err(|source| ReplayError::File { path: path.to_owned(), source })?;
    let is_none = |source| ReplayError::NotAHistory { path: path.to_owned(), source };
    let history = history::read(&json).map_err(is_none)?;
    history::check(&history).map_err(is_none)?;
    let failed = |why| ReplayError::Replayer { path: path.to_owned(), why };
    let known = replayer().map_err(|error| failed(error.to_string()))?.options().workflows();
    let kind = type_of(&history);
    // The SDK accepts a history of an unknown workflow type as replayed, up to the first completed
    // workflow task.
    if !known.workflow_definitions().any(|workflow| workflow.workflow_type == kind) {
        return Err(ReplayError::UnknownWorkflow { path: path.to_owned(), kind });
    }
    replay(history).map_err(failed)
}

fn type_of(history: &History) -> String {
    let first = history.events.first().and_then(|event| event.attributes.as_ref());
    match first {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
            started.workflow_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default()
        }
        Some(_) | None => String::new(),
    }
}

/// Replays a history against the current workflows.
///
/// The SDK's replayer cannot leave the thread it was made on, so it gets a thread of its own, and
/// the caller may be anywhere, also inside a runtime. A thread on which the replayer waits forever
/// is abandoned.
fn replay(history: History) -> Result<Outcome, String> {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let replayed = match runtime {
            Ok(runtime) => runtime.block_on(replay_here(history)),
            Err(error) => Err(error.to_string()),
        };
        // After a timeout nobody receives the result.
        done.send(replayed).ok();
    });
    outcome.recv_timeout(REPLAY_MAX).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => "the SDK did not finish in time".to_owned(),
            RecvTimeoutError::Disconnected => "the workflow's code panicked".to_owned(),
        })
    })
}

async fn replay_here(history: History) -> Result<Outcome, String> {
    let events = history.events.len();
    let workflow_id =
        WorkflowHistory::from(history.clone()).workflow_id().unwrap_or("?").to_owned();
    let replayer = replayer().map_err(|error| error.to_string())?;
    let divergence = match failure_of(&replayer, history.clone()).await? {
        None => None,
        Some(failure) => {
            let event = first_diverging(&replayer, &history).await?;
            Some(Divergence { event, why: in_short(&failure) })
        }
    };
    Ok(Outcome { workflow_id, events, divergence })
}

async fn failure_of(
    replayer: &WorkflowReplayer,
    history: History,
) -> Result<Option<WorkflowReplayFailure>, String> {
    match replayer.replay_workflow(history.into()).await {
        Ok(()) => Ok(None),
        Err(WorkflowReplayError::Replay(failure)) => Ok(Some(failure)),
        Err(error) => Err(error.to_string()),
    }
}

/// The shortest prefix of the history that fails ends with the event that the code does not
/// produce. The SDK's message names that event only sometimes, and it waits forever for a first
/// workflow task.
async fn first_diverging(
    replayer: &WorkflowReplayer,
    history: &History,
) -> Result<Option<(i64, EventType)>, String> {
    let (mut follows, mut fails) =
        (history::first_task(history).unwrap_or_default(), history.events.len());
    while fails.saturating_sub(follows) > 1 {
        let middle = follows.midpoint(fails);
        let beginning = History { events: history.events.iter().take(middle).cloned().collect() };
        if failure_of(replayer, beginning).await?.is_some() {
            fails = middle;
        } else {
            follows = middle;
        }
    }
    let last = history.events.iter().take(fails).next_back();
    Ok(last.map(|event| (event.event_id, event.event_type())))
}

/// The SDK's message, without the structs that it prints around it.
fn in_short(failure: &WorkflowReplayFailure) -> String {
    let message = failure.to_string();
    let inner =
        message.split_once("message: \"").and_then(|(_, rest)| rest.split_once("\", source:"));
    inner.map_or(message.as_str(), |(inner, _)| inner).to_owned()
}

fn replayer() -> Result<WorkflowReplayer, ReplayerError> {
    let mut options = WorkflowReplayerOptions::new();
    macro_rules! register {
        ($workflow:ty) => {
            options = options.register_workflow::<$workflow>()?;
        };
    }
    workflows::for_each_process!(register);
    let options = options.build();
    Ok(WorkflowReplayer::new(options)?)
}

#[derive(Debug, thiserror::Error)]
enum ReplayerError {
    #[error(transparent)]
    Workflow(#[from] WorkflowRegistrationError),
    #[error(transparent)]
    Replayer(#[from] WorkflowReplayError),
}
