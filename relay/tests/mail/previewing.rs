//! A mail is previewed as it would be written now, and sent to nobody.

use domain::MailTemplate;
use relay::mail::{LetterArgs, MailError, Written, preview};
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use uuid::Uuid;

use crate::post::{EMAIL, Post, authorised, reserved, shipped};

/// Previews a mail of an order, with only the relay's rights.
async fn previewed(
    post: &Post,
    template: MailTemplate,
    locale: Option<&str>,
    order_id: Uuid,
) -> Result<Written, MailError> {
    let letter = LetterArgs {
        mail_templates: None,
        mail_locale: "en".to_owned(),
        mail_shop_name: "The Shop".to_owned(),
        mail_shop_url: None,
        mail_order_url: None,
        mail_article_url: None,
        mail_tracking_url: None,
        mail_api_url: None,
    };
    let relay = testkit::as_role(&post.db, "ordersaga_relay");
    Box::pin(preview(&letter, template, locale, Some((&relay, order_id)))).await
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_orders_mail_is_shown_in_its_customers_locale_and_sent_to_nobody(db: PgPool) {
    let post = Post::open(db).await;
    post.ada_is(Some(EMAIL), Some("Ada Example")).await;
    let order_id = post.order(&[reserved(), authorised(), shipped()]).await;
    let written = previewed(&post, MailTemplate::Shipped, None, order_id).await.unwrap();
    assert!(written.subject.ends_with("is on its way"), "{}", written.subject);
    for told in ["Hello Ada Example", "T-1", "WHITE HANGING HEART T-LIGHT HOLDER"] {
        assert!(written.text.contains(told), "{told}: {}", written.text);
        assert!(written.html.contains(told), "{told}: {}", written.html);
    }
    post.ada_wants(Some("de"), &[]).await;
    for (locale, end) in [(None, "ist unterwegs"), (Some("en"), "is on its way")] {
        let written = previewed(&post, MailTemplate::Shipped, locale, order_id).await.unwrap();
        assert!(written.subject.ends_with(end), "{locale:?}: {}", written.subject);
    }
    assert_eq!(post.notifications().await.len(), 0, "nothing of it is on record");
    assert_eq!(post.server.asked(), 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_to_which_it_has_not_happened_has_no_such_mail(db: PgPool) {
    let post = Post::open(db).await;
    let order_id = post.order(&[reserved(), authorised()]).await;
    for (template, order_id) in
        [(MailTemplate::Refunded, order_id), (MailTemplate::Confirmed, Uuid::now_v7())]
    {
        let refused = previewed(&post, template, None, order_id).await.unwrap_err();
        assert!(matches!(refused, MailError::NothingToTell(of) if of == template), "{refused:?}");
    }
}
