//! Rotates an endpoint's secret.

use super::secret::Secret;
use super::{EndpointWithSecret, not_found, parse_endpoint_id, store};
use crate::app::App;
use crate::app::input::WholeNumber;
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::Caller;

/// How long the previous secret stays valid by default.
const OVERLAP_SECONDS: u32 = 86_400;

/// The maximum time for which the previous secret stays valid.
const OVERLAP_SECONDS_MAX: u32 = 604_800;

/// Creates a new secret. The previous one stays valid for the overlap, in which every message is
/// signed with both; without an overlap it expires at once.
///
/// **Repeats.** A repeat replaces the newest secret, whose response may have been lost. The secret
/// that the receiver uses stays valid.
///
/// **Errors.** 404 if there is no such endpoint, 422 if a rule is broken.
pub(crate) async fn rotate(
    app: &App,
    caller: &Caller,
    endpoint_id: &str,
    overlap: Option<WholeNumber>,
) -> Result<EndpointWithSecret, Problem> {
    const DOING: &str = "rotating the secret of a webhook endpoint";
    let endpoint_id = parse_endpoint_id(endpoint_id)?;
    let mut rules = Rules::default();
    let overlap = overlap.unwrap_or_else(|| OVERLAP_SECONDS.into());
    let overlap = rules.check("/overlap_seconds", overlap.seconds(0, OVERLAP_SECONDS_MAX));
    let overlap = i32::try_from(rules.kept(overlap)?).unwrap_or_default();
    let secret = Secret::drawn().map_err(|error| Problem::internal(DOING, &error))?;
    let is_known = sqlx::query_scalar!(
        r#"select webhooks.rotate_secret($1, $2, $3, $4) as "is_known!""#,
        endpoint_id,
        secret.key(),
        overlap,
        caller.name(),
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)?;
    if !is_known {
        return Err(not_found());
    }
    tracing::warn!(%endpoint_id, by = caller.name(), "a webhook endpoint has a new secret");
    let endpoint = store::read(&app.database, endpoint_id).await?.ok_or_else(not_found)?;
    Ok(EndpointWithSecret { endpoint, secret: Some(secret.written()) })
}
