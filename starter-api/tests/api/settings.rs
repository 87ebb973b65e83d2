use std::process::Command;

use expect_test::expect;

/// What the program says about these settings, and its exit code.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_starter-api"));
    program.env_clear().args(arguments).envs(environment.iter().copied());
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    format!("{} {said}", output.status.code().unwrap())
}

#[test]
fn settings_that_cannot_be_used_are_told_in_one_line() {
    let database = ("DATABASE_URL", "postgres://shop:secret@localhost/shop");
    let mut told = String::new();
    told += &refused(&[], &[]);
    told += &refused(&[], &[("DATABASE_URL", "mysql//shop:secret@localhost")]);
    told += &refused(&["--listen", "everywhere"], &[database]);
    told += &refused(&["--database-connections", "0"], &[database]);
    told += &refused(&[], &[database, ("ORDERSAGA_CANCEL_WINDOW_SECONDS", "99999999")]);
    told += &refused(&["--wallet", "mine"], &[database]);
    told += &refused(&[], &[database, ("TEMPORAL_TLS_CLIENT_CERT_DATA", "half of a pair")]);
    let clients = |entries| [database, ("ORDERSAGA_CLIENTS", entries)];
    told += &refused(&[], &clients("shop:service:a-secret-long-enough,eve:operator:short-secret"));
    told += &refused(&[], &clients("shop:king:a-secret-long-enough"));
    told += &refused(&[], &[database, ("ORDERSAGA_OIDC_ISSUER", "http://id.example.org")]);
    for hidden in ["shop:secret", "long-enough", "short-secret"] {
        assert!(!told.contains(hidden), "a password was told: {told}");
    }
    expect![[r#"
        2 error: the following required arguments were not provided: --database-url <DATABASE_URL>
        2 error: DATABASE_URL is not of the form postgres://user:password@host:port/name
        2 error: invalid value 'everywhere' for '--listen <LISTEN>': invalid socket address syntax
        2 error: invalid value '0' for '--database-connections <DATABASE_CONNECTIONS>': 0 is not in 1..=1000
        2 error: invalid value '99999999' for '--cancel-window-seconds <CANCEL_WINDOW_SECONDS>': 99999999 is not in 0..=2592000
        2 error: unexpected argument '--wallet' found
        2 error: Temporal's settings: Invalid configuration: Both client certificate and client key must be provided together
        2 error: ORDERSAGA_CLIENTS: entry 2: a client is name:role:secret, with a role of service, operator or finance, and a secret of 16 characters or more
        2 error: ORDERSAGA_CLIENTS: entry 1: a client is name:role:secret, with a role of service, operator or finance, and a secret of 16 characters or more
        2 error: an identity provider is reached by https://, not by http://id.example.org/
    "#]].assert_eq(&told);
}
