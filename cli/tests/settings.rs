//! Settings that cannot be used.

use std::process::Command;

use expect_test::expect;

/// What the program says about these settings, and its exit code: the message, without the usage
/// that follows.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
    let program = program.env_clear().args(arguments).envs(environment.iter().copied());
    let output = program.output().unwrap();
    assert!(output.stdout.is_empty(), "a message is no result");
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().map(str::trim).take_while(|line| !line.is_empty());
    // A log line begins with its time.
    let message = lines.collect::<Vec<_>>().join(" ");
    let message = message.split_once("ERROR").map_or(&*message, |(_time, line)| line);
    format!("{} {}\n", output.status.code().unwrap(), message.trim())
}

#[test]
fn settings_that_cannot_be_used_are_told_without_their_secrets() {
    let database = ("STARTER_DATABASE_URL", "postgres://shop:secret@localhost/shop");
    let mut told = String::new();
    let mut api = |arguments: &[&str], environment: &[(&str, &str)]| {
        told += &refused(&[&["api"], arguments].concat(), environment);
    };
    api(&[], &[]);
    api(&[], &[("STARTER_DATABASE_URL", "mysql//shop:secret@localhost")]);
    api(&["--listen", "everywhere"], &[database]);
    api(&["--api-database-connections", "0"], &[database]);
    api(&[], &[database, ("ORDERSAGA_CANCEL_WINDOW_SECONDS", "99999999")]);
    api(&["--wallet", "mine"], &[database]);
    api(&[], &[database, ("TEMPORAL_TLS_CLIENT_CERT_DATA", "half of a pair")]);
    let clients = |entries| [database, ("ORDERSAGA_CLIENTS", entries)];
    api(&[], &clients("shop:service:a-secret-long-enough,eve:operator:short-secret"));
    api(&[], &clients("shop:king:a-secret-long-enough"));
    api(&[], &[database, ("ORDERSAGA_OIDC_ISSUER", "http://id.example.org")]);
    told += &refused(&["worker"], &[]);
    told += &refused(&["all"], &[("DATABASE_URL", "postgres://shop:secret@localhost/shop")]);
    told += &refused(&["migrate"], &[]);
    told += &refused(&["migrate"], &[("DATABASE_URL", "mysql//shop:secret@localhost")]);
    told += &refused(&["prove", "--without-temporal"], &[("DATABASE_URL", "shop:secret")]);
    told += &refused(&["order", "list"], &[]);
    told += &refused(&["order", "resolve", "x", "forget"], &[]);
    for hidden in ["shop:secret", "long-enough", "short-secret"] {
        assert!(!told.contains(hidden), "a password was told: {told}");
    }
    expect![[r#""#]].assert_eq(&told);
}

#[test]
fn the_help_of_every_command_is_printed_as_a_result() {
    for command in ["api", "worker", "all", "migrate", "load-catalogue", "order", "attention"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
        let output = program.env_clear().args([command, "--help"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage: ordersaga"), "{command}: {help}");
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
        let output = program.env_clear().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("load-catalogue"), "{shell}");
    }
}
