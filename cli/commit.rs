// Sets the commit that `--version` prints. The build scripts of `ordersaga` and `shop` include this
// file.

use std::path::Path;
use std::process::Command;
use std::{env, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=../cli/commit.rs");
    println!("cargo:rerun-if-env-changed=ORDERSAGA_COMMIT");
    let commit = match env::var("ORDERSAGA_COMMIT") {
        // A container image is built without the repository, so the commit comes from the
        // environment.
        Ok(commit) if !commit.is_empty() => commit,
        _ => commit_of_checkout(),
    };
    let version = variable("CARGO_PKG_VERSION")?;
    let (profile, target) = (variable("PROFILE")?, variable("TARGET")?);
    println!("cargo:rustc-env=ORDERSAGA_VERSION={version} (commit {commit}, {profile}, {target})");
    Ok(())
}

/// The commit of the checkout, with `-modified` where files differ from it; `unknown` outside one.
///
/// Cargo runs this again when `HEAD` moves, not at each build: `-modified` describes the checkout
/// at the time of the last run.
fn commit_of_checkout() -> String {
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // A missing file would make Cargo run this at every build.
    for moved in ["HEAD", "logs/HEAD"] {
        if let Some(file) = git(&["rev-parse", "--git-path", moved])
            && Path::new(&file).exists()
        {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if !changes.is_empty() => format!("{commit}-modified"),
        _ => commit,
    }
}

/// The output of a git command; `None` if there is no git, or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let said = Command::new("git").args(arguments).output().ok()?;
    if !said.status.success() {
        return None;
    }
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|_| io::Error::other(format!("Cargo did not set {name}")))
}
