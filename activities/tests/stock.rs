//! The warehouse neither oversells nor loses goods.

use std::time::Duration;

use activities::stock::ArticleQueues;
use activities::{ActivityFault, stock};
use domain::{Order, Rejection, Screening, StepName, Terms};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;

use crate::support::{BABUSHKA, HEART, Shop, TTL, breakage, order, order_of, refusal, sku};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::ReserveStock };

#[sqlx::test(migrator = "MIGRATIONS")]
async fn reserving_sets_every_line_aside(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.pieces_of(BABUSHKA).await, (98, 2, 0, 100));
    assert_eq!(shop.fulfilment_of(&order).await, "reserved");
    assert_eq!(shop.events_of(&order).await, ["order.placed", "stock.reserved"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn reserving_twice_is_reserving_once(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    let (first, second) = futures::join!(shop.reserves(&order), shop.reserves(&order));
    first.unwrap();
    second.unwrap();
    shop.reserves(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.events_of(&order).await, ["order.placed", "stock.reserved"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn two_attempts_that_meet_at_the_shelf_are_one_reservation(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    let shelf = shop.holds_up(HEART).await;
    let opens = async {
        shop.until_waiting(2).await;
        shelf.commit().await.unwrap();
    };
    let (first, second, ()) = futures::join!(shop.reserves(&order), shop.reserves(&order), opens);
    first.unwrap();
    second.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    assert_eq!(shop.events_of(&order).await, ["order.placed", "stock.reserved"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_two_buyers_that_meet_at_the_shelf_the_second_is_told_what_is_left(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (ada, bob) = (order_of(1, &[(HEART, 60)]), order_of(2, &[(HEART, 60)]));
    shop.places(&ada).await;
    shop.places(&bob).await;
    let shelf = shop.holds_up(HEART).await;
    let opens = async {
        shop.until_waiting(2).await;
        shelf.commit().await.unwrap();
    };
    let (hers, his, ()) = futures::join!(shop.reserves(&ada), shop.reserves(&bob), opens);
    let loser = if hers.is_ok() { his } else { hers };
    let short = Rejection::OutOfStock { sku: sku(HEART), wanted: 60, available: 40 };
    assert_eq!(refusal(loser), short);
    assert_eq!(shop.pieces_of(HEART).await, (40, 60, 0, 100));
}

/// Twenty orders of one worker want an article whose row another transaction has locked, and the
/// worker has two connections.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_locked_article_stops_its_own_orders_and_no_others(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (worker, pool) = (ArticleQueues::default(), shop.small_pool(2));
    let stopped: Vec<_> = (1..=20).map(|number| order_of(number, &[(HEART, 1)])).collect();
    let (mixed, free) =
        (order_of(21, &[(BABUSHKA, 1), (HEART, 1)]), order_of(22, &[(BABUSHKA, 1)]));
    for order in stopped.iter().chain([&mixed, &free]) {
        shop.places(order).await;
    }
    let reserve =
        |order: &Order| stock::reserve(&pool, &worker, TTL, order.key(StepName::ReserveStock));
    let shelf = shop.holds_up(HEART).await;
    let all = join_all(stopped.iter().chain([&mixed]).map(reserve));
    // The article is released only once the order that does not need it has gone on.
    let goes_on = async {
        reserve(&free).await.unwrap();
        shelf.commit().await.unwrap();
    };
    let (all, ()) = futures::join!(all, goes_on);
    for one in all {
        one.unwrap();
    }
    assert_eq!(shop.pieces_of(HEART).await, (79, 21, 0, 100));
    assert_eq!(shop.pieces_of(BABUSHKA).await, (98, 2, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_article_or_an_order_in_use_expires_later_and_stops_no_other(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (of_locked, busy, free) =
        (order_of(1, &[(HEART, 1)]), order_of(2, &[(BABUSHKA, 1)]), order_of(3, &[(BABUSHKA, 1)]));
    for order in [&of_locked, &busy, &free] {
        shop.places(order).await;
        shop.reserves_for(order, Duration::ZERO).await.unwrap();
    }
    let (shelf, row) = (shop.holds_up(HEART).await, shop.holds_up_order(&busy).await);
    assert_eq!(stock::release_expired(&shop.db, 10).await.unwrap(), 1);
    assert_eq!(shop.fulfilment_of(&free).await, "cancelled");
    shelf.commit().await.unwrap();
    row.commit().await.unwrap();
    assert_eq!(stock::release_expired(&shop.db, 10).await.unwrap(), 2);
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
    assert_eq!(shop.pieces_of(BABUSHKA).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn releasing_twice_gives_the_goods_back_once(db: PgPool) {
    let (shop, order, other) = (Shop::stocked(db).await, order(1), order(2));
    for order in [&order, &other] {
        shop.places(order).await;
        shop.reserves(order).await.unwrap();
    }
    shop.releases(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100), "the other order keeps its goods");
    assert_eq!(shop.events_of(&order).await, ["order.placed", "stock.reserved", "stock.released"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_reservation_that_comes_after_its_release_is_refused(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.releases(&order).await.unwrap();
    assert_eq!(refusal(shop.reserves(&order).await), LATE);
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_reservation_that_was_released_is_not_made_again(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.reserves(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    assert_eq!(refusal(shop.reserves(&order).await), LATE);
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn reservation_and_release_at_once_leave_nothing_reserved(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for number in 1..=20 {
        let order = order(number);
        shop.places(&order).await;
        let (reserved, released) = futures::join!(shop.reserves(&order), shop.releases(&order));
        released.unwrap();
        if reserved.is_err() {
            assert_eq!(refusal(reserved), LATE);
        }
    }
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_short_article_refuses_the_whole_order_for_ever(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let order = order_of(1, &[(HEART, 5), (BABUSHKA, 101)]);
    shop.places(&order).await;
    let short = Rejection::OutOfStock { sku: sku(BABUSHKA), wanted: 101, available: 100 };
    assert_eq!(refusal(shop.reserves(&order).await), short);
    shop.receives("22753", 1).await;
    sqlx::query!("update inventory.stock set on_hand = on_hand + 50, received = received + 50")
        .execute(&shop.owner)
        .await
        .unwrap();
    assert_eq!(refusal(shop.reserves(&order).await), short, "the answer has been given");
    shop.releases(&order).await.unwrap();
    assert_eq!(refusal(shop.reserves(&order).await), short, "and an undo does not change it");
    assert_eq!(shop.pieces_of(HEART).await, (150, 0, 0, 150));
    assert_eq!(shop.fulfilment_of(&order).await, "none");
    assert_eq!(shop.events_of(&order).await, ["order.placed", "stock.refused"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_several_short_articles_the_first_by_number_is_named(db: PgPool) {
    let shop = Shop::on(db);
    shop.receives(HEART, 1).await;
    let order = order_of(1, &[(HEART, 2), ("never-seen", 3), ("15056BL", 4)]);
    shop.places(&order).await;
    let short = Rejection::OutOfStock { sku: sku("15056BL"), wanted: 4, available: 0 };
    assert_eq!(refusal(shop.reserves(&order).await), short);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_fifty_buyers_of_the_last_three_pieces_exactly_three_get_one(db: PgPool) {
    let shop = Shop::on(db);
    shop.receives(HEART, 3).await;
    let orders: Vec<_> = (1..=50).map(|number| order_of(number, &[(HEART, 1)])).collect();
    for order in &orders {
        shop.places(order).await;
    }
    let answers = join_all(orders.iter().map(|order| shop.reserves(order))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (3, 47));
    for answer in lost {
        let short = Rejection::OutOfStock { sku: sku(HEART), wanted: 1, available: 0 };
        assert_eq!(refusal(answer), short);
    }
    assert_eq!(shop.pieces_of(HEART).await, (0, 3, 0, 3));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_hundred_orders_for_the_same_articles_wait_for_each_other_and_never_in_a_circle(
    db: PgPool,
) {
    let shop = Shop::stocked(db).await;
    let orders: Vec<_> = (1..=100)
        .map(|number| match number % 2 {
            0 => order_of(number, &[(HEART, 2), (BABUSHKA, 1)]),
            _ => order_of(number, &[(BABUSHKA, 1), (HEART, 2)]),
        })
        .collect();
    for order in &orders {
        shop.places(order).await;
    }
    let answers = join_all(orders.iter().map(|order| shop.reserves(order))).await;
    let deadlocks = answers
        .iter()
        .filter(|answer| matches!(answer, Err(ActivityFault::Unavailable { .. })))
        .count();
    assert_eq!(deadlocks, 0);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 50);
    assert_eq!(shop.pieces_of(HEART).await, (0, 100, 0, 100));
    assert_eq!(shop.pieces_of(BABUSHKA).await, (50, 50, 0, 100));
}

/// While another transaction holds the first of the order's articles, an order that locks in SKU
/// order waits for it and has not locked the others.
async fn assert_only_the_first_is_waited_for<T>(
    shop: &Shop,
    skus: &[String],
    deed: impl Future<Output = Result<T, ActivityFault>>,
) {
    let shelf = shop.holds_up(&skus[0]).await;
    let looks = async {
        shop.until_waiting(1).await;
        let free = sqlx::query_scalar!("select sku from inventory.stock for update skip locked");
        let free = free.fetch_all(&shop.db).await.unwrap();
        shelf.commit().await.unwrap();
        free
    };
    let (done, free) = futures::join!(deed, looks);
    assert!(done.is_ok());
    assert_eq!(free.len(), skus.len().saturating_sub(1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn articles_are_locked_in_the_order_of_their_numbers_whatever_the_order_of_the_lines(
    db: PgPool,
) {
    let shop = Shop::on(db);
    let skus: Vec<String> = (20_000..20_020).map(|number: u32| number.to_string()).collect();
    for sku in &skus {
        shop.receives(sku, 100).await;
    }
    let lines: Vec<_> = skus.iter().rev().map(|sku| (sku.as_str(), 2)).collect();
    let order = order_of(1, &lines);
    shop.places(&order).await;
    assert_only_the_first_is_waited_for(&shop, &skus, shop.reserves(&order)).await;
    assert_only_the_first_is_waited_for(&shop, &skus, shop.ships(&order)).await;
    assert_only_the_first_is_waited_for(&shop, &skus, shop.cancels_shipment(&order)).await;
    assert_only_the_first_is_waited_for(&shop, &skus, shop.releases(&order)).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn five_hundred_and_forty_one_lines_are_one_statement(db: PgPool) {
    let shop = Shop::on(db);
    let skus: Vec<String> = (20_000..20_541).map(|number: u32| number.to_string()).collect();
    for sku in &skus {
        shop.receives(sku, 2).await;
    }
    let lines: Vec<_> = skus.iter().rev().map(|sku| (sku.as_str(), 2)).collect();
    let order = order_of(1, &lines);
    shop.places(&order).await;
    shop.reserves(&order).await.unwrap();
    assert_eq!(shop.pieces_of("20540").await, (0, 2, 0, 2));
    let written = sqlx::query!(
        r#"
        select count(*) as "rows!", count(distinct xmin::text) as "transactions!"
        from inventory.reservation_lines
        "#
    )
    .fetch_one(&shop.db)
    .await
    .unwrap();
    assert_eq!((written.rows, written.transactions), (541, 1));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_expired_reservation_gives_its_goods_to_others_once(db: PgPool) {
    let (shop, order, patient) = (Shop::stocked(db).await, order(1), order(2));
    for (order, ttl) in [(&order, Duration::ZERO), (&patient, TTL)] {
        shop.places(order).await;
        shop.reserves_for(order, ttl).await.unwrap();
    }
    let (one, another) =
        futures::join!(stock::release_expired(&shop.db, 10), stock::release_expired(&shop.db, 10));
    assert_eq!([one.unwrap(), another.unwrap()].iter().sum::<usize>(), 1);
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
    shop.releases(&order).await.unwrap();
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100), "there is nothing left to give back");
    assert_eq!(
        shop.events_of(&order).await,
        ["order.placed", "stock.reserved", "stock.reservation-expired"]
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn goods_that_have_left_the_house_are_not_released(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    assert!(breakage(shop.releases(&order).await).contains("is sold"));
    assert_eq!(shop.pieces_of(HEART).await, (94, 0, 6, 100));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_piece_is_accounted_for_by_a_movement(db: PgPool) {
    let (shop, order, other) = (Shop::stocked(db).await, order(1), order(2));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    shop.places(&other).await;
    shop.reserves(&other).await.unwrap();
    shop.releases(&other).await.unwrap();
    let moved = sqlx::query_scalar!(
        "select reason || ' ' || quantity from inventory.movements where sku = $1 order by movement_id",
        HEART,
    )
    .fetch_all(&shop.db)
    .await
    .unwrap();
    let moved: Vec<_> = moved.into_iter().flatten().collect();
    assert_eq!(moved, ["received 100", "reserved 6", "sold 6", "reserved 6", "released 6"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn goods_are_held_while_the_order_waits_as_agreed_and_then_for_a_time(db: PgPool) {
    let (shop, mut order) = (Shop::stocked(db).await, order(1));
    let (window, patience, ttl) = (30 * 86_400, 3_600, Duration::from_hours(24));
    order.terms = Terms {
        cancel_window_seconds: window,
        patience_seconds: Some(patience),
        // The customer may approve two payments, and replace the first one.
        approval_seconds: 600,
        payment_retry_seconds: 2_400,
        // A review may be needed before the payment, and after it.
        screening: Some(Screening { review_seconds: 5_400 }),
        ..Terms::default()
    };
    let now = sqlx::query_scalar!(r#"select now() as "now!""#);
    order.placed_at = now.fetch_one(&shop.owner).await.unwrap();
    shop.places(&order).await;
    shop.reserves_for(&order, ttl).await.unwrap();
    let held = sqlx::query_scalar!(
        r#"
        select expires_at - placed_at = interval '1 h' * (30 * 24 + 1 + 1 + 3 + 24)
            as "is_long_enough!"
        from inventory.reservations join orders.orders using (order_id)
        "#
    );
    assert!(held.fetch_one(&shop.db).await.unwrap());

    // An order whose launch was delayed beyond its cancel window.
    let late = crate::support::order(2);
    shop.places(&late).await;
    shop.reserves_for(&late, ttl).await.unwrap();
    let held = sqlx::query_scalar!(
        r#"
        select expires_at - reserved_at = interval '24 h' as "is_long_enough!"
        from inventory.reservations where order_id = $1
        "#,
        late.order_id.uuid(),
    );
    assert!(held.fetch_one(&shop.db).await.unwrap());
    assert_eq!(stock::release_expired(&shop.db, 10).await.unwrap(), 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_reservation_without_its_order_does_not_stop_the_others_from_expiring(db: PgPool) {
    let (shop, lost, forgotten) = (Shop::stocked(db).await, order(1), order(2));
    for order in [&lost, &forgotten] {
        shop.places(order).await;
        shop.reserves_for(order, Duration::ZERO).await.unwrap();
    }
    sqlx::query!("delete from orders.orders where order_id = $1", lost.order_id.uuid())
        .execute(&shop.owner)
        .await
        .unwrap();
    assert_eq!(stock::release_expired(&shop.db, 10).await.unwrap(), 1);
    assert_eq!(stock::release_expired(&shop.db, 10).await.unwrap(), 0);
    assert_eq!(shop.fulfilment_of(&forgotten).await, "cancelled");
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
}
