//! Whoever waits for an article is notified once, when it is available.

use relay::mail::Looked;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use uuid::Uuid;

use crate::post::{EMAIL, Post, authorised, place};

/// Sets the available stock.
async fn free(post: &Post, pieces: i64) {
    sqlx::query!(
        "insert into inventory.stock (sku, on_hand, reserved, received) values ('85123A', $1, 0, $1)
         on conflict (sku) do update set on_hand = excluded.on_hand, received = excluded.received",
        pieces,
    )
    .execute(&post.db)
    .await
    .unwrap();
}

async fn wait(post: &Post, customer: &str) {
    sqlx::query!("insert into mail.waits (customer_id, sku) values ($1, '85123A')", customer)
        .execute(&post.db)
        .await
        .unwrap();
}

async fn post_with_ada(db: PgPool) -> Post {
    let post = Post::open(db).await;
    post.ada_is(Some(EMAIL), None).await;
    // Adds the article.
    place(&post.db, Uuid::now_v7(), "ada").await;
    post
}

async fn tell(post: &Post) -> u64 {
    post.sender.tell_those_who_wait().await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_waits_is_told_once_when_it_is_to_be_had(db: PgPool) {
    let post = post_with_ada(db).await;
    wait(&post, "ada").await;
    assert_eq!(tell(&post).await, 0, "there is no stock at all");
    free(&post, 0).await;
    assert_eq!(tell(&post).await, 0);
    free(&post, 3).await;
    assert_eq!(tell(&post).await, 1);
    assert_eq!(tell(&post).await, 0, "once for a wait");
    post.send_all().await;
    let mail = post.server.only();
    assert_eq!(mail.headers("subject"), ["WHITE HANGING HEART T-LIGHT HOLDER is back"]);
    assert_eq!(mail.headers("list-unsubscribe").len(), 1);
    // She waits again, and is notified again.
    wait(&post, "ada").await;
    assert_eq!(tell(&post).await, 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_is_told_too_late_goes_on_waiting(db: PgPool) {
    let post = post_with_ada(db).await;
    wait(&post, "ada").await;
    free(&post, 1).await;
    assert_eq!(tell(&post).await, 1);
    free(&post, 0).await;
    assert_eq!(post.send_next().await, Looked::Dealt);
    assert_eq!(post.states().await, ["skipped"]);
    assert_eq!(post.server.asked(), 0, "it is sold out again");
    assert_eq!(tell(&post).await, 0);
    free(&post, 1).await;
    assert_eq!(tell(&post).await, 1);
    post.send_all().await;
    assert_eq!(post.states().await, ["sent"]);
    assert_eq!(tell(&post).await, 0, "once for a wait");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_has_asked_anew_meanwhile_is_told_once(db: PgPool) {
    let post = post_with_ada(db).await;
    wait(&post, "ada").await;
    free(&post, 1).await;
    assert_eq!(tell(&post).await, 1);
    wait(&post, "ada").await;
    free(&post, 0).await;
    assert_eq!(post.send_next().await, Looked::Dealt);
    free(&post, 1).await;
    assert_eq!(tell(&post).await, 1);
    post.send_all().await;
    assert_eq!(post.states().await, ["skipped", "sent"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn those_who_wait_for_what_is_sold_out_again_hold_up_no_orders_mail(db: PgPool) {
    let post = post_with_ada(db).await;
    for number in 0..10 {
        wait(&post, &format!("customer-{number}")).await;
    }
    free(&post, 1).await;
    assert_eq!(tell(&post).await, 10);
    free(&post, 0).await;
    post.told(&[authorised()]).await;
    // It was created last, and is sent first.
    assert_eq!(post.send_next().await, Looked::Dealt);
    assert_eq!(post.server.only().recipients, [EMAIL]);
    // Each of the others is checked once, and not repeatedly while nothing is available.
    for _ in 0..10 {
        assert_eq!(post.send_next().await, Looked::Dealt);
    }
    post.time_passes().await;
    assert_eq!(post.send_next().await, Looked::Nothing);
    assert_eq!(tell(&post).await, 0);
    let waiting = sqlx::query_scalar!(
        r#"select count(*) as "waiting!" from mail.waits where told_at is null"#
    );
    assert_eq!(waiting.fetch_one(&post.db).await.unwrap(), 10, "they are not forgotten");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_does_not_wait_any_more_is_not_told(db: PgPool) {
    let post = post_with_ada(db).await;
    wait(&post, "ada").await;
    free(&post, 1).await;
    assert_eq!(tell(&post).await, 1);
    sqlx::query!("update mail.waits set withdrawn_at = now()").execute(&post.db).await.unwrap();
    post.send_all().await;
    assert_eq!(post.states().await, ["skipped"]);
    assert_eq!(post.server.asked(), 0);
}
