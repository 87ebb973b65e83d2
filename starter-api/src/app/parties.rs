//! The parties that orders depend on and that are not the shop's own. Each can be stopped and
//! resumed.
//!
//! A worker whose party does not answer leaves it alone for a while by itself, and says so. A party
//! that is stopped is not called by any worker, not even to see whether it answers. Either way a
//! step that needs it waits as for a party that does not answer: its time limit keeps running, and
//! an order whose limit ends is unwound. Undos have no limit, and wait.

pub(crate) mod list;
pub(crate) mod resume;
pub(crate) mod stop;

use chrono::{DateTime, Utc};
use domain::{Party, PartyState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::error::{Kind, OrProblem, Problem};

/// A party that orders depend on, whether it is stopped, and how the workers deal with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartyStanding {
    /// Which.
    party: Party,
    /// The worst of what the workers report.
    state: ReportedState,
    /// Who stopped it and why; absent while it is not stopped. The workers follow within some
    /// seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Stop>,
    /// What each worker reports that has done so within the last minute.
    workers: Vec<WorkerStanding>,
}

/// Who stopped a party, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stop {
    /// Who stopped it, as the token names them.
    #[schema(example = "eve")]
    stopped_by: String,
    /// Why.
    #[schema(example = "the carrier is on strike")]
    why: String,
    /// Since when.
    stopped_at: DateTime<Utc>,
}

/// How one worker deals with a party.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerStanding {
    /// The worker's process and its machine.
    #[schema(example = "17@web-3")]
    worker: String,
    /// How it deals with the party.
    state: ReportedState,
    /// Since when.
    since: DateTime<Utc>,
    /// What its last call without an answer ended with, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the carrier does not answer")]
    last_failure: Option<String>,
}

/// How a party is dealt with, as the workers report it. The later in this list, the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReportedState {
    /// No worker has reported within the last minute.
    #[default]
    Unknown,
    /// It answers, and is called.
    Answering,
    /// It has not answered for so long that it is called only now and then, to see whether it
    /// answers again.
    LeftAlone,
    /// It is not called, by an operator's decision.
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

/// The party with this name.
fn parse_party(name: &str) -> Result<Party, Problem> {
    name.parse().map_err(|_unknown| {
        let parties = Party::all().map(Party::name).collect::<Vec<_>>().join(", ");
        Problem::new(Kind::PartyNotFound, format!("The parties are {parties}."))
    })
}

/// How a party stands.
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
        // A later release's workers may know of more states.
        let state = row.state.parse::<PartyState>().map(ReportedState::from).unwrap_or_default();
        let (worker, since, last_failure) = (row.worker, row.since, row.last_failure);
        WorkerStanding { worker, state, since, last_failure }
    });
    let workers: Vec<_> = workers.collect();
    let state = workers.iter().map(|worker| worker.state).max().unwrap_or_default();
    Ok(PartyStanding { party, state, stopped, workers })
}
