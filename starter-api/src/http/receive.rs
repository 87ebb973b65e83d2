//! A request's body, received before the request is worked on: a caller who sends slowly makes
//! nobody wait but itself.
//!
//! What has been received is kept in memory, and all of it together is limited.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Kind, Problem};

/// How much memory the bodies of all requests take together, in bytes.
const BYTES_TOGETHER_MAX: usize = 256 * 1_024 * 1_024;

/// Whose requests are streams, of which the next message may depend on an answer.
const STREAMS: &str = "/grpc.reflection.";

/// Receives bodies.
#[derive(Clone, Debug)]
pub(super) struct Reception {
    bytes_max: usize,
    within: Duration,
    memory: Arc<Semaphore>,
}

/// What is kept for as long as a body is.
pub(super) type Memory = Option<OwnedSemaphorePermit>;

impl Reception {
    pub(super) fn of(bytes_max: usize, within: Duration) -> Self {
        Self { bytes_max, within, memory: Arc::new(Semaphore::new(BYTES_TOGETHER_MAX)) }
    }

    /// The request with its whole body.
    ///
    /// **Errors.** 413 for a body that is too large, as soon as that is known; 408 for one that
    /// takes too long; 400 for one that breaks off; 503 while all memory for bodies is in use.
    pub(super) async fn receive(&self, request: Request) -> Result<(Request, Memory), Problem> {
        if request.body().is_end_stream() || request.uri().path().starts_with(STREAMS) {
            return Ok((request, None));
        }
        let (head, body) = request.into_parts();
        let Ok(read) = timeout(self.within, self.read(body)).await else {
            return Err(Problem::new(
                Kind::BodyTooSlow,
                "The body was not complete in time. Nothing was done; send the request again over a \
                 faster connection.",
            ));
        };
        let (bytes, memory) = read?;
        Ok((Request::from_parts(head, Body::from(bytes)), memory))
    }

    async fn read(&self, mut body: Body) -> Result<(Bytes, Memory), Problem> {
        let bytes_max = u64::try_from(self.bytes_max).unwrap_or(u64::MAX);
        if body.size_hint().lower() > bytes_max {
            return Err(too_large());
        }
        let (mut received, mut memory) = (Vec::<u8>::new(), Memory::None);
        let mut only = Bytes::new();
        while let Some(frame) = next(&mut body).await {
            let Ok(data) = frame.map_err(|_gone| broken_off())?.into_data() else { continue };
            let length = received.len().saturating_add(only.len()).saturating_add(data.len());
            if length > self.bytes_max {
                return Err(too_large());
            }
            self.remember(&mut memory, data.len())?;
            // Most bodies are one frame, which is not copied.
            if received.is_empty() && only.is_empty() {
                only = data;
                continue;
            }
            received.extend_from_slice(&std::mem::take(&mut only));
            received.extend_from_slice(&data);
        }
        Ok((if received.is_empty() { only } else { received.into() }, memory))
    }

    /// Takes memory for so many bytes more.
    fn remember(&self, memory: &mut Memory, bytes: usize) -> Result<(), Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.memory).try_acquire_many_owned(bytes).map_err(|_full| {
            Problem::overloaded("This process receives as many bodies as it has memory for.")
        })?;
        match memory {
            Some(taken) => taken.merge(more),
            None => *memory = Some(more),
        }
        Ok(())
    }
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await
}

fn too_large() -> Problem {
    Problem::new(Kind::BodyTooLarge, "The body is larger than this shop reads.")
}

fn broken_off() -> Problem {
    Problem::new(Kind::MalformedRequest, "The body ended before it was complete.")
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    fn request(parts: impl IntoIterator<Item = &'static str> + 'static, ends: bool) -> Request {
        let parts = parts.into_iter().collect::<Vec<_>>();
        let parts = stream::iter(parts).map(Ok::<_, axum::Error>);
        let body = if ends {
            Body::from_stream(parts)
        } else {
            Body::from_stream(parts.chain(stream::pending()))
        };
        Request::new(body)
    }

    async fn received(request: Request) -> Result<String, Kind> {
        let reception = Reception::of(10, Duration::from_millis(50));
        let (request, memory) =
            reception.receive(request).await.map_err(|problem| problem.kind())?;
        let body = axum::body::to_bytes(request.into_body(), 100).await.unwrap();
        let taken = BYTES_TOGETHER_MAX.saturating_sub(reception.memory.available_permits());
        assert_eq!(taken, body.len());
        drop(memory);
        assert_eq!(reception.memory.available_permits(), BYTES_TOGETHER_MAX);
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_body_is_received_whole_within_its_time_and_size() {
        assert_eq!(received(request(["{}"], true)).await.unwrap(), "{}");
        assert_eq!(received(request(["{", "\"a\":", "1}"], true)).await.unwrap(), "{\"a\":1}");
        assert_eq!(received(request([], true)).await.unwrap(), "");
        assert_eq!(received(request(["12345", "67890"], true)).await.unwrap(), "1234567890");
        assert_eq!(received(request(["12345", "678901"], true)).await, Err(Kind::BodyTooLarge));
        assert_eq!(received(request(["{"], false)).await, Err(Kind::BodyTooSlow));
        let declared = Request::new(Body::from("12345678901"));
        assert_eq!(received(declared).await, Err(Kind::BodyTooLarge));
        let broken = stream::iter([Ok("{"), Err(std::io::Error::other("reset by peer"))]);
        let broken = Request::new(Body::from_stream(broken));
        assert_eq!(received(broken).await, Err(Kind::MalformedRequest));
    }

    #[tokio::test]
    async fn all_bodies_together_take_only_so_much_memory() {
        let reception = Reception {
            memory: Arc::new(Semaphore::new(5)),
            ..Reception::of(10, Duration::from_secs(15))
        };
        let (_first, memory) = reception.receive(request(["1234"], true)).await.unwrap();
        let second = reception.receive(request(["12"], true)).await;
        assert_eq!(second.unwrap_err().kind(), Kind::Overloaded);
        drop(memory);
        assert!(reception.receive(request(["12"], true)).await.is_ok());
    }
}
