//! A page of a list as an HTTP response, with a `Link` to the next one.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::paging::Page;
use crate::error::Problem;

/// The page, with a `Link` to the next one at `path` with the same `query` and the new cursor.
pub(crate) fn respond<T: Serialize>(
    page: Page<T>,
    path: &str,
    query: &impl Serialize,
) -> Result<Response, Problem> {
    let Some(cursor) = &page.next_cursor else { return Ok(Json(page).into_response()) };
    let link = next_link(path, query, cursor)?;
    Ok(([(header::LINK, link)], Json(page)).into_response())
}

fn next_link(path: &str, query: &impl Serialize, cursor: &str) -> Result<HeaderValue, Problem> {
    const DOING: &str = "linking to the next page";
    let asked =
        serde_urlencoded::to_string(query).map_err(|error| Problem::internal(DOING, &error))?;
    let cursor = serde_urlencoded::to_string([("cursor", cursor)])
        .map_err(|error| Problem::internal(DOING, &error))?;
    let separator = if asked.is_empty() { "" } else { "&" };
    HeaderValue::try_from(format!("<{path}?{asked}{separator}{cursor}>; rel=\"next\""))
        .map_err(|error| Problem::internal(DOING, &error))
}
