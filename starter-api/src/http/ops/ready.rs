//! `GET /ready`: readiness.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use runtime::chain;
use runtime::schema::{Privilege, Right, SchemaFault};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::http::State;

/// The rights that placing orders needs. The tests, which run with the starter's role, cover the
/// rest.
pub(crate) const RIGHTS: &[Right] = &[
    Right { privilege: Privilege::Select, object: "catalog.products" },
    Right { privilege: Privilege::Select, object: "orders.orders" },
    Right { privilege: Privilege::Select, object: "orders.order_events" },
    Right { privilege: Privilege::Execute, object: "orders.place_many" },
    Right { privilege: Privilege::Execute, object: "orders.cancel_before_launch" },
    Right { privilege: Privilege::Execute, object: "payments.replace_method" },
    Right { privilege: Privilege::Execute, object: "payments.request_refund" },
    Right { privilege: Privilege::Select, object: "invoices.invoices" },
    Right { privilege: Privilege::Select, object: "payments.disputes" },
    Right { privilege: Privilege::Execute, object: "payments.release_dispute" },
    Right { privilege: Privilege::Execute, object: "fraud.decide" },
    Right { privilege: Privilege::Insert, object: "fraud.origins" },
    Right { privilege: Privilege::Delete, object: "orders.refund_launches" },
    Right { privilege: Privilege::Delete, object: "orders.launches" },
    Right { privilege: Privilege::Insert, object: "customers.customers" },
    Right { privilege: Privilege::Insert, object: "operations.paused_queues" },
    Right { privilege: Privilege::Insert, object: "operations.stopped_parties" },
    Right { privilege: Privilege::Select, object: "operations.party_standings" },
    Right { privilege: Privilege::Insert, object: "inbox.events" },
    Right { privilege: Privilege::Execute, object: "ledger.book_movement" },
    Right { privilege: Privilege::Insert, object: "identity.logins" },
    Right { privilege: Privilege::Select, object: "identity.signing_keys" },
    Right { privilege: Privilege::Delete, object: "identity.clients" },
    Right { privilege: Privilege::Update, object: "identity.sign_in_attempts" },
];

/// The time limit for Temporal's answer; load balancers wait only a second or two.
const TEMPORAL_WITHIN: Duration = Duration::from_secs(1);

/// Whether the dependencies of the API answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// The shop's database.
    postgres: Answers,
    /// Temporal.
    temporal: Answers,
    /// Whether this process is stopping and only finishes requests in progress.
    leaving: bool,
    /// What is wrong with the database's schema or the role's rights, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
}

/// Whether a dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answers {
    /// It answers.
    Ready,
    /// It does not answer; the log says why.
    Unavailable,
    /// It was not checked, because the process is stopping.
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

/// Reports whether orders can be placed, and if not, which dependency does not answer.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses(
        (status = 200, description = "Orders can be placed", body = Readiness),
        (status = 503, description = "Orders cannot be placed", body = Readiness),
    ),
)]
pub(crate) async fn ready(Shared(state): Shared<State>) -> Response {
    if state.leaving.is_cancelled() {
        // Answered at once: a load balancer has little time to react.
        let (postgres, temporal) = (Answers::NotAsked, Answers::NotAsked);
        let readiness = Readiness { postgres, temporal, leaving: true, schema: None };
        return (StatusCode::SERVICE_UNAVAILABLE, Json(readiness)).into_response();
    }
    let ((postgres, schema), temporal) = tokio::join!(postgres(&state), temporal(&state));
    let readiness = Readiness { postgres, temporal, leaving: false, schema };
    // While Temporal is unavailable, orders are accepted, read and cancelled as usual: removing all
    // starters from the load balancer because of it would be the outage.
    let can_be_placed = readiness.postgres == Answers::Ready;
    let status = if can_be_placed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Whether Temporal answers within the caller's time limit.
async fn temporal(state: &State) -> Answers {
    let answered = timeout(TEMPORAL_WITHIN, state.app.temporal.check()).await;
    answered.map_or(Answers::Unavailable, Answers::from)
}

/// Whether the database is usable; if it answers and is not, what an operator has to do.
async fn postgres(state: &State) -> (Answers, Option<String>) {
    match state.schema.check(&state.app.database).await {
        Ok(_usable) => (Answers::Ready, None),
        Err(SchemaFault::NoAnswer(error)) => {
            tracing::warn!(error = chain(&error), "the database does not answer");
            (Answers::Unavailable, None)
        }
        Err(fault) => (Answers::Unavailable, Some(fault.to_string())),
    }
}
