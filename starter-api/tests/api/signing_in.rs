//! The shop's own issuer: customers who register, programs and staff that show a secret.

use std::time::Duration;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::decode_header;
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
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

#[sqlx::test(migrations = "../migrations")]
async fn whoever_the_settings_no_longer_name_gets_no_token(database: PgPool) {
    let open = shop(database.clone()).await;
    token(&granted(&open, &form("web-shop", SECRET)).await);
    let changed = settings(&["web-shop:service:another-long-secret"]);
    let later = reopened(database.clone(), changed).await;
    assert_eq!(granted(&later, &form("web-shop", SECRET)).await.status, 401);
    token(&granted(&later, &form("web-shop", "another-long-secret")).await);
    assert_eq!(granted(&later, &form("fay", "a-secret-of-fay-herself")).await.status, 401);
    // Settings that name nobody leave in peace who was entered before.
    let silent = reopened(database, EmbeddedSettings { clients: None, ..settings(&[]) }).await;
    token(&granted(&silent, &form("web-shop", "another-long-secret")).await);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_of_one_starter_counts_at_another_and_wherever_the_keys_are_read(database: PgPool) {
    let first = shop(database.clone()).await;
    let second = reopened(database, settings(&[])).await;
    // The second has looked for keys before there was one.
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

    // A program that trusts this starter as it would any other issuer.
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
    // It gives out none itself, and says who does.
    for path in ["/v1/customers", "/v1/sessions"] {
        let answer = other.post(path, &ada("correct horse battery")).await;
        assert_eq!(answer.problem(), "issued-elsewhere", "{path}");
        assert!(answer.text.contains("http://shop.example"), "{}", answer.text);
    }
}
