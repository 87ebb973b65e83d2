//! All programs of Ordersaga in one process, and an operator's commands.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use futures::StreamExt as _;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool};
use temporalio_client::{UntypedWorkflow, WorkflowFetchHistoryOptions};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) const CLIENTS: &str = "shop:service:a-secret-of-the-shop,eve:operator:a-secret-of-eves";

/// The database's URL for a role.
pub(crate) fn url(database: &PgPool, role: Option<&str>) -> String {
    let mut url = database.connect_options().to_url_lossy();
    if let Some(role) = role {
        url.query_pairs_mut().append_pair("options", &format!("-c role={role}"));
    }
    url.to_string()
}

pub(crate) fn ordersaga(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordersaga"));
    command.args(arguments).env_remove("RUST_LOG").kill_on_drop(true);
    command
}

/// A running `ordersaga all`, with the addresses of its API and of its worker's metrics, and what it
/// logs once it serves.
pub(crate) struct Running {
    pub(crate) program: Child,
    pub(crate) api: String,
    pub(crate) worker: String,
    pub(crate) log: UnboundedReceiver<Value>,
}

pub(crate) async fn all(database: &PgPool, temporal: &str) -> Running {
    all_with(database, temporal, &[]).await
}

async fn all_with(database: &PgPool, temporal: &str, settings: &[(&str, &str)]) -> Running {
    let mut program = ordersaga(&["all", "--log-format", "json"])
        .envs(settings.iter().copied())
        .env("DATABASE_URL", url(database, Some("ordersaga_worker")))
        .env("STARTER_DATABASE_URL", url(database, Some("ordersaga_starter")))
        .env("RELAY_DATABASE_URL", url(database, Some("ordersaga_relay")))
        .env("TEMPORAL_ADDRESS", temporal)
        .env("ORDERSAGA_LISTEN", "127.0.0.1:0")
        .env("ORDERSAGA_OPS_LISTEN", "127.0.0.1:0")
        .env("WORKER_OPS_LISTEN", "127.0.0.1:0")
        .env("ORDERSAGA_CLIENTS", CLIENTS)
        .env("ORDERSAGA_NOTICE_SECONDS", "0")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
    let (mut api, mut worker, mut serving) = (None, None, false);
    while api.is_none() || worker.is_none() || !serving {
        let line = log.next_line().await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let message = line["message"].as_str().unwrap();
        let address = line["address"].as_str().map(|address| format!("http://{address}"));
        if message.starts_with("listening") {
            api = address;
        } else if message.starts_with("answering") {
            worker = address;
        }
        serving |= message == "queue" && line["queue"] == "orders" && line["serving"] == true;
    }
    // Keeps reading the log, so that the program never blocks on a full pipe.
    let (lines, read) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = log.next_line().await {
            let _nobody_reads = lines.send(serde_json::from_str(&line).unwrap());
        }
    });
    Running { program, api: api.unwrap(), worker: worker.unwrap(), log: read }
}

/// Starts `ordersaga worker`; returns once it serves, with the address of its metrics.
async fn worker(database: &PgPool, temporal: &str) -> (Child, String) {
    let mut program = ordersaga(&["worker", "--queues", "payments", "--log-format", "json"])
        .env("DATABASE_URL", url(database, Some("ordersaga_worker")))
        .env("TEMPORAL_ADDRESS", temporal)
        .env("WORKER_OPS_LISTEN", "127.0.0.1:0")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
    let (mut ops, mut serving) = (None, false);
    while ops.is_none() || !serving {
        let line = log.next_line().await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().map(|address| format!("http://{address}"));
        ops = ops.or(address);
        serving |= line["message"] == "queue" && line["serving"] == true;
    }
    tokio::spawn(async move { while let Ok(Some(_line)) = log.next_line().await {} });
    (program, ops.unwrap())
}

pub(crate) async fn change(database: &PgPool, statements: impl Into<String>) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.into())).execute(database).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_worker_says_what_the_database_lacks_and_ends_once_it_is_too_old_for_it(
    database: PgPool,
) {
    let (server, temporal) = testkit::server().await;
    let (mut program, ops) = worker(&database, &temporal).await;
    let client = runtime::http::client_builder().build().unwrap();
    let ready = async || client.get(format!("{ops}/ready")).send().await.unwrap();
    assert_eq!(ready().await.status(), 200);

    change(&database, "revoke insert on ledger.entries from ordersaga_worker").await;
    let refused = ready().await;
    assert_eq!(refused.status(), 503);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(
        refused["postgres"],
        "the program's role lacks the right to insert on ledger.entries: run `ordersaga migrate`, \
         or grant it"
    );

    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap();
    let floor = "create table operations.schema_floor (minimum bigint not null);
         grant select on operations.schema_floor to ordersaga_worker;
         insert into operations.schema_floor values";
    change(&database, format!("{floor} ({})", newest.checked_add(1).unwrap())).await;
    // It exits by itself with code 2: it could not be started.
    assert_eq!(program.wait().await.unwrap().code(), Some(2));
    server.shutdown().await.unwrap();
}

/// Runs an operator's command: the exit code, standard output, and standard error.
pub(crate) async fn operator(api: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = ordersaga(arguments);
    command.env("ORDERSAGA_URL", api).env_remove("ORDERSAGA_TOKEN");
    command.env("ORDERSAGA_CLIENT_ID", "eve").env("ORDERSAGA_CLIENT_SECRET", "a-secret-of-eves");
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// An access token for one of the API's clients.
async fn token_of(client: &reqwest::Client, api: &str, id: &str, secret: &str) -> String {
    let form = [("grant_type", "client_credentials")];
    let token = client.post(format!("{api}/oauth/token")).basic_auth(id, Some(secret));
    let token: Value = token.form(&form).send().await.unwrap().json().await.unwrap();
    token["access_token"].as_str().unwrap().to_owned()
}

/// Stops launching orders, as an operator does.
pub(crate) async fn launching_stopped(api: &str) {
    let client = runtime::http::client_builder().build().unwrap();
    let token = token_of(&client, api, "eve", "a-secret-of-eves").await;
    let stop = client.post(format!("{api}/v1/queues/orders/pause")).bearer_auth(token);
    let answer = stop.json(&json!({"why": "an incident"})).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

/// Places an order as the shop's backend does.
pub(crate) async fn placed(api: &str) -> String {
    let client = runtime::http::client_builder().build().unwrap();
    let token = token_of(&client, api, "shop", "a-secret-of-the-shop").await;
    let order = json!({
        "customer_id": "ada",
        "lines": [{"sku": "85123A", "quantity": 6}],
        "ship_to": {"country": "GB"},
        "payment_token": "tok_visa",
    });
    let answer = client.post(format!("{api}/v1/orders")).json(&order);
    let answer = answer.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.unwrap();
    answer["order_id"].as_str().unwrap().to_owned()
}

/// Whether the order's first workflow task was returned with the response to its start (eager
/// start).
async fn started_eagerly(server: &testkit::Server, order_id: &str) -> bool {
    let workflow =
        server.client().get_workflow_handle::<UntypedWorkflow>(format!("order-{order_id}"));
    let mut history = workflow.fetch_history(WorkflowFetchHistoryOptions::default());
    let first = history.next().await.unwrap().unwrap();
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = first.attributes
    else {
        panic!("a history begins with its start")
    };
    started.eager_execution_accepted
}

pub(crate) async fn load(database: &PgPool, price: &str, more: &[&str]) -> String {
    let name = database.connect_options().get_database().unwrap().to_owned();
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.csv"));
    let row = format!("sku,name,unit_price_gbp\n85123A,WHITE HANGING HEART,{price}\n");
    fs::write(&list, row).unwrap();
    let mut command = ordersaga(&["load-catalogue", list.to_str().unwrap()]);
    let command = command.args(more).env("MIGRATE_DATABASE_URL", url(database, None));
    let output = command.output().await.unwrap();
    fs::remove_file(list).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_goes_through_one_process_and_an_operator_sees_it(database: PgPool) {
    let said = load(&database, "2.55", &["--on-hand", "10"]).await;
    assert_eq!(said, "1 articles read; 1 of them new, received at a cost of 15.30 GBP\n");
    let (server, temporal) = testkit::server().await;
    let Running { mut program, api, .. } = all(&database, &temporal).await;
    let order_id = placed(&api).await;

    let (code, told, said) = operator(&api, &["order", "watch", &order_id]).await;
    assert_eq!(code, 0, "{said}");
    let kinds: Vec<_> = told.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "order.placed",
            "stock.reserved",
            "payment.authorised",
            "payment.captured",
            "ledger.posted",
            "order.shipped",
            "ledger.revenue-recognised",
            "order.completed",
        ]
    );
    let (_, told, said) = operator(&api, &["order", "show", &order_id]).await;
    assert!(told.contains("shipped") && told.contains("15.30 GBP"), "{told}{said}");
    let (_, told, said) = operator(&api, &["order", "list", "--status", "completed"]).await;
    assert!(told.contains(&order_id) && told.contains("ORDER"), "{told}{said}");
    let (_, told, _) = operator(&api, &["order", "list", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["items"][0]["order_id"], json!(order_id));
    assert_eq!(operator(&api, &["attention", "list"]).await.1, "none\n");
    assert_eq!(operator(&api, &["dispute", "list", "--open"]).await.1, "none\n");
    assert_eq!(operator(&api, &["webhook", "list"]).await.1, "none\n");
    let (code, _, said) = operator(&api, &["webhook", "retry", "evt_1a"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("There is no open event with this id"), "{said}");
    assert_eq!(operator(&api, &["review", "list"]).await.1, "none\n");
    lists_somebody(&api).await;
    tries_rules_out(&api).await;
    closes_what_is_listed(&api).await;
    gives_a_mail_up(&database, &api).await;

    // A refusal has another exit code than an API that does not answer.
    let (code, told, said) =
        operator(&api, &["order", "cancel", &order_id, "--reason", "ordered twice"]).await;
    assert_eq!((code, told.as_str()), (1, ""), "{said}");
    assert!(said.contains("409"), "{said}");
    let (code, _, said) = operator("http://127.0.0.1:9", &["order", "show", &order_id]).await;
    assert_eq!(code, 2, "{said}");

    assert!(started_eagerly(&server, &order_id).await);
    let id = program.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&id).status().await.unwrap().success());
    assert!(program.wait().await.unwrap().success());
    server.shutdown().await.unwrap();
}

/// An operator blocks a network and unblocks it.
async fn lists_somebody(api: &str) {
    let add = ["screening", "add", "block", "network", "203.0.113.7", "--why", "card testing"];
    let (code, told, said) = operator(api, &add).await;
    assert!(code == 0 && told.contains("203.0.113.0/24"), "{told}{said}");
    let (_, told, _) = operator(api, &["screening", "list"]).await;
    assert!(told.contains("card testing"), "{told}");
    let (code, _, said) = operator(api, &["screening", "remove", "1"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(operator(api, &["screening", "list"]).await.1, "none\n");
}

/// An operator adds a rule set, looks at its trial, and activates it.
async fn tries_rules_out(api: &str) {
    let name = format!("rules-{}.json", std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let rules = json!({
        "review_at": 50, "decline_at": 100, "review_default": "decline",
        "rules": [{
            "name": "new", "mode": "active", "when": "first-order", "effect": { "weight": 20 },
        }],
    });
    fs::write(&file, rules.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let add = ["screening", "rules", "add", path, "--why", "to see who is new"];
    let (code, told, said) = operator(api, &add).await;
    fs::remove_file(&file).unwrap();
    assert!(code == 0 && told.contains("shadow"), "{told}{said}");
    let (code, told, said) = operator(api, &["screening", "rules", "trial", "2"]).await;
    assert_eq!((code, told.as_str()), (0, "none\n\nnone\n\n"), "{said}");
    let activate = ["screening", "rules", "activate", "2", "--why", "it is right"];
    let (code, told, said) = operator(api, &activate).await;
    assert!(code == 0 && told.contains("active"), "{told}{said}");
    let (_, told, _) = operator(api, &["screening", "rules", "list"]).await;
    let states: Vec<_> =
        told.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(states, ["active", "retired"]);
    let (_, told, _) = operator(api, &["screening", "rules", "show", "2"]).await;
    assert!(told.contains("first-order"), "{told}");
    let (code, _, said) = operator(api, &["screening", "rules", "show", "3"]).await;
    assert_eq!(code, 1, "{said}");
    let (code, _, said) =
        operator(api, &["screening", "rules", "add", path, "--why", "gone"]).await;
    assert_eq!(code, 2, "{said}");
}

/// Every listed kind of problem has a command that closes it; here there is nothing to close.
async fn closes_what_is_listed(api: &str) {
    assert_eq!(operator(api, &["differences", "list", "--settled"]).await.1, "none\n");
    for (door, refusal) in [
        (["differences", "settle", "1"], "There is no open difference with this number"),
        (["webhook", "dismiss", "evt_1a"], "There is no open event with this id"),
    ] {
        let (code, _, said) = operator(api, &[&door[..], &["--why", "known"]].concat()).await;
        assert!(code == 1 && said.contains(refusal), "{said}");
    }
    let decide = ["attention", "resolve-all", "skip", "--step", "answer-dispute"];
    let why = ["--cause", "the customer's bank asks", "--why", "known"];
    let (code, _, said) = operator(api, &[&decide[..], &why].concat()).await;
    assert_eq!(code, 0, "{said}");
}

/// An operator finds a parked mail in the attention list, and skips it as the advice says.
async fn gives_a_mail_up(database: &PgPool, api: &str) {
    let parked = "insert into mail.notifications
             (fact, template, channel, order_id, sequence, message_id, policy, state, why, parked_at)
         values ('one:6', 'shipped', 'mail', '00000000-0000-0000-0000-000000000001', 6,
             'one@shop.example', 'at-most-once', 'parked', 'nobody knows whether it was sent', now())";
    change(database, parked).await;
    let (_, told, said) = operator(api, &["attention", "list"]).await;
    let titles: Vec<_> = told.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["KIND", "SINCE", "ORDER", "MAIL", "TEMPLATE", "WHY", "DO"], "{told}{said}");
    let (_, told, _) = operator(api, &["attention", "list", "--output", "json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let id = told["items"][0]["notification_id"].to_string();
    let advice = told["items"][0]["advice"].as_str().unwrap();
    assert!(advice.contains(&format!("`ordersaga mail skip {id} --why WHY`")), "{advice}");
    let (code, _, said) = operator(api, &["mail", "skip", &id, "--why", "told by telephone"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(operator(api, &["attention", "list"]).await.1, "none\n");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_worker_is_replaced_after_as_many_steps_as_are_set(database: PgPool) {
    load(&database, "2.55", &["--on-hand", "20"]).await;
    let (server, temporal) = testkit::server().await;
    let often = [("WORKER_REPLACED_AFTER", "1")];
    let Running { mut program, api, mut log, .. } = all_with(&database, &temporal, &often).await;
    for _ in 0..2 {
        let order_id = placed(&api).await;
        let (code, _, said) = operator(&api, &["order", "watch", &order_id]).await;
        assert_eq!(code, 0, "{said}");
    }
    let replaced = loop {
        let line = log.recv().await.expect("the program has ended");
        if line["message"] == "the worker is worn: a new one replaces it" {
            break line;
        }
    };
    assert_eq!(replaced["queue"], "orders");
    program.kill().await.unwrap();
    server.shutdown().await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_operator_has_money_given_back_and_sees_what_comes_of_it(database: PgPool) {
    load(&database, "2.55", &["--on-hand", "10"]).await;
    let (server, temporal) = testkit::server().await;
    let Running { mut program, api, .. } = all(&database, &temporal).await;
    let order_id = placed(&api).await;
    assert_eq!(operator(&api, &["order", "watch", &order_id]).await.0, 0);
    assert_eq!(operator(&api, &["refund", "list", &order_id]).await.1, "none\n");

    let ask = async |what: [&str; 2], key: &str| {
        let create = ["refund", "create", order_id.as_str(), "--reason", "arrived broken"];
        operator(&api, &[&create[..], &["--key", key], &what].concat()).await
    };
    // A repeat returns the same refund.
    for _ in 0..2 {
        let (code, told, said) = ask(["--line", "85123A=2"], "k").await;
        assert_eq!(code, 0, "{said}");
        assert!(told.contains("6.12 GBP") && told.contains("eve"), "{told}");
    }
    loop {
        let (code, told, said) =
            operator(&api, &["refund", "show", &order_id, "1", "--output", "json"]).await;
        assert_eq!(code, 0, "{said}");
        if serde_json::from_str::<Value>(&told).unwrap()["state"] == "succeeded" {
            break;
        }
    }
    let (_, told, _) = operator(&api, &["refund", "list", &order_id]).await;
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("succeeded") && told.contains("6.12 GBP"), "{told}");

    let (code, told, said) = ask(["--amount", "16.99 GBP"], "another").await;
    assert_eq!((code, told.as_str()), (1, ""), "{said}");
    assert!(said.contains("16.98 GBP can still be given back"), "{said}");
    let (code, _, said) = operator(&api, &["refund", "show", &order_id, "2"]).await;
    assert_eq!(code, 1, "{said}");
    program.kill().await.unwrap();
    server.shutdown().await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn loading_again_changes_a_price_only_if_it_is_told_to(database: PgPool) {
    async fn price(database: &PgPool) -> String {
        let price = sqlx::query_scalar("select unit_price::text from catalog.products");
        price.fetch_one(database).await.unwrap()
    }
    load(&database, "2.55", &[]).await;
    load(&database, "3.55", &[]).await;
    assert_eq!(price(&database).await, "2.55");
    load(&database, "3.55", &["--overwrite"]).await;
    assert_eq!(price(&database).await, "3.55");
}
