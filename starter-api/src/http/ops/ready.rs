//! `GET /ready`: can it work?

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{OrProblem, Problem};
use crate::http::State;

/// Whether the parties that an order needs answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// The shop's database.
    postgres: Answers,
    /// The order engine.
    temporal: Answers,
    /// Whether this process was asked to stop and only finishes what it has begun.
    leaving: bool,
}

/// Whether a party answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answers {
    /// It does.
    Ready,
    /// It does not; the log says why.
    Unavailable,
    /// It was not asked: it makes no difference any more.
    NotAsked,
}

impl From<Result<(), Problem>> for Answers {
    fn from(asked: Result<(), Problem>) -> Self {
        match asked {
            Ok(()) => Self::Ready,
            Err(_logged) => Self::Unavailable,
        }
    }
}

/// Says whether orders can be taken in, and which party does not answer if not.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses(
        (status = 200, description = "They can", body = Readiness),
        (status = 503, description = "They cannot", body = Readiness),
    ),
)]
pub(crate) async fn ready(Shared(state): Shared<State>) -> Response {
    if state.leaving.is_cancelled() {
        // At once: there is little time in which a load balancer can be told.
        let (postgres, temporal) = (Answers::NotAsked, Answers::NotAsked);
        let readiness = Readiness { postgres, temporal, leaving: true };
        return (StatusCode::SERVICE_UNAVAILABLE, Json(readiness)).into_response();
    }
    let (postgres, temporal) = tokio::join!(postgres(&state), state.app.temporal.check());
    let readiness =
        Readiness { postgres: postgres.into(), temporal: temporal.into(), leaving: false };
    let all = [readiness.postgres, readiness.temporal].iter().all(|it| *it == Answers::Ready);
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn postgres(state: &State) -> Result<(), Problem> {
    let answer = sqlx::query_scalar!("select 1").fetch_one(&state.app.database).await;
    answer.map(|_one| ()).or_problem("asking whether the database is ready")
}
