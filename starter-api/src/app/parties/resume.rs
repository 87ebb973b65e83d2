//! Resumes a party.

use crate::app::App;
use crate::app::parties::{PartyStanding, parse_party, standing};
use crate::error::{OrProblem, Problem};
use crate::identity::Caller;

/// Resumes the party: workers call it again within some seconds.
pub(crate) async fn resume(
    app: &App,
    caller: &Caller,
    party: &str,
) -> Result<PartyStanding, Problem> {
    let party = parse_party(party)?;
    sqlx::query!("delete from operations.stopped_parties where party = $1", party.name())
        .execute(&app.database)
        .await
        .or_problem("resuming a party")?;
    tracing::warn!(party = party.name(), by = caller.name(), "a party is called again");
    standing(app, party).await
}
