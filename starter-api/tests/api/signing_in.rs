//! The shop's own issuer: customers who register, and clients that authenticate with a secret.

use std::time::Duration;

use futures::future::join_all;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::decode_header;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::{Client, EmbeddedSettings, ExternalIssuer, Identity, Limits, Temporal};

use crate::issuer::Issuer;
use crate::shop::{Answer, Shop, as_starter, order, send};

const SECRET: &str = "a-secret-of-the-web-shop";

fn settings(clients: &[&str]) -> EmbeddedSettings {
    let clients = clients.iter().map(|client| client.parse::<Client>().unwrap()).collect();
    EmbeddedSettings {
        issuer: "http://shop.example".to_owned(),
        audience: "ordersaga".to_owned(),
        token_lifetime: Duration::from_mins(15),
        clients: Some(clients),
    }
}

async fn shop_with(database: PgPool, settings: EmbeddedSettings) -> Shop {
    Shop::open(database.clone()).await;
    reopened(database, settings).await
}

async fn reopened(database: PgPool, settings: EmbeddedSettings) -> Shop {
    let identity = Identity::embedded(as_starter(&database), settings);
    let (temporal, limits) = (Temporal::from_env().unwrap(), Limits::default());
    let nobody = Issuer::start().await;
    Shop::trusting(database, temporal, limits, identity, nobody).await.with_token(None)
}

async fn shop(database: PgPool) -> Shop {
    let clients = [
        &format!("web-shop:service:{SECRET}"),
        "eve:operator:a-secret-of-eve-herself",
        "fay:finance:a-secret-of-fay-herself",
    ];
    shop_with(database, settings(&clients)).await
}

/// A shop with the client of the examples, and tokens of two others: a service and an operator.
pub(crate) async fn shop_of_the_examples(database: PgPool) -> (Shop, [String; 2]) {
    let clients = [
        "shop:service:change-me-shop-secret",
        "web-shop:service:a-secret-of-the-web-shop",
        "eve:operator:a-secret-of-eve-herself",
    ];
    let shop = shop_with(database, settings(&clients)).await;
    let service = token(&granted(&shop, &form("web-shop", SECRET)).await);
    let operator = token(&granted(&shop, &form("eve", "a-secret-of-eve-herself")).await);
    (shop, [service, operator])
}

async fn granted(shop: &Shop, form: &[(&str, &str)]) -> Answer {
    send(shop.request("POST", "/oauth/token").form(form)).await
}

fn form<'a>(id: &'a str, secret: &'a str) -> [(&'a str, &'a str); 3] {
    [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)]
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn ada(password: &str) -> Value {
    json!({"email": "Ada@Example.org", "password": password})
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_registers_signs_in_and_orders(database: PgPool) {
    let shop = shop(database.clone()).await;
    let registered = shop.post("/v1/customers", &ada("correct horse battery")).await;
    assert_eq!(registered.status, 201, "{}", registered.text);
    let signed_in = shop
        .post(
            "/v1/sessions",
            &json!({"email": " ada@example.org", "password": "correct horse battery"}),
        )
        .await;
    let told = signed_in.json();
    assert_eq!((&told["token_type"], &told["expires_in"]), (&json!("Bearer"), &json!(900)));

    let ada = shop.with_token(Some(token(&signed_in)));
    let mut order = order("somebody");
    order.as_object_mut().unwrap().remove("customer_id");
    let placed = ada.post("/v1/orders", &order).await;
    assert_eq!(placed.json()["customer_id"], registered.json()["customer_id"], "{}", placed.text);
    assert_eq!(ada.get(placed.header("location").unwrap()).await.status, 200);
    assert_eq!(ada.get("/v1/ledger/validate").await.problem(), "insufficient-scope");

    let kept = sqlx::query_scalar!("select password_hash from identity.logins");
    let kept = kept.fetch_one(&database).await.unwrap();
    assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_wrong_password_and_an_unknown_customer_are_answered_the_same(database: PgPool) {
    let shop = shop(database).await;
    shop.post("/v1/customers", &ada("correct horse battery")).await;
    let mut answers = Vec::new();
    for shown in [
        ada("correct horse batterx"),
        ada(""),
        json!({"email": "bob@example.org", "password": "correct horse battery"}),
        json!({"email": "no address", "password": "correct horse battery"}),
    ] {
        let answer = shop.post("/v1/sessions", &shown).await;
        assert_eq!(answer.problem(), "sign-in-failed", "{shown}");
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"ordersaga\""));
        answers.push(answer.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_registration_that_is_not_right_is_refused(database: PgPool) {
    let shop = shop(database.clone()).await;
    let long = format!("{}@example.org", "x".repeat(250));
    for (email, password, pointer) in [
        ("ada", "correct horse battery", "/email"),
        ("@example.org", "correct horse battery", "/email"),
        ("a@b@c", "correct horse battery", "/email"),
        ("a da@example.org", "correct horse battery", "/email"),
        (long.as_str(), "correct horse battery", "/email"),
        ("ada@example.org", "too short", "/password"),
        ("ada@example.org", &"x".repeat(257), "/password"),
    ] {
        let body = json!({"email": email, "password": password});
        let answer = shop.post("/v1/customers", &body).await;
        assert_eq!(answer.problem(), "invalid-request", "{email}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{email}");
        assert!(!answer.text.contains("correct horse"), "a password was echoed: {}", answer.text);
    }
    assert_eq!(shop.post("/v1/customers", &ada("correct horse battery")).await.status, 201);
    let again = shop.post("/v1/customers", &ada("another long password")).await;
    assert_eq!((again.status.as_u16(), again.problem().as_str()), (409, "email-taken"));
    let customers = sqlx::query_scalar!(r#"select count(*) as "count!" from identity.logins"#);
    assert_eq!(customers.fetch_one(&database).await.unwrap(), 1);
}

/// Ends all sign-in delays, as if the time had passed.
async fn let_the_wait_pass(database: &PgPool) {
    sqlx::query!("update identity.sign_in_attempts set wait_until = now()")
        .execute(database)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_account_that_is_guessed_at_has_to_wait_at_every_starter(database: PgPool) {
    let one = shop(database.clone()).await;
    let other = reopened(database.clone(), settings(&[])).await;
    one.post("/v1/customers", &ada("correct horse battery")).await;
    let nobody = json!({"email": "bob@example.org", "password": "correct horse battery"});
    let mut refusals = Vec::new();
    for (right, wrong) in
        [(ada("correct horse battery"), ada("wrong horse battery")), (nobody.clone(), nobody)]
    {
        for shop in [&one, &other, &one, &other, &one] {
            assert_eq!(shop.post("/v1/sessions", &wrong).await.problem(), "sign-in-failed");
        }
        for (shop, shown) in [(&one, &wrong), (&other, &wrong), (&other, &right)] {
            let delayed = shop.post("/v1/sessions", shown).await;
            assert_eq!(delayed.problem(), "sign-in-delayed");
            assert_eq!(delayed.status, 429);
            let wait: u64 = delayed.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=15).contains(&wait), "{wait}");
            refusals.push(delayed.text);
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "waiting tells who is a customer: {refusals:?}");

    let_the_wait_pass(&database).await;
    let signed_in = one.post("/v1/sessions", &ada("correct horse battery")).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text);
    // Earlier failures are forgotten.
    for _ in 0..4 {
        let wrong = one.post("/v1/sessions", &ada("wrong horse battery")).await;
        assert_eq!(wrong.problem(), "sign-in-failed");
    }
    assert_eq!(one.post("/v1/sessions", &ada("correct horse battery")).await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_wait_doubles_up_to_a_quarter_of_an_hour(database: PgPool) {
    let shop = shop(database.clone()).await;
    let mut waits = Vec::new();
    for _ in 0..13 {
        let_the_wait_pass(&database).await;
        assert_eq!(shop.post("/v1/sessions", &ada("guess")).await.problem(), "sign-in-failed");
        let wait = sqlx::query_scalar!(
            r#"select extract(epoch from wait_until - tried_at)::bigint as "seconds!"
               from identity.sign_in_attempts"#
        );
        waits.push(wait.fetch_one(&database).await.unwrap());
    }
    assert_eq!(waits, [0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900]);
    // After a day without attempts the count is reset; entries of others are cleaned up too.
    sqlx::query!("update identity.sign_in_attempts set tried_at = now() - interval '25 hours'")
        .execute(&database)
        .await
        .unwrap();
    let_the_wait_pass(&database).await;
    let somebody = json!({"email": "eve@example.org", "password": "guess"});
    assert_eq!(shop.post("/v1/sessions", &somebody).await.problem(), "sign-in-failed");
    let counted = sqlx::query_scalar!("select in_a_row from identity.sign_in_attempts");
    assert_eq!(counted.fetch_all(&database).await.unwrap(), [1]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_twenty_guesses_at_once_five_are_looked_at(database: PgPool) {
    let shop = shop(database).await;
    let guesses = (0..20).map(|guess| {
        let shop = shop.clone();
        async move { shop.post("/v1/sessions", &ada(&format!("guess {guess}"))).await.problem() }
    });
    let answers = join_all(guesses).await;
    let looked_at = answers.iter().filter(|problem| *problem == "sign-in-failed").count();
    let delayed = answers.iter().filter(|problem| *problem == "sign-in-delayed").count();
    assert_eq!((looked_at, delayed), (5, 15), "{answers:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_takes_another_password(database: PgPool) {
    let shop = shop(database.clone()).await;
    let registered = shop.post("/v1/customers", &ada("correct horse battery")).await.json();
    let path = format!("/v1/customers/{}/password", registered["customer_id"].as_str().unwrap());
    let change =
        |present: &str, new: &str| json!({"present_password": present, "new_password": new});
    let signed_in = shop.post("/v1/sessions", &ada("correct horse battery")).await;
    let herself = shop.with_token(Some(token(&signed_in)));
    let put = async |shop: &Shop, path: &str, body: &Value| {
        send(shop.request("PUT", path).json(body)).await
    };

    let good = change("correct horse battery", "another long password");
    for (present, new, pointer) in [
        ("wrong horse battery", "another long password", "/present_password"),
        ("correct horse battery", "too short", "/new_password"),
    ] {
        let refused = put(&herself, &path, &change(present, new)).await;
        assert_eq!(refused.problem(), "invalid-request", "{pointer}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer);
        assert!(!refused.text.contains("horse"), "a password was echoed: {}", refused.text);
    }
    let another = put(&herself, "/v1/customers/17850/password", &good).await;
    assert_eq!(another.problem(), "customer-not-found");
    let web_shop = granted(&shop, &form("web-shop", SECRET)).await;
    let web_shop = shop.with_token(Some(token(&web_shop)));
    assert_eq!(put(&web_shop, &path, &good).await.problem(), "insufficient-scope");
    assert_eq!(put(&shop, &path, &good).await.problem(), "unauthenticated");

    assert_eq!(put(&herself, &path, &good).await.status, 204);
    let old = shop.post("/v1/sessions", &ada("correct horse battery")).await;
    assert_eq!(old.problem(), "sign-in-failed");
    assert_eq!(shop.post("/v1/sessions", &ada("another long password")).await.status, 200);
    // A repeat fails, because its current password is outdated; the token is still valid.
    assert_eq!(put(&herself, &path, &good).await.problem(), "invalid-request");
    assert_eq!(herself.get("/v1/orders").await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_found_a_token_does_not_guess_the_password_with_it(database: PgPool) {
    let shop = shop(database).await;
    let registered = shop.post("/v1/customers", &ada("correct horse battery")).await.json();
    let path = format!("/v1/customers/{}/password", registered["customer_id"].as_str().unwrap());
    let signed_in = shop.post("/v1/sessions", &ada("correct horse battery")).await;
    let found = shop.with_token(Some(token(&signed_in)));
    let guess = |present: &str| {
        let change = json!({"present_password": present, "new_password": "mine from now on"});
        send(found.request("PUT", &path).json(&change))
    };
    for _ in 0..5 {
        assert_eq!(guess("wrong horse battery").await.problem(), "invalid-request");
    }
    assert_eq!(guess("correct horse battery").await.problem(), "sign-in-delayed");
    assert_eq!(shop.post("/v1/sessions", &ada("guess")).await.problem(), "sign-in-delayed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_program_shows_its_secret_in_a_form_or_as_basic(database: PgPool) {
    let shop = shop(database.clone()).await;
    let by_form = granted(&shop, &form("web-shop", SECRET)).await;
    assert!(by_form.text.contains("orders:place"), "{}", by_form.text);
    let service = shop.with_token(Some(token(&by_form)));
    assert_eq!(service.post("/v1/orders", &order("bob")).await.status, 201);

    let basic = shop.request("POST", "/oauth/token").basic_auth("web-shop", Some(SECRET));
    let narrowed =
        basic.form(&[("grant_type", "client_credentials"), ("scope", "orders:read ledger:read")]);
    let narrowed = send(narrowed).await;
    assert_eq!(narrowed.json()["scope"], "orders:read");
    let reader = shop.with_token(Some(token(&narrowed)));
    assert_eq!(reader.post("/v1/orders", &order("bob")).await.problem(), "insufficient-scope");
    assert_eq!(reader.get("/v1/ledger/validate").await.problem(), "insufficient-scope");

    let fay = shop
        .with_token(Some(token(&granted(&shop, &form("fay", "a-secret-of-fay-herself")).await)));
    assert_eq!(fay.get("/v1/ledger/validate").await.status, 200);
    let kept = sqlx::query_scalar!("select secret_hash from identity.clients");
    for hash in kept.fetch_all(&database).await.unwrap() {
        assert!(hash.starts_with("$argon2id$") && !hash.contains("secret"), "{hash}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_program_that_is_not_known_is_refused_as_oauth_has_it(database: PgPool) {
    let shop = shop(database).await;
    let mut told = String::new();
    for form in [
        form("web-shop", "a-secret-of-somebody-else").to_vec(),
        form("nobody", SECRET).to_vec(),
        vec![("grant_type", "client_credentials")],
        vec![("grant_type", "password"), ("username", "ada"), ("password", "x")],
        vec![("client_id", "web-shop")],
        [form("web-shop", SECRET).to_vec(), vec![("scope", "ledger:read")]].concat(),
        vec![("grant_type", "client_credentials"), ("grant_type", "client_credentials")],
    ] {
        let answer = granted(&shop, &form).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let challenge = answer.header("www-authenticate").unwrap_or("-").to_owned();
        told += &format!("{} {} {challenge}\n", answer.status.as_u16(), answer.json()["error"]);
    }
    expect_test::expect![[r#"
        401 "invalid_client" Basic realm="ordersaga", charset="UTF-8"
        401 "invalid_client" Basic realm="ordersaga", charset="UTF-8"
        401 "invalid_client" Basic realm="ordersaga", charset="UTF-8"
        400 "unsupported_grant_type" -
        400 "invalid_request" -
        400 "invalid_scope" -
        400 "invalid_request" -
    "#]]
    .assert_eq(&told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_the_settings_no_longer_name_gets_no_token(database: PgPool) {
    let open = shop(database.clone()).await;
    token(&granted(&open, &form("web-shop", SECRET)).await);
    let changed = settings(&["web-shop:service:another-long-secret"]);
    let later = reopened(database.clone(), changed).await;
    assert_eq!(granted(&later, &form("web-shop", SECRET)).await.status, 401);
    token(&granted(&later, &form("web-shop", "another-long-secret")).await);
    assert_eq!(granted(&later, &form("fay", "a-secret-of-fay-herself")).await.status, 401);
    // Settings without clients keep the stored ones.
    let silent = reopened(database, EmbeddedSettings { clients: None, ..settings(&[]) }).await;
    token(&granted(&silent, &form("web-shop", "another-long-secret")).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_token_of_one_starter_counts_at_another_and_wherever_the_keys_are_read(database: PgPool) {
    let first = shop(database.clone()).await;
    let second = reopened(database, settings(&[])).await;
    // The second starter has looked for keys before there was one.
    let nobodys = crate::issuer::first_key().sign(&json!({"sub": "ada"}));
    assert_eq!(second.with_token(Some(nobodys)).get("/v1/orders").await.status, 401);
    let token = token(&granted(&first, &form("eve", "a-secret-of-eve-herself")).await);
    let claims: Value = insecure_decode_claims(&token).unwrap();
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().unwrap().checked_add(900));
    let head = decode_header(&token).unwrap();
    assert_eq!(head.typ.as_deref(), Some("at+jwt"));

    assert_eq!(second.with_token(Some(token.clone())).get("/v1/orders").await.status, 200);

    let set = first.get("/.well-known/jwks.json").await.json();
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    assert_eq!(set["keys"][0]["kid"], head.kid.unwrap());
    assert!(set["keys"][0].get("d").is_none(), "the private half is shown: {set}");
    assert_eq!(set, second.get("/.well-known/jwks.json").await.json());
    let found = first.get("/.well-known/openid-configuration").await.json();
    assert_eq!(found["issuer"], claims["iss"]);
    assert_eq!(found["token_endpoint"], "http://shop.example/oauth/token");

    // A program that trusts this starter as an external issuer.
    let trusted = ExternalIssuer {
        issuer: "http://shop.example".to_owned(),
        jwks_url: Some(format!("{}/.well-known/jwks.json", first.address).parse().unwrap()),
        ..first.issuer.trusted()
    };
    let other = Shop::trusting(
        first.database.clone(),
        Temporal::from_env().unwrap(),
        Limits::default(),
        Identity::external(trusted),
        first.issuer.clone(),
    );
    let other = other.await.with_token(Some(token));
    assert_eq!(other.get("/v1/orders").await.status, 200);
    // It issues no tokens itself, and names the issuer.
    for path in ["/v1/customers", "/v1/sessions"] {
        let answer = other.post(path, &ada("correct horse battery")).await;
        assert_eq!(answer.problem(), "issued-elsewhere", "{path}");
        assert!(answer.text.contains("http://shop.example"), "{}", answer.text);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_secret_is_read_form_encoded_and_as_it_is(database: PgPool) {
    let secret = "a+b/c%20 d=&:e\u{e9}";
    let entry = format!("web-shop:service:{secret}");
    let shop = shop_with(database, settings(&[&entry])).await;
    let ask = async |id: &str, secret: &str| {
        let basic = shop.request("POST", "/oauth/token").basic_auth(id, Some(secret));
        send(basic.form(&[("grant_type", "client_credentials")])).await.status.as_u16()
    };
    let encoded = "a%2Bb%2Fc%2520+d%3D%26%3Ae%C3%A9";
    assert_eq!(ask("web-shop", secret).await, 200);
    assert_eq!(ask("web-shop", encoded).await, 200);
    assert_eq!(ask("web%2Dshop", encoded).await, 200, "an id is encoded, too");
    assert_eq!(ask("web-shop", "e\u{301} is something else").await, 401);
    assert_eq!(granted(&shop, &form("web-shop", secret)).await.status, 200);
    // In a form nothing is encoded twice.
    assert_eq!(granted(&shop, &form("web-shop", encoded)).await.status, 401);
    // An id that no text column can hold is no client.
    for nobody in ["web\u{0}shop", "", &"x".repeat(1_000)] {
        assert_eq!(granted(&shop, &form(nobody, secret)).await.status, 401, "{nobody:?}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_password_and_an_address_count_in_each_form_of_unicode(database: PgPool) {
    let shop = shop(database).await;
    let login = |email: &str, password: &str| json!({"email": email, "password": password});
    let (composed, decomposed) = ("caf\u{e9} horse battery", "cafe\u{301} horse battery");
    let registered = login("ren\u{e9}e@example.org", composed);
    assert_eq!(shop.post("/v1/customers", &registered).await.status, 201);
    for email in ["ren\u{e9}e@example.org", "Rene\u{301}e@Example.org"] {
        for password in [composed, decomposed] {
            let answer = shop.post("/v1/sessions", &login(email, password)).await;
            assert_eq!(answer.status, 200, "{email:?} {password:?}");
        }
    }
    let again = login("rene\u{301}e@example.org", composed);
    assert_eq!(shop.post("/v1/customers", &again).await.problem(), "email-taken");
    let wrong = shop.post("/v1/sessions", &login("ren\u{e9}e@example.org", "cafe horse")).await;
    assert_eq!(wrong.problem(), "sign-in-failed");
}
