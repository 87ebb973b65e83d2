//! A history on standard input.

use std::fs::File;
use std::process::{Command, Stdio};

/// What is said of this file on standard input, and the exit code.
fn replayed(file: &str) -> (i32, String) {
    let file = File::open(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
    let program = program.args(["replay", "-"]).env_remove("RUST_LOG").stdin(Stdio::from(file));
    let output = program.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_history_is_read_from_standard_input() {
    for file in ["cancelled.json", "cancelled.cli.json"] {
        let (code, told) = replayed(&format!("../worker/tests/histories/{file}"));
        assert_eq!(code, 0, "{file}: {told}");
        assert!(told.starts_with("ok "), "{file}: {told}");
    }
    let (code, told) = replayed("Cargo.toml");
    assert_eq!(code, 2, "{told}");
    assert!(told.starts_with("unreadable"), "{told}");
}
