//! Differences between provider and shop are shown to whoever has to settle them.

use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;

use crate::shop::Shop;

/// An open difference, one of a payout, and one that no longer exists.
pub(crate) async fn differ(database: &PgPool) {
    sqlx::raw_sql(
        "insert into finance.runs
             (request, covers_from, covers_to, state, started_at, finished_at)
         values ('first', '2026-01-01', '2026-01-31', 'finished', '2026-02-01', '2026-02-01');
         insert into finance.differences (kind, subject, order_id, at_provider,
             at_provider_currency, in_shop, in_shop_currency, opened_at, opened_in, seen_in,
             closed_at, closed_in)
         select kind, subject, order_id::uuid, there, 'GBP', here,
             case when here is not null then 'GBP' end, '2026-02-01', run_id, run_id,
             closed_at::timestamptz, case when closed_at is not null then run_id end
         from finance.runs, (values
             (1, 'not-in-shop', 'pi_1a', null, 24.30, null, null),
             (2, 'charged-twice', 'pi_2a', null, 10.00, 10.00, '2026-02-02'),
             (3, 'payout-differs', 'po_1a', null, -15.00, 0.00, null)
         ) as found (number, kind, subject, order_id, there, here, closed_at)
         order by number",
    )
    .execute(database)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn differences_that_stand_open_are_listed_with_what_to_do(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    differ(&database).await;
    let finance = shop.asked_by("books", "finance");
    let first = finance.get("/v1/reconciliation?limit=1").await;
    expect![[r#"
        200 OK
        {
          "items": [
            {
              "advice": "find out at the provider whose payment it is; if no order is to be paid by it, refund it there; the next comparison closes what is gone, and `ordersaga differences settle 1` what was settled in another way",
              "at_provider": {
                "amount": "24.30",
                "currency": "GBP"
              },
              "difference_id": 1,
              "kind": "not-in-shop",
              "seen_at": "2026-02-01T00:00:00Z",
              "since": "2026-02-01T00:00:00Z",
              "subject": "pi_1a"
            }
          ],
          "next_cursor": "1"
        }
    "#]]
    .assert_eq(&first.told());
    let link = first.header("link").unwrap().trim_start_matches('<').split_once('>').unwrap().0;
    let rest = finance.get(link).await.json();
    let subjects: Vec<_> =
        rest["items"].as_array().unwrap().iter().map(|one| &one["subject"]).collect();
    assert_eq!(subjects, ["po_1a"]);
    assert_eq!(rest["items"][0]["at_provider"]["amount"], "-15.00");
}

/// The numbers of the listed differences.
async fn listed(shop: &Shop, path: &str) -> Vec<i64> {
    let page = shop.get(path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let items = page.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["difference_id"].as_i64().unwrap()).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_difference_is_settled_once_and_it_is_on_record_who_did(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    differ(&database).await;
    let books = shop.asked_by("books", "finance");
    let why = json!({ "why": "a payment of our other shop" });
    let settled = books.post("/v1/reconciliation/1/settle", &why).await;
    assert_eq!(settled.status, 200, "{}", settled.text);
    let mut told = settled.json();
    let at = told.as_object_mut().unwrap().remove("settled_at").unwrap();
    assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
    assert_eq!(
        (&told["difference_id"], &told["settled_by"], &told["settled_why"]),
        (&json!(1), &json!("books"), &why["why"])
    );
    assert_eq!(listed(&books, "/v1/reconciliation").await, [3]);
    assert_eq!(listed(&books, "/v1/reconciliation?settled=true").await, [1]);
    // Already settled, no longer existing, never existing, and not a number.
    let eve = shop.asked_by("eve", "operator");
    for id in ["1", "2", "99", "first"] {
        let refused = eve.post(&format!("/v1/reconciliation/{id}/settle"), &why).await;
        assert_eq!(refused.problem(), "difference-not-found", "{id}");
    }
    let settled = sqlx::query_scalar!(
        "select difference_id from finance.differences where settled_at is not null"
    );
    assert_eq!(settled.fetch_all(&database).await.unwrap(), [1]);
    let nameless = eve.post("/v1/reconciliation/3/settle", &json!({ "why": " " })).await;
    assert_eq!(nameless.json()["errors"][0]["pointer"], "/why", "{}", nameless.text);
    for role in ["service", "customer"] {
        let refused = shop.asked_by("eve", role).post("/v1/reconciliation/3/settle", &why).await;
        assert_eq!(refused.problem(), "insufficient-scope", "{role}");
    }
    assert_eq!(eve.post("/v1/reconciliation/3/settle", &why).await.status, 200);
    assert_eq!(listed(&eve, "/v1/reconciliation").await, [0_i64; 0]);
    let wrong = eve.get("/v1/reconciliation?settled=perhaps").await;
    assert_eq!(wrong.problem(), "malformed-request");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_and_finance_see_differences_and_nobody_else_does(database: PgPool) {
    let shop = Shop::open(database).await;
    for (role, status) in [("operator", 200), ("finance", 200), ("service", 403), ("customer", 403)]
    {
        let answer = shop.asked_by("eve", role).get("/v1/reconciliation").await;
        assert_eq!(answer.status.as_u16(), status, "{role}");
    }
}
