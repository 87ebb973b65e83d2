//! Tokens of an identity provider: which are accepted, and which are not, however well they are
//! forged.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use jsonwebtoken::{Algorithm, Header, get_current_timestamp};
use serde_json::{Value, json};
use starter_api::{ExternalIssuer, Identity, Limits};

use crate::issuer::{Issuer, PrivateKey, SigningKey, first_key, signed};
use crate::shop::{Answer, Shop, no_database, nowhere};

/// A shop without a database: an authenticated caller gets 503, others get 401.
async fn shop() -> Shop {
    Shop::with(no_database(), nowhere(), Limits::default()).await
}

async fn shop_trusting(issuer: &Issuer, trusted: ExternalIssuer) -> Shop {
    let identity = Identity::external(trusted);
    Shop::trusting(no_database(), nowhere(), Limits::default(), identity, issuer.clone()).await
}

async fn shown(shop: &Shop, token: String) -> Answer {
    shop.with_token(Some(token)).get("/v1/orders").await
}

fn assert_let_in(answer: &Answer) {
    assert_eq!(answer.problem(), "try-again", "{}", answer.text);
}

#[track_caller]
fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!(answer.problem(), "unauthenticated", "{}", answer.text);
    assert_eq!(answer.status, 401);
    let told =
        format!("Bearer realm=\"ordersaga\", error=\"invalid_token\", error_description=\"{why}\"");
    assert_eq!(answer.header("www-authenticate"), Some(told.as_str()));
}

const NOT_ACCEPTED: &str = "The token is not one that this shop accepts";

/// The claims of a valid token, with changes.
fn but(issuer: &Issuer, changes: &Value) -> Value {
    let mut claims = issuer.claims("ada", &["customer"]);
    for (claim, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn claims_that_are_not_right_are_refused() {
    let shop = shop().await;
    let now = get_current_timestamp();
    for (why, changes) in [
        ("The token has expired", json!({"exp": now - 60})),
        ("The token is not valid yet", json!({"nbf": now + 120})),
        (NOT_ACCEPTED, json!({"exp": null})),
        (NOT_ACCEPTED, json!({"exp": "tomorrow"})),
        (NOT_ACCEPTED, json!({"nbf": "yesterday"})),
        (NOT_ACCEPTED, json!({"iss": "https://evil.example"})),
        (NOT_ACCEPTED, json!({"iss": format!("{}/", shop.issuer.url)})),
        (NOT_ACCEPTED, json!({"iss": null})),
        (NOT_ACCEPTED, json!({"aud": "another-program"})),
        (NOT_ACCEPTED, json!({"aud": ["another-program"]})),
        (NOT_ACCEPTED, json!({"aud": null})),
        (NOT_ACCEPTED, json!({"sub": null})),
        ("The token does not name a subject that this shop accepts", json!({"sub": "a b"})),
        (
            "The token does not name a subject that this shop accepts",
            json!({"sub": "eve\u{0}", "roles": ["operator"]}),
        ),
        (
            "The token does not name a subject that this shop accepts",
            json!({"iss": [shop.issuer.url]}),
        ),
        (
            "The token does not name a subject that this shop accepts",
            json!({"scope": ["orders:read"]}),
        ),
    ] {
        let answer = shown(&shop, first_key().sign(&but(&shop.issuer, &changes))).await;
        assert_eq!(answer.status, 401, "{changes}: {}", answer.text);
        assert_refused(&answer, why);
    }
    for fine in [json!({}), json!({"aud": ["others", "ordersaga"]}), json!({"nbf": null})] {
        assert_let_in(&shown(&shop, first_key().sign(&but(&shop.issuer, &fine))).await);
    }
}

#[tokio::test]
async fn a_token_signed_by_another_is_refused() {
    let shop = shop().await;
    let claims = shop.issuer.claims("ada", &["customer"]);
    // With the key id of the right key, and with its own.
    for kid in ["first", "stranger"] {
        assert_refused(&shown(&shop, SigningKey::es256(kid).sign(&claims)).await, NOT_ACCEPTED);
    }
    let good = first_key().sign(&claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = signed.split_once('.').unwrap();
    let staff = shop.issuer.claims("ada", &["finance"]).to_string();
    let forged = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(staff));
    assert_refused(&shown(&shop, forged).await, NOT_ACCEPTED);
    for mangled in [signed, &format!("{signed}."), "not-a-token", "a.b.c", &"x".repeat(9_000)] {
        assert_refused(&shown(&shop, mangled.to_owned()).await, NOT_ACCEPTED);
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_the_keys_is_refused() {
    let issuer = Issuer::start().await;
    let rsa = SigningKey::rs256("rsa");
    issuer.publish(&[first_key(), &rsa]);
    let shop = shop_trusting(&issuer, issuer.trusted()).await;
    let claims = issuer.claims("ada", &["customer"]);
    let base64 = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());

    for alg in ["none", "None", "nOnE"] {
        let head = base64(&json!({"alg": alg, "typ": "at+jwt", "kid": "first"}));
        let unsigned = format!("{head}.{}.", base64(&claims));
        assert_refused(&shown(&shop, unsigned).await, NOT_ACCEPTED);
    }
    // The public key, which everybody knows, used as a shared secret.
    for (kid, known) in
        [("rsa", rsa.public["n"].as_str()), ("first", first_key().public["x"].as_str())]
    {
        for secret in
            [known.unwrap().as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(known.unwrap()).unwrap()]
        {
            let mut head = Header::new(Algorithm::HS256);
            (head.typ, head.kid) = (Some("at+jwt".to_owned()), Some(kid.to_owned()));
            let token = signed(&head, &claims, &PrivateKey::Secret(secret));
            assert_refused(&shown(&shop, token).await, NOT_ACCEPTED);
        }
    }
    // The right key with another algorithm of its family.
    let mut head = rsa.header();
    head.alg = Algorithm::PS256;
    let token = signed(&head, &claims, &rsa.private);
    assert_refused(&shown(&shop, token).await, NOT_ACCEPTED);
    assert_let_in(&shown(&shop, rsa.sign(&claims)).await);
}

#[tokio::test]
async fn a_key_that_comes_with_the_token_is_not_looked_at() {
    let (shop, thief) = (shop().await, Issuer::start().await);
    let key = SigningKey::es256("thiefs");
    thief.publish(&[&key]);
    let claims = shop.issuer.claims("ada", &["finance"]);
    for kid in ["first", "thiefs"] {
        let mut head = key.header();
        head.kid = Some(kid.to_owned());
        head.jwk = Some(serde_json::from_value(key.public.clone()).unwrap());
        head.jku = Some(format!("{}/keys", thief.url));
        head.x5u = Some(format!("{}/keys", thief.url));
        head.x5c = Some(vec!["MIIB".to_owned()]);
        let token = signed(&head, &claims, &key.private);
        assert_refused(&shown(&shop, token).await, NOT_ACCEPTED);
    }
    assert_eq!(thief.asked(), 0, "the thief was asked for keys");
    // A valid token that carries such a key is verified with its issuer's key, not with the one it
    // carries.
    let mut head = first_key().header();
    head.jku = Some(format!("{}/keys", thief.url));
    let token = signed(&head, &claims, &first_key().private);
    assert_let_in(&shown(&shop, token).await);
    assert_eq!(thief.asked(), 0, "the thief was asked for keys");
}

#[tokio::test]
async fn a_token_of_another_kind_is_refused() {
    let shop = shop().await;
    let claims = shop.issuer.claims("ada", &["customer"]);
    let with = |change: fn(&mut Header)| {
        let mut head = first_key().header();
        change(&mut head);
        signed(&head, &claims, &first_key().private)
    };
    for token in [
        with(|head| head.typ = Some("JWT".to_owned())),
        with(|head| head.typ = Some("logout+jwt".to_owned())),
        with(|head| head.typ = None),
        with(|head| head.crit = Some(vec!["b64".to_owned()])),
    ] {
        assert_refused(&shown(&shop, token).await, NOT_ACCEPTED);
    }
    for typ in ["at+JWT", "application/at+jwt"] {
        let mut head = first_key().header();
        head.typ = Some(typ.to_owned());
        let token = signed(&head, &claims, &first_key().private);
        assert_let_in(&shown(&shop, token).await);
    }
}

#[tokio::test]
async fn what_is_no_bearer_token_is_asked_for_one() {
    let shop = shop().await.with_token(None);
    for credentials in ["Basic YWRhOnNlY3JldA==", "Bearer", "token"] {
        let request = shop.request("GET", "/v1/orders").header("authorization", credentials);
        let answer = crate::shop::send(request).await;
        assert_eq!(answer.status, 401, "{credentials}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"ordersaga\""));
    }
    let token = shop.issuer.token("ada", &["customer"]);
    let twice = shop.request("GET", "/v1/orders").bearer_auth(&token).bearer_auth(&token);
    assert_refused(&crate::shop::send(twice).await, NOT_ACCEPTED);
    let in_query = shop.get(&format!("/v1/orders?access_token={token}")).await;
    assert_eq!(in_query.status, 401);
}

#[tokio::test]
async fn every_algorithm_that_is_taken_is_taken() {
    let issuer = Issuer::start().await;
    let keys = [SigningKey::rs256("r"), SigningKey::es256("e"), SigningKey::eddsa("d")];
    issuer.publish(&keys.iter().collect::<Vec<_>>());
    let shop = shop_trusting(&issuer, issuer.trusted()).await;
    for key in &keys {
        assert_let_in(&shown(&shop, key.sign(&issuer.claims("ada", &["customer"]))).await);
    }
}

#[tokio::test]
async fn a_key_that_is_not_for_signing_or_too_weak_is_not_taken() {
    let issuer = Issuer::start().await;
    let claims = issuer.claims("ada", &["customer"]);
    let mut encrypts = SigningKey::es256("encrypts");
    encrypts.public["use"] = json!("enc");
    let mut other = SigningKey::es256("other");
    other.public["alg"] = json!("ES384");
    issuer.publish(&[first_key(), &encrypts, &other]);
    let shop = shop_trusting(&issuer, issuer.trusted()).await;
    for key in [&encrypts, &other] {
        assert_refused(&shown(&shop, key.sign(&claims)).await, NOT_ACCEPTED);
    }
    assert_let_in(&shown(&shop, first_key().sign(&claims)).await);
}

#[tokio::test]
async fn new_keys_of_the_issuer_are_found_and_old_ones_forgotten() {
    let issuer = Issuer::start().await;
    let trusted = ExternalIssuer { refetch_pause: std::time::Duration::ZERO, ..issuer.trusted() };
    let shop = shop_trusting(&issuer, trusted).await;
    let claims = issuer.claims("ada", &["customer"]);
    assert_let_in(&shown(&shop, first_key().sign(&claims)).await);
    assert_eq!(issuer.asked(), 1);

    let second = SigningKey::rs256("second");
    issuer.publish(&[&second]);
    assert_let_in(&shown(&shop, second.sign(&claims)).await);
    assert_refused(&shown(&shop, first_key().sign(&claims)).await, NOT_ACCEPTED);

    // While the issuer is unavailable, its last keys stay in use.
    issuer.be_away(true);
    assert_refused(&shown(&shop, first_key().sign(&claims)).await, NOT_ACCEPTED);
    assert_let_in(&shown(&shop, second.sign(&claims)).await);
}

#[tokio::test]
async fn tokens_under_unknown_keys_do_not_make_the_issuer_work() {
    let shop = shop().await;
    let claims = shop.issuer.claims("ada", &["customer"]);
    assert_let_in(&shown(&shop, first_key().sign(&claims)).await);
    let key = SigningKey::es256("x");
    let flood = (0..50).map(|number| {
        let mut head = key.header();
        head.kid = Some(format!("unknown-{number}"));
        shown(&shop, signed(&head, &claims, &key.private))
    });
    for answer in join_all(flood).await {
        assert_refused(&answer, NOT_ACCEPTED);
    }
    assert_eq!(shop.issuer.asked(), 1, "the issuer was asked again and again");
}

/// A key id is looked up among the issuer's keys, and never used as a path, a URL or in SQL.
#[tokio::test]
async fn a_key_is_found_by_its_very_name_alone() {
    let shop = shop().await;
    let claims = shop.issuer.claims("ada", &["customer"]);
    let key = first_key();
    assert_let_in(&shown(&shop, key.sign(&claims)).await);
    for name in [
        "../first",
        "./first",
        "/keys/first",
        "first/../first",
        "FIRST",
        "first ",
        "first\u{0}",
        "first' or '1'='1",
        "file:///dev/null",
        "http://127.0.0.1:9/first",
        "",
    ] {
        let mut head = key.header();
        head.kid = Some(name.to_owned());
        let token = signed(&head, &claims, &key.private);
        assert_refused(&shown(&shop, token).await, NOT_ACCEPTED);
    }
}

#[tokio::test]
async fn while_the_issuer_has_never_answered_nobody_can_say() {
    let issuer = Issuer::start().await;
    issuer.be_away(true);
    let shop = shop_trusting(&issuer, issuer.trusted()).await;
    let token = issuer.token("ada", &["customer"]);
    let answers = join_all((0..20).map(|_| shown(&shop, token.clone()))).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("2")));
    }
    assert_eq!(issuer.asked(), 1, "an issuer that is down was asked again and again");
}

#[tokio::test]
async fn keys_are_taken_from_the_issuer_itself_alone() {
    let (issuer, thief) = (Issuer::start().await, Issuer::start().await);
    // The discovery document of another issuer.
    let trusted = ExternalIssuer { issuer: format!("{}/", thief.url), ..issuer.trusted() };
    let shop = shop_trusting(&issuer, trusted).await;
    let mut claims = issuer.claims("ada", &["customer"]);
    claims["iss"] = json!(format!("{}/", thief.url));
    assert_eq!(shown(&shop, first_key().sign(&claims)).await.status, 503);
    assert_eq!(thief.asked(), 0);
}

#[tokio::test]
async fn roles_are_where_the_settings_say() {
    let issuer = Issuer::start().await;
    let trusted = ExternalIssuer {
        roles_claim: "/realm_access/roles".to_owned(),
        customer_claim: "customer".to_owned(),
        ..issuer.trusted()
    };
    let shop = shop_trusting(&issuer, trusted).await;
    let mut claims = but(&issuer, &json!({"roles": ["finance"], "customer": "17850"}));
    assert_eq!(shown(&shop, first_key().sign(&claims)).await.problem(), "insufficient-scope");
    claims["realm_access"] = json!({"roles": ["offline_access", "customer"]});
    assert_let_in(&shown(&shop, first_key().sign(&claims)).await);
    claims["customer"] = Value::Null;
    assert_eq!(shown(&shop, first_key().sign(&claims)).await.problem(), "unauthenticated");
}
