//! Generates Rust code from the contract, without `protoc` on the machine.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=ordersaga");
    let contract = protox::compile(["ordersaga/v1/orders.proto"], ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("contract.bin"), contract.encode_to_vec())?;
    // Clients choose their own transport.
    tonic_prost_build::configure().build_transport(false).compile_fds(contract)?;
    Ok(())
}
