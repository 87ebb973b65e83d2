//! Mails and passwords are sent to a mail server only as configured: encrypted, with a trusted
//! certificate, and authenticated.
//!
//! Tests that need a certificate run if the launcher has started a Mailpit with one (`stack.py test
//! --with mail`), and otherwise print that they were skipped.

use std::io::{self, Write as _};
use std::sync::{Arc, Once};
use std::time::Duration;
use std::{env, fs};

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Certificate;
use relay::mail::{Channel, Encryption, Looked, Sender, Server, Smtp};
use reqwest::Client;
use runtime::schema::MIGRATIONS;
use serde_json::Value;
use sqlx::PgPool;

use crate::counterparts::fresh_address;
use crate::post::{EMAIL, Post, authorised, reserved, sender_by, shipped};
use crate::server::Trouble;

const PASSWORD: &str = "a password of the tests";

/// A Mailpit that accepts only authenticated mails over STARTTLS.
struct Strict {
    api: String,
    port: u16,
    user: String,
    password: String,
    ca: Certificate,
}

/// It, if the launcher has started it. Prints a note once if it has not.
fn strict() -> Option<Strict> {
    static SAID: Once = Once::new();
    let named = |name: &str| env::var(format!("ORDERSAGA_STRICT_MAILPIT_{name}")).ok();
    let (Some(api), Some(port), Some(user), Some(password), Some(ca)) =
        (named("URL"), named("PORT"), named("USER"), named("PASSWORD"), named("CA"))
    else {
        SAID.call_once(|| {
            let why = "mail: NOT RUN by TLS and with a password against Mailpit: it is not here, or \
                       openssl is not; `stack.py test --with mail` has it";
            writeln!(io::stderr(), "{why}").unwrap();
        });
        return None;
    };
    let ca = Certificate::from_pem(&fs::read(ca).unwrap()).unwrap();
    Some(Strict { api, port: port.parse().unwrap(), user, password, ca })
}

impl Strict {
    /// A sender with this password, and this trusted certificate, if any.
    fn sender(&self, db: &PgPool, password: &str, ca: Option<Certificate>) -> Sender {
        let credentials = Some(Credentials::new(self.user.clone(), password.to_owned()));
        sender_that(db, self.port, Encryption::Starttls, ca, credentials)
    }

    /// The number of its mails to this address.
    async fn mails_to(&self, address: &str) -> usize {
        let http: Client = runtime::http::client_builder().build().unwrap();
        let url = format!("{}/api/v1/search?query=to:{address}", self.api);
        let found = http.get(url).send().await.unwrap().error_for_status().unwrap();
        let found: Value = found.json().await.unwrap();
        found["messages"].as_array().unwrap().len()
    }
}

fn sender_that(
    db: &PgPool,
    port: u16,
    encryption: Encryption,
    ca: Option<Certificate>,
    credentials: Option<Credentials>,
) -> Sender {
    let host = "127.0.0.1".to_owned();
    let patience = Duration::from_secs(20);
    let server = Server { host, port, encryption, ca, credentials, patience };
    sender_by(db, Arc::new(Smtp::new(server).unwrap()), None)
}

fn credentials() -> Credentials {
    Credentials::new("shop".to_owned(), PASSWORD.to_owned())
}

/// A shop with a mail to this address.
async fn post_with_a_mail(db: PgPool, address: &str) -> Post {
    let post = Post::open(db).await;
    post.ada_is(Some(address), None).await;
    post.told(&[reserved(), authorised()]).await;
    post
}

/// Asserts that the mail waits for this reason, and so do all others; none is parked.
async fn assert_waits(post: &Post, sender: &Sender, why: &str) {
    let looked = sender.send_next(Channel::Mail).await.unwrap();
    assert!(matches!(looked, Looked::Rest(_)), "{looked:?}");
    let told = post.only().await;
    assert_eq!((told.state.as_str(), told.deferrals), ("queued", 0), "{told:?}");
    assert_eq!(told.why.as_deref(), Some(why));
    post.assert_nothing_kept_of(&[PASSWORD]).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_server_that_does_not_encrypt_is_given_no_password_and_no_mail(db: PgPool) {
    let post = post_with_a_mail(db, EMAIL).await;
    let sender =
        sender_that(&post.db, post.server.port, Encryption::Starttls, None, Some(credentials()));
    let why = "the connection cannot be encrypted: it lacks what this program asks for";
    assert_waits(&post, &sender, why).await;
    assert!(post.server.was_told("EHLO"));
    for command in ["AUTH", "MAIL"] {
        assert!(!post.server.was_told(command), "{command} in the clear");
    }
    // A server without TLS from the beginning gets nothing at all.
    let sender =
        sender_that(&post.db, post.server.port, Encryption::Tls, None, Some(credentials()));
    let looked = sender.send_next(Channel::Mail).await.unwrap();
    assert!(matches!(looked, Looked::Rest(_)), "{looked:?}");
    assert!(!post.server.was_told("AUTH") && !post.server.was_told("MAIL"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_password_that_is_refused_has_all_mails_wait(db: PgPool) {
    let post = post_with_a_mail(db, EMAIL).await;
    post.server.next(&[Trouble::SignIn("535 5.7.8 nobody of that name here")]);
    let sender =
        sender_that(&post.db, post.server.port, Encryption::Off, None, Some(credentials()));
    assert_waits(&post, &sender, "the server does not take user and password: 535 5.7.8").await;
    assert!(!post.server.was_told("MAIL"));
    // The password is corrected.
    let sender =
        sender_that(&post.db, post.server.port, Encryption::Off, None, Some(credentials()));
    assert_eq!(sender.send_next(Channel::Mail).await.unwrap(), Looked::Dealt);
    assert_eq!(post.states().await, ["sent"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_mail_is_sent_encrypted_and_signed_in(db: PgPool) {
    let Some(strict) = strict() else { return };
    let address = fresh_address();
    let post = post_with_a_mail(db, &address).await;
    let sender = strict.sender(&post.db, &strict.password, Some(strict.ca.clone()));
    assert_eq!(sender.send_next(Channel::Mail).await.unwrap(), Looked::Dealt);
    assert_eq!(post.states().await, ["sent"]);
    assert_eq!(strict.mails_to(&address).await, 1);
    // The connection is reused.
    post.told(&[reserved(), shipped()]).await;
    assert_eq!(sender.send_next(Channel::Mail).await.unwrap(), Looked::Dealt);
    assert_eq!(strict.mails_to(&address).await, 2);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_wrong_password_parks_nothing_at_a_server_that_wants_one(db: PgPool) {
    let Some(strict) = strict() else { return };
    let address = fresh_address();
    let post = post_with_a_mail(db, &address).await;
    let sender = strict.sender(&post.db, PASSWORD, Some(strict.ca.clone()));
    let looked = sender.send_next(Channel::Mail).await.unwrap();
    assert!(matches!(looked, Looked::Rest(_)), "{looked:?}");
    let told = post.only().await;
    assert_eq!(told.state, "queued");
    let why = told.why.unwrap();
    assert!(why.starts_with("the server does not take user and password: 535"), "{why}");
    // No mail is sent without authentication, or unencrypted.
    let ca = Some(strict.ca.clone());
    for (encryption, credentials) in [
        (Encryption::Starttls, None),
        (Encryption::Off, None),
        (Encryption::Off, Some(credentials())),
    ] {
        let sender = sender_that(&post.db, strict.port, encryption, ca.clone(), credentials);
        let looked = sender.send_next(Channel::Mail).await.unwrap();
        assert!(matches!(looked, Looked::Rest(_)), "{encryption:?}: {looked:?}");
        assert_eq!(post.states().await, ["queued"]);
    }
    assert_eq!(strict.mails_to(&address).await, 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_certificate_of_an_unknown_signer_is_refused(db: PgPool) {
    let Some(strict) = strict() else { return };
    let address = fresh_address();
    let post = post_with_a_mail(db, &address).await;
    let sender = strict.sender(&post.db, &strict.password, None);
    let why = "the connection cannot be encrypted: its certificate is not trusted";
    assert_waits(&post, &sender, why).await;
    assert_eq!(strict.mails_to(&address).await, 0);
}
