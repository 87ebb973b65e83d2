//! Where provider and shop do not say the same is shown to whoever has to settle it.

use expect_test::expect;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;

use crate::shop::Shop;

/// A difference that stands open, one of a payout, and one that is gone.
async fn differ(database: &PgPool) {
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
              "advice": "find out at the provider whose payment it is; if no order is to be paid by it, refund it there",
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

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_and_finance_see_differences_and_nobody_else_does(database: PgPool) {
    let shop = Shop::open(database).await;
    for (role, status) in [("operator", 200), ("finance", 200), ("service", 403), ("customer", 403)]
    {
        let answer = shop.asked_by("eve", role).get("/v1/reconciliation").await;
        assert_eq!(answer.status.as_u16(), status, "{role}");
    }
}
