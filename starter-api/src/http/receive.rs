//! Receives a request's whole body before the request is processed, so that a slow sender does not
//! occupy a slot.
//!
//! Received bodies are kept in memory, and their total size is limited.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::Frame;
use tokio::time::timeout;

use crate::error::{Kind, Problem};
use crate::shares::{Place, Places, Who};

/// The maximum memory for the bodies of all requests, in bytes.
const BYTES_TOGETHER_MAX: usize = 256 * 1_024 * 1_024;

/// The share of that for the bodies of one address.
const BYTES_PER_ADDRESS_MAX: usize = BYTES_TOGETHER_MAX / 2;

/// Paths of bidirectional streams, where the next message may depend on a response.
const STREAMS: &str = "/grpc.reflection.";

/// Receives bodies.
#[derive(Clone, Debug)]
pub(super) struct Reception {
    bytes_max: usize,
    within: Duration,
    memory: Places,
}

/// The memory reserved for a body.
pub(super) type Memory = Vec<Place>;

impl Reception {
    pub(super) fn of(bytes_max: usize, within: Duration) -> Self {
        let memory = Places::of(BYTES_TOGETHER_MAX, BYTES_PER_ADDRESS_MAX);
        Self { bytes_max, within, memory }
    }

    /// The request from this address with its whole body.
    ///
    /// **Errors.** 413 for a body that is too large, as soon as that is known; 408 for one that
    /// takes too long; 400 for one that is incomplete; 503 while the memory for bodies is
    /// exhausted, in total or for this address.
    pub(super) async fn receive(
        &self,
        request: Request,
        address: Option<IpAddr>,
    ) -> Result<(Request, Memory), Problem> {
        if request.body().is_end_stream() || request.uri().path().starts_with(STREAMS) {
            return Ok((request, Memory::new()));
        }
        let (head, body) = request.into_parts();
        let Ok(read) = timeout(self.within, self.read(body, address)).await else {
            return Err(Problem::new(
                Kind::BodyTooSlow,
                "The body was not complete in time. Nothing was done; send the request again over a \
                 faster connection.",
            ));
        };
        let (bytes, memory) = read?;
        Ok((Request::from_parts(head, Body::from(bytes)), memory))
    }

    async fn read(
        &self,
        mut body: Body,
        address: Option<IpAddr>,
    ) -> Result<(Bytes, Memory), Problem> {
        let bytes_max = u64::try_from(self.bytes_max).unwrap_or(u64::MAX);
        if body.size_hint().lower() > bytes_max {
            return Err(too_large());
        }
        let (mut received, mut memory) = (Vec::<u8>::new(), Memory::new());
        let (mut only, mut reserved) = (Bytes::new(), 0_usize);
        while let Some(frame) = next(&mut body).await {
            let Ok(data) = frame.map_err(|_gone| broken_off())?.into_data() else { continue };
            let length = received.len().saturating_add(only.len()).saturating_add(data.len());
            if length > self.bytes_max {
                return Err(too_large());
            }
            if length > reserved {
                // The reservation doubles each time, so that a body in tiny chunks needs few
                // reservations.
                let more = length.saturating_sub(reserved).max(reserved);
                let more = more.min(self.bytes_max.saturating_sub(reserved));
                memory.push(self.memory_for(more, address)?);
                reserved = reserved.saturating_add(more);
            }
            // Most bodies consist of one frame, which is not copied.
            if received.is_empty() && only.is_empty() {
                only = data;
                continue;
            }
            received.extend_from_slice(&std::mem::take(&mut only));
            received.extend_from_slice(&data);
        }
        Ok((if received.is_empty() { only } else { received.into() }, memory))
    }

    /// Reserves memory for so many more bytes.
    fn memory_for(&self, bytes: usize, address: Option<IpAddr>) -> Result<Place, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = self.memory.take_many(bytes, [address.map(Who::Address), None]);
        taken.map_err(|_full| {
            Problem::overloaded("This process has no memory left for request bodies.")
        })
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
            reception.receive(request, None).await.map_err(|problem| problem.kind())?;
        let body = axum::body::to_bytes(request.into_body(), 100).await.unwrap();
        assert!((body.len()..=10).contains(&reception.memory.taken()));
        assert!(memory.len() <= 5, "a body is {} pieces", memory.len());
        drop(memory);
        assert_eq!(reception.memory.taken(), 0);
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_body_is_received_whole_within_its_time_and_size() {
        assert_eq!(received(request(["{}"], true)).await.unwrap(), "{}");
        assert_eq!(received(request(["{", "\"a\":", "1}"], true)).await.unwrap(), "{\"a\":1}");
        assert_eq!(received(request(["1"; 10], true)).await.unwrap(), "1111111111");
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
    async fn all_bodies_together_and_those_of_one_address_take_only_so_much_memory() {
        let memory = Places::of(8, 5);
        let reception = Reception { memory, ..Reception::of(10, Duration::from_secs(15)) };
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let (here, there) = (address("192.0.2.1"), address("192.0.2.2"));
        let receive = async |text: &'static str, address: Option<IpAddr>| {
            let received = reception.receive(request([text], true), address).await;
            received.map(|(_request, memory)| memory).map_err(|problem| problem.kind())
        };
        let first = receive("1234", here).await.unwrap();
        assert_eq!(receive("12", here).await.unwrap_err(), Kind::Overloaded, "it has its share");
        let other = receive("1234", there).await.unwrap();
        assert_eq!(receive("1", None).await.unwrap_err(), Kind::Overloaded, "all is in use");
        drop((first, other));
        assert!(receive("12345", here).await.is_ok());
    }
}
