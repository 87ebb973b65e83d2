//! Lists webhook endpoints.

use uuid::Uuid;

use super::{EndpointResource, EndpointState, store};
use crate::app::App;
use crate::app::paging::{Page, PageSize};
use crate::error::Problem;

/// A page of the endpoints in this state, or of all, by id.
pub(crate) async fn list(
    app: &App,
    state: Option<EndpointState>,
    after: Option<Uuid>,
    size: PageSize,
) -> Result<Page<EndpointResource>, Problem> {
    let is_disabled = state.map(|state| state == EndpointState::Disabled);
    let endpoints = store::list(&app.database, is_disabled, after, size.to_read()).await?;
    Ok(Page::of(endpoints, size, |last| last.endpoint_id.to_string()))
}
