//! SQL for webhook endpoints.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Disabled, DisabledBecause, EndpointResource, EndpointState, SecretStanding};
use crate::error::{OrProblem, Problem};

/// An endpoint, as stored.
struct Row {
    endpoint_id: Uuid,
    url: String,
    description: Option<String>,
    events: Vec<String>,
    created_at: DateTime<Utc>,
    created_by: String,
    disabled_at: Option<DateTime<Utc>>,
    disabled_because: Option<String>,
    disabled_by: Option<String>,
    failing_since: Option<DateTime<Utc>>,
    last_failure: Option<String>,
    secrets: Json<Vec<SecretStanding>>,
}

/// Reads endpoints as [`Row`]s: every query selects the same columns.
macro_rules! endpoints_where {
    ($condition:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            "select endpoint_id, url, description, events, created_at, created_by, disabled_at,
                 disabled_because, disabled_by, failing_since, last_failure, (
                     select coalesce(jsonb_agg(jsonb_build_object(
                         'created_at', secret.created_at, 'expires_at', secret.expires_at
                     ) order by secret.secret_id desc), '[]')
                     from webhooks.secrets as secret
                     where secret.endpoint_id = endpoint.endpoint_id
                         and (secret.expires_at is null or secret.expires_at > now())
                 ) as \"secrets!: Json<Vec<SecretStanding>>\"
             from webhooks.endpoints as endpoint
             where " + $condition,
            $($argument),+
        )
    };
}

impl From<Row> for EndpointResource {
    fn from(row: Row) -> Self {
        // A CHECK constraint allows no other reasons.
        let because = match row.disabled_because.as_deref() {
            Some("gone") => DisabledBecause::Gone,
            Some("failing") => DisabledBecause::Failing,
            Some(_) | None => DisabledBecause::ByOperator,
        };
        let disabled = row.disabled_at.map(|at| Disabled { because, at, by: row.disabled_by });
        let state = match disabled {
            Some(_) => EndpointState::Disabled,
            None => EndpointState::Enabled,
        };
        Self {
            endpoint_id: row.endpoint_id,
            url: row.url,
            description: row.description,
            // An event type that only a later release knows is not shown, but is still sent.
            events: row.events.iter().filter_map(|name| name.parse().ok()).collect(),
            state,
            disabled,
            failing_since: row.failing_since,
            last_failure: row.last_failure,
            secrets: row.secrets.0,
            created_at: row.created_at,
            created_by: row.created_by,
        }
    }
}

/// The endpoint with this id, if it exists.
pub(super) async fn read(
    database: &PgPool,
    endpoint_id: Uuid,
) -> Result<Option<EndpointResource>, Problem> {
    let row = endpoints_where!("endpoint.endpoint_id = $1", endpoint_id)
        .fetch_optional(database)
        .await
        .or_problem("reading a webhook endpoint")?;
    Ok(row.map(EndpointResource::from))
}

/// At most so many endpoints in this state, or of all, by id, after the cursor.
pub(super) async fn list(
    database: &PgPool,
    is_disabled: Option<bool>,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<EndpointResource>, Problem> {
    let rows = endpoints_where!(
        "($1::boolean is null or (endpoint.disabled_at is not null) = $1)
             and ($2::uuid is null or endpoint.endpoint_id > $2)
         order by endpoint.endpoint_id limit $3",
        is_disabled,
        after,
        most,
    )
    .fetch_all(database)
    .await
    .or_problem("listing webhook endpoints")?;
    Ok(rows.into_iter().map(EndpointResource::from).collect())
}
