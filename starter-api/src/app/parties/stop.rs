//! Stops a party.

use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::parties::{PartyStanding, parse_party, standing};
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::Caller;

/// Stops the party: within some seconds workers no longer call it.
///
/// **Repeats.** A stopped party stays stopped, in the name of whoever stopped it first.
pub(crate) async fn stop(
    app: &App,
    caller: &Caller,
    party: &str,
    why: &str,
) -> Result<PartyStanding, Problem> {
    let party = parse_party(party)?;
    let mut rules = Rules::default();
    let why = rules.check("/why", line_of_text(why, 200));
    let why = rules.kept(why)?;
    sqlx::query!(
        r#"insert into operations.stopped_parties (party, stopped_by, why) values ($1, $2, $3)
           on conflict (party) do nothing"#,
        party.name(),
        caller.name(),
        why,
    )
    .execute(&app.database)
    .await
    .or_problem("stopping a party")?;
    tracing::warn!(party = party.name(), by = caller.name(), "a party is stopped");
    standing(app, party).await
}
