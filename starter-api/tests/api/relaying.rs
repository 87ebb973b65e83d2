//! Sinks: what operators see of them, and their commands.

use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::shop::Shop;

/// Two sinks to which the three messages of an order are still to be delivered: one that a process
/// serves, and whose receiver has refused the first message; and one whose process has died.
pub(crate) async fn sinks(database: &PgPool) {
    let order = Uuid::from_u128(1);
    let statement = format!(
        "insert into outbox.sinks (sink) values ('kafka'), ('mail');
         insert into outbox.progress (sink, shard)
         select sink, shard from outbox.sinks, generate_series(0, 7) as shard;
         insert into outbox.readers (sink, reader, name, here_until) values
            ('kafka', gen_random_uuid(), '17@web-3', now() + interval '1 hour'),
            ('mail', gen_random_uuid(), '17@web-4', now() - interval '1 hour');
         insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
         select 'order', '{order}', number, 'ordersaga.order.placed.v1', '{{}}'
         from generate_series(1, 3) as number;
         insert into outbox.parked (sink, position, aggregateid, sequence, refused)
         select 'kafka', position, aggregateid, sequence,
            case sequence when 1 then 'too large' end
         from outbox.messages where aggregateid = '{order}'"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(database).await.unwrap();
}

fn why() -> Value {
    json!({ "why": "the broker is repaired" })
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_see_how_each_sink_stands_and_nobody_else_does(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sinks(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let told = eve.get("/v1/relay/sinks").await.json();
    assert_eq!(told["is_restored"], false);
    let told: Vec<_> = told["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sink| {
            let of = |name: &str| sink[name].to_string();
            [of("sink"), of("state"), of("waiting"), of("refused"), of("behind"), of("readers")]
                .join(" ")
        })
        .collect();
    expect![[r#"
        [
            "\"kafka\" \"read\" 3 1 2 [\"17@web-3\"]",
            "\"mail\" \"unread\" 3 0 0 []",
        ]
    "#]]
    .assert_debug_eq(&told);
    for role in ["service", "customer", "finance"] {
        let refused = shop.asked_by("eve", role).get("/v1/relay/sinks").await;
        assert_eq!(refused.problem(), "insufficient-scope", "{role}");
    }
    sqlx::raw_sql("update outbox.origin set cluster = cluster + 1")
        .execute(&database)
        .await
        .unwrap();
    assert_eq!(eve.get("/v1/relay/sinks").await.json()["is_restored"], true);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sink_is_paused_by_whoever_was_first_and_goes_on(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sinks(&database).await;
    let (eve, bob) = (shop.asked_by("eve", "operator"), shop.asked_by("bob", "operator"));
    for shop in [&eve, &bob] {
        let paused = shop.post("/v1/relay/sinks/kafka/pause", &why()).await;
        assert_eq!(paused.status, 200, "{}", paused.text);
        let paused = paused.json();
        let told = (&paused["state"], &paused["paused"]["paused_by"]);
        assert_eq!(told, (&json!("paused"), &json!("eve")));
    }
    for _repeat in 0..2 {
        let resumed = bob.post("/v1/relay/sinks/kafka/resume", &why()).await.json();
        assert_eq!((&resumed["state"], &resumed["paused"]), (&json!("read"), &Value::Null));
    }
    let done = sqlx::query!(
        "select action, done_by, why from outbox.interventions order by intervention_id"
    );
    let done = done.fetch_all(&database).await.unwrap();
    let done: Vec<_> = done.iter().map(|row| (row.action.as_str(), row.done_by.as_str())).collect();
    assert_eq!(
        done,
        [("pause", "eve"), ("resume", "bob")],
        "what changed nothing is not on record"
    );
    for action in ["pause", "resume", "replay", "remove"] {
        for sink in ["nowhere", "Kafka", "kaf%00ka"] {
            let refused = eve.post(&format!("/v1/relay/sinks/{sink}/{action}"), &why()).await;
            assert_eq!(refused.problem(), "sink-not-found", "{action} {sink}");
        }
        let nameless = json!({ "why": " " });
        let nameless = eve.post(&format!("/v1/relay/sinks/kafka/{action}"), &nameless).await;
        assert_eq!(nameless.json()["errors"][0]["pointer"], "/why", "{}", nameless.text);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_was_refused_is_listed_and_decided_about_once(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sinks(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let parked = eve.get("/v1/relay/sinks/kafka/parked").await.json();
    let [first] = parked["items"].as_array().unwrap().as_slice() else {
        unreachable!("one message of each order: {parked}")
    };
    let order = Uuid::from_u128(1);
    assert_eq!(
        (&first["order_id"], &first["sequence"], &first["refused"], &first["behind"]),
        (&json!(order), &json!(1), &json!("too large"), &json!(2))
    );
    assert_eq!(eve.get("/v1/relay/sinks/mail/parked").await.json()["items"], json!([]));
    let other = json!({ "order_id": Uuid::from_u128(2), "why": "it is another one" });
    let decided = eve.post("/v1/relay/sinks/kafka/skip", &other).await.json();
    assert_eq!(decided["decided"], 0);
    let this = json!({ "order_id": order, "why": "the broker is repaired" });
    for count in [1, 0] {
        let decided = eve.post("/v1/relay/sinks/kafka/replay", &this).await.json();
        assert_eq!(decided["decided"], count);
    }
    let parked = eve.get("/v1/relay/sinks/kafka/parked").await.json();
    let first = &parked["items"][0];
    assert_eq!((&first["decision"], &first["decided_by"]), (&json!("replay"), &json!("eve")));
    let everything = eve.post("/v1/relay/sinks/kafka/skip", &why()).await;
    assert_eq!(everything.problem(), "malformed-request", "only of an order that is named");
    let unknown = eve.get("/v1/relay/sinks/nowhere/parked").await;
    assert_eq!(unknown.problem(), "sink-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sink_is_told_everything_again_if_an_operator_says_all(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sinks(&database).await;
    sqlx::query!("update outbox.progress set seen = pg_current_snapshot()")
        .execute(&database)
        .await
        .unwrap();
    let eve = shop.asked_by("eve", "operator");
    let all = json!({ "all": true, "why": "the broker came back empty" });
    let replayed = eve.post("/v1/relay/sinks/kafka/replay", &all).await;
    assert_eq!((replayed.status.as_u16(), &replayed.json()["decided"]), (200, &json!(3)));
    let told = eve.get("/v1/relay/sinks").await.json();
    let waiting = |place: usize| &told["items"][place]["waiting"];
    assert_eq!((waiting(0), waiting(1)), (&json!(3), &json!(0)), "{told}");
    let both = json!({ "all": true, "order_id": Uuid::from_u128(1), "why": "it is unclear" });
    let both = eve.post("/v1/relay/sinks/kafka/replay", &both).await;
    assert_eq!(both.json()["errors"][0]["pointer"], "/all", "{}", both.text);
    let unknown = eve.post("/v1/relay/sinks/nowhere/replay", &all).await;
    assert_eq!(unknown.problem(), "sink-not-found");
    let done = sqlx::query!("select sink, action, done_by from outbox.interventions");
    let done = done.fetch_one(&database).await.unwrap();
    assert_eq!((&*done.sink, &*done.action, &*done.done_by), ("kafka", "replay-all", "eve"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sink_is_removed_once_nobody_reads_for_it(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sinks(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let refused = eve.post("/v1/relay/sinks/kafka/remove", &why()).await;
    assert_eq!(refused.problem(), "sink-in-use");
    let removed = eve.post("/v1/relay/sinks/mail/remove", &why()).await;
    assert_eq!((removed.status.as_u16(), &removed.json()["removed"]), (200, &json!("mail")));
    let again = eve.post("/v1/relay/sinks/mail/remove", &why()).await;
    assert_eq!(again.problem(), "sink-not-found");
}
