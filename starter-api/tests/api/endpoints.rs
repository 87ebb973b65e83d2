//! Webhook endpoints: only operators manage them, and no secret is shown twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::shop::{Answer, Shop, send};

const ENDPOINTS: &str = "/v1/webhook-endpoints";

/// A literal public IP address, so that no name has to be resolved.
const URL: &str = "https://1.1.1.1/events";

/// Creates an endpoint under a key.
async fn create(shop: &Shop, key: &str, body: &Value) -> Answer {
    send(shop.request("POST", ENDPOINTS).header("Idempotency-Key", key).json(body)).await
}

/// Creates an endpoint for all events; its path and the response.
pub(crate) async fn created(shop: &Shop, key: &str) -> (String, Value) {
    let answer = create(shop, key, &json!({ "url": URL })).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    (answer.header("location").unwrap().to_owned(), answer.json())
}

/// The decoded bytes of a secret.
fn key_of(answer: &Value) -> Vec<u8> {
    let secret = answer["secret"].as_str().unwrap();
    STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap()
}

/// The valid secrets on record, newest first.
async fn keys(database: &PgPool) -> Vec<Vec<u8>> {
    let keys = sqlx::query_scalar!(
        "select key from webhooks.secrets
         where expires_at is null or expires_at > now() order by secret_id desc"
    );
    keys.fetch_all(database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_sink_of_an_endpoint_goes_with_its_endpoint_alone(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    let (path, told) = created(&shop, "first").await;
    let sink = format!("/v1/relay/sinks/webhook:{}/remove", told["endpoint_id"].as_str().unwrap());
    let why = json!({ "why": "nobody reads for it" });
    let refused = shop.post(&sink, &why).await;
    assert_eq!(refused.problem(), "sink-in-use");
    assert!(refused.text.contains("Remove the endpoint instead"), "{}", refused.text);
    assert_eq!(shop.get(&path).await.status, 200);
    // A sink without its endpoint can be removed.
    sqlx::query!("delete from webhooks.endpoints").execute(&database).await.unwrap();
    assert_eq!(shop.post(&sink, &why).await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_is_created_once_and_its_secret_shown_once(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    let body = json!({
        "url": URL, "description": "the ERP", "events": ["order.shipped", "order.placed"],
    });
    let first = create(&shop, "first", &body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let told = first.json();
    assert_eq!(keys(&database).await, [key_of(&told)]);
    assert_eq!(
        (&told["url"], &told["events"], &told["state"], &told["created_by"]),
        (&json!(URL), &json!(["order.placed", "order.shipped"]), &json!("enabled"), &json!("eve"))
    );
    let sink = sqlx::query!(
        r#"select sink, count(*) as "shards!" from outbox.progress
           where seen::text <> '3:3:' group by sink"#
    );
    let sink = sink.fetch_one(&database).await.unwrap();
    assert_eq!(sink.sink, format!("webhook:{}", told["endpoint_id"].as_str().unwrap()));
    assert_eq!(sink.shards, 8);

    let again = create(&shop, "first", &body).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, Some("true")));
    let mut without_secret = told.clone();
    without_secret.as_object_mut().unwrap().remove("secret");
    assert_eq!(again.json(), without_secret);
    let shown = shop.get(first.header("location").unwrap()).await;
    assert_eq!(shown.json(), without_secret);
    assert_eq!(shop.get(ENDPOINTS).await.json(), json!({ "items": [without_secret] }));
    assert_eq!(keys(&database).await, [key_of(&told)]);

    let other = create(&shop, "first", &json!({ "url": URL })).await;
    assert_eq!(other.problem(), "idempotency-key-reused");
    let no_key = shop.post(ENDPOINTS, &body).await;
    assert_eq!(no_key.problem(), "malformed-request");
    // Idempotency keys belong to their caller.
    let adas = create(&shop.asked_by("ada", "operator"), "first", &body).await;
    assert_ne!(adas.json()["endpoint_id"], told["endpoint_id"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_cannot_be_told_is_refused_where_it_is_created(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    for url in [
        "http://1.1.1.1/events",
        "https://eve:secret@1.1.1.1/events",
        "https://127.0.0.1/events",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/events",
        "erp.example.org",
    ] {
        let refused = create(&shop, url, &json!({ "url": url })).await;
        assert_eq!(refused.problem(), "invalid-request", "{url}");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/url", "{url}");
        assert!(!refused.text.contains("secret"), "{}", refused.text);
    }
    let unknown = json!({ "url": URL, "events": ["order.teleported"] });
    let unknown = create(&shop, "unknown", &unknown).await;
    assert_eq!(unknown.problem(), "malformed-request");
    assert_eq!(unknown.json()["errors"][0]["pointer"], "/events/0");
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from webhooks.endpoints"#);
    assert_eq!(count.fetch_one(&database).await.unwrap(), 0);

    sqlx::query!(
        "insert into webhooks.endpoints (endpoint_id, url, fingerprint, created_by)
         select gen_random_uuid(), 'https://1.1.1.1/', 'v1', 'eve' from generate_series(1, 100)"
    )
    .execute(&database)
    .await
    .unwrap();
    let one_more = create(&shop, "one more", &json!({ "url": URL })).await;
    assert_eq!(one_more.problem(), "malformed-request", "a key has no spaces");
    let one_more = create(&shop, "one-more", &json!({ "url": URL })).await;
    assert_eq!(one_more.problem(), "too-many-endpoints");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_secret_is_rotated_and_the_one_that_the_receiver_has_counts_on(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (path, first) = created(&shop, "first").await;
    let path = format!("{path}/rotate-secret");
    let rotate = async |body: &Value| {
        let answer = shop.post(&path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let lost = rotate(&json!({})).await;
    let second = rotate(&json!({ "overlap_seconds": 60 })).await;
    assert_eq!(keys(&database).await, [key_of(&second), key_of(&first)]);
    assert_ne!(key_of(&lost), key_of(&second));
    let secrets = second["secrets"].as_array().unwrap();
    let expire: Vec<_> = secrets.iter().map(|one| one.get("expires_at").is_some()).collect();
    assert_eq!(expire, [false, true]);
    // The secret may have leaked.
    let third = rotate(&json!({ "overlap_seconds": 0 })).await;
    assert_eq!(keys(&database).await, [key_of(&third)]);
    for wrong in [json!(604_801), json!(-1), json!(1.5)] {
        let refused = shop.post(&path, &json!({ "overlap_seconds": wrong })).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], "/overlap_seconds", "{}", refused.text);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_is_changed_disabled_and_removed(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    let (path, told) = created(&shop, "first").await;
    let patch = async |body: &Value| send(shop.request("PATCH", &path).json(body)).await;
    let changed = patch(&json!({ "url": "https://1.1.1.1/v2", "events": ["order.placed"] })).await;
    assert_eq!(changed.json()["url"], "https://1.1.1.1/v2");
    assert_eq!(changed.json()["events"], json!(["order.placed"]));
    let inside = patch(&json!({ "url": "https://10.0.0.1/" })).await;
    assert_eq!(inside.json()["errors"][0]["pointer"], "/url", "{}", inside.text);

    let disabled = patch(&json!({ "state": "disabled" })).await.json();
    assert_eq!(
        (&disabled["state"], &disabled["disabled"]["by"]),
        (&json!("disabled"), &json!("eve"))
    );
    assert_eq!(disabled["disabled"]["because"], "by-operator");
    for what in ["test", "redeliver"] {
        let body = json!({ "message_id": "a:1" });
        let refused = shop.post(&format!("{path}/{what}"), &body).await;
        assert_eq!(refused.problem(), "endpoint-disabled", "{what}");
    }
    let listed = async |state: &str| {
        let page = shop.get(&format!("{ENDPOINTS}?state={state}")).await.json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!((listed("disabled").await, listed("enabled").await), (1, 0));
    let enabled = patch(&json!({ "state": "enabled", "events": [] })).await.json();
    assert_eq!((&enabled["state"], &enabled["events"]), (&json!("enabled"), &json!([])));

    let removed = send(shop.request("DELETE", &path)).await;
    assert_eq!(removed.json()["endpoint_id"], told["endpoint_id"]);
    let left = sqlx::query_scalar!(
        r#"select (select count(*) from webhooks.secrets) + (select count(*) from outbox.sinks)
            as "left!""#
    );
    assert_eq!(left.fetch_one(&database).await.unwrap(), 0);
    for gone in [&*path, "/v1/webhook-endpoints/none"] {
        assert_eq!(shop.get(gone).await.problem(), "endpoint-not-found", "{gone}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_see_what_came_of_messages_and_have_them_sent_once_more(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let placed = shop.post("/v1/orders", &crate::shop::order("17850")).await;
    let order_id = placed.json()["order_id"].as_str().unwrap().to_owned();
    let (path, _told) = created(&shop, "first").await;
    sqlx::raw_sql(
        "insert into webhooks.deliveries
             (endpoint_id, message_id, type, attempt, attempted_at, duration_ms, status, outcome,
              failure)
         select endpoint_id, id, 't', attempt, now(), 5, status, outcome, failure
         from webhooks.endpoints, (values
             ('a:1', 1, null, 'unavailable', 'it did not answer in time'),
             ('a:1', 2, 204, 'delivered', null), ('b:1', 1, 204, 'delivered', null)
         ) as tried (id, attempt, status, outcome, failure)",
    )
    .execute(&database)
    .await
    .unwrap();
    let attempts = async |query: &str| {
        let page = shop.get(&format!("{path}/deliveries{query}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let items = page.json()["items"].as_array().unwrap().clone();
        let ids = items.iter().map(|one| format!("{} {}", one["message_id"], one["attempt"]));
        (ids.collect::<Vec<_>>(), page.header("link").map(str::to_owned))
    };
    let (first, link) = attempts("?limit=2").await;
    assert_eq!(first, ["\"b:1\" 1", "\"a:1\" 2"]);
    let rest = link.unwrap().split_once('?').unwrap().1.split_once('>').unwrap().0.to_owned();
    assert_eq!(attempts(&format!("?{rest}")).await.0, ["\"a:1\" 1"]);
    assert_eq!(attempts("?message_id=b:1").await.0, ["\"b:1\" 1"]);

    let redeliver = async |body: Value| shop.post(&format!("{path}/redeliver"), &body).await;
    for body in [
        json!({ "message_id": format!("{order_id}:1") }),
        json!({ "order_id": order_id }),
        json!({ "since": "2020-01-01T00:00:00Z" }),
    ] {
        let answer = redeliver(body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (202, json!({ "messages": 1 })),
            "{body}"
        );
    }
    let answer = redeliver(json!({ "order_id": order_id, "before": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(answer.json(), json!({ "messages": 0 }));
    for body in [json!({}), json!({ "before": "2020-01-01T00:00:00Z" }), json!({ "order_id": "x" })]
    {
        assert_eq!(redeliver(body.clone()).await.problem(), "invalid-request", "{body}");
    }
    let tried = shop.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!(tried.status, 202, "{}", tried.text);
    let asked = sqlx::query!("select position, requested_by from webhooks.sends order by send_id");
    let asked = asked.fetch_all(&database).await.unwrap();
    let asked: Vec<_> =
        asked.iter().map(|row| (row.position.is_some(), &*row.requested_by)).collect();
    assert_eq!(asked, [(true, "staff"), (false, "staff")]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_alone_say_who_is_told(database: PgPool) {
    let shop = Shop::open(database).await;
    for (role, status) in [("operator", 200), ("finance", 403), ("service", 403), ("customer", 403)]
    {
        let answer = shop.asked_by("eve", role).get(ENDPOINTS).await;
        assert_eq!(answer.status.as_u16(), status, "{role}");
    }
}
