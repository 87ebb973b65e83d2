//! Attacks through the API, open to any caller.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Books, LedgerError, Tried, Verdict};
use crate::ordersaga::{Answer, Once};

pub(super) async fn try_all(books: &Books) -> Result<Vec<Tried>, LedgerError> {
    let mut tried = Vec::new();
    for attempt in attempts() {
        let before = books.fingerprint().await?;
        let client =
            if attempt.path.starts_with("/v1/orders") { &books.shop } else { &books.finance };
        let answer = client.once(&attempt).await?;
        let verdict = match told(&answer) {
            Some(by) => Verdict::Refused(by),
            None if answer.status.is_success() => books.judged(&before).await?,
            None => Verdict::Pointless(answer.status.to_string()),
        };
        tried.push(Tried { by: "the API", what: attempt.what.to_owned(), verdict });
    }
    Ok(tried)
}

/// The API's error text, if it is a client error.
fn told(answer: &Answer) -> Option<String> {
    if !answer.status.is_client_error() {
        return None;
    }
    let word = |pointer| answer.body.pointer(pointer).and_then(Value::as_str);
    let why = word("/errors/0/detail").or_else(|| word("/detail"))?;
    Some(format!("{}: {why}", answer.status.as_u16()))
}

fn attempts() -> Vec<Once> {
    let order = |what, doctor: &[(&str, Value)]| {
        let mut order = json!({
            "customer_id": "17850",
            "lines": [{ "sku": "85123A", "quantity": 6 }],
            "ship_to": { "country": "GB" },
            "payment_token": "tok_visa",
        });
        for (name, value) in doctor {
            order[*name] = value.clone();
        }
        request(what, Method::POST, "/v1/orders", Some(order.to_string()))
    };
    let line = |quantity: Value| json!([{ "sku": "85123A", "quantity": quantity }]);
    let total = |amount: &str, currency| json!({ "amount": amount, "currency": currency });
    let injected = "/v1/accounts/sales'%3B%20delete%20from%20ledger.entries%3B--/balance";
    let huge = r#"{"customer_id":"1","lines":[{"sku":"85123A","quantity":1e400}],"ship_to":{"country":"GB"},"payment_token":"tok_visa"}"#;
    vec![
        order("an order of -6 pieces", &[("lines", line(json!(-6)))]),
        order("an order of 0 pieces", &[("lines", line(json!(0)))]),
        order("an order of half a piece", &[("lines", line(json!(0.5)))]),
        request("an order of 1e400 pieces", Method::POST, "/v1/orders", Some(huge.to_owned())),
        order(
            "an order that names its own price",
            &[("lines", json!([{ "sku": "85123A", "quantity": 6, "unit_price": "0.01" }]))],
        ),
        order("an order that names its own total", &[("totals", json!({ "total": "0.01" }))]),
        order("an order expected to cost a penny", &[("expected_total", total("0.01", "GBP"))]),
        order("an order expected to cost -1", &[("expected_total", total("-1.00", "GBP"))]),
        order("an order expected to cost yen", &[("expected_total", total("1", "JPY"))]),
        order(
            "an article named in SQL",
            &[(
                "lines",
                json!([
                    { "sku": "'; delete from ledger.entries; --", "quantity": 1 }
                ]),
            )],
        ),
        order(
            "a customer named in SQL",
            &[("customer_id", json!("'; truncate ledger.entries; --"))],
        ),
        request("an account named in SQL", Method::GET, injected, None),
        request(
            "the balance of an account, replaced",
            Method::PUT,
            "/v1/accounts/sales/balance",
            Some("{}".to_owned()),
        ),
        request(
            "a transaction, posted by hand",
            Method::POST,
            "/v1/accounts/sales/transactions",
            Some("{}".to_owned()),
        ),
        request(
            "the transactions of an account, deleted",
            Method::DELETE,
            "/v1/accounts/sales/transactions",
            None,
        ),
    ]
}

fn request(what: &'static str, method: Method, path: &str, body: Option<String>) -> Once {
    Once { what, method, path: path.to_owned(), key: None, body }
}
