//! The relay's operations endpoints: health, readiness and metrics.
//!
//! | path | answers |
//! |---|---|
//! | `/health` | 200 while the process is alive: restart it otherwise |
//! | `/ready` | 200 if Postgres answers, the schema version and the role's rights fit, and the database was not restored from a dump; else 503 and what is missing |
//! | `/metrics` | the relay's metrics, in Prometheus' text format |

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use runtime::chain;
use runtime::database::PoolWatch;
use runtime::schema::SchemaGate;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::timeout;

use crate::run::{RESTORED, is_restored};

/// The timeout of a probe, after which it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state behind the operations endpoints.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Postgres.
    pub pool: PgPool,
    /// Checks whether the relay can work with that database.
    pub gate: SchemaGate,
    /// The pool's metrics.
    pub watch: PoolWatch,
}

impl Ops {
    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(async || "the relay is up\n"))
            .route("/ready", get(ready))
            .route("/metrics", get(page))
            .with_state(self)
    }

    async fn complaint(&self) -> Option<String> {
        let asked = async {
            self.gate.check(&self.pool).await.map_err(|fault| chain(&fault))?;
            match is_restored(&self.pool).await {
                Ok(false) => Ok(()),
                Ok(true) => Err(RESTORED.to_owned()),
                Err(error) => Err(chain(&error)),
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(answer) => answer.err(),
            Err(_elapsed) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

async fn ready(State(ops): State<Ops>) -> Response {
    let complaint = ops.complaint().await;
    let is_ready = complaint.is_none();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let postgres = complaint.unwrap_or_else(|| "ok".to_owned());
    (status, Json(json!({ "ready": is_ready, "postgres": postgres }))).into_response()
}

async fn page(State(ops): State<Ops>) -> Response {
    ops.watch.show();
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (headers, runtime::metrics::page()).into_response()
}
