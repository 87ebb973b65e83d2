//! The simulated connection between the shop and a sandbox, which stands for an HTTP service:
//! injects faults into requests and answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::answer::{Answer, BODY_MAX};

/// Far longer than every attempt's timeout, in seconds.
const HANGS_FOR: i32 = 24 * 60 * 60;

/// An injected fault, as configured in a sandbox's table.
pub(crate) struct Behaviour {
    pub(crate) name: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) seconds: Option<i32>,
}

impl Behaviour {
    /// A fault without parameters.
    pub(crate) fn called(name: &str) -> Self {
        Self { name: name.to_owned(), retry_after: None, seconds: None }
    }

    /// 503 with this `Retry-After`.
    pub(crate) fn unavailable(retry_after: &str) -> Self {
        Self { retry_after: Some(retry_after.to_owned()), ..Self::called("unavailable") }
    }

    /// Whether it has this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Why no answer has arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The connection was lost, so the client does not know whether the request took effect.
    #[error("the connection was reset after the request was sent")]
    Reset,
    /// The sandbox's own database failed.
    #[error("the sandbox's records cannot be had")]
    Records(#[from] sqlx::Error),
}

/// A sandbox's refusal, as its answers contain it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) code: String,
    /// The reason, in plain text.
    #[serde(default)]
    pub(crate) why: String,
}

/// Builds a refusal.
pub(crate) fn refused(status: u16, code: &str, why: &str) -> Answer {
    Answer::json(status, &Refused { code: code.to_owned(), why: why.to_owned() })
}

/// Sends a request, with the injected fault. The request itself only runs when it arrives.
pub(crate) async fn send(
    behaviour: Option<&Behaviour>,
    request: impl Future<Output = Result<Answer, sqlx::Error>>,
) -> Result<Answer, NoAnswer> {
    let Some(wrong) = behaviour else { return Ok(request.await?) };
    match wrong.name.as_str() {
        "unavailable" => Ok(Answer {
            retry_after: wrong.retry_after.clone(),
            ..refused(503, "unavailable", "Service Unavailable")
        }),
        "html" => Ok(page()),
        "not-found" => Ok(refused(404, NOT_FOUND, "a moment after it was made")),
        "lost" => {
            request.await?;
            Err(NoAnswer::Reset)
        }
        "truncated" => {
            let mut answer = request.await?;
            answer.body.pop();
            Ok(answer)
        }
        "too-large" => {
            let mut answer = request.await?;
            answer.body.resize(BODY_MAX.saturating_add(1), b' ');
            Ok(answer)
        }
        "hangs" => {
            let seconds = u64::try_from(wrong.seconds.unwrap_or(HANGS_FOR)).unwrap_or_default();
            sleep(Duration::from_secs(seconds)).await;
            Ok(request.await?)
        }
        // The sandbox itself handles the other faults.
        _ => Ok(request.await?),
    }
}

/// A proxy's page instead of the party's answer.
fn page() -> Answer {
    let (content_type, body) = ("text/html; charset=utf-8", b"<html>It works!</html>");
    let content_type = Some(content_type.to_owned());
    Answer { status: 200, content_type, retry_after: None, body: body.to_vec() }
}

/// The code of a 404, which may be permanent or temporary.
pub(crate) const NOT_FOUND: &str = "not-found";
