//! The outside services (parties) that orders depend on. Operators can stop and resume calls to
//! each.
//!
//! A worker whose party does not answer stops calling it for a while by itself (circuit breaker),
//! and reports that. A party that an operator has stopped is not called by any worker, not even by
//! probes. Either way, a step that needs it waits as for a party that does not answer: its time
//! limit keeps running, and an order that exceeds it is unwound. Undos have no time limit, and
//! wait.

pub(crate) mod list;
pub(crate) mod resume;
pub(crate) mod stop;

use chrono::{DateTime, Utc};
use domain::{Party, PartyState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::error::{Kind, OrProblem, Problem};

/// A party, with whether it is stopped and its state at each worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartyStanding {
    /// The party.
    party: Party,
    /// The worst state that any worker reports.
    state: ReportedState,
    /// Who stopped it and why; absent while it is not stopped. Workers follow within some seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Stop>,
    /// The state at each worker that has reported within the last minute.
    workers: Vec<WorkerStanding>,
}

/// Who stopped a party, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stop {
    /// Who stopped it, as named by their token.
    #[schema(example = "eve")]
    stopped_by: String,
    /// Why.
    #[schema(example = "the carrier is on strike")]
    why: String,
    /// Since when.
    stopped_at: DateTime<Utc>,
}

/// The state of a party at one worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerStanding {
    /// The worker's process id and host.
    #[schema(example = "17@web-3")]
    worker: String,
    /// The state.
    state: ReportedState,
    /// Since when.
    since: DateTime<Utc>,
    /// The error of its last call without an answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the carrier does not answer")]
    last_failure: Option<String>,
}

/// The state of a party, as workers report it, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReportedState {
    /// No worker has reported within the last minute.
    #[default]
    Unknown,
    /// It answers and is called.
    Answering,
    /// It has not answered for so long that it is only probed now and then (open circuit breaker).
    LeftAlone,
    /// It is not called, because an operator has stopped it.
    Stopped,
}

impl From<PartyState> for ReportedState {
    fn from(state: PartyState) -> Self {
        match state {
            PartyState::Answering => Self::Answering,
            PartyState::LeftAlone => Self::LeftAlone,
            PartyState::Stopped => Self::Stopped,
        }
    }
}

/// Parses a party's name.
fn parse_party(name: &str) -> Result<Party, Problem> {
    name.parse().map_err(|_unknown| {
        let parties = Party::all().map(Party::name).collect::<Vec<_>>().join(", ");
        Problem::new(Kind::PartyNotFound, format!("The parties are {parties}."))
    })
}

/// A party's current state.
async fn standing(app: &App, party: Party) -> Result<PartyStanding, Problem> {
    let stopped = sqlx::query_as!(
        Stop,
        "select stopped_by, why, stopped_at from operations.stopped_parties where party = $1",
        party.name(),
    )
    .fetch_optional(&app.database)
    .await
    .or_problem("reading whether a party is stopped")?;
    let rows = sqlx::query!(
        r#"select worker, state, since, last_failure from operations.party_standings
           where party = $1 and seen_at > now() - interval '1 minute'
           order by worker"#,
        party.name(),
    )
    .fetch_all(&app.database)
    .await
    .or_problem("reading how workers deal with a party")?;
    let workers = rows.into_iter().map(|row| {
        // Workers of a later release may report states that this release does not know.
        let state = row.state.parse::<PartyState>().map(ReportedState::from).unwrap_or_default();
        let (worker, since, last_failure) = (row.worker, row.since, row.last_failure);
        WorkerStanding { worker, state, since, last_failure }
    });
    let workers: Vec<_> = workers.collect();
    let state = workers.iter().map(|worker| worker.state).max().unwrap_or_default();
    Ok(PartyStanding { party, state, stopped, workers })
}
