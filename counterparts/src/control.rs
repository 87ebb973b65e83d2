//! The proxy's own endpoints, with which a test plans faults and reads stripe-mock's judgements.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json, to_value};

use crate::answer::Answer;
use crate::faults::{Plan, Planned};
use crate::happenings::Happening;
use crate::proxy::{Proxy, Settings};
use crate::webhooks::{Deliver, Delivered};

#[derive(Debug, Deserialize)]
struct Authentication {
    success: bool,
}

pub(crate) fn routes() -> Router<Arc<Proxy>> {
    Router::new()
        .route("/ready", get(|| async { "ready" }))
        .route("/judgements", get(judgements))
        .route("/faults", post(faults))
        .route("/more-faults", post(more_faults))
        .route("/struck", get(struck))
        .route("/payments/{mark}", get(payments))
        .route("/forget-keys", post(forget_keys))
        .route("/settings", post(settings))
        .route("/happen", post(happen))
        .route("/authenticate/{payment}", post(authenticate))
        .route("/deliver", post(deliver))
        .route("/deliveries", get(deliveries))
}

async fn judgements(State(proxy): State<Arc<Proxy>>) -> Response {
    match to_value(&proxy.memory().judged) {
        Ok(mut judged) => {
            judged["judge"] = json!(proxy.config.judge);
            Json(judged).into_response()
        }
        Err(why) => {
            let told = format!("the judgements cannot be shown: {why}");
            (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
    }
}

async fn faults(State(proxy): State<Arc<Proxy>>, Json(planned): Json<Vec<Planned>>) -> StatusCode {
    proxy.memory().plan = Plan::of(planned);
    StatusCode::NO_CONTENT
}

async fn more_faults(
    State(proxy): State<Arc<Proxy>>,
    Json(planned): Json<Vec<Planned>>,
) -> StatusCode {
    proxy.memory().plan.add(planned);
    StatusCode::NO_CONTENT
}

async fn payments(State(proxy): State<Arc<Proxy>>, Path(mark): Path<String>) -> Response {
    answer(proxy.payments_of(&mark).await)
}

async fn struck(State(proxy): State<Arc<Proxy>>) -> Json<Value> {
    Json(json!({ "struck": proxy.memory().struck }))
}

async fn forget_keys(State(proxy): State<Arc<Proxy>>) -> StatusCode {
    proxy.memory().keys.forget();
    StatusCode::NO_CONTENT
}

async fn settings(State(proxy): State<Arc<Proxy>>, Json(settings): Json<Settings>) -> StatusCode {
    proxy.memory().settings = settings;
    StatusCode::NO_CONTENT
}

async fn happen(State(proxy): State<Arc<Proxy>>, Json(what): Json<Happening>) -> Response {
    answer(proxy.happen(what).await.map(Answer::ok))
}

async fn authenticate(
    State(proxy): State<Arc<Proxy>>,
    Path(payment): Path<String>,
    Json(said): Json<Authentication>,
) -> Response {
    answer(proxy.authenticate(&payment, said.success).await)
}

async fn deliver(State(proxy): State<Arc<Proxy>>, Json(deliver): Json<Deliver>) -> Response {
    match proxy.deliver(&deliver).await {
        Ok(delivered) => Json(delivered).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn deliveries(State(proxy): State<Arc<Proxy>>) -> Json<Delivered> {
    Json(proxy.memory().delivered)
}

fn answer(given: Result<Answer, Answer>) -> Response {
    let (Ok(answer) | Err(answer)) = given;
    match StatusCode::from_u16(answer.status) {
        Ok(status) => (status, Json(answer.body)).into_response(),
        Err(why) => (StatusCode::BAD_GATEWAY, why.to_string()).into_response(),
    }
}
