//! `GET /ready`: readiness.

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
    /// Whether this process was asked to stop and only finishes the requests in progress.
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
    /// It was not asked, because the process is stopping.
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

/// Says whether orders can be placed, and if not, which party does not answer.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses(
        (status = 200, description = "They can", body = Readiness),
        (status = 503, description = "They cannot", body = Readiness),
    ),
)]
pub(crate) async fn ready(Shared(state): Shared<State>) -> Response {
    if state.leaving.is_cancelled() {
        // Answered at once: a load balancer has little time to notice.
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
