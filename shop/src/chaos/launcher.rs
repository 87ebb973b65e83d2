//! The client of the launcher, which is the only one to kill and start programs. It listens at the
//! other end of standard input (`embedded/remote_control.py`).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A program that may be killed.
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
    /// The mail server.
    Mailpit,
}

/// The programs that orders depend on.
pub(super) const OF_ORDERS: [Program; 5] = [
    Program::Worker,
    Program::SecondWorker,
    Program::Starter,
    Program::Postgres,
    Program::Temporal,
];

impl Program {
    /// The launcher's name for it.
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

/// The launcher's name for the frontend that hangs.
const FRONTEND: &str = "first-frontend";

/// Why the launcher did not carry out a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LauncherError {
    /// There is no launcher.
    #[error("there is no launcher to kill and start programs: run this by `make`")]
    Missing(#[source] io::Error),
    /// The connection was closed.
    #[error("the launcher is gone")]
    Gone(#[from] io::Error),
    /// The launcher returned an error.
    #[error("the launcher cannot {wish} {program}: {why}")]
    Refused {
        /// The request.
        wish: &'static str,
        /// The service.
        program: &'static str,
        /// Its message.
        why: String,
    },
}

/// The connection to the launcher.
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
    /// Connects to the launcher that started this program.
    pub(super) fn reach() -> Result<Self, LauncherError> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(LauncherError::Missing)?;
        let socket = StdUnixStream::from(stdin);
        socket.peer_addr().map_err(LauncherError::Missing)?;
        socket.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(socket)?)))
    }

    /// Kills a program with SIGKILL, without restarting it.
    pub(super) async fn kill(&mut self, program: Program) -> Result<u32, LauncherError> {
        self.ask("kill", program.name()).await
    }

    /// Starts a killed program.
    pub(super) async fn start(&mut self, program: Program) -> Result<u32, LauncherError> {
        self.ask("start", program.name()).await
    }

    /// The process id of a program. It changes when the launcher restarts a program that has ended
    /// by itself.
    pub(super) async fn pid(&mut self, program: Program) -> Result<u32, LauncherError> {
        self.ask("pid", program.name()).await
    }

    /// Makes a backup of Postgres.
    pub(super) async fn back_up_postgres(&mut self) -> Result<(), LauncherError> {
        self.ask("back-up", Program::Postgres.name()).await.map(drop)
    }

    /// Restores the backup, except for the records of provider and carrier. There must be no
    /// connections.
    pub(super) async fn set_postgres_back(&mut self) -> Result<(), LauncherError> {
        self.ask("set-back", Program::Postgres.name()).await.map(drop)
    }

    /// Deletes Temporal's namespace, as an operator does.
    pub(super) async fn delete_namespace(&mut self) -> Result<(), LauncherError> {
        self.ask("delete-namespace", Program::Temporal.name()).await.map(drop)
    }

    /// Creates it again, with its search attributes.
    pub(super) async fn make_namespace(&mut self) -> Result<(), LauncherError> {
        self.ask("make-namespace", Program::Temporal.name()).await.map(drop)
    }

    /// Makes one of Temporal's two frontends hang: its connections stay open, and nothing passes.
    pub(super) async fn hang_frontend(&mut self) -> Result<(), LauncherError> {
        self.ask("hang", FRONTEND).await.map(drop)
    }

    /// Lets it continue.
    pub(super) async fn let_frontend_go_on(&mut self) -> Result<(), LauncherError> {
        self.ask("go-on", FRONTEND).await.map(drop)
    }

    /// Sends a request for a service; returns the number in the answer, which is the service's pid
    /// unless the request defines another.
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
