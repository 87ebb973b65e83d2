//! The examples in the API's description: every operation has one, and each example request is
//! accepted unchanged.

use reqwest::RequestBuilder;
use runtime::schema::MIGRATIONS;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::launching::until_launched;
use crate::life::{captured, happen, needs_attention, record, rejected, reserved, unwinding};
use crate::mailing::parked_mail;
use crate::paying::declined_order;
use crate::reconciling::differ;
use crate::refunding::completed_order;
use crate::reviewing::order_under_review;
use crate::shop::{Answer, Shop, send};
use crate::signing_in::shop_of_the_examples;
use crate::webhooks::open_event;

const JSON: &str = "application/json";

fn description() -> Value {
    serde_json::to_value(starter_api::description()).unwrap()
}

#[test]
fn every_operation_shows_what_it_is_sent_and_what_it_answers() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for (path, methods) in description()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let mut look = |what: String, has_example: bool| {
                seen += 1;
                if !has_example {
                    missing.push(format!("{method} {path}: {what}"));
                }
            };
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if ["path", "query"].contains(&parameter["in"].as_str().unwrap()) {
                    look(parameter["name"].to_string(), !parameter["example"].is_null());
                }
            }
            for (kind, body) in
                operation["requestBody"]["content"].as_object().into_iter().flatten()
            {
                look(format!("the body as {kind}"), !body["example"].is_null());
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let answer = &response["content"][JSON];
                if status.starts_with('2') && !answer.is_null() {
                    look(format!("the answer {status}"), !answer["example"].is_null());
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(seen > 80, "{seen} places for an example are fewer than there are operations with one");
}

/// The story of the examples: who sends what, in which order.
struct Story {
    description: Value,
    shop: Shop,
    order: Uuid,
    customer: String,
    endpoint: Uuid,
}

impl Story {
    fn operation(&self, name: &str) -> (String, String, Value) {
        for (path, methods) in self.description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if operation["operationId"] == name {
                    return (method.to_uppercase(), path.clone(), operation.clone());
                }
            }
        }
        unreachable!("there is no operation {name}")
    }

    /// The path with the example of each parameter; ids of the story are replaced by those that
    /// this shop has assigned.
    fn path(&self, path: &str, operation: &Value) -> String {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == "path").fold(
            path.to_owned(),
            |path, parameter| {
                let name = parameter["name"].as_str().unwrap();
                let example = match name {
                    "order_id" => self.order.to_string(),
                    "customer_id" => self.customer.clone(),
                    "endpoint_id" => self.endpoint.to_string(),
                    _ => parameter["example"].as_str().unwrap().to_owned(),
                };
                path.replace(&format!("{{{name}}}"), &example)
            },
        )
    }

    /// Sends an operation's example request, byte for byte.
    async fn sends(&self, name: &str, token: Option<&str>) -> Answer {
        let (method, path, operation) = self.operation(name);
        let shop = self.shop.with_token(token.map(str::to_owned));
        let request = shop.request(&method, &self.path(&path, &operation));
        let mut headers = operation["parameters"].as_array().into_iter().flatten();
        let needs_key = headers.any(|one| one["in"] == "header" && one["required"] == true);
        let request =
            if needs_key { request.header("Idempotency-Key", "as-shown") } else { request };
        send(with_example(request, &operation["requestBody"]["content"])).await
    }

    /// The same, and compares the response with the example.
    async fn tells(&self, name: &str, token: Option<&str>) -> Answer {
        let answer = self.sends(name, token).await;
        assert!(answer.status.is_success(), "{name}: {} {}", answer.status, answer.text);
        let (_, _, operation) = self.operation(name);
        assert_shown(&operation, &answer);
        answer
    }
}

/// Asserts that the response has the fields of the operation's example for its status.
fn assert_shown(operation: &Value, answer: &Answer) {
    let example = &operation["responses"][answer.status.as_str()]["content"][JSON]["example"];
    if !example.is_null() {
        assert_eq!(fields(&answer.json()), fields(example), "{}", operation["operationId"]);
    }
}

/// The same for the operation that resolves an order.
pub(crate) fn assert_shown_when_resolved(answer: &Answer) {
    assert_shown(&description()["paths"]["/v1/orders/{order_id}/resolve"]["post"], answer);
}

fn with_example(request: RequestBuilder, content: &Value) -> RequestBuilder {
    let Some((kind, body)) = content.as_object().and_then(|content| content.iter().next()) else {
        return request;
    };
    if kind == JSON { request.json(&body["example"]) } else { request.form(&body["example"]) }
}

/// The names of an object's fields, except for those that depend on the order's status.
fn fields(value: &Value) -> Vec<&String> {
    value.as_object().into_iter().flatten().map(|(name, _)| name).collect()
}

fn token(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// The life of a webhook endpoint, from creation to removal, with its deliveries.
async fn an_endpoints_life(story: &mut Story, operator: Option<&str>) -> [&'static str; 6] {
    const OPERATIONS: [&str; 6] = [
        "endpoints.create_endpoint",
        "endpoints.change_endpoint",
        "endpoints.rotate_secret",
        "endpoints.redeliver",
        "endpoints.try_out_endpoint",
        "endpoints.remove_endpoint",
    ];
    for name in OPERATIONS {
        let answer = story.tells(name, operator).await;
        if story.endpoint.is_nil() {
            story.endpoint = answer.json()["endpoint_id"].as_str().unwrap().parse().unwrap();
        }
    }
    OPERATIONS
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_request_of_the_examples_is_accepted(database: PgPool) {
    let (shop, [service, operator]) = shop_of_the_examples(database.clone()).await;
    let description = description();
    let (order, customer) = (Uuid::nil(), "17850".to_owned());
    let mut story = Story { description, shop, order, customer, endpoint: Uuid::nil() };
    let mut told = Vec::new();
    let (service, operator) = (Some(service.as_str()), Some(operator.as_str()));

    let registered = story.tells("identity.register", None).await;
    let ada = token(&story.tells("identity.sign_in", None).await);
    story.customer = registered.json()["customer_id"].as_str().unwrap().to_owned();
    story.tells("identity.change_password", Some(&ada)).await;
    story.customer = "17850".to_owned();
    told.extend(["identity.register", "identity.sign_in", "identity.change_password"]);

    let placed = story.tells("orders.place", service).await;
    story.order = placed.json()["order_id"].as_str().unwrap().parse().unwrap();
    told.push("orders.place");
    // An order that still waits for its launch would be cancelled at once, which is another
    // response.
    until_launched(&database, &[story.order]).await;
    parked_mail(&database, story.order).await;
    // An event of the payment provider, and a difference found by reconciliation.
    open_event(&database, "evt_1a").await;
    differ(&database).await;
    // A sink that no process serves yet.
    let sink = sqlx::query!("insert into outbox.sinks (sink) values ('kafka')");
    sink.execute(&database).await.unwrap();
    for (name, token) in [
        ("identity.token", None),
        ("quotes.price", None),
        ("orders.ask", service),
        ("orders.cancel", service),
        ("customers.update", service),
        ("customers.update_mail", service),
        ("customers.wait_for", service),
        ("customers.wait_no_more", service),
        ("mail.retry_notification", operator),
        ("mail.skip_notification", operator),
        ("mail.unsubscribe", None),
        ("products.create", operator),
        ("products.update", operator),
        ("stock.shift", operator),
        ("operators.pause", operator),
        ("operators.resume", operator),
        ("operators.stop_party", operator),
        ("operators.resume_party", operator),
        ("operators.add_entry", operator),
        ("operators.remove_entry", operator),
        ("operators.add_rule_set", operator),
        ("operators.activate_rule_set", operator),
        ("operators.retry_event", operator),
        ("operators.dismiss_event", operator),
        ("operators.pause_sink", operator),
        ("operators.resume_sink", operator),
        ("operators.replay_parked", operator),
        ("operators.skip_parked", operator),
        ("operators.remove_sink", operator),
        ("ledger.settle_difference", operator),
    ] {
        story.tells(name, token).await;
        told.push(name);
    }

    // An order that waits for a decision. No worker accepts one here; `lives` has a worker, and
    // compares that response.
    story.order = Uuid::now_v7();
    record(&database, story.order, "17850", "2026-01-02T03:04:05Z").await;
    let events = [reserved(), captured(), unwinding(rejected()), needs_attention(1, "broken")];
    happen(&database, story.order, &events).await;
    assert_eq!(story.sends("operators.resolve", operator).await.problem(), "order-not-stuck");
    story.tells("operators.resolve_all", operator).await;
    told.extend(["operators.resolve", "operators.resolve_all"]);

    // An order whose payment was declined, and which waits for another one.
    story.order = declined_order(&database, 3_600.0).await;
    story.tells("orders.pay", service).await;
    told.push("orders.pay");

    // A completed order that is refunded, and whose parcel is delivered.
    story.order = completed_order(&database).await;
    story.tells("orders.refund", operator).await;
    assert_eq!(story.tells("orders.deliver", operator).await.status, 201);
    assert_eq!(story.tells("orders.deliver", operator).await.status, 200);
    told.extend(["orders.refund", "orders.deliver"]);

    // Only Stripe can sign an event, and this shop has no secret to verify one.
    assert_eq!(story.sends("webhooks.stripe", None).await.problem(), "webhooks-not-taken");
    told.push("webhooks.stripe");

    // An order that screening has stopped.
    story.order = order_under_review(&database, 3_600.0).await;
    story.tells("operators.review", operator).await;
    told.push("operators.review");

    told.extend(an_endpoints_life(&mut story, operator).await);

    // No operation was forgotten.
    let mut writing = Vec::new();
    for methods in story.description["paths"].as_object().unwrap().values() {
        for (method, operation) in methods.as_object().unwrap() {
            if method != "get" {
                writing.push(operation["operationId"].as_str().unwrap());
            }
        }
    }
    told.sort_unstable();
    writing.sort_unstable();
    assert_eq!(told, writing);
}
