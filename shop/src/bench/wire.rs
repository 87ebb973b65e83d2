//! An HTTP client with minimal CPU cost: an ordinary client library uses so much that it hides a
//! server's speed.
//!
//! A request is serialised once and sent repeatedly over persistent connections. Only the status
//! and the length of a response's body are examined.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::{JoinError, JoinSet, spawn_blocking};

use crate::latency::Latencies;

/// The maximum number of header fields in a response.
const FIELDS_MAX: usize = 64;

/// The read buffer's size.
const READ_BYTES: usize = 16_384;

/// Why a request has no valid response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The URL is not one of plain HTTP.
    #[error("{0} is not the URL of a server of plain HTTP")]
    NotPlain(String),
    /// The connection broke.
    #[error("a connection broke")]
    Connection(#[from] io::Error),
    /// The connection was closed before the answer was complete.
    #[error("a connection was closed after {received} bytes of an answer")]
    Closed {
        /// How much of the answer had come.
        received: usize,
    },
    /// The response is not HTTP/1.1.
    #[error("an answer cannot be read")]
    Unreadable(#[from] httparse::Error),
    /// The response has no length, or is longer than announced.
    #[error("an answer is not as long as its Content-Length says")]
    Length,
    /// The response has another status than expected.
    #[error("a request was answered with status {0}")]
    Refused(u16),
    /// There is no request to send.
    #[error("there is no request to send")]
    Nothing,
    /// The latency histogram cannot be created.
    #[error("cannot count latencies")]
    Latencies(#[from] hdrhistogram::CreationError),
    /// Latency histograms cannot be added.
    #[error("cannot add up latencies")]
    Sum(#[from] hdrhistogram::AdditionError),
    /// A client task has failed.
    #[error("a client has ended too early")]
    Ended(#[from] JoinError),
}

/// A serialised request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The host and port.
    authority: String,
    bytes: Vec<u8>,
}

impl Request {
    /// Creates a request to this URL. Its fields must not contain line breaks.
    pub(super) fn new(
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Self, WireError> {
        let not_plain = || WireError::NotPlain(url.to_owned());
        let parsed = Url::parse(url).ok().filter(|url| url.scheme() == "http");
        let parsed = parsed.ok_or_else(not_plain)?;
        let (host, port) =
            parsed.host_str().zip(parsed.port_or_known_default()).ok_or_else(not_plain)?;
        let authority = format!("{host}:{port}");
        let query = parsed.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = parsed.path();
        let mut head = format!("{method} {path}{query} HTTP/1.1\r\nhost: {authority}\r\n");
        for &(name, value) in fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        Ok(Self { authority, bytes })
    }
}

/// The examined part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The length of the body, which has been received completely.
    pub(super) body_bytes: usize,
}

impl Answer {
    /// The response, if it is successful.
    pub(super) const fn successful(self) -> Result<Self, WireError> {
        match self.status {
            200..=299 => Ok(self),
            status => Err(WireError::Refused(status)),
        }
    }
}

/// A persistent connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to this request's host.
    pub(super) async fn for_request(request: &Request) -> Result<Self, WireError> {
        let stream = TcpStream::connect(&request.authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request, and reads the whole response. After an error, the connection cannot be
    /// reused.
    pub(super) async fn send(&mut self, request: &Request) -> Result<Answer, WireError> {
        self.stream.write_all(&request.bytes).await?;
        self.received.clear();
        let mut head = None;
        loop {
            self.received.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(WireError::Closed { received: self.received.len() });
            }
            if head.is_none() {
                head = Head::read(&self.received)?;
            }
            let Some(Head { bytes, answer }) = head else { continue };
            let whole = bytes.checked_add(answer.body_bytes).ok_or(WireError::Length)?;
            if self.received.len() > whole {
                return Err(WireError::Length);
            }
            if self.received.len() == whole {
                return Ok(answer);
            }
        }
    }
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: usize,
    answer: Answer,
}

impl Head {
    /// Parses the head, once it is complete.
    fn read(received: &[u8]) -> Result<Option<Self>, WireError> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(bytes) = response.parse(received)? else { return Ok(None) };
        let status = response.code.unwrap_or_default();
        let mut fields = response.headers.iter();
        let length = fields.find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|field| str::from_utf8(field.value).ok()?.parse().ok());
        // These responses have no body, and need no length.
        let length = length.or_else(|| matches!(status, 204 | 304).then_some(0));
        let body_bytes = length.ok_or(WireError::Length)?;
        Ok(Some(Self { bytes, answer: Answer { status, body_bytes } }))
    }
}

/// The number of responses in a period, and their latencies.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) answers: u64,
    pub(super) took: Latencies,
}

/// Sends these requests in rotation with concurrent clients, each as soon as its last one is
/// answered, on a separate thread.
///
/// **Errors.** The first unexpected response.
pub(super) async fn as_fast_as_answered(
    requests: Vec<Request>,
    at_once: usize,
    within: Duration,
) -> Result<Counted, WireError> {
    spawn_blocking(move || {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(all(requests.into(), at_once, within))
    })
    .await?
}

async fn all(
    requests: Arc<[Request]>,
    at_once: usize,
    within: Duration,
) -> Result<Counted, WireError> {
    let until = Instant::now().checked_add(within).unwrap_or_else(Instant::now);
    let mut clients = JoinSet::new();
    for first in 0..at_once {
        clients.spawn(one(Arc::clone(&requests), first, at_once, until));
    }
    let mut together = Counted { answers: 0, took: Latencies::new()? };
    while let Some(counted) = clients.join_next().await {
        let Counted { answers, took } = counted??;
        together.answers = together.answers.saturating_add(answers);
        together.took.add(&took)?;
    }
    Ok(together)
}

/// One client: starts at the request with this index, and skips those of the other clients.
async fn one(
    requests: Arc<[Request]>,
    first: usize,
    step: usize,
    until: Instant,
) -> Result<Counted, WireError> {
    let mut turns = requests.iter().cycle().skip(first).step_by(step);
    let mut next = || turns.next().ok_or(WireError::Nothing);
    let mut connection = Connection::for_request(next()?).await?;
    let mut counted = Counted { answers: 0, took: Latencies::new()? };
    let mut begun = Instant::now();
    while begun < until {
        connection.send(next()?).await?.successful()?;
        let answered = Instant::now();
        counted.took.record(answered.saturating_duration_since(begun));
        counted.answers = counted.answers.saturating_add(1);
        begun = answered;
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The client's result for a server's output, sent in pieces before the connection is closed.
    async fn answer(pieces: &[&str]) -> Result<Answer, WireError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/orders/1?x=y", listener.local_addr().unwrap());
        let request = Request::new("POST", &url, &[("authorization", "Bearer t")], b"{}").unwrap();
        let wanted = format!(
            "POST /orders/1?x=y HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer t\r\n\
             content-length: 2\r\n\r\n{{}}",
            request.authority
        );
        let serve = async {
            let (mut caller, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; wanted.len()];
            caller.read_exact(&mut asked).await.unwrap();
            assert_eq!(String::from_utf8(asked).unwrap(), wanted);
            for piece in pieces {
                caller.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let ask = async { Connection::for_request(&request).await?.send(&request).await };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn an_answer_counts_once_all_of_it_has_come() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let whole = Answer { status: 200, body_bytes: 5 };
        assert_eq!(answer(&[head, "12", "345"]).await.unwrap(), whole);
        assert_eq!(
            answer(&["HTTP/1.1 200 OK\r\nCont", "ent-length: 0\r\n\r\n"]).await.unwrap().body_bytes,
            0
        );
        let short = answer(&[head, "1234"]).await.unwrap_err();
        assert!(matches!(short, WireError::Closed { .. }), "{short:?}");
        let long = answer(&[&format!("{head}123456")]).await.unwrap_err();
        assert!(matches!(long, WireError::Length), "{long:?}");
        let unknown = answer(&["HTTP/1.1 200 OK\r\n\r\n12345"]).await.unwrap_err();
        assert!(matches!(unknown, WireError::Length), "{unknown:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_no_answer_that_counts() {
        let refused =
            answer(&["HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"]).await;
        let refused = refused.unwrap().successful().unwrap_err();
        assert!(matches!(refused, WireError::Refused(429)), "{refused:?}");
    }
}
