//! An order is placed once, by a role that has no other right to it than to cancel it before its
//! launch.

use domain::{AddressId, Fingerprint, Order, Rejection, StepName};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{HEART, Shop, cancelled, fingerprint, not_open, order, refusal, sent_to};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::ReserveStock };

fn address() -> Value {
    json!({
        "name": "Ada Lovelace", "line1": "12 St James's Square", "line2": null,
        "city": "London", "postal_code": "SW1Y 4JH",
    })
}

fn with_address(order: Order) -> Order {
    sent_to(order, "GB", Some(AddressId::of(sqlx::types::Uuid::from_u128(7))))
}

/// The number of rows that placing has written: orders, events, messages, methods, launches,
/// addresses.
async fn written(shop: &Shop) -> Value {
    sqlx::query_scalar!(
        r#"
        select jsonb_build_array(
            (select count(*) from orders.orders),
            (select count(*) from orders.order_events),
            (select count(*) from outbox.messages),
            (select count(*) from payments.methods),
            (select count(*) from orders.launches),
            (select count(*) from customers.addresses)
        ) as "written!"
        "#
    )
    .fetch_one(&shop.owner)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_placed_with_all_that_was_agreed(db: PgPool) {
    let (shop, order) = (Shop::on(db), with_address(order(1)));
    let (is_new, recorded) = shop.places_as(&order, &fingerprint(&order), Some(address())).await;
    assert!(is_new);
    assert_eq!(recorded, fingerprint(&order).as_str());
    let row = sqlx::query_scalar!(r#"select to_jsonb(orders) as "row!" from orders.orders"#);
    let row = row.fetch_one(&shop.db).await.unwrap();
    assert_eq!(row["customer_id"], "17850");
    assert_eq!(row["status"], "processing");
    assert_eq!(row["payment_status"], "none");
    assert_eq!(row["fulfilment_status"], "none");
    assert_eq!(row["total"].to_string(), order.totals.total.amount().to_string());
    assert_eq!(row["lines"], serde_json::to_value(&order.lines).unwrap());
    assert_eq!(row["terms"], serde_json::to_value(order.terms).unwrap());
    assert_eq!(row["fingerprint"], fingerprint(&order).as_str());
    assert_eq!(row["version"], 1);
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
    assert!(shop.is_to_be_launched(&order).await);
    let kept = sqlx::query!(
        "select customer_id, name, city, country, method from customers.addresses, payments.methods"
    );
    let kept = kept.fetch_one(&shop.db).await.unwrap();
    assert_eq!((kept.customer_id, kept.name), ("17850".to_owned(), "Ada Lovelace".to_owned()));
    assert_eq!((kept.city, kept.country), ("London".to_owned(), "GB".to_owned()));
    assert_eq!(kept.method, "tok_visa");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_same_order_twice_is_one_and_the_second_learns_what_was_first(db: PgPool) {
    let (shop, order) = (Shop::on(db), with_address(order(1)));
    let first = fingerprint(&order);
    shop.places_as(&order, &first, Some(address())).await;
    let before = shop.row_of(&order).await;
    let another = Fingerprint::v1().field("order", "another").finish();
    let again = shop.places_as(&order, &another, Some(address())).await;
    assert_eq!(again, (false, first.as_str().to_owned()));
    assert_eq!(shop.row_of(&order).await, before);
    assert_eq!(written(&shop).await, json!([1, 1, 1, 1, 1, 1]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_two_that_place_the_same_order_at_once_one_is_first(db: PgPool) {
    let shop = Shop::on(db);
    for number in 1..=20 {
        let order = order(number);
        let one = Fingerprint::v1().field("order", "one").finish();
        let another = Fingerprint::v1().field("order", "another").finish();
        let (first, second) = futures::join!(
            shop.places_as(&order, &one, None),
            shop.places_as(&order, &another, None),
        );
        assert_ne!(first.0, second.0, "exactly one of them is new");
        assert_eq!(first.1, second.1);
        assert_eq!(first.1, if first.0 { one.as_str() } else { another.as_str() });
    }
    assert_eq!(written(&shop).await, json!([20, 20, 20, 20, 20, 0]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn two_orders_to_the_same_address_keep_it_once(db: PgPool) {
    let shop = Shop::on(db);
    for number in 1..=2 {
        let order = with_address(order(number));
        let (is_new, _) = shop.places_as(&order, &fingerprint(&order), Some(address())).await;
        assert!(is_new);
    }
    assert_eq!(written(&shop).await, json!([2, 2, 2, 2, 2, 1]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_launched_no_sooner_than_asked(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    let placed = sqlx::query!(
        r#"select is_new as "is_new!" from orders.place($1, 'v1:', $2, 'tok_visa', null, '1 h')"#,
        order.order_id.uuid(),
        serde_json::to_value(order.placed()).unwrap(),
    );
    placed.fetch_one(&shop.starter).await.unwrap();
    let later = sqlx::query!(
        r#"
        select not_before - updated_at = interval '1 hour' as "is_in_an_hour!",
            launches.placed_at = orders.placed_at as "is_as_old!"
        from orders.launches join orders.orders using (order_id)
        "#
    );
    let later = later.fetch_one(&shop.starter).await.unwrap();
    assert!(later.is_in_an_hour && later.is_as_old);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_cancelled_before_its_launch_never_begins(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    assert!(shop.cancels_before_launch(&order, "changed my mind").await);
    assert_eq!(shop.status_of(&order).await, "cancelled");
    assert!(!shop.is_to_be_launched(&order).await);
    assert_eq!(refusal(shop.reserves(&order).await), LATE);
    let ended = json!({ "status": "cancelled", "reason": "changed my mind" });
    assert_eq!(not_open(shop.charges(&order).await), Some(ended));
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
    assert!(!shop.cancels_before_launch(&order, "again").await);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "order.cancelled"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_first_step_was_taken_is_not_cancelled_before_its_launch(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves(&order).await.unwrap();
    let before = shop.row_of(&order).await;
    assert!(shop.is_to_be_launched(&order).await, "the launcher has not taken the row away yet");
    assert!(!shop.cancels_before_launch(&order, "too late").await);
    assert_eq!(shop.row_of(&order).await, before);
    assert!(shop.is_to_be_launched(&order).await);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "stock.reserved"]);
    shop.charges(&order).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_launched_is_not_cancelled_before_its_launch(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    sqlx::query!("delete from orders.launches").execute(&shop.starter).await.unwrap();
    assert!(!shop.cancels_before_launch(&order, "too late").await);
    assert!(!shop.cancels_before_launch(&crate::support::order(2), "not placed").await);
    assert_eq!(shop.status_of(&order).await, "processing");
    shop.reserves(&order).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_has_ended_is_not_cancelled_although_it_waits_to_be_launched(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.ends(&order, cancelled("by mistake")).await;
    sqlx::query!(
        "insert into orders.launches (order_id, placed_at, is_recovery) values ($1, now(), true)",
        order.order_id.uuid(),
    )
    .execute(&shop.db)
    .await
    .unwrap();
    let before = shop.row_of(&order).await;
    assert!(!shop.cancels_before_launch(&order, "too late").await);
    assert_eq!(shop.row_of(&order).await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_launched_again_is_not_cancelled_by_its_record_alone(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    sqlx::query!("update orders.launches set is_recovery = true").execute(&shop.db).await.unwrap();
    assert!(!shop.cancels_before_launch(&order, "a lost run may have shipped it").await);
    assert_eq!(shop.status_of(&order).await, "processing");
    assert!(shop.is_to_be_launched(&order).await);
    shop.reserves(&order).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_a_cancel_and_a_first_step_at_once_exactly_one_takes_effect(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let mut held = Vec::new();
    for number in 1..=12 {
        let order = order(number);
        shop.places(&order).await;
        let (cancelled, reserved) = futures::join!(
            shop.cancels_before_launch(&order, "changed my mind"),
            shop.reserves(&order),
        );
        assert_eq!(cancelled, reserved.is_err());
        match reserved {
            Ok(()) => held.push(6),
            Err(_) => assert_eq!(shop.status_of(&order).await, "cancelled"),
        }
    }
    let (_, reserved, _, _) = shop.pieces_of(HEART).await;
    assert_eq!(reserved, held.iter().sum::<i64>());
}

/// Both insert the step's key first and then lock the order's row: the other way is a deadlock.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_and_a_first_step_lock_in_the_same_order(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    let mut step = shop.db.begin().await.unwrap();
    sqlx::query!(
        "select orders.take_step(order_id, 'reserve-stock', record_version, '{}')
         from orders.orders where order_id = $1",
        order.order_id.uuid(),
    )
    .fetch_one(&mut *step)
    .await
    .unwrap();
    let ((), cancelled) = futures::join!(
        async {
            shop.until_waiting(1).await;
            sqlx::query!(
                "select order_id from orders.orders where order_id = $1 for no key update",
                order.order_id.uuid(),
            )
            .fetch_one(&mut *step)
            .await
            .unwrap();
            step.commit().await.unwrap();
        },
        shop.cancels_before_launch(&order, "changed my mind"),
    );
    assert!(!cancelled, "the step has taken effect");
    assert!(shop.is_to_be_launched(&order).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_launched_while_it_is_cancelled_goes_on(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    let mut launch = shop.starter.begin().await.unwrap();
    sqlx::query!("delete from orders.launches").execute(&mut *launch).await.unwrap();
    let ((), cancelled) = futures::join!(
        async {
            shop.until_waiting(1).await;
            launch.commit().await.unwrap();
        },
        shop.cancels_before_launch(&order, "changed my mind"),
    );
    assert!(!cancelled);
    assert_eq!(shop.status_of(&order).await, "processing");
    // The cancel has left no key of the first step behind.
    shop.reserves(&order).await.unwrap();
}

/// An order to be placed together with others, and its address.
struct Given {
    order: Order,
    fingerprint: String,
    address: Option<Value>,
}

impl Given {
    fn of(order: Order) -> Self {
        let fingerprint = fingerprint(&order).as_str().to_owned();
        let address = order.ship_to.address_id.map(|_id| address());
        Self { order, fingerprint, address }
    }
}

/// Places orders in one statement; returns for each whether it is new, and the fingerprint on
/// record.
async fn places_together(db: &PgPool, given: &[Given]) -> Result<Vec<(bool, String)>, sqlx::Error> {
    let placed = |it: &Given| serde_json::to_value(it.order.placed()).unwrap();
    let ids: Vec<_> = given.iter().map(|it| it.order.order_id.uuid()).collect();
    let fingerprints: Vec<_> = given.iter().map(|it| it.fingerprint.clone()).collect();
    let events: Vec<_> = given.iter().map(placed).collect();
    let methods = vec!["tok_visa".to_owned(); given.len()];
    let addresses: Vec<_> = given.iter().map(|it| it.address.clone()).collect();
    let rows = sqlx::query!(
        r#"
        select is_new as "is_new!", recorded_fingerprint as "fingerprint!"
        from orders.place_many($1, $2, $3, $4, $5, array_fill(interval '1 h', array[$6::integer]))
        order by number
        "#,
        &ids,
        &fingerprints,
        &events,
        &methods,
        addresses.as_slice() as _,
        i32::try_from(given.len()).unwrap(),
    );
    let rows = rows.fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.is_new, row.fingerprint)).collect())
}

/// Everything that placing has written, except timestamps and global positions.
async fn rows(shop: &Shop) -> Value {
    sqlx::query_scalar!(
        r#"
        with tables (name, rows) as (
            select 'orders', jsonb_agg(to_jsonb(o) - 'updated_at' order by order_id)
            from orders.orders as o
            union all
            select 'events', jsonb_agg(to_jsonb(e) - 'event_id' - 'occurred_at' order by order_id)
            from orders.order_events as e
            union all
            select 'messages', jsonb_agg(
                to_jsonb(m) - 'position' - 'id' - 'message_id' - 'created_at' - 'written_by'
                order by aggregateid
            ) from outbox.messages as m
            union all
            select 'methods', jsonb_agg(to_jsonb(p) - 'created_at' order by order_id)
            from payments.methods as p
            union all
            select 'launches', jsonb_agg(to_jsonb(l) - 'not_before' order by order_id)
            from orders.launches as l
            union all
            select 'addresses', jsonb_agg(to_jsonb(a) - 'created_at' order by address_id)
            from customers.addresses as a
        )
        select jsonb_object_agg(name, rows) as "rows!" from tables
        "#
    )
    .fetch_one(&shop.owner)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_that_are_placed_together_are_on_record_as_if_each_had_come_alone(db: PgPool) {
    let shop = Shop::on(db);
    let numbers = [7, 3, 5, 1, 9, 2];
    let given = || {
        numbers.map(|number| {
            let order = order(number);
            Given::of(if number.is_multiple_of(2) { order } else { with_address(order) })
        })
    };
    let together = places_together(&shop.starter, &given()).await.unwrap();
    let expected = given().map(|it| (true, it.fingerprint));
    assert_eq!(together, expected);
    let written_together = rows(&shop).await;
    assert_eq!(written(&shop).await, json!([6, 6, 6, 6, 6, 1]));
    // An order's row agrees with its event.
    let different = sqlx::query_scalar!(
        r#"select count(*) as "n!" from orders.orders, orders.differences(order_id)"#
    );
    assert_eq!(different.fetch_one(&shop.owner).await.unwrap(), 0);
    // Messages are in the order in which the orders were given.
    let told = sqlx::query_scalar!("select aggregateid from outbox.messages order by position");
    let told = told.fetch_all(&shop.owner).await.unwrap();
    assert_eq!(told, given().map(|it| it.order.order_id.to_string()));

    sqlx::raw_sql(
        "truncate orders.orders, outbox.messages, payments.methods, orders.launches,
             customers.addresses cascade;
         alter table orders.order_events disable trigger order_events_append_only;
         delete from orders.order_events",
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    for one in given() {
        let (is_new, _) = shop.places_as(&one.order, &fingerprint(&one.order), one.address).await;
        assert!(is_new);
    }
    assert_eq!(rows(&shop).await, written_together);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_orders_that_are_placed_together_each_learns_what_was_first(db: PgPool) {
    let shop = Shop::on(db);
    shop.places(&order(1)).await;
    let other = |order: Order| Given { fingerprint: "v1:other".to_owned(), ..Given::of(order) };
    let given = [
        other(order(2)),
        Given::of(order(1)),
        Given::of(order(2)),
        other(order(1)),
        Given::of(order(3)),
    ];
    let placed = places_together(&shop.starter, &given).await.unwrap();
    let of = |number| fingerprint(&order(number)).as_str().to_owned();
    let expected = [
        (true, "v1:other".to_owned()),
        (false, of(1)),
        (false, "v1:other".to_owned()),
        (false, of(1)),
        (true, of(3)),
    ];
    assert_eq!(placed, expected);
    assert_eq!(written(&shop).await, json!([3, 3, 3, 3, 3, 0]));
    assert_eq!(places_together(&shop.starter, &[]).await.unwrap(), []);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_orders_that_are_placed_together_all_are_on_record_or_none(db: PgPool) {
    let shop = Shop::on(db);
    let mut bad = Given::of(with_address(order(2)));
    bad.address = Some(json!({ "line1": "nobody lives there" }));
    let given = [Given::of(with_address(order(1))), bad, Given::of(order(3))];
    let refused = places_together(&shop.starter, &given).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "23502");
    assert_eq!(written(&shop).await, json!([0, 0, 0, 0, 0, 0]));
}

/// Statements that list the same orders and addresses in a different order.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn statements_that_place_the_same_orders_do_not_wait_for_each_other_in_a_circle(db: PgPool) {
    let shop = Shop::on(db);
    for round in 0..20_u32 {
        let first = round.saturating_mul(10);
        let numbers = (first..first.saturating_add(10)).collect::<Vec<_>>();
        let given = |number: &u32| {
            let address_id = AddressId::of(sqlx::types::Uuid::from_u128(u128::from(
                1_000_u32.saturating_sub(*number),
            )));
            Given::of(sent_to(order(*number), "GB", Some(address_id)))
        };
        let forth: Vec<_> = numbers.iter().map(given).collect();
        let back: Vec<_> = numbers.iter().rev().map(given).collect();
        let (forth, back) = futures::join!(
            places_together(&shop.starter, &forth),
            places_together(&shop.starter, &back),
        );
        let back = back.unwrap();
        let new = forth.unwrap().into_iter().zip(back.into_iter().rev());
        assert!(new.into_iter().all(|(one, other)| one.0 != other.0 && one.1 == other.1));
    }
}
