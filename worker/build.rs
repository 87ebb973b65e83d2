//! Takes along what `ordersaga replay` needs to read histories: the description of Temporal's
//! messages, which the crate that holds them tells its dependents by way of Cargo.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let described = variable("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")?;
    fs::copy(described, PathBuf::from(variable("OUT_DIR")?).join("temporal-messages.bin"))?;
    Ok(())
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|_| io::Error::other(format!("Cargo did not set {name}")))
}
