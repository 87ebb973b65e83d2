//! The books are closed with the sums of their entries, whatever runs concurrently.

use runtime::schema::MIGRATIONS;
use sqlx::error::DatabaseError;
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::support::{Shop, order};

/// A balanced transaction with a given id, instead of one from the sequence.
const BOOKED_AS: &str = "
    with booked as (
        insert into ledger.transactions (transaction_id, key) overriding system value
        values (NUMBER, 'by number') returning transaction_id
    )
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select transaction_id, line, account, side, 5, 'GBP' from booked, (values
        (1, 'sales', 'credit'), (2, 'refunds', 'debit')) as entry (line, account, side)";

async fn books(connection: &mut PgConnection, key: &str) {
    sqlx::query!(
        "with booked as (
             insert into ledger.transactions (key) values ($1) returning transaction_id
         )
         insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         select transaction_id, line, account, side, 5, 'GBP' from booked, (values
             (1, 'sales', 'credit'), (2, 'refunds', 'debit')) as entry (line, account, side)",
        key,
    )
    .execute(connection)
    .await
    .unwrap();
}

/// Closes the books; returns by how many transactions.
async fn closes(db: &PgPool, at_most: i32) -> i64 {
    loop {
        let closing = sqlx::query_scalar!(r#"select ledger.close_books($1) as "closed!""#, at_most);
        match closing.fetch_one(db).await {
            Ok(closed) => return closed,
            // It waits a tenth of a second for another one that closes the books at the same time.
            Err(error) => {
                let code = error.as_database_error().and_then(DatabaseError::code);
                assert_eq!(code.as_deref(), Some("55P03"), "{error}");
            }
        }
    }
}

async fn closed_through(db: &PgPool) -> Option<i64> {
    let last = sqlx::query_scalar!("select max(through) from ledger.closings");
    last.fetch_one(db).await.unwrap()
}

/// Whether the sums of the last closing are those of all entries up to it.
async fn is_as_booked(db: &PgPool) -> bool {
    let compared = sqlx::query_scalar!(
        r#"
        with closed as (
            select account, currency, debits, credits
            from ledger.closings, unnest(sums)
            where through = (select max(through) from ledger.closings)
        ), booked as (
            select account, currency,
                coalesce(sum(amount) filter (where side = 'debit'), 0) as debits,
                coalesce(sum(amount) filter (where side = 'credit'), 0) as credits
            from ledger.entries
            where transaction_id <= (select max(through) from ledger.closings)
            group by account, currency
        )
        select not exists (
            (select * from closed except all select * from booked)
            union all
            (select * from booked except all select * from closed)
        ) and exists (select from closed) as "is_as_booked!"
        "#
    );
    compared.fetch_one(db).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_books_are_closed_step_by_step_with_what_is_booked(db: PgPool) {
    let shop = Shop::on(db);
    assert_eq!(closes(&shop.db, 10).await, 0);
    assert_eq!(closed_through(&shop.db).await, None);
    for number in 1..=3 {
        let order = order(number);
        shop.places(&order).await;
        shop.posts(&order).await.unwrap();
    }
    shop.reverses(&order(2)).await.unwrap();
    for (closed, through) in [(3, 3), (1, 4), (0, 4)] {
        assert_eq!(closes(&shop.db, 3).await, closed);
        assert_eq!(closed_through(&shop.db).await, Some(through));
        assert!(is_as_booked(&shop.db).await);
    }
    shop.reverses(&order(1)).await.unwrap();
    let (one, other) = futures::join!(closes(&shop.db, 10), closes(&shop.db, 10));
    assert!(one.max(other) == 1, "{one} {other}");
    assert!(is_as_booked(&shop.db).await);
    let kept = sqlx::query_scalar!(r#"select count(*) as "kept!" from ledger.closings"#);
    assert_eq!(kept.fetch_one(&shop.db).await.unwrap(), 1);
}

/// A lower id that is committed after a higher one is in the next closing, and in none before.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn while_a_booking_is_under_way_the_books_stay_open(db: PgPool) {
    let mut slow = db.begin().await.unwrap();
    books(&mut slow, "slow").await;
    let mut quick = db.acquire().await.unwrap();
    books(&mut quick, "quick").await;
    assert_eq!(closes(&db, 10).await, 0);
    assert_eq!(closed_through(&db).await, None);
    slow.commit().await.unwrap();
    assert_eq!(closes(&db, 10).await, 2);
    assert!(is_as_booked(&db).await);

    // A rollback leaves a gap.
    let mut given_up = db.begin().await.unwrap();
    books(&mut given_up, "given up").await;
    books(&mut quick, "after it").await;
    given_up.rollback().await.unwrap();
    assert_eq!(closes(&db, 10).await, 2);
    assert_eq!(closed_through(&db).await, Some(4));
    assert!(is_as_booked(&db).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_would_be_booked_in_closed_books_is_refused(db: PgPool) {
    let (mut early, mut other) = (db.acquire().await.unwrap(), db.acquire().await.unwrap());
    let drawn = sqlx::query_scalar!(
        r#"select nextval(pg_get_serial_sequence('ledger.transactions', 'transaction_id')) as "drawn!""#
    );
    let drawn = drawn.fetch_one(&mut *early).await.unwrap();
    // Its snapshot is older than the closing.
    sqlx::raw_sql("begin isolation level repeatable read; select from ledger.closings")
        .execute(&mut *early)
        .await
        .unwrap();
    books(&mut other, "later").await;
    assert_eq!(closes(&db, 10).await, 2);
    let late = BOOKED_AS.replace("NUMBER", &drawn.to_string());
    for connection in [&mut *early, &mut *other] {
        let booking = sqlx::raw_sql(sqlx::AssertSqlSafe(late.clone()));
        let refused = booking.execute(connection).await.unwrap_err();
        let constraint = refused.as_database_error().unwrap().constraint();
        assert_eq!(constraint, Some("transactions_after_closing"), "{refused}");
    }
    sqlx::raw_sql("rollback").execute(&mut *early).await.unwrap();
    let below_all = BOOKED_AS.replace("NUMBER", "-1");
    let booking = sqlx::raw_sql(sqlx::AssertSqlSafe(below_all)).execute(&mut *early).await;
    assert!(booking.is_err(), "a number below 1 is in no balance");
    books(&mut early, "now").await;
    assert_eq!(closes(&db, 10).await, 1);
    assert!(is_as_booked(&db).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_books_are_closed_with_nothing_else(db: PgPool) {
    let mut connection = db.acquire().await.unwrap();
    books(&mut connection, "one").await;
    assert_eq!(closes(&db, 10).await, 1);
    books(&mut connection, "two").await;
    for (attempt, refusal) in [
        ("update ledger.closings set sums = '{}'", "append-only"),
        ("truncate ledger.closings", "append-only"),
        ("insert into ledger.closings (through) values (2)", "not all are booked"),
        ("insert into ledger.closings (through) values (0)", "not all are booked"),
        ("begin isolation level repeatable read; select ledger.close_books(10)", "read committed"),
    ] {
        let mut connection = PgConnection::connect_with(&db.connect_options()).await.unwrap();
        let refused = sqlx::raw_sql(attempt).execute(&mut connection).await.unwrap_err();
        assert!(refused.to_string().contains(refusal), "{attempt}: {refused}");
    }
    // Given sums are ignored; and a closing can be deleted.
    assert_eq!(closes(&db, 10).await, 1);
    sqlx::raw_sql(
        "delete from ledger.closings;
         insert into ledger.closings (through, sums) values (1, '{\"(sales,GBP,1000,0)\"}')",
    )
    .execute(&db)
    .await
    .unwrap();
    assert!(is_as_booked(&db).await);
    assert_eq!(closes(&db, 10).await, 1);
    assert!(is_as_booked(&db).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn books_that_do_not_balance_stay_open(db: PgPool) {
    let mut connection = db.acquire().await.unwrap();
    books(&mut connection, "forged").await;
    sqlx::raw_sql(
        "alter table ledger.entries disable trigger user;
         insert into ledger.entries values (1, 3, 'sales', 'credit', 0.01, 'GBP')",
    )
    .execute(&db)
    .await
    .unwrap();
    let closing = sqlx::raw_sql("select ledger.close_books(10)").execute(&db).await.unwrap_err();
    assert!(closing.to_string().contains("transaction 1 does not balance"), "{closing}");
    assert_eq!(closed_through(&db).await, None);
}
