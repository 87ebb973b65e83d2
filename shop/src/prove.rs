//! `ordersaga prove`, which compares all records with each other, and other commands beside it,
//! such as `ordersaga reconcile`, which compares them with the payment provider's.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::NaiveDate;
use tokio::process::Command;

use crate::screen::heading;

/// Has the program look, at all logs too where the launcher names them, and tell every order's row
/// anew; shows what it finds. Whether everything holds.
pub(crate) async fn prove() -> io::Result<bool> {
    prove_with(None).await
}

/// The same, with the file of what a consumer took effect of, where there is one.
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

/// Has the program compare the payment provider with the shop, from one day on and before another,
/// and shows what it finds; whether nothing differs.
pub(crate) async fn reconcile(from: NaiveDate, to: NaiveDate) -> io::Result<bool> {
    heading(format_args!("ordersaga reconcile --from {from} --to {to}"))?;
    let (from, to) = (from.to_string(), to.to_string());
    let status = ordersaga(&["reconcile", "--from", &from, "--to", &to])?.status().await?;
    Ok(status.success())
}

/// A command that reads the whole database. It goes past a pooler, which would have it end after
/// the seconds that the role's statements may take.
pub(crate) fn ordersaga(arguments: &[&str]) -> io::Result<Command> {
    let mut program = Command::new(beside_this_program("ordersaga")?);
    program.args(arguments);
    if let Some(direct) = env::var_os("DIRECT_DATABASE_URL") {
        program.env("DATABASE_URL", direct);
    }
    Ok(program)
}

/// Where another program of Ordersaga is.
pub(crate) fn beside_this_program(name: &str) -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    Ok(this.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

/// What a command of Ordersaga printed, and whether it was content.
pub(crate) struct Told {
    pub(crate) is_content: bool,
    pub(crate) text: String,
}

/// Runs a command of Ordersaga and listens.
///
/// **Errors.** It has not looked, but ended before that: its log says why.
pub(crate) async fn told(command: &str) -> io::Result<Told> {
    let output = ordersaga(&[command])?.stderr(Stdio::inherit()).output().await?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        let why = format!("`ordersaga {command}` was not completed: {}", output.status);
        return Err(io::Error::other(why));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Told { is_content: output.status.success(), text })
}
