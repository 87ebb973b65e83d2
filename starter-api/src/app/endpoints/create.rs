//! Creates a webhook endpoint.

use std::collections::BTreeSet;

use domain::Fingerprint;
use domain::event::EventType;
use runtime::http::outside::{InternalHosts, looked_up};
use serde::Deserialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;
use uuid::Uuid;

use super::secret::Secret;
use super::{DESCRIPTION_MAX, EndpointWithSecret, store};
use crate::app::App;
use crate::app::input::line_of_text;
use crate::app::orders::place::IdempotencyKey;
use crate::error::{Kind, OrProblem, Problem, Rules};
use crate::identity::Caller;

/// The maximum number of endpoints. Every event is sent to each of them separately.
pub(crate) const ENDPOINTS_MAX: i32 = 100;

/// Must never change: with another namespace, a repeated request would create a second endpoint.
const ENDPOINT_NAMESPACE: Uuid = Uuid::from_u128(0x7765_6268_6f6f_4b67_8000_7765_6268_6f6f);

const DOING: &str = "creating a webhook endpoint";

/// The first events that a new endpoint receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoStaticStr, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum BeginsWith {
    /// Those from its creation on.
    #[default]
    Now,
    /// All that the shop still keeps for redelivery.
    Oldest,
}

/// A new endpoint, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndpointInput<'a> {
    pub(crate) url: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) events: &'a [EventType],
    pub(crate) begins_with: BeginsWith,
}

/// A new endpoint, checked.
struct NewEndpoint {
    url: String,
    description: Option<String>,
    events: Vec<String>,
    begins_with: BeginsWith,
}

/// A created endpoint, or the one that an earlier request with the same key has created.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) resource: EndpointWithSecret,
    /// Whether this is a repeat; the secret is omitted then.
    pub(crate) replayed: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the endpoint was put on record and is not there, or the database answered `{0}`")]
struct Unforeseen(String);

/// The names of these events, without duplicates.
pub(super) fn names(events: &[EventType]) -> Vec<String> {
    let events: BTreeSet<_> = events.iter().map(|event| event.name()).collect();
    events.into_iter().map(str::to_owned).collect()
}

impl NewEndpoint {
    async fn check(input: &EndpointInput<'_>, internal: &InternalHosts) -> Result<Self, Problem> {
        let mut rules = Rules::default();
        let url = rules.check("/url", looked_up(input.url, internal).await);
        let described = input.description.map(|text| line_of_text(text, DESCRIPTION_MAX));
        let description = rules.check_given("/description", described);
        let url = rules.kept(url)?;
        let (events, begins_with) = (names(input.events), input.begins_with);
        Ok(Self { url: url.into(), description, events, begins_with })
    }

    /// The fingerprint of the request, version 1: it distinguishes a repeat from a different
    /// request under the same key. Append later fields at the end, with `given`.
    fn fingerprint(&self) -> Fingerprint {
        let v1 = Fingerprint::v1().field("url", &self.url);
        let v1 = v1.given("description", self.description.as_ref());
        let v1 = v1.field("events", self.events.len());
        let v1 = self.events.iter().fold(v1, |v1, event| v1.field("event", event));
        let begins_with: &str = self.begins_with.into();
        v1.field("begins_with", begins_with).finish()
    }
}

/// Creates an endpoint with a secret.
///
/// **Repeats.** Idempotent: the id is derived from the caller and the key, so a repeat finds the
/// endpoint of the first request. The repeat is answered without the secret, which cannot be read
/// back; a client that lost the first response rotates it.
///
/// **Errors.** 409 if the maximum number of endpoints exists; 422 if a rule is broken, or if the
/// key was used for a different request.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    internal: &InternalHosts,
    input: &EndpointInput<'_>,
    key: &IdempotencyKey,
) -> Result<Created, Problem> {
    let endpoint = NewEndpoint::check(input, internal).await?;
    let secret = Secret::drawn().map_err(|error| Problem::internal(DOING, &error))?;
    let name = format!("{}\n{}", caller.name(), key.as_str());
    let endpoint_id = Uuid::new_v5(&ENDPOINT_NAMESPACE, name.as_bytes());
    let answer = on_record(app, caller, endpoint_id, &endpoint, &secret).await?;
    let replayed = match answer.as_str() {
        "created" => false,
        "repeated" => true,
        "other-request" => {
            return Err(Problem::new(
                Kind::IdempotencyKeyReused,
                "Another endpoint was created under the same Idempotency-Key. Use a new key for a \
                 new endpoint.",
            ));
        }
        "too-many" => {
            let detail = format!("There are {ENDPOINTS_MAX} endpoints. Remove one before.");
            return Err(Problem::new(Kind::TooManyEndpoints, detail));
        }
        _ => return Err(Problem::internal(DOING, &Unforeseen(answer))),
    };
    let resource = store::read(&app.database, endpoint_id).await?;
    let endpoint = resource.ok_or_else(|| Problem::internal(DOING, &Unforeseen(answer)))?;
    tracing::warn!(%endpoint_id, by = caller.name(), replayed, "a webhook endpoint is created");
    let secret = (!replayed).then(|| secret.written());
    Ok(Created { resource: EndpointWithSecret { endpoint, secret }, replayed })
}

async fn on_record(
    app: &App,
    caller: &Caller,
    endpoint_id: Uuid,
    endpoint: &NewEndpoint,
    secret: &Secret,
) -> Result<String, Problem> {
    let fingerprint = endpoint.fingerprint();
    sqlx::query_scalar!(
        r#"select webhooks.create_endpoint($1, $2, $3, $4, $5, $6, $7, $8, $9) as "answer!""#,
        endpoint_id,
        endpoint.url,
        endpoint.description,
        endpoint.events.as_slice(),
        secret.key(),
        endpoint.begins_with == BeginsWith::Oldest,
        fingerprint.as_str(),
        caller.name(),
        ENDPOINTS_MAX,
    )
    .fetch_one(&app.database)
    .await
    .or_problem(DOING)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These values are stored in databases. If one changes, repeats of earlier requests are
    /// refused.
    #[test]
    fn fingerprints_of_version_1_never_change() {
        let endpoint = |description: Option<&str>, events: &[EventType], begins_with| NewEndpoint {
            url: "https://erp.example.org/events".to_owned(),
            description: description.map(str::to_owned),
            events: names(events),
            begins_with,
        };
        // Computed by sha256sum over each name and value in turn, each as its length, a colon and
        // its text.
        assert_eq!(
            endpoint(None, &[], BeginsWith::Now).fingerprint().as_str(),
            "v1:85695155d1788f252aceaf67c0b1c1d9d47223020ca5a44b4897207da1f357a1"
        );
        let events = [EventType::OrderShipped, EventType::OrderPlaced, EventType::OrderShipped];
        assert_eq!(
            endpoint(Some("the ERP"), &events, BeginsWith::Oldest).fingerprint().as_str(),
            "v1:2da8fb56a02a891f7af88f27251bff2866ac2965e3a0d9e30422e433d9fcdcf7"
        );
    }
}
