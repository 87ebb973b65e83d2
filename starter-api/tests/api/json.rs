use std::fs;

use starter_api::Limits;

use crate::shop::{Shop, no_database, nowhere, send};

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let shop = Shop::with(no_database(), nowhere(), Limits::default()).await;
    let suite = fs::read_to_string("tests/data/json-test-suite.txt").unwrap();
    let mut refused = 0;
    for document in suite.lines().filter(|line| !line.starts_with('#')) {
        let [name, times, bytes] = document.split(' ').collect::<Vec<_>>()[..] else {
            unreachable!("{document}")
        };
        let body = unhexed(bytes).repeat(times.parse().unwrap());
        let request = shop.request("POST", "/v1/quotes").header("content-type", "application/json");
        let answer = send(request.body(body)).await;
        assert_eq!(answer.problem(), "malformed-request", "{name}: {}", answer.text);
        assert_eq!(answer.status, 400, "{name}");
        refused += 1;
    }
    assert_eq!(refused, 188);
}

#[tokio::test]
async fn an_array_is_refused_wherever_an_object_is_documented() {
    let shop = Shop::with(no_database(), nowhere(), Limits::default()).await;
    let object = r#"{"lines":[{"sku":"85123A","quantity":6}],"ship_to":{"country":"GB"}}"#;
    for (in_objects, as_array, pointer) in [
        (object, r#"[[{"sku":"85123A","quantity":6}],{"country":"GB"},null]"#, ""),
        (r#"{"sku":"85123A","quantity":6}"#, r#"["85123A",6]"#, "/lines/0"),
        (r#"{"country":"GB"}"#, r#"["GB"]"#, "/ship_to"),
    ] {
        let body = object.replace(in_objects, as_array);
        let request = shop.request("POST", "/v1/quotes").header("content-type", "application/json");
        let answer = send(request.body(body)).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.problem(), "malformed-request");
        let told = answer.json();
        let place = told["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(place, pointer, "{}", answer.text);
        assert!(answer.text.contains("expected an object"), "{}", answer.text);
    }
}

fn unhexed(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok());
    digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
