//! The same with independent mail servers: Mailpit, which parses mails like a mail program and
//! rejects them on command, and aiosmtpd, which cuts the connection after a mail.
//!
//! They run if the launcher has started these programs (`stack.py test --with mail`), and otherwise
//! print that they were skipped.

use std::env;
use std::io::{self, Write as _};
use std::sync::Once;
use std::time::Duration;

use domain::MailTemplate;
use lettre::message::{Mailbox, Message, MultiPart};
use relay::mail::{Channel, Encryption, Letter, Looked, Outcome, Server, Shop, Smtp, Templates};
use reqwest::Client;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use strum::IntoEnumIterator as _;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::post::{Post, authorised, reserved, sender_to, shipped};

/// Mailpit's rejections affect all tests, so such tests run alone.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Mailpit, and aiosmtpd in front of it.
struct Mailpit {
    api: String,
    port: u16,
    cutting_port: u16,
    http: Client,
    _alone: MutexGuard<'static, ()>,
}

/// Mailpit, if the launcher has started it. Prints a note once if it has not.
async fn mailpit() -> Option<Mailpit> {
    static SAID: Once = Once::new();
    let named = |name: &str| env::var(name).ok();
    let (Some(api), Some(port), Some(cutting_port)) = (
        named("ORDERSAGA_MAILPIT_URL"),
        named("ORDERSAGA_MAILPIT_PORT"),
        named("ORDERSAGA_CUTTING_MAIL_PORT"),
    ) else {
        SAID.call_once(|| {
            // Written directly, because the test runner hides the output of passing tests.
            let why = "mail: NOT RUN against Mailpit and aiosmtpd, which are not here; \
                       `stack.py test --with mail` has them";
            writeln!(io::stderr(), "{why}").unwrap();
        });
        return None;
    };
    Some(Mailpit {
        api,
        port: port.parse().unwrap(),
        cutting_port: cutting_port.parse().unwrap(),
        http: runtime::http::client_builder().build().unwrap(),
        _alone: ALONE.lock().await,
    })
}

impl Mailpit {
    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/api/v1/{path}", self.api)).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    /// The mails to this address, the newest first.
    async fn mails_to(&self, address: &str) -> Vec<Value> {
        let found = self.get(&format!("search?query=to:{address}")).await;
        found["messages"].as_array().unwrap().clone()
    }

    /// Makes it reject mails at this stage from now on.
    async fn refuse(&self, stage: &str, code: u16, probability: u8) {
        let triggers = json!({ stage: { "ErrorCode": code, "Probability": probability } });
        let request = self.http.put(format!("{}/api/v1/chaos", self.api)).json(&triggers);
        request.send().await.unwrap().error_for_status().unwrap();
    }
}

/// An address that no other test run has used.
pub(crate) fn fresh_address() -> String {
    format!("ada-{}@example.org", Uuid::now_v7().simple())
}

#[tokio::test]
async fn every_mail_is_read_as_it_was_written_and_its_html_is_what_mail_programs_show() {
    let Some(mailpit) = mailpit().await else { return };
    let shop = Shop { name: "The Shop".to_owned(), ..Shop::default() };
    let templates = Templates::load(None, "en", shop, &[]).unwrap();
    let smtp = Smtp::new(Server {
        host: "127.0.0.1".to_owned(),
        port: mailpit.port,
        encryption: Encryption::Off,
        ca: None,
        credentials: None,
        patience: Duration::from_secs(20),
    });
    let smtp = smtp.unwrap();
    let from: Mailbox = "The Shop <orders@shop.example>".parse().unwrap();
    for (template, locale) in
        MailTemplate::iter().flat_map(|template| ["en", "de"].map(|locale| (template, locale)))
    {
        let [letter, _] = Letter::samples(template).unwrap();
        let letter = Letter { customer_name: Some("Zoë <b>O'Näme</b>".to_owned()), ..letter };
        let written = templates.write(template, locale, &letter).unwrap();
        let to: Mailbox = fresh_address().parse().unwrap();
        let mail = Message::builder().from(from.clone()).to(to.clone()).subject(&written.subject);
        let parts = MultiPart::alternative_plain_html(written.text.clone(), written.html.clone());
        let mail = mail.multipart(parts).unwrap().formatted();
        assert_eq!(smtp.send(&from.email, &to.email, &mail).await, Outcome::Sent);

        let found = mailpit.mails_to(to.email.as_ref()).await;
        assert_eq!(found.len(), 1, "{template} {locale}");
        let id = found[0]["ID"].as_str().unwrap();
        let read = mailpit.get(&format!("message/{id}")).await;
        assert_eq!(read["Subject"], written.subject);
        let same = |part: &str, of: &str| {
            assert_eq!(part.replace("\r\n", "\n").trim(), of.trim(), "{template} {locale}");
        };
        same(read["Text"].as_str().unwrap(), &written.text);
        same(read["HTML"].as_str().unwrap(), &written.html);
        let checked = mailpit.get(&format!("message/{id}/html-check")).await;
        let unsupported = checked["Total"]["Unsupported"].as_f64().unwrap();
        assert!(unsupported < 10.0, "{template} {locale}: {}", checked["Warnings"]);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_server_that_refuses_on_command_puts_off_or_parks(db: PgPool) {
    let Some(mailpit) = mailpit().await else { return };
    let address = fresh_address();
    let post = Post::open(db).await;
    post.ada_is(Some(&address), None).await;
    let sender = sender_to(&post.db, mailpit.port, None);
    post.told(&[authorised()]).await;
    mailpit.refuse("Recipient", 451, 100).await;
    let put_off = sender.send_next(Channel::Mail).await;
    mailpit.refuse("Recipient", 550, 100).await;
    post.time_passes().await;
    let told = post.only().await;
    let refused = sender.send_next(Channel::Mail).await;
    mailpit.refuse("Recipient", 451, 0).await;
    assert_eq!((put_off.unwrap(), refused.unwrap()), (Looked::Dealt, Looked::Dealt));
    assert_eq!((told.state.as_str(), told.deferrals), ("queued", 1), "{told:?}");
    let told = post.only().await;
    assert_eq!(told.state, "parked", "{told:?}");
    assert!(told.why.unwrap().contains("550"));
    assert_eq!(mailpit.mails_to(&address).await.len(), 0);
    post.assert_nothing_kept_of(&[&address]).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cut_after_a_mail_sends_one_again_and_parks_the_other(db: PgPool) {
    let Some(mailpit) = mailpit().await else { return };
    let address = fresh_address();
    let post = Post::open(db).await;
    post.ada_is(Some(&address), None).await;
    // It forwards each mail to Mailpit, and cuts the connection after the first of each id.
    let sender = sender_to(&post.db, mailpit.cutting_port, None);
    post.told(&[reserved(), authorised(), shipped()]).await;
    for _ in 0..4 {
        sender.send_next(Channel::Mail).await.unwrap();
        post.time_passes().await;
    }
    assert_eq!(post.states().await, ["sent", "parked"]);
    let found = mailpit.mails_to(&address).await;
    let mut ids: Vec<_> = found.iter().map(|mail| mail["MessageID"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(ids[0], ids[1], "the confirmation came twice, as the same mail");
}
