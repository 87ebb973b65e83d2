//! Changes an endpoint's URL, events or state.

use domain::event::EventType;
use runtime::http::outside::{InternalHosts, looked_up};

use super::create::names;
use super::{
    DESCRIPTION_MAX, EndpointResource, EndpointState, not_found, parse_endpoint_id, store,
};
use crate::app::App;
use crate::app::input::line_of_text;
use crate::error::{OrProblem, Problem, Rules};
use crate::identity::Caller;

/// The changes, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeInput<'a> {
    pub(crate) url: Option<&'a str>,
    pub(crate) description: Option<&'a str>,
    pub(crate) events: Option<&'a [EventType]>,
    pub(crate) state: Option<EndpointState>,
}

/// Changes an endpoint. A disabled endpoint keeps its position, and its messages wait; enabling it
/// continues from there.
///
/// **Repeats.** Idempotent.
///
/// **Errors.** 404 if there is no such endpoint, 422 if a rule is broken.
pub(crate) async fn change(
    app: &App,
    caller: &Caller,
    internal: &InternalHosts,
    endpoint_id: &str,
    input: &ChangeInput<'_>,
) -> Result<EndpointResource, Problem> {
    const DOING: &str = "changing a webhook endpoint";
    let endpoint_id = parse_endpoint_id(endpoint_id)?;
    let mut rules = Rules::default();
    let looked_up = match input.url {
        Some(url) => Some(looked_up(url, internal).await),
        None => None,
    };
    let url = rules.check_given("/url", looked_up);
    let described = input.description.map(|text| line_of_text(text, DESCRIPTION_MAX));
    let description = rules.check_given("/description", described);
    rules.kept(Some(()))?;
    let events = input.events.map(names);
    let is_known = sqlx::query_scalar!(
        r#"select webhooks.change_endpoint($1, $2, $3, $4, $5, $6) as "is_known!""#,
        endpoint_id,
        url.as_ref().map(reqwest::Url::as_str),
        description,
        events as _,
        input.state.map(|state| state == EndpointState::Enabled),
        caller.name(),
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)?;
    if !is_known {
        return Err(not_found());
    }
    tracing::warn!(%endpoint_id, by = caller.name(), "a webhook endpoint is changed");
    store::read(&app.database, endpoint_id).await?.ok_or_else(not_found)
}
