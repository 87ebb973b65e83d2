//! Lists the parties and their states.

use domain::Party;

use crate::app::App;
use crate::app::parties::{PartyStanding, standing};
use crate::error::Problem;

/// Every party.
pub(crate) async fn list(app: &App) -> Result<Vec<PartyStanding>, Problem> {
    let mut standings = Vec::new();
    for party in Party::all() {
        standings.push(standing(app, party).await?);
    }
    Ok(standings)
}
