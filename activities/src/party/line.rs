//! The line between the shop and a sandbox, which stands for a service behind HTTP: what goes wrong
//! with requests and answers on it, on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::answer::{Answer, BODY_MAX};

/// Far beyond every attempt's time limit, in seconds.
const HANGS_FOR: i32 = 24 * 60 * 60;

/// What goes wrong with a request, as a sandbox's table has it.
pub(crate) struct Behaviour {
    pub(crate) name: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) seconds: Option<i32>,
}

impl Behaviour {
    /// One that needs nothing but its name.
    pub(crate) fn called(name: &str) -> Self {
        Self { name: name.to_owned(), retry_after: None, seconds: None }
    }

    /// Out of order, with this `Retry-After`.
    pub(crate) fn unavailable(retry_after: &str) -> Self {
        Self { retry_after: Some(retry_after.to_owned()), ..Self::called("unavailable") }
    }

    /// Whether it is the one of this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Why no answer has come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// As a client learns it, whatever became of the request.
    #[error("the connection was reset after the request was sent")]
    Reset,
    /// The sandbox's own records cannot be had.
    #[error("the sandbox's records cannot be had")]
    Records(#[from] sqlx::Error),
}

/// Why a sandbox refuses, as its answers say it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) code: String,
    /// For people.
    #[serde(default)]
    pub(crate) why: String,
}

/// A refusal.
pub(crate) fn refused(status: u16, code: &str, why: &str) -> Answer {
    Answer::json(status, &Refused { code: code.to_owned(), why: why.to_owned() })
}

/// Sends a request over the line, with what goes wrong there. The request itself is only made when
/// it arrives.
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
        // The others are the sandbox's own.
        _ => Ok(request.await?),
    }
}

/// What a proxy answers in the party's place.
fn page() -> Answer {
    let (content_type, body) = ("text/html; charset=utf-8", b"<html>It works!</html>");
    let content_type = Some(content_type.to_owned());
    Answer { status: 200, content_type, retry_after: None, body: body.to_vec() }
}

/// The code of a 404. Whether it passes by itself, it does not say.
pub(crate) const NOT_FOUND: &str = "not-found";
