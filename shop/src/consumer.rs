//! Runs a consumer of the events, written as a shop would (`examples/consumers/inbox.py`), and
//! reads which events it has applied.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::process::Command;
use tokio::time::sleep;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/consumers/inbox.py");

/// The topic for events of orders.
const TOPIC: &str = "ordersaga.order";

/// A consumer commits to disk with each event, about sixty per second, so no more than this many
/// are waited for.
const WAITED_FOR_MAX: usize = 5_000;

const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// What a consumer needs besides a broker.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConsumerArgs {
    /// The folder of confluent-kafka, the Python client of the broker
    #[arg(long, env = "ORDERSAGA_CONFLUENT_KAFKA")]
    confluent_kafka: Option<PathBuf>,

    /// The consumer's data folder
    #[arg(long, env = "ORDERSAGA_CONSUMER")]
    consumer_folder: Option<PathBuf>,
}

/// A consumer with everything it needs.
pub(crate) struct Consumer<'a> {
    brokers: &'a str,
    client: &'a Path,
    folder: &'a Path,
}

impl ConsumerArgs {
    /// The consumer of these brokers.
    ///
    /// **Errors.** What is missing.
    pub(crate) fn of<'a>(&'a self, brokers: Option<&'a str>) -> Result<Consumer<'a>, &'static str> {
        Ok(Consumer {
            brokers: brokers.ok_or("there is no broker")?,
            client: self.confluent_kafka.as_deref().ok_or("there is no confluent-kafka")?,
            folder: self.consumer_folder.as_deref().ok_or("ORDERSAGA_CONSUMER names no folder")?,
        })
    }
}

impl Consumer<'_> {
    /// Runs it until it has applied all events, or 5,000, or makes no progress for the patience; it
    /// is killed with SIGKILL when it has half of them, and restarted. Returns the ids of the
    /// applied events, in order, and whether these are enough.
    pub(crate) async fn take(
        &self,
        there: usize,
        patience: Duration,
    ) -> io::Result<(Vec<String>, bool)> {
        let wanted = there.min(WAITED_FOR_MAX);
        self.until_taken(wanted.div_ceil(2), patience).await?;
        let taken = self.until_taken(wanted, patience).await?;
        let is_enough = taken.len() >= wanted;
        Ok((taken, is_enough))
    }

    /// Writes the applied events to a file, for `ordersaga prove --inbox`.
    pub(crate) fn write_down(&self, taken: &[&str]) -> io::Result<PathBuf> {
        let path = self.folder.join("taken.txt");
        fs::write(&path, taken.join("\n"))?;
        Ok(path)
    }

    /// A consumer that stops by itself has logged why, and has not applied everything.
    async fn until_taken(&self, wanted: usize, patience: Duration) -> io::Result<Vec<String>> {
        let mut reading = self.program("run").args([self.brokers, TOPIC]).spawn()?;
        let (mut taken, mut last_change) = (self.taken().await?, Instant::now());
        while taken.len() < wanted
            && last_change.elapsed() < patience
            && reading.try_wait()?.is_none()
        {
            sleep(BETWEEN_LOOKS).await;
            let now = self.taken().await?;
            if now.len() > taken.len() {
                (taken, last_change) = (now, Instant::now());
            }
        }
        if reading.try_wait()?.is_none() {
            reading.kill().await?;
        }
        Ok(taken)
    }

    async fn taken(&self) -> io::Result<Vec<String>> {
        let told = self.program("taken").stderr(Stdio::inherit()).output().await?;
        if !told.status.success() {
            return Err(io::Error::other(format!("{PROGRAM} taken: {}", told.status)));
        }
        Ok(String::from_utf8_lossy(&told.stdout).lines().map(str::to_owned).collect())
    }

    fn program(&self, command: &str) -> Command {
        let mut program = Command::new("python3");
        program
            .args([PROGRAM, command])
            .env("PYTHONPATH", self.client)
            .env("INBOX_DATABASE", self.folder.join("takings.db"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_consumer_lacks_is_named() {
        let args = ConsumerArgs { confluent_kafka: None, consumer_folder: Some("here".into()) };
        assert_eq!(args.of(None).err(), Some("there is no broker"));
        assert_eq!(args.of(Some("there:9092")).err(), Some("there is no confluent-kafka"));
        let args = ConsumerArgs { confluent_kafka: Some("client".into()), ..args };
        assert!(args.of(Some("there:9092")).is_ok());
    }
}
