//! Embeds the protobuf descriptors of Temporal's messages, with which `ordersaga replay` reads
//! histories. The crate that holds them passes their path on through Cargo.

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
