//! Each mail is sent as often as its policy allows, and only while it still holds.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::MailPolicy;
use lettre::Address;
use relay::mail::{Channel, Looked, MailServer, Outcome};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::post::{
    EMAIL, Post, authorised, awaiting_customer, called_back, cancelled, delivered, place, reserved,
    review_needed, sender_by, sender_to, shipped, unwinding,
};
use crate::server::{self, Kept, Trouble};

const GREYLISTED: &str = "451 4.7.1 <ada@example.org>: greylisted, come again";
const UNKNOWN: &str = "550 5.1.1 <ada@example.org>: user unknown";

async fn post_with_ada(db: PgPool) -> Post {
    let post = Post::open(db).await;
    post.ada_is(Some(EMAIL), Some("Ada Example")).await;
    post
}

/// The subjects of the mails that the server has kept.
fn subjects(kept: &[Kept]) -> Vec<String> {
    kept.iter().flat_map(|mail| mail.headers("subject")).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_confirmation_goes_to_the_customer_and_nothing_of_them_is_kept(db: PgPool) {
    let post = post_with_ada(db).await;
    let order_id = post.told(&[reserved(), authorised()]).await;
    assert_eq!(post.send_next().await, Looked::Dealt);
    assert_eq!(post.send_next().await, Looked::Nothing);
    let mail = post.server.only();
    assert_eq!(mail.recipients, [EMAIL]);
    assert_eq!(mail.sender, "orders@shop.example");
    assert_eq!(mail.headers("to"), [r#""Ada Example" <ada@example.org>"#]);
    assert_eq!(mail.headers("message-id"), [format!("<{order_id}.3.confirmed@shop.example>")]);
    assert_eq!(mail.headers("auto-submitted"), ["auto-generated"]);
    assert_eq!(mail.headers("list-unsubscribe").len(), 0, "it cannot be switched off");
    assert!(mail.headers("content-type")[0].starts_with("multipart/alternative"));
    assert!(mail.text.contains("WHITE HANGING HEART T-LIGHT HOLDER"), "{}", mail.text);
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.locale.as_deref()), ("sent", Some("en")));
    post.assert_nothing_kept_of(&[EMAIL, "Ada Example"]).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_server_puts_off_is_sent_later_once(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    post.server.next(&[
        Trouble::Recipient(GREYLISTED),
        Trouble::Sender("451 4.3.0 not now"),
        Trouble::Mail("452 4.2.2 full"),
    ]);
    for tries in 1..=3 {
        assert_eq!(post.send_next().await, Looked::Dealt);
        // Not immediately: it is not due yet.
        assert_eq!(post.send_next().await, Looked::Nothing);
        let told = post.only().await;
        assert_eq!((told.state.as_str(), told.deferrals), ("queued", tries), "{told:?}");
        assert_eq!(told.transmissions, 0, "{told:?}");
        post.assert_nothing_kept_of(&[EMAIL]).await;
        post.time_passes().await;
    }
    post.send_all().await;
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.transmissions), ("sent", 1));
    assert_eq!(post.server.kept().len(), 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_server_refuses_for_good_waits_for_a_person_and_holds_up_no_other(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[reserved(), authorised(), shipped()]).await;
    post.server.next(&[Trouble::Recipient(UNKNOWN)]);
    post.send_all().await;
    let told = post.notifications().await;
    assert_eq!(told[0].state, "parked");
    let why = "the server does not take the recipient: 550 5.1.1";
    assert_eq!(told[0].why.as_deref(), Some(why));
    assert_eq!(told[1].state, "sent");
    post.assert_nothing_kept_of(&[EMAIL]).await;
    post.time_passes().await;
    post.send_all().await;
    assert_eq!(post.states().await, ["parked", "sent"], "nobody has decided yet");
    retried(&post).await;
    post.send_all().await;
    assert_eq!(post.states().await, ["sent", "sent"]);
}

/// An operator retries what is parked.
async fn retried(post: &Post) {
    let retried = sqlx::query_scalar!(
        r#"select mail.retry(notification_id, 'eve') as "is_queued!" from mail.notifications
           where state = 'parked'"#
    );
    assert_eq!(retried.fetch_all(&post.db).await.unwrap(), [true]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_answer_that_is_lost_has_a_confirmation_sent_again_as_the_same_mail(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    post.server.next(&[Trouble::CutAfterMail]);
    post.send_all().await;
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.deferrals), ("queued", 1), "{told:?}");
    post.time_passes().await;
    post.send_all().await;
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.transmissions), ("sent", 2), "that is on record");
    let ids: Vec<_> = post.server.kept().iter().map(|mail| mail.headers("message-id")).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "a mail program tells that it is the same");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_answer_that_is_lost_has_a_mail_of_at_most_once_wait_for_a_person(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[reserved(), shipped()]).await;
    post.server.next(&[Trouble::CutAfterMail]);
    post.send_all().await;
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.transmissions), ("parked", 1));
    assert!(
        told.why.as_ref().unwrap().contains("the answer to the whole mail is lost"),
        "{told:?}"
    );
    post.time_passes().await;
    post.send_all().await;
    assert_eq!(post.server.kept().len(), 1, "it is not sent again by itself");
    retried(&post).await;
    post.send_all().await;
    assert_eq!(post.server.kept().len(), 2);
    // A person has decided to send it again, so the count starts over.
    assert_eq!(post.only().await.transmissions, 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_connection_that_breaks_before_the_mail_leaves_nothing_open(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[reserved(), shipped()]).await;
    post.server.next(&[Trouble::CutAtRecipient]);
    assert!(matches!(post.send_next().await, Looked::Rest(_)));
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.deferrals), ("queued", 0), "{told:?}");
    // Another process has not seen the failure.
    let other = sender_to(&post.db, post.server.port, None);
    assert_eq!(other.send_next(Channel::Mail).await.unwrap(), Looked::Dealt);
    assert_eq!(post.states().await, ["sent"]);
    assert_eq!(post.server.kept().len(), 1);
}

/// The result of the next mail in a process that has not seen any failure.
async fn sent_by_another(post: &Post) -> Looked {
    sender_to(&post.db, post.server.port, None).send_next(Channel::Mail).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_mail_at_which_the_server_always_breaks_off_waits_for_a_person(db: PgPool) {
    let post = post_with_ada(db).await;
    let eve = "insert into customers.customers (customer_id, email)
               values ('eve', 'eve@example.org')";
    sqlx::raw_sql(eve).execute(&post.db).await.unwrap();
    post.server.always_cut_at("eve@example.org");
    let order_id = Uuid::now_v7();
    place(&post.db, order_id, "eve").await;
    post.told(&[authorised()]).await;
    post.happen(order_id, &[authorised()]).await;
    post.tell_the_sink().await;
    assert_eq!(sent_by_another(&post).await, Looked::Dealt, "ada's mail");
    // Nothing was sent between these two attempts, so the server may be unavailable.
    for _ in 0..2 {
        assert!(matches!(sent_by_another(&post).await, Looked::Rest(_)));
    }
    let hers = async || post.notifications().await.swap_remove(1);
    for strikes in 0..=MailPolicy::DEFERRALS_MAX {
        let told = hers().await;
        assert_eq!((told.state.as_str(), told.deferrals), ("queued", strikes), "{told:?}");
        // Another mail is sent, and then hers is retried; it does not delay the others.
        post.told(&[authorised()]).await;
        later(&post, order_id).await;
        post.send_all().await;
    }
    let told = hers().await;
    assert_eq!(told.state, "parked");
    let why = told.why.unwrap();
    assert!(why.starts_with("put off for days: the server does not take the recipient"), "{why}");
    let mut others = post.notifications().await;
    others.remove(1);
    assert!(others.iter().all(|told| told.state == "sent"), "{others:?}");
    assert_eq!(others.len(), post.server.kept().len());
}

/// Makes all waiting times expire, with this order's mails last.
async fn later(post: &Post, order_id: Uuid) {
    sqlx::query!(
        "update mail.notifications
         set next_try_at = now() - case order_id when $1 then '1 s' else '2 s' end::interval",
        order_id,
    )
    .execute(&post.db)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_server_that_breaks_off_at_every_mail_parks_none(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    post.send_all().await;
    post.told(&[reserved(), authorised(), shipped()]).await;
    post.told(&[authorised()]).await;
    post.server.always_cut_at(EMAIL);
    for _ in 0..=MailPolicy::DEFERRALS_MAX.saturating_mul(2) {
        assert!(matches!(sent_by_another(&post).await, Looked::Rest(_)));
    }
    let told = post.notifications().await;
    assert_eq!(told[0].state, "sent");
    for told in &told[1..] {
        assert_eq!((told.state.as_str(), told.deferrals), ("queued", 0), "{told:?}");
    }
}

/// The sender that had claimed it has died, before or after it sent the mail.
async fn sender_dies_while_it_sends(post: &Post) {
    sqlx::query!(
        "update mail.notifications set state = 'sending', sending_at = now(), claims = claims + 1"
    )
    .execute(&post.db)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_dead_sender_may_have_sent_is_sent_again_only_if_it_may_come_twice(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    post.told(&[reserved(), shipped()]).await;
    sender_dies_while_it_sends(&post).await;
    post.send_all().await;
    let told = post.notifications().await;
    assert_eq!([&*told[0].state, &*told[1].state], ["sent", "parked"]);
    assert!(told[1].why.as_ref().unwrap().contains("its sender died"), "{told:?}");
    assert_eq!(post.server.kept().len(), 1);
}

/// A mail server that checks the record when it receives a mail.
struct Witness {
    db: PgPool,
    seen: Mutex<Vec<String>>,
}

#[async_trait]
impl MailServer for Witness {
    async fn send(&self, _from: &Address, _to: &Address, _mail: &[u8]) -> Outcome {
        let state = sqlx::query_scalar!("select state from mail.notifications");
        let state = state.fetch_one(&self.db).await.unwrap();
        self.seen.lock().unwrap().push(state);
        Outcome::Sent
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_mail_is_on_record_as_being_sent_before_the_server_is_given_it(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    let witness = Arc::new(Witness { db: post.db.clone(), seen: Mutex::default() });
    let sender = sender_by(&post.db, witness.clone(), None);
    assert_eq!(sender.send_next(Channel::Mail).await.unwrap(), Looked::Dealt);
    assert_eq!(*witness.seen.lock().unwrap(), ["sending"]);
    assert_eq!(post.states().await, ["sent"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_another_sender_is_at_is_left_alone(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    sender_dies_while_it_sends(&post).await;
    // Its lease has not expired yet.
    sqlx::query!("update mail.notifications set next_try_at = now() + interval '1 minute'")
        .execute(&post.db)
        .await
        .unwrap();
    assert_eq!(post.send_next().await, Looked::Nothing);
    let (one, other) =
        (post.told(&[authorised()]).await, sender_to(&post.db, post.server.port, None));
    let looked = tokio::join!(post.send_next(), other.send_next(Channel::Mail));
    let looked = [looked.0, looked.1.unwrap()];
    assert!(looked.contains(&Looked::Dealt), "{looked:?}");
    assert_eq!(post.server.kept().len(), 1, "one mail of {one}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_server_that_is_away_only_delays_and_all_mails_wait(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[authorised()]).await;
    post.told(&[authorised()]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let sender = sender_to(&post.db, closed_port, None);
    assert!(matches!(sender.send_next(Channel::Mail).await.unwrap(), Looked::Rest(_)));
    // The next one is not even claimed.
    assert!(matches!(sender.send_next(Channel::Mail).await.unwrap(), Looked::Rest(_)));
    let claims = sqlx::query_scalar!(r#"select sum(claims) as "claims!" from mail.notifications"#);
    assert_eq!(claims.fetch_one(&post.db).await.unwrap(), 1);
    for told in post.notifications().await {
        assert_eq!((told.state.as_str(), told.deferrals), ("queued", 0), "{told:?}");
    }
    post.send_all().await;
    assert_eq!(post.states().await, ["sent", "sent"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_server_that_takes_no_mail_of_the_shop_parks_none(db: PgPool) {
    let troubles = [
        Trouble::Greeting("421 4.3.2 closing"),
        Trouble::Greeting("554 5.7.1 blocked"),
        Trouble::Sender("530 5.7.0 sign in first"),
        Trouble::Recipient("421 4.7.0 too many"),
    ];
    let post = post_with_ada(db).await;
    post.told(&[reserved(), shipped()]).await;
    for trouble in troubles {
        let server = server::MailServer::start().await;
        server.next(&[trouble]);
        let sender = sender_to(&post.db, server.port, None);
        let looked = sender.send_next(Channel::Mail).await.unwrap();
        assert!(matches!(looked, Looked::Rest(_)), "{trouble:?}: {looked:?}");
        let told = post.only().await;
        assert_eq!((told.state.as_str(), told.deferrals), ("queued", 0), "{trouble:?}: {told:?}");
    }
    post.send_all().await;
    assert_eq!(post.states().await, ["sent"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_address_that_is_none_is_given_to_no_server(db: PgPool) {
    let post = Post::open(db).await;
    for email in ["ada", "ada@example.org>\r\nRCPT TO:<eve@example.org", "@", "a b@example.org"] {
        post.ada_is(Some(email), None).await;
        post.told(&[authorised()]).await;
        post.send_all().await;
    }
    assert_eq!(post.states().await, ["parked"; 4]);
    assert_eq!(post.server.asked(), 0);
    post.assert_nothing_kept_of(&["RCPT"]).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_has_no_address_gets_no_mail(db: PgPool) {
    let post = Post::open(db).await;
    post.told(&[authorised()]).await;
    post.ada_is(None, Some("Ada")).await;
    post.told(&[authorised()]).await;
    post.send_all().await;
    assert_eq!(post.states().await, ["skipped", "skipped"]);
    assert_eq!(post.server.asked(), 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_name_adds_no_header_and_no_recipient(db: PgPool) {
    let post = Post::open(db).await;
    let names = [
        "Ada\r\nBcc: eve@example.org",
        "Ada\nSubject: hello\n\nbody",
        "Ada\" <eve@example.org>, \"B",
        "Ada, eve@example.org",
        "<script>alert(1)</script>",
        "=?utf-8?b?QmNjOiBldmU=?=",
    ];
    for name in names {
        post.ada_is(Some(EMAIL), Some(name)).await;
        post.told(&[authorised()]).await;
        post.send_all().await;
    }
    let kept = post.server.kept();
    assert_eq!(kept.len(), names.len());
    for (mail, name) in kept.iter().zip(names) {
        assert_eq!(mail.recipients, [EMAIL], "{name:?}");
        for (header, times) in [("bcc", 0), ("subject", 1), ("to", 1), ("from", 1), ("cc", 0)] {
            assert_eq!(mail.headers(header).len(), times, "{header} of {name:?}: {}", mail.text);
        }
        assert!(mail.headers("to")[0].ends_with("<ada@example.org>"), "{}", mail.text);
        assert!(mail.headers("subject")[0].contains("is confirmed"), "{}", mail.text);
        let html = mail.text.split("text/html").nth(1).unwrap();
        assert!(!html.contains("<script>"), "{html}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_not_so_any_more_is_not_told(db: PgPool) {
    let post = post_with_ada(db).await;
    // It was unwound before its confirmation was sent, and its parcel was recalled.
    post.told(&[reserved(), authorised(), shipped(), unwinding(), called_back(), cancelled()])
        .await;
    // It no longer waits for a payment.
    post.told(&[awaiting_customer(), authorised()]).await;
    post.send_all().await;
    let states: Vec<_> =
        post.notifications().await.into_iter().map(|told| (told.template, told.state)).collect();
    let expected = [
        ("confirmed", "skipped"),
        ("shipped", "skipped"),
        ("cancelled", "sent"),
        ("payment-needed", "skipped"),
        ("confirmed", "sent"),
    ];
    assert_eq!(states, expected.map(|(one, state)| (one.to_owned(), state.to_owned())));
    let told = subjects(&post.server.kept());
    assert!(told[0].contains("is cancelled") && told[1].contains("is confirmed"), "{told:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_is_told_when_the_parcel_was_delivered_while_they_have_it(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[reserved(), authorised(), shipped(), delivered()]).await;
    post.send_all().await;
    assert_eq!(post.states().await, ["sent", "sent", "sent"]);
    let mail = post.server.kept().pop().unwrap();
    assert!(mail.headers("subject")[0].contains("is delivered"), "{}", mail.text);
    assert!(mail.text.contains("was delivered on 5 January 2026"), "{}", mail.text);
    assert!(mail.text.contains("T-1"), "{}", mail.text);

    // No event of this release reports returned goods, so the order's row is set directly.
    let order_id = post.told(&[reserved(), authorised(), shipped(), delivered()]).await;
    sqlx::query!(
        "update orders.orders set fulfilment_status = 'returned' where order_id = $1",
        order_id,
    )
    .execute(&post.db)
    .await
    .unwrap();
    post.send_all().await;
    let told = post.notifications().await.pop().unwrap();
    assert_eq!((told.template.as_str(), told.state.as_str()), ("delivered", "skipped"));
    assert_eq!(told.why.as_deref(), Some("the parcel has come back"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_somebody_has_to_look_at_is_not_confirmed_yet(db: PgPool) {
    let post = post_with_ada(db).await;
    let order_id = post.told(&[authorised(), review_needed()]).await;
    post.send_all().await;
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.deferrals), ("queued", 0), "{told:?}");
    assert_eq!(post.server.asked(), 0);
    let reviewed = serde_json::json!({"decision": "approve", "by_default": false});
    sqlx::query!("select orders.record($1, 'order.reviewed', $2)", order_id, reviewed)
        .fetch_one(&post.db)
        .await
        .unwrap();
    post.time_passes().await;
    post.send_all().await;
    assert_eq!(post.states().await, ["sent"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_is_asked_to_pay_for_as_long_as_they_can(db: PgPool) {
    let post = post_with_ada(db).await;
    let order_id = post.told(&[awaiting_customer()]).await;
    sqlx::query!(
        "insert into payments.charges
             (charge_key, order_id, provider_reference, currency, amount, state, approval_url,
              approvable_until)
         values ('charge-1', $1, 'pay_1', 'GBP', 23.10, 'awaiting-customer',
             'https://bank.example/secret', now() + interval '1 hour')",
        order_id,
    )
    .execute(&post.db)
    .await
    .unwrap();
    post.send_all().await;
    assert_eq!(post.states().await, ["sent"]);
    let mail = &post.server.kept()[0];
    assert!(mail.headers("subject")[0].contains("complete the payment"), "{}", mail.text);
    // The approval link is like a secret, and mails may be read by others.
    assert!(!mail.text.contains("bank.example"), "{}", mail.text);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_orders_mails_are_sent_in_their_order(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[reserved(), authorised(), shipped()]).await;
    post.told(&[authorised()]).await;
    post.server.next(&[Trouble::Recipient(GREYLISTED)]);
    post.send_all().await;
    // The other order's mail does not wait for this one's.
    assert_eq!(post.states().await, ["queued", "queued", "sent"]);
    post.time_passes().await;
    post.send_all().await;
    let told = subjects(&post.server.kept());
    assert!(told[1].contains("is confirmed") && told[2].contains("on its way"), "{told:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_customer_has_switched_off_is_not_sent_and_what_every_order_needs_is(db: PgPool) {
    let post = post_with_ada(db).await;
    post.told(&[reserved(), authorised(), shipped()]).await;
    post.send_all().await;
    let shipped_mail = post.server.kept().pop().unwrap();
    let token = sqlx::query_scalar!(
        "select unsubscribe from mail.notifications where template = 'shipped'"
    );
    let token: Uuid = token.fetch_one(&post.db).await.unwrap();
    let link = format!("<https://api.example/v1/unsubscribe/{token}>");
    assert_eq!(shipped_mail.headers("list-unsubscribe"), [link]);
    let one_click = shipped_mail.headers("list-unsubscribe-post");
    assert_eq!(one_click, ["List-Unsubscribe=One-Click"]);
    post.ada_wants(None, &["shipped", "confirmed"]).await;
    post.told(&[reserved(), authorised(), shipped()]).await;
    post.send_all().await;
    assert_eq!(post.states().await, ["sent", "sent", "sent", "skipped"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_is_written_to_in_their_own_locale(db: PgPool) {
    let post = post_with_ada(db).await;
    post.ada_wants(Some("de-AT"), &[]).await;
    post.told(&[authorised()]).await;
    post.send_all().await;
    let told = post.only().await;
    assert_eq!(told.locale.as_deref(), Some("de"));
    assert!(post.server.kept()[0].text.contains("Vielen Dank"), "{}", post.server.kept()[0].text);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_to_a_country_is_told_of_in_its_locale(db: PgPool) {
    let post = post_with_ada(db).await;
    let order_id = post.told(&[authorised()]).await;
    sqlx::query!("update orders.orders set country = 'DE' where order_id = $1", order_id)
        .execute(&post.db)
        .await
        .unwrap();
    post.send_all().await;
    let told = post.only().await;
    assert_eq!(told.locale.as_deref(), Some("de"));
}
