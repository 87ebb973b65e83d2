//! Whoever waits for an article is told once, when it is to be had.

use relay::mail::Looked;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use uuid::Uuid;

use crate::post::{EMAIL, Post, place};

/// So many pieces are free.
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
    // Brings the article.
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
    // She waits anew, and is told anew.
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
    assert_eq!(post.states().await, ["queued"]);
    assert_eq!(post.server.asked(), 0, "it is sold out again");
    free(&post, 1).await;
    post.time_passes().await;
    post.send_all().await;
    assert_eq!(post.states().await, ["sent"]);
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
