//! A history on standard input.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Replays a file on standard input: the output, and the exit code.
fn replayed(file: &Path) -> (i32, String) {
    let file = File::open(file).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
    let program = program.args(["replay", "-"]).env_remove("RUST_LOG").stdin(Stdio::from(file));
    let output = program.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn recorded(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/tests/histories").join(file)
}

#[test]
fn a_history_is_read_from_standard_input() {
    for file in ["cancelled.json", "cancelled.cli.json"] {
        let (code, told) = replayed(&recorded(file));
        assert_eq!(code, 0, "{file}: {told}");
        assert!(told.starts_with("ok "), "{file}: {told}");
    }
}

#[test]
fn what_is_no_history_on_standard_input_is_said_and_nothing_is_waited_for() {
    let whole = fs::read_to_string(recorded("cancelled.cli.json")).unwrap();
    let half: String = whole.chars().take(3_000).collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-history");
    for (text, said) in [
        ("", "it is empty"),
        (half.as_str(), "it is cut off"),
        ("[package]", "expected value"),
        ("[]", "it has no events"),
        ("\"\u{1b}[2J", "cannot be replayed"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, told) = replayed(&file);
        assert_eq!(code, 2, "{told}");
        assert!(told.starts_with("unreadable") && told.contains(said), "{said}: {told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
}
