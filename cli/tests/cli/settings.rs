//! Invalid settings.

use std::process::Command;

use expect_test::expect;

/// Runs the program with these settings: the error message without the usage that follows, and the
/// exit code.
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
    let program = program.env_clear().args(arguments).envs(environment.iter().copied());
    let output = program.output().unwrap();
    assert!(output.stdout.is_empty(), "a message is no result");
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().map(str::trim).take_while(|line| !line.is_empty());
    // A log line begins with a timestamp.
    let message = lines.collect::<Vec<_>>().join(" ");
    let message = message.split_once("ERROR").map_or(&*message, |(_time, line)| line);
    format!("{} {}\n", output.status.code().unwrap(), message.trim())
}

#[test]
fn webhooks_that_cannot_be_checked_are_told_without_their_secrets() {
    let database = ("STARTER_DATABASE_URL", "postgres://shop:secret@localhost/shop");
    let webhooks = ("STRIPE_WEBHOOK_SECRETS", "whsec_long-enough,sk_live_long-enough");
    let told = [
        refused(&["api"], &[database, webhooks]),
        refused(&["api"], &[database, webhooks, ("STRIPE_WEBHOOK_MODE", "live")]),
        refused(&["api"], &[database, ("STRIPE_WEBHOOK_MODE", "sandbox")]),
    ];
    let told = told.concat();
    assert!(!told.contains("long-enough"), "a secret was told: {told}");
    expect![[r#"
        2 ordersaga: STRIPE_WEBHOOK_SECRETS is set: set STRIPE_WEBHOOK_MODE to live or test
        2 ordersaga: STRIPE_WEBHOOK_SECRETS: secret 2 is none: Stripe's begin with whsec_, and have 16 characters or more
        2 error: invalid value 'sandbox' for '--stripe-webhook-mode <STRIPE_WEBHOOK_MODE>' [possible values: live, test]
    "#]].assert_eq(&told);
}

#[test]
fn settings_of_the_relay_that_cannot_be_used_are_told_without_their_secrets() {
    let relay = |environment: &[(&str, &str)]| {
        let database = ("RELAY_DATABASE_URL", "postgres://shop:secret@localhost/shop");
        let always = [database, ("RELAY_OPS_LISTEN", "127.0.0.1:0")];
        refused(&["relay"], &[&always[..], environment].concat())
    };
    let kafka = [("RELAY_KAFKA_BROKERS", "kafka:9092"), ("RELAY_KAFKA_PASSWORD", "hunter2")];
    let told = [
        refused(&["relay"], &[]),
        refused(&["relay"], &[("RELAY_DATABASE_URL", "mysql//shop:secret@localhost")]),
        refused(&["relay", "skip", "kafka", "--why", "it is known"], &[]),
        relay(&kafka),
        relay(&[("RELAY_AMQP_URL", "http://relay:hunter2@rabbitmq")]),
        relay(&[("MAIL_SERVER", "mail.example.org:587"), ("MAIL_FROM", "nobody")]),
        relay(&[
            ("MAIL_SERVER", "mail.example.org:587"),
            ("MAIL_FROM", "orders@shop.example"),
            ("MAIL_TLS_CA", "/no/such/file"),
        ]),
    ];
    let told = told.concat();
    for hidden in ["shop:secret", "hunter2"] {
        assert!(!told.contains(hidden), "a password was told: {told}");
    }
    expect![[r#"
        2 ordersaga: RELAY_DATABASE_URL is not set
        2 ordersaga: RELAY_DATABASE_URL: it is not of the form postgres://user:password@host:port/name
        2 error: the following required arguments were not provided: --order <ORDER>
        2 ordersaga: Kafka's settings cannot be used: RELAY_KAFKA_PASSWORD is set, and is of no use without RELAY_KAFKA_USERNAME
        2 ordersaga: RabbitMQ's settings cannot be used: RELAY_AMQP_URL is not as amqp://user:password@host:port/vhost
        2 ordersaga: mails cannot be sent: MAIL_FROM: a name and an address, such as `The Shop <orders@shop.example>`
        2 ordersaga: mails cannot be sent: MAIL_TLS_CA: a file that can be read, with certificates as PEM
    "#]].assert_eq(&told);
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
    told += &refused(&["worker", "--invalid-answer-seconds", "99999"], &[]);
    told += &refused(
        &["worker"],
        &[("DATABASE_URL", "postgres://shop:secret@localhost/shop"), ("WORKER_BUILD_ID", "7")],
    );
    told += &refused(
        &["all", "--deployment", "orders", "--build-id", "7"],
        &[database, ("DATABASE_URL", "postgres://shop:secret@localhost/shop")],
    );
    told += &refused(&["all"], &[("DATABASE_URL", "postgres://shop:secret@localhost/shop")]);
    told += &refused(&["migrate"], &[]);
    let mysql = [("DATABASE_URL", "mysql//shop:secret@localhost")];
    told += &refused(&["migrate"], &mysql);
    told += &refused(&["prove", "--without-temporal"], &mysql);
    told += &refused(&["prove", "--hours", "8761"], &[]);
    told += &refused(&["load-catalogue", "list.csv", "--cost-percent", "6_0"], &[]);
    told += &refused(&["order", "list"], &[]);
    told += &refused(&["order", "resolve", "x", "forget"], &[]);
    let refund = ["refund", "create", "x", "--reason", "broken", "--key", "k"];
    told += &refused(&[&refund[..], &["--line", "85123A"]].concat(), &[]);
    told += &refused(&[&refund[..], &["--amount", "10.00"]].concat(), &[]);
    told += &refused(&["export", "--format", "csv"], &[]);
    for hidden in ["shop:secret", "long-enough", "short-secret"] {
        assert!(!told.contains(hidden), "a password was told: {told}");
    }
    expect![[r#"
        2 error: the following required arguments were not provided: --starter-database-url <STARTER_DATABASE_URL>
        2 ordersaga: the starter's database URL: it is not of the form postgres://user:password@host:port/name
        2 error: invalid value 'everywhere' for '--listen <LISTEN>': invalid socket address syntax
        2 error: invalid value '0' for '--api-database-connections <API_DATABASE_CONNECTIONS>': 0 is not in 1..=1000
        2 error: invalid value '99999999' for '--cancel-window-seconds <CANCEL_WINDOW_SECONDS>': 99999999 is not in 0..=2592000
        2 error: unexpected argument '--wallet' found
        2 ordersaga: Temporal's settings: Invalid configuration: Both client certificate and client key must be provided together
        2 ordersaga: ORDERSAGA_CLIENTS: entry 2: a client is name:role:secret, with a role of service, operator or finance, and a secret of 16 characters or more
        2 ordersaga: ORDERSAGA_CLIENTS: entry 1: a client is name:role:secret, with a role of service, operator or finance, and a secret of 16 characters or more
        2 ordersaga: an identity provider is reached by https://, not by http://id.example.org/
        2 error: the following required arguments were not provided: --database-url <DATABASE_URL>
        2 error: invalid value '99999' for '--invalid-answer-seconds <INVALID_ANSWER_SECONDS>': 99999 is not in 0..=86400
        2 error: the following required arguments were not provided: --deployment <DEPLOYMENT>
        2 ordersaga: `ordersaga all` begins orders by itself, whichever release is to take them: run `api` and `worker` apart, or name no release
        2 error: the following required arguments were not provided: --starter-database-url <STARTER_DATABASE_URL>
        2 error: the following required arguments were not provided: --migrate-database-url <MIGRATE_DATABASE_URL>
        2 ordersaga: the owner's database URL: it is not of the form postgres://user:password@host:port/name
        2 ordersaga: DATABASE_URL: it is not of the form postgres://user:password@host:port/name
        2 error: invalid value '8761' for '--hours <N>': 8761 is not in 1..=8760
        2 error: invalid value '6_0' for '--cost-percent <COST_PERCENT>': a percentage is written in digits, with a decimal point if needed
        2 ordersaga: set ORDERSAGA_TOKEN, or ORDERSAGA_CLIENT_ID and ORDERSAGA_CLIENT_SECRET
        2 error: invalid value 'forget' for '<DECISION>' [possible values: retry, skip, accept-as-done]
        2 error: invalid value '85123A' for '--line <SKU=QUANTITY>': an article and how many pieces of it, such as 85123A=2
        2 error: invalid value '10.00' for '--amount <AMOUNT>': an amount and its currency, such as "10.00 GBP"
        2 error: invalid value 'csv' for '--format <FORMAT>' [possible values: hledger, beancount]
    "#]].assert_eq(&told);
}

#[test]
fn nobody_is_to_take_money_with_settings_that_cannot_be_used() {
    let shop = ("DATABASE_URL", "postgres://shop:secret@localhost/shop");
    let mut told = refused(&["worker"], &[shop, ("PAYMENT_PROVIDER", "paypal")]);
    let mut stripe = |settings: &[(&str, &str)]| {
        let settings = [&[shop, ("PAYMENT_PROVIDER", "stripe")], settings].concat();
        told += &refused(&["worker"], &settings);
    };
    stripe(&[]);
    stripe(&[("STRIPE_API_KEY", "pk_live_secret")]);
    stripe(&[("STRIPE_API_KEY", "my secret")]);
    let key = ("STRIPE_API_KEY", "sk_live_secret");
    stripe(&[key, ("STRIPE_API_URL", "http://api.stripe.com")]);
    stripe(&[key, ("STRIPE_RETURN_URL", "http://shop.example/back")]);
    for iban in [&[][..], &[("BANK_IBAN", "GB82"), ("BANK_HOLDER", "The Shop")]] {
        let settings = [&[shop, ("PAYMENT_PROVIDER", "bank-transfer")], iban].concat();
        told += &refused(&["worker"], &settings);
    }
    assert!(!told.contains("my secret") && !told.contains("live_secret"), "a key was told: {told}");
    expect![[r#"
        2 error: invalid value 'paypal' for '--payment-provider <PAYMENT_PROVIDER>' [possible values: sandbox, stripe, bank-transfer]
        2 ordersaga: PAYMENT_PROVIDER is stripe, and STRIPE_API_KEY is not set
        2 ordersaga: the settings for Stripe: the API key is a publishable key, which may not take money; a secret key begins with sk_, a restricted one with rk_
        2 ordersaga: the settings for Stripe: the API key is invalid; Stripe's begin with sk_live_, rk_live_, sk_test_ or rk_test_
        2 ordersaga: the settings for Stripe: http://api.stripe.com/ is neither https nor on this machine
        2 ordersaga: the settings for Stripe: http://shop.example/back is neither https nor on this machine
        2 ordersaga: PAYMENT_PROVIDER is bank-transfer: BANK_IBAN and BANK_HOLDER name the shop's account, and are not set
        2 error: invalid value 'GB82' for '--bank-iban <BANK_IBAN>': an IBAN has 15 to 34 letters and digits, and its check digits are right
    "#]].assert_eq(&told);
}

#[test]
fn the_help_of_every_command_is_printed_as_a_result() {
    for command in [
        "api",
        "worker",
        "all",
        "relay",
        "migrate",
        "load-catalogue",
        "order",
        "refund",
        "invoice",
        "attention",
        "dispute",
        "webhook",
        "review",
        "screening",
    ] {
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
