//! Migrations and deployments under running programs.

use std::env;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use runtime::schema::{MIGRATIONS, apply};
use serde_json::{Value, json};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr as _};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

use crate::all::{CLIENTS, change, load, operator, ordersaga, url};

/// How many idempotency keys were used.
static KEYS: AtomicU32 = AtomicU32::new(0);

/// A program, its log, and the log lines read so far.
struct Program {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    api: Option<String>,
    ops: Option<String>,
    polls: bool,
}

/// A program that serves: its API's address, if it has one, and its worker's metrics address.
struct Serving {
    process: Child,
    api: String,
    ops: String,
}

impl Program {
    /// Starts `ordersaga` with the database roles that it has in production.
    fn start(arguments: &[&str], database: &PgPool, temporal: &str) -> Self {
        let mut process = ordersaga(&[arguments, &["--log-format", "json"]].concat())
            .env("DATABASE_URL", url(database, Some("ordersaga_worker")))
            .env("STARTER_DATABASE_URL", url(database, Some("ordersaga_starter")))
            .env("TEMPORAL_ADDRESS", temporal)
            .env("ORDERSAGA_LISTEN", "127.0.0.1:0")
            .env("ORDERSAGA_OPS_LISTEN", "127.0.0.1:0")
            .env("WORKER_OPS_LISTEN", "127.0.0.1:0")
            .env("ORDERSAGA_CLIENTS", CLIENTS)
            .env("ORDERSAGA_NOTICE_SECONDS", "0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, log, api: None, ops: None, polls: false }
    }

    /// The next line of the log; `None` once the program has ended.
    async fn next(&mut self) -> Option<Value> {
        let line = self.log.next_line().await.unwrap()?;
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = || Some(format!("http://{}", text(&line, "address")));
        match text(&line, "message") {
            said if said.starts_with("listening") => self.api = address(),
            said if said.starts_with("answering") => self.ops = address(),
            "queue" => self.polls |= line["queue"] == "orders" && line["serving"] == true,
            _ => {}
        }
        Some(line)
    }

    /// Reads the log until this message.
    async fn says(&mut self, message: &str) -> Value {
        loop {
            let line = self.next().await.expect("a program that goes on");
            if text(&line, "message").starts_with(message) {
                return line;
            }
        }
    }

    /// Reads the log until the worker polls the orders' queue.
    async fn until_it_polls(&mut self) {
        while !self.polls {
            self.next().await.expect("a program that goes on");
        }
    }

    /// Waits until it serves, and keeps reading its log, so that it never blocks on a full pipe.
    async fn serves(mut self, has_api: bool) -> Serving {
        self.until_it_polls().await;
        while has_api && self.api.is_none() {
            self.next().await.expect("a program that goes on");
        }
        let Self { process, mut log, api, ops, .. } = self;
        tokio::spawn(async move { while let Ok(Some(_line)) = log.next_line().await {} });
        Serving { process, api: api.unwrap_or_default(), ops: ops.unwrap() }
    }

    /// Waits until it has ended by itself; its exit code and its last log message.
    async fn ends(mut self) -> (Option<i32>, String) {
        let mut last = Value::Null;
        while let Some(line) = self.next().await {
            last = line;
        }
        let code = self.process.wait().await.unwrap().code();
        (code, text(&last, "message").to_owned())
    }
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

impl Serving {
    /// Places an order with this cancel window. A 503 is retried under the same key.
    async fn places(&self, window_seconds: u32) -> String {
        let client = runtime::http::client_builder().build().unwrap();
        let form = [("grant_type", "client_credentials")];
        let (url, secret) = (format!("{}/oauth/token", self.api), Some("a-secret-of-the-shop"));
        let token = until_available(|| client.post(&url).form(&form).basic_auth("shop", secret));
        let (_, token) = token.await;
        let order = json!({
            "customer_id": "ada",
            "lines": [{"sku": "85123A", "quantity": 1}],
            "ship_to": {"country": "GB"},
            "payment_token": "tok_visa",
            "cancel_window_seconds": window_seconds,
        });
        let (url, key) = (
            format!("{}/v1/orders", self.api),
            format!("key-{}", KEYS.fetch_add(1, Ordering::Relaxed)),
        );
        let (status, answer) = until_available(|| {
            let asked = client.post(&url).header("idempotency-key", &key).json(&order);
            asked.bearer_auth(text(&token, "access_token"))
        })
        .await;
        assert_eq!(status, 201, "{answer}");
        text(&answer, "order_id").to_owned()
    }

    /// Cancels an order, retrying while nothing answers.
    async fn cancels(&self, order_id: &str) {
        loop {
            let said = ["order", "cancel", order_id, "--reason", "ordered twice"];
            let (code, _, said) = operator(&self.api, &said).await;
            assert_ne!(code, 1, "{said}");
            if code == 0 {
                return;
            }
        }
    }

    async fn stop(mut self) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").arg(&id).status().await.unwrap().success());
        assert!(self.process.wait().await.unwrap().success());
    }
}

/// Retries a request until the status is not 503.
async fn until_available(ask: impl Fn() -> reqwest::RequestBuilder) -> (u16, Value) {
    loop {
        let answer = ask().send().await.unwrap();
        if answer.status() != 503 {
            return (answer.status().as_u16(), answer.json().await.unwrap());
        }
    }
}

/// A program's readiness response: the status, and the body.
async fn is_ready(program: &str) -> (u16, Value) {
    let client = runtime::http::client_builder().build().unwrap();
    let ready = client.get(format!("{program}/ready")).send().await.unwrap();
    (ready.status().as_u16(), ready.json().await.unwrap())
}

async fn status(database: &PgPool, order_id: &str) -> String {
    let status = sqlx::query_scalar("select status from orders.orders where order_id = $1::uuid");
    status.bind(order_id).fetch_one(database).await.unwrap()
}

async fn until_status(database: &PgPool, order_id: &str, wanted: &str) {
    while status(database, order_id).await != wanted {
        tokio::task::yield_now().await;
    }
}

/// Waits until the order is in its cancel window.
async fn until_authorised(database: &PgPool, order_id: &str) {
    let authorised = "select exists (select from orders.order_events
        where order_id = $1::uuid and type = 'payment.authorised')";
    let is_authorised = async || -> bool {
        sqlx::query_scalar(authorised).bind(order_id).fetch_one(database).await.unwrap()
    };
    while !is_authorised().await {
        tokio::task::yield_now().await;
    }
}

/// Checks every invariant with `prove`.
async fn assert_proven(database: &PgPool, temporal: &str) {
    let mut prove = ordersaga(&["prove"]);
    let prove = prove.env("DATABASE_URL", url(database, Some("ordersaga_worker")));
    let output = prove.env("TEMPORAL_ADDRESS", temporal).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap()
}

/// Applies a migration of a later release.
async fn migrate_beyond(database: &PgPool, statements: &str) {
    let later = Migration::new(
        newest().checked_add(1).unwrap(),
        "of a later release".into(),
        MigrationType::Simple,
        AssertSqlSafe(statements.to_owned()).into_sql_str(),
        false,
    );
    let all = MIGRATIONS.iter().cloned().chain([later]).collect();
    apply(&Migrator::with_migrations(all), &database.connect_options()).await.unwrap();
}

/// What a later release adds, which this release must tolerate.
const EXPANSION: &str = "
    alter table orders.orders add column gift_note text;
    alter table orders.order_events add column source text not null default 'worker';
    alter table inventory.stock add column shelf text;
    alter table payments.charges add column channel text;
    create table orders.gift_wraps (
        order_id uuid primary key references orders.orders, paper text not null
    );
    grant select, insert on orders.gift_wraps to ordersaga_worker, ordersaga_starter;";

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_later_releases_migration_is_applied_while_orders_come_in(database: PgPool) {
    load(&database, "2.55", &["--on-hand", "100000"]).await;
    let (server, temporal) = testkit::server().await;
    let old = Program::start(&["all"], &database, &temporal).serves(true).await;
    let waiting = old.places(3_600).await;
    until_authorised(&database, &waiting).await;

    // Orders are placed all the time: before, during and after the migration.
    let placed = watch::Sender::new(Vec::new());
    let (mut seen, enough) = (placed.subscribe(), watch::Sender::new(false));
    let traffic = async {
        while !*enough.borrow() {
            let order_id = old.places(0).await;
            placed.send_modify(|placed| placed.push(order_id));
        }
    };
    let deploy = async {
        seen.wait_for(|placed| placed.len() >= 5).await.unwrap();
        migrate_beyond(&database, EXPANSION).await;
        let enough_placed = seen.borrow().len().saturating_add(10);
        seen.wait_for(|placed| placed.len() >= enough_placed).await.unwrap();
        enough.send_replace(true);
    };
    tokio::join!(traffic, deploy);
    for order_id in &placed.borrow().clone() {
        until_status(&database, order_id, "completed").await;
    }
    for asked in [&old.api, &old.ops] {
        let (ready, told) = is_ready(asked).await;
        assert_eq!(ready, 200, "{told}");
    }

    // The old release is also restarted on the newer schema, as after a crash.
    old.stop().await;
    let old = Program::start(&["all"], &database, &temporal).serves(true).await;
    old.cancels(&waiting).await;
    until_status(&database, &waiting, "cancelled").await;
    until_status(&database, &old.places(0).await, "completed").await;
    assert_proven(&database, &temporal).await;
    old.stop().await;
    server.shutdown().await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_wait_while_no_program_fits_the_schema(database: PgPool) {
    load(&database, "2.55", &["--on-hand", "100000"]).await;
    let (server, temporal) = testkit::server().await;
    let mut old = Program::start(&["all"], &database, &temporal).serves(true).await;
    let waiting = old.places(3_600).await;
    let shipping = old.places(1).await;
    until_authorised(&database, &waiting).await;

    let beyond = newest().checked_add(1).unwrap();
    let floor = "create table operations.schema_floor (minimum bigint not null);
        grant select on operations.schema_floor to ordersaga_worker, ordersaga_starter;
        insert into operations.schema_floor values";
    migrate_beyond(&database, &format!("{floor} ({beyond});")).await;
    assert_eq!(old.process.wait().await.unwrap().code(), Some(2));

    // It does not start again either, and a running API says why it is not ready.
    let (code, last_words) = Program::start(&["worker"], &database, &temporal).ends().await;
    assert_eq!(code, Some(2));
    let too_old = format!(
        "this program knows the schema up to migration {}, and the database needs programs that \
         know migration {beyond}: install a newer release",
        newest()
    );
    assert!(last_words.contains(&too_old), "{last_words}");
    let mut api = Program::start(&["api"], &database, &temporal);
    let said = api.says("the API is not ready").await;
    assert_eq!(said["error"], too_old);

    assert_eq!(status(&database, &waiting).await, "processing");
    // As if this release knew the migration.
    change(&database, "update operations.schema_floor set minimum = 1").await;
    let fits = Program::start(&["all"], &database, &temporal).serves(true).await;
    until_status(&database, &shipping, "completed").await;
    fits.cancels(&waiting).await;
    until_status(&database, &waiting, "cancelled").await;
    assert_proven(&database, &temporal).await;
    fits.stop().await;
    server.shutdown().await.unwrap();
}

#[sqlx::test(migrations = false)]
async fn a_worker_that_is_ahead_of_the_schema_begins_once_it_is_migrated(database: PgPool) {
    let empty = include_str!("../../../runtime/tests/empty.sql");
    sqlx::raw_sql(empty).execute(&database).await.unwrap();
    let newest_but_one = MIGRATIONS.iter().rev().nth(1).unwrap().version;
    MIGRATIONS.run_to(newest_but_one, &database).await.unwrap();
    let (server, temporal) = testkit::server().await;
    let mut new = Program::start(&["worker"], &database, &temporal);
    let said = new.says("waiting for the database").await;
    let lacks = format!("the database lacks migration {}: run `ordersaga migrate`", newest());
    assert_eq!(said["error"], lacks);

    let mut migrate = ordersaga(&["migrate"]);
    let migrate = migrate.env("MIGRATE_DATABASE_URL", url(&database, None));
    let output = migrate.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    new.until_it_polls().await;
    new.process.kill().await.unwrap();
    server.shutdown().await.unwrap();
}

/// Routes new orders to this release from now on.
async fn make_current(temporal: &str, build_id: &str) {
    let mut command = Command::new(env::var("TEMPORAL_CLI").unwrap());
    command.args(["worker", "deployment", "set-current-version", "--yes"]);
    command.args(["--deployment-name", "shop", "--build-id", build_id]);
    command.args(["--address", temporal]).stdin(Stdio::null());
    // Refused until the server has seen the release's workers.
    while !command.output().await.unwrap().status.success() {}
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_worker_says_whether_its_release_takes_new_orders_and_how_it_would(database: PgPool) {
    let (server, temporal) = testkit::server().await;
    let arguments = ["worker", "--deployment", "shop", "--build-id", "one"];
    let mut one = Program::start(&arguments, &database, &temporal);
    let said = one.says("takes no new orders").await;
    let how =
        "temporal worker deployment set-current-version --deployment-name shop --build-id one";
    assert!(text(&said, "message").contains(how), "{said}");
    let one = one.serves(false).await;
    make_current(&temporal, "one").await;
    let mut again = Program::start(&arguments, &database, &temporal);
    again.says("takes new orders").await;
    again.process.kill().await.unwrap();
    one.stop().await;
    server.shutdown().await.unwrap();
}
