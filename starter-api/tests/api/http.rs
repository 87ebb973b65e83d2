use std::collections::BTreeSet;
use std::fs;

use expect_test::expect_file;
use serde_json::{Value, json};
use starter_api::{Kind, Limits};
use strum::VariantArray;

use crate::shop::{Shop, no_database, nowhere, send};

async fn shop() -> Shop {
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    Shop::with(no_database(), nowhere(), limits).await
}

/// Update with `UPDATE_EXPECT=1 cargo test -p starter-api`.
#[test]
fn the_committed_description_is_that_of_the_router() {
    let description = starter_api::description().to_pretty_json().unwrap();
    expect_file!["../../openapi.json"].assert_eq(&format!("{description}\n"));
}

#[test]
fn the_committed_schema_is_what_can_be_asked_in_graphql() {
    expect_file!["../../schema.graphql"].assert_eq(&starter_api::graphql_schema());
}

#[tokio::test]
async fn every_described_operation_is_served() {
    let shop = shop().await;
    let description: Value = serde_json::to_value(starter_api::description()).unwrap();
    let mut operations = 0;
    let mut names = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is the name of two operations");
            let path =
                path.replace("{order_id}", "x").replace("{account}", "x").replace("{sku}", "x");
            let answer = send(shop.request(&method.to_uppercase(), &path)).await;
            assert_ne!(answer.status, 405, "{method} {path}");
            if answer.status == 404 {
                assert_ne!(answer.problem(), "route-not-found", "{method} {path}");
            }
            operations += 1;
        }
    }
    assert_eq!(operations, 86);
}

#[test]
fn every_kind_of_problem_has_its_heading_and_no_heading_is_left_over() {
    let page = fs::read_to_string("../docs/problems.md").unwrap();
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let kinds: Vec<_> = Kind::VARIANTS.iter().map(|kind| kind.heading()).collect();
    assert_eq!(headings, kinds);
    for kind in Kind::VARIANTS {
        let told = format!("## {}\n\n**{}.**", kind.heading(), kind.status().as_u16());
        assert!(page.contains(&told), "{} tells another status", kind.heading());
    }
    assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len());
}

#[tokio::test]
async fn a_path_or_method_that_is_not_there_is_a_problem_too() {
    let shop = shop().await;
    assert_eq!(shop.get("/v1/nothing").await.problem(), "route-not-found");
    assert_eq!(shop.get("/").await.problem(), "route-not-found");
    let answer = send(shop.request("DELETE", "/v1/orders")).await;
    assert_eq!(answer.problem(), "method-not-allowed");
    let allowed: BTreeSet<_> = answer.header("allow").unwrap().split(',').collect();
    assert_eq!(allowed, BTreeSet::from(["GET", "HEAD", "POST"]));
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_own_word_is_refused() {
    let shop = shop().await;
    for declared in ["text/plain", "application/x-www-form-urlencoded", "json"] {
        let request = shop.request("POST", "/v1/quotes").header("content-type", declared);
        assert_eq!(send(request.body("{}")).await.problem(), "unsupported-media-type");
    }
    let undeclared = send(shop.request("POST", "/v1/quotes").body("{}")).await;
    assert_eq!(undeclared.problem(), "unsupported-media-type");
    let vendored = shop
        .request("POST", "/v1/quotes")
        .header("content-type", "application/vnd.shop+json; charset=utf-8");
    assert_eq!(send(vendored.body("{}")).await.problem(), "malformed-request");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let shop = shop().await;
    let answer = shop.post("/v1/quotes", &json!({"lines": "x".repeat(1_000)})).await;
    assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("body-too-large", 413));
}

#[tokio::test]
async fn a_request_keeps_its_id_or_is_given_one() {
    let shop = shop().await;
    let named = send(shop.request("GET", "/health").header("x-request-id", "mine-1")).await;
    assert_eq!(named.header("x-request-id"), Some("mine-1"));
    for unusable in ["", "a b", "x".repeat(129).as_str()] {
        let answer = send(shop.request("GET", "/health").header("x-request-id", unusable)).await;
        assert_eq!(answer.header("x-request-id").unwrap().len(), 36, "{unusable}");
    }
    assert_eq!(shop.get("/nowhere").await.header("x-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_path() {
    let shop = shop().await;
    shop.get("/v1/products/some-very-special-sku").await;
    let metrics = shop.get("/metrics").await;
    let counted = r#"http_requests_total{method="GET",route="/v1/products/{sku}",status="503"}"#;
    assert!(metrics.text.contains(counted), "{}", metrics.text);
    assert!(metrics.text.contains("http_request_duration_seconds_bucket"), "{}", metrics.text);
    for gauge in ["ordersaga_database_connections", "ordersaga_streams", "ordersaga_waits"] {
        assert!(metrics.text.contains(&format!("# TYPE {gauge} gauge")), "{}", metrics.text);
    }
    assert!(!metrics.text.contains("special"), "{}", metrics.text);
}

#[tokio::test]
async fn what_callers_invent_is_no_label_of_a_metric() {
    let shop = shop().await;
    for number in 0..3 {
        send(shop.request(&format!("INVENTED{number}"), "/v1/orders")).await;
        send(shop.request(&format!("INVENTED{number}"), &format!("/invented/{number}"))).await;
        let grpc = shop.request("POST", &format!("/ordersaga.v1.OrderService/Invented{number}"));
        send(grpc.header("content-type", "application/grpc")).await;
    }
    let metrics = shop.get("/metrics").await.text.to_lowercase();
    assert!(!metrics.contains("invented"), "{metrics}");
    let counted = r#"http_requests_total{method="other",route="/v1/orders",status="405"}"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn the_page_to_try_the_api_needs_nothing_from_elsewhere() {
    let shop = shop().await;
    let page = shop.get("/docs/").await;
    assert_eq!(page.status, 200);
    let files: Vec<_> = page
        .text
        .split(['"', '\''])
        .filter(|text| [".js", ".css"].iter().any(|end| text.ends_with(end)))
        .collect();
    assert!(files.len() >= 3, "{}", page.text);
    for file in files {
        assert!(!file.contains("//"), "{file} is fetched from elsewhere");
        let answer = shop.get(&format!("/docs/{}", file.trim_start_matches("./"))).await;
        assert_eq!(answer.status, 200, "{file}");
    }
    let settings = shop.get("/docs/swagger-initializer.js").await;
    assert!(settings.text.contains("/openapi.json"), "{}", settings.text);
    assert_eq!(shop.get("/openapi.json").await.json()["openapi"], "3.1.0");
    assert!(shop.get("/docs/problems.md").await.text.starts_with("# Problems"));
}
