//! Runs `ordersaga prove`, which checks all records against each other, and similar commands such
//! as `ordersaga reconcile`, which compares them with the payment provider's.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::NaiveDate;
use tokio::process::Command;

use crate::screen::heading;

/// Runs `ordersaga prove`, including logs if the launcher names them, and `ordersaga rebuild
/// --check`; prints the results. Returns whether everything holds.
pub(crate) async fn prove() -> io::Result<bool> {
    prove_with(None).await
}

/// The same, with the file of the events that a consumer has applied, if there is one.
pub(crate) async fn prove_with(inbox: Option<&Path>) -> io::Result<bool> {
    heading("ordersaga prove")?;
    let mut prove = ordersaga(&["prove"])?;
    if let Some(inbox) = inbox {
        prove.arg("--inbox").arg(inbox);
    }
    let proven = prove.status().await?;
    heading("ordersaga rebuild --check")?;
    let told_anew = ordersaga(&["rebuild", "--check"])?.status().await?;
    Ok(proven.success() && told_anew.success())
}

/// Runs `ordersaga reconcile` for the days from `from` to before `to`, and prints the results.
/// Returns whether there is no difference.
pub(crate) async fn reconcile(from: NaiveDate, to: NaiveDate) -> io::Result<bool> {
    heading(format_args!("ordersaga reconcile --from {from} --to {to}"))?;
    let (from, to) = (from.to_string(), to.to_string());
    let status = ordersaga(&["reconcile", "--from", &from, "--to", &to])?.status().await?;
    Ok(status.success())
}

/// A command that reads the whole database. It bypasses a pooler, which would apply the role's
/// statement timeout.
pub(crate) fn ordersaga(arguments: &[&str]) -> io::Result<Command> {
    let mut program = Command::new(beside_this_program("ordersaga")?);
    program.args(arguments);
    if let Some(direct) = env::var_os("DIRECT_DATABASE_URL") {
        program.env("DATABASE_URL", direct);
    }
    Ok(program)
}

/// The path of another of Ordersaga's programs.
pub(crate) fn beside_this_program(name: &str) -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    Ok(this.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

/// The output of a command, and whether it exited successfully.
pub(crate) struct Told {
    pub(crate) is_content: bool,
    pub(crate) text: String,
}

/// Runs a command and captures its output.
///
/// **Errors.** The command was not completed: its log says why.
pub(crate) async fn told(command: &str) -> io::Result<Told> {
    let output = ordersaga(&[command])?.stderr(Stdio::inherit()).output().await?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        let why = format!("`ordersaga {command}` was not completed: {}", output.status);
        return Err(io::Error::other(why));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Told { is_content: output.status.success(), text })
}
