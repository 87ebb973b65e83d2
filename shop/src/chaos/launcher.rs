//! The launcher, which alone kills and starts programs. It listens at the other end of standard
//! input (`embedded/remote_control.py`).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A program that may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Program {
    Worker,
    SecondWorker,
    Starter,
    Postgres,
    Temporal,
    Relay,
    /// The broker that the relay sends events to.
    Broker,
    /// The mail server that takes the shop's mails.
    Mailpit,
}

/// Those that orders need.
pub(super) const OF_ORDERS: [Program; 5] = [
    Program::Worker,
    Program::SecondWorker,
    Program::Starter,
    Program::Postgres,
    Program::Temporal,
];

impl Program {
    /// As the launcher calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::SecondWorker => "second-worker",
            Self::Starter => "starter",
            Self::Postgres => "postgres",
            Self::Temporal => "temporal",
            Self::Relay => "relay",
            Self::Broker => "broker",
            Self::Mailpit => "mailpit",
        }
    }
}

/// The frontend that hangs, as the launcher calls it.
const FRONTEND: &str = "first-frontend";

/// Why the launcher did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LauncherError {
    /// Nobody listens there.
    #[error("there is no launcher to kill and start programs: run this by `make`")]
    Missing(#[source] io::Error),
    /// It listens no longer.
    #[error("the launcher is gone")]
    Gone(#[from] io::Error),
    /// It cannot.
    #[error("the launcher cannot {wish} {program}: {why}")]
    Refused {
        /// What it was to do.
        wish: &'static str,
        /// To what.
        program: &'static str,
        /// Its own words.
        why: String,
    },
}

/// The way to the launcher.
#[derive(Debug)]
pub(super) struct Launcher(BufReader<UnixStream>);

#[derive(Deserialize)]
struct Obeyed {
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    error: String,
}

impl Launcher {
    /// The launcher that started this program.
    pub(super) fn reach() -> Result<Self, LauncherError> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(LauncherError::Missing)?;
        let socket = StdUnixStream::from(stdin);
        socket.peer_addr().map_err(LauncherError::Missing)?;
        socket.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(socket)?)))
    }

    /// Kills it outright, and leaves it dead.
    pub(super) async fn kill(&mut self, program: Program) -> Result<u32, LauncherError> {
        self.ask("kill", program.name()).await
    }

    /// Starts what was left dead.
    pub(super) async fn start(&mut self, program: Program) -> Result<u32, LauncherError> {
        self.ask("start", program.name()).await
    }

    /// Keeps a copy of Postgres as it is now.
    pub(super) async fn back_up_postgres(&mut self) -> Result<(), LauncherError> {
        self.ask("back-up", Program::Postgres.name()).await.map(drop)
    }

    /// Puts the copy back. What provider and carrier know stays as it is. Nobody may be connected.
    pub(super) async fn set_postgres_back(&mut self) -> Result<(), LauncherError> {
        self.ask("set-back", Program::Postgres.name()).await.map(drop)
    }

    /// Deletes Temporal's namespace, as an operator does.
    pub(super) async fn delete_namespace(&mut self) -> Result<(), LauncherError> {
        self.ask("delete-namespace", Program::Temporal.name()).await.map(drop)
    }

    /// Makes it anew, with its search attributes.
    pub(super) async fn make_namespace(&mut self) -> Result<(), LauncherError> {
        self.ask("make-namespace", Program::Temporal.name()).await.map(drop)
    }

    /// Has one of Temporal's two frontends hang: its connections stay, and nothing comes through.
    pub(super) async fn hang_frontend(&mut self) -> Result<(), LauncherError> {
        self.ask("hang", FRONTEND).await.map(drop)
    }

    /// Has it go on.
    pub(super) async fn let_frontend_go_on(&mut self) -> Result<(), LauncherError> {
        self.ask("go-on", FRONTEND).await.map(drop)
    }

    /// Has it do what it is asked for by this name, of this service; the number that it answers, which
    /// is the service's pid unless the wish is for another.
    pub(super) async fn ask(
        &mut self,
        wish: &'static str,
        program: &'static str,
    ) -> Result<u32, LauncherError> {
        let line = format!("{}\n", json!({ wish: program }));
        self.0.get_mut().write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        if self.0.read_line(&mut answer).await? == 0 {
            return Err(LauncherError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        let refused = |why| LauncherError::Refused { wish, program, why };
        let obeyed = serde_json::from_str::<Obeyed>(&answer);
        let obeyed = obeyed.map_err(|error| refused(error.to_string()))?;
        obeyed.pid.ok_or_else(|| refused(obeyed.error))
    }
}
