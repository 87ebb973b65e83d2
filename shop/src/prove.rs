//! `ordersaga prove`, which compares all records with each other.

use std::env;
use std::io;
use std::path::PathBuf;

use tokio::process::Command;

use crate::screen::heading;

/// Has the program look, and shows what it finds; whether everything holds.
pub(crate) async fn prove() -> io::Result<bool> {
    heading("ordersaga prove")?;
    let status = Command::new(beside_this_program("ordersaga")?).arg("prove").status().await?;
    Ok(status.success())
}

/// Where another program of Ordersaga is.
pub(crate) fn beside_this_program(name: &str) -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    Ok(this.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX)))
}
