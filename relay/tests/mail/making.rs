//! Notifications are created from events, once.

use domain::MailTemplate;
use domain::event::{Completed, OrderEvent};
use relay::judge::{Fate, Part, judge};
use relay::{Message, Sink as _, Verdict};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;

use crate::post::{
    Post, authorised, cancelled, declined, delivered, messages, refunded, rejected, reserved,
    shipped, sink, voided,
};

/// The templates of the notifications, in order.
async fn templates(post: &Post) -> Vec<String> {
    post.notifications().await.into_iter().map(|told| told.template).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_event_is_told_once_however_often_it_comes(db: PgPool) {
    let post = Post::open(db).await;
    post.order(&[reserved(), authorised(), shipped(), refunded(), delivered()]).await;
    let all = messages(&post.db).await;
    let verdicts = post.sink.deliver(&all).await;
    let wanted: Vec<_> = verdicts.iter().map(|verdict| *verdict == Verdict::Delivered).collect();
    // It was placed and reserved before.
    assert_eq!(wanted, [false, false, true, true, true, true]);
    // Delivered again in halves, and twice in one batch, as after a crash.
    let (first, second) = all.split_at(2);
    let twice: Vec<Message> = all.iter().chain(&all).cloned().collect();
    for batch in [first, second, &twice[..]] {
        post.sink.deliver(batch).await;
    }
    assert_eq!(templates(&post).await, ["confirmed", "shipped", "refunded", "delivered"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_confirmed_once_however_often_its_payment_is_authorised(db: PgPool) {
    let post = Post::open(db).await;
    post.told(&[authorised(), authorised()]).await;
    post.told(&[authorised()]).await;
    assert_eq!(templates(&post).await, ["confirmed", "confirmed"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_end_and_every_wait_is_told(db: PgPool) {
    let post = Post::open(db).await;
    post.told(&[declined(), cancelled()]).await;
    post.told(&[rejected()]).await;
    post.told(&[voided(), OrderEvent::OrderCompleted(Completed {})]).await;
    assert_eq!(templates(&post).await, ["payment-declined", "cancelled", "rejected"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_happened_before_there_was_the_sink_is_told_to_nobody(db: PgPool) {
    let post = Post::open(db).await;
    post.order(&[authorised()]).await;
    sqlx::query!("insert into outbox.sinks (sink) values ('mail')")
        .execute(&post.db)
        .await
        .unwrap();
    post.tell_the_sink().await;
    assert_eq!(post.notifications().await.len(), 0);
    post.told(&[authorised()]).await;
    assert_eq!(post.notifications().await.len(), 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_does_not_answer_only_delays(db: PgPool) {
    let post = Post::open(db).await;
    post.order(&[authorised()]).await;
    post.order(&[authorised()]).await;
    let all = messages(&post.db).await;
    for has_answered in [false, true] {
        let database = testkit::as_role(&post.db, "ordersaga_relay");
        let domain = "shop.example".to_owned();
        let away = relay::mail::MailSink::new(database.clone(), domain, vec![], vec![]);
        if has_answered {
            assert!(away.deliver(&[]).await.is_empty());
        }
        database.close().await;
        let judged = judge(&all, &vec![Part::Given; all.len()], away.deliver(&all).await);
        assert_eq!(judged.breach, None, "{:?}", judged.fates);
        assert!(judged.outage.is_some_and(|outage| outage.why.contains("the database")));
        assert!(!judged.fates.iter().any(Fate::is_had), "{:?}", judged.fates);
    }
    let verdicts = post.sink.deliver(&all).await;
    let delivered = verdicts.iter().filter(|verdict| **verdict == Verdict::Delivered);
    assert_eq!(delivered.count(), 2, "{verdicts:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_message_of_no_order_is_refused_and_holds_up_no_other(db: PgPool) {
    let post = Post::open(db).await;
    post.order(&[authorised()]).await;
    let all = messages(&post.db).await;
    let strange = Message { aggregate_id: "no-order".to_owned(), ..all[1].clone() };
    let next = Message { sequence: 3, ..strange.clone() };
    let batch = [strange, all[1].clone(), next];
    let verdicts = post.sink.deliver(&batch).await;
    assert!(matches!(verdicts[0], Verdict::Refused { .. }), "{verdicts:?}");
    assert_eq!(verdicts[1..], [Verdict::Delivered, Verdict::NotTried]);
    assert_eq!(judge(&batch, &[Part::Given; 3], verdicts).breach, None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn ids_are_derived_and_a_text_message_has_its_own(db: PgPool) {
    let post = Post::open(db).await;
    let order_id = post.order(&[authorised(), shipped()]).await;
    let with_sms = sink(&post.db, &[MailTemplate::Shipped]);
    with_sms.deliver(&messages(&post.db).await).await;
    let ids = sqlx::query_scalar!("select message_id from mail.notifications order by message_id");
    let ids = ids.fetch_all(&post.db).await.unwrap();
    let expected = ["2.confirmed", "3.shipped.sms", "3.shipped"]
        .map(|of_event| format!("{order_id}.{of_event}@shop.example"));
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(ids, expected);
}
