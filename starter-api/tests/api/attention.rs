//! Everything that waits for a person is in one list, whatever its kind.

use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::endpoints::created;
use crate::mailing::parked_mail;
use crate::operating::stuck;
use crate::relaying::sinks;
use crate::shop::{Shop, send};

const ENDPOINT_SINCE: &str = "2020-01-01T00:00:01Z";
const SINK_SINCE: &str = "2020-01-01T00:00:02Z";
/// Later than any event of the test.
const MAIL_SINCE: &str = "2999-01-01T00:00:00Z";

/// One of each kind: a disabled endpoint, by its path; a sink with a refused message; an order; and
/// a parked mail. They have waited in this order. There is also an endpoint that an operator has
/// disabled.
async fn one_of_each(database: &PgPool, eve: &Shop) -> (String, Value, Uuid) {
    sinks(database).await;
    let order = stuck(database, &["HTTP 500"]).await[0];
    parked_mail(database, order).await;
    let (path, endpoint) = created(eve, "given-up").await;
    let (quiet, _) = created(eve, "disabled").await;
    let disabled = eve.request("PATCH", &quiet).json(&json!({ "state": "disabled" }));
    assert_eq!(send(disabled).await.status, 200);
    let endpoint_id = endpoint["endpoint_id"].clone();
    let statement = format!(
        "select webhooks.disable('{}', 'failing', null, 'it did not answer in time');
         update webhooks.endpoints
         set disabled_at = '{ENDPOINT_SINCE}',
             url = 'https://eve:secret@erp.example.org/events?token=secret'
         where disabled_because = 'failing';
         update outbox.parked set parked_at = '{SINK_SINCE}';
         update mail.notifications set parked_at = '{MAIL_SINCE}'",
        endpoint_id.as_str().unwrap(),
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(database).await.unwrap();
    (path, endpoint_id, order)
}

/// The whole list, read in pages of this size.
async fn listed(shop: &Shop, limit: usize) -> Vec<Value> {
    let (mut path, mut listed) = (format!("/v1/attention?limit={limit}"), Vec::new());
    loop {
        let page = shop.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let items = page.json()["items"].as_array().unwrap().clone();
        assert!(items.len() <= limit, "{}", page.text);
        listed.extend(items);
        let Some(link) = page.header("link") else { return listed };
        link.trim_start_matches('<').split_once('>').unwrap().0.clone_into(&mut path);
    }
}

async fn kinds(shop: &Shop) -> Vec<String> {
    let listed = listed(shop, 100).await;
    listed.iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_waits_is_listed_with_what_to_do_and_the_longest_waiting_first(database: PgPool) {
    let eve = Shop::open(database.clone()).await.asked_by("eve", "operator");
    let (_path, endpoint, order) = one_of_each(&database, &eve).await;
    let all = listed(&eve, 100).await;
    for limit in 1..=4 {
        assert_eq!(listed(&eve, limit).await, all, "by pages of {limit}");
    }
    let [given_up, sink, stuck, mail] = all.as_slice() else {
        unreachable!("one of each kind: {all:?}")
    };
    let endpoint_id = endpoint.as_str().unwrap();
    assert_eq!(
        *given_up,
        json!({
            "kind": "webhook-endpoint", "endpoint_id": endpoint, "host": "erp.example.org",
            "why": "it did not answer in time", "since": ENDPOINT_SINCE,
            "advice": format!(
                "`ordersaga endpoint enable {endpoint_id}` once it takes messages again, or \
                 `ordersaga endpoint remove {endpoint_id}`"
            ),
        })
    );
    assert_eq!(
        *sink,
        json!({
            "kind": "sink", "sink": "kafka", "refused": 1, "why": "too large", "since": SINK_SINCE,
            "advice": "`ordersaga relay parked kafka` lists them; `ordersaga relay replay kafka \
                       --why WHY` once the cause is repaired, or `ordersaga relay skip kafka \
                       --order ORDER --why WHY`",
        })
    );
    assert_eq!((&stuck["kind"], &stuck["order_id"]), (&json!("order"), &json!(order)));
    assert_eq!(
        *mail,
        json!({
            "kind": "mail", "notification_id": 1, "template": "shipped", "channel": "mail",
            "order_id": order, "why": "the server does not take the recipient: 550 5.1.1",
            "since": MAIL_SINCE,
            "advice": "`ordersaga mail retry 1` once the cause is repaired, or `ordersaga mail skip \
                       1 --why WHY`",
        })
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_somebody_has_dealt_with_is_off_the_list(database: PgPool) {
    let eve = Shop::open(database.clone()).await.asked_by("eve", "operator");
    let (endpoint, _id, _order) = one_of_each(&database, &eve).await;
    assert_eq!(kinds(&eve).await, ["webhook-endpoint", "sink", "order", "mail"]);
    let enabled = eve.request("PATCH", &endpoint).json(&json!({ "state": "enabled" }));
    assert_eq!(send(enabled).await.status, 200);
    assert_eq!(kinds(&eve).await, ["sink", "order", "mail"]);
    let why = json!({ "why": "the broker is repaired" });
    let replayed = eve.post("/v1/relay/sinks/kafka/replay", &why).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    assert_eq!(kinds(&eve).await, ["order", "mail"]);
    let retried = eve.post("/v1/mail/1/retry", &json!({})).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    assert_eq!(kinds(&eve).await, ["order"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_alone_see_what_waits(database: PgPool) {
    let shop = Shop::open(database).await;
    for (role, status) in [("operator", 200), ("finance", 403), ("service", 403), ("customer", 403)]
    {
        let answer = shop.asked_by("eve", role).get("/v1/attention").await;
        assert_eq!(answer.status.as_u16(), status, "{role}");
    }
}
