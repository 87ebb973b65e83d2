//! Decides when a connection is closed: if it has sent no request yet, if it is idle, if its client
//! does not read the response, or if a request never ends.
//!
//! Connections are a limited resource. hyper's own header timeout starts only once the HTTP version
//! is known, and does not cover HTTP/2; so timeouts are enforced here, from outside, alike for
//! both.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::app::turn::Turn;

/// A response body is sent in chunks of this size, so that a client that stops reading is noticed.
const PART_BYTES: usize = 65_536;

/// The time limit for answering one request: longer than any event stream is open.
const ANSWERED_WITHIN: Duration = Duration::from_mins(15);

/// The timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the first whole request, and for an idle connection while most slots are taken.
    pub(super) first: Duration,
    /// For an idle connection.
    pub(super) idle: Duration,
    /// For a client that does not read the next chunk of a response.
    pub(super) unread: Duration,
    /// Whether streams without a time limit are allowed to go on. If not, a connection with nothing
    /// else counts as idle.
    pub(super) endless: bool,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// All requests are answered.
    Idle,
    /// It never sent a request, does not read, or never ends.
    Abusive,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    next: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    has_asked: bool,
    /// Since when no request is in progress.
    quiet_since: Instant,
    requests: HashMap<u64, Progress>,
}

/// The state of a request.
#[derive(Clone, Copy, Debug)]
struct Progress {
    since: Instant,
    /// Whether the response is a stream without a time limit, which does not even end with the
    /// process.
    is_endless: bool,
    /// Since when the client has not read the next chunk of the response.
    unread_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let requests = HashMap::new();
        let known = Known { has_asked: false, quiet_since: Instant::now(), requests };
        Arc::new(Self { next: AtomicU64::new(0), known: Mutex::new(known) })
    }

    /// Registers a request; it is in progress until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_endless: bool) -> UnderWay {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let progress = Progress { since: Instant::now(), is_endless, unread_since: None };
        let mut known = self.known();
        known.has_asked = true;
        known.requests.insert(id, progress);
        drop(known);
        UnderWay { activity: Arc::clone(self), id }
    }

    /// Whether the connection has to be closed now, and otherwise when to check again.
    pub(super) fn look(
        &self,
        patience: &Patience,
        is_crowded: bool,
        now: Instant,
    ) -> Result<Instant, Over> {
        let known = self.known();
        let soon = patience.first.min(patience.idle).min(patience.unread);
        // Whatever begins after this check cannot time out before the next one.
        let mut next = later(now, soon);
        let waits_for = |request: &Progress| patience.endless || !request.is_endless;
        if !known.requests.values().any(waits_for) {
            let limit = if !known.has_asked {
                patience.first
            } else if is_crowded {
                patience.first.min(patience.idle)
            } else {
                patience.idle
            };
            let over = later(known.quiet_since, limit);
            if over <= now {
                return Err(if known.has_asked { Over::Idle } else { Over::Abusive });
            }
            next = next.min(over);
        }
        for request in known.requests.values() {
            let unread = request.unread_since.map(|since| later(since, patience.unread));
            let ends = later(request.since, ANSWERED_WITHIN);
            let over = unread.map_or(ends, |unread| unread.min(ends));
            if over <= now {
                return Err(Over::Abusive);
            }
            next = next.min(over);
        }
        Ok(next)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(moment: Instant, by: Duration) -> Instant {
    moment.checked_add(by).unwrap_or(moment)
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
}

impl UnderWay {
    fn unread_since(&self, since: Option<Instant>) {
        if let Some(progress) = self.activity.known().requests.get_mut(&self.id) {
            progress.unread_since = since;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut known = self.activity.known();
        known.requests.remove(&self.id);
        known.quiet_since = Instant::now();
    }
}

/// A response body that tracks whether the client reads it.
#[derive(Debug)]
pub(super) struct Answer {
    body: axum::body::Body,
    /// Bytes taken from the body and not sent yet.
    rest: Bytes,
    request: UnderWay,
    /// Resources held until the response is complete.
    _held: Option<Turn>,
}

impl Answer {
    /// From here on the client has to read. An HTTP/2 client with a zero window makes hyper buffer
    /// even the shortest response.
    pub(super) fn new(body: axum::body::Body, request: UnderWay, held: Option<Turn>) -> Self {
        request.unread_since(Some(Instant::now()));
        Self { body, rest: Bytes::new(), request, _held: held }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.request.unread_since(None);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(length);
        // Of the last part, too: the answer is dropped once that is on its way.
        self.request.unread_since(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(left));
        if let Some(upper) = inner.upper().and_then(|upper| upper.checked_add(left)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AnyBody;
    use futures::{StreamExt, stream};

    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        unread: Duration::from_secs(30),
        endless: true,
    };

    /// The result of a check so many seconds from now.
    fn over(activity: &Activity, patience: &Patience, seconds: u64) -> Option<Over> {
        let then = later(Instant::now(), Duration::from_secs(seconds));
        activity.look(patience, false, then).err()
    }

    async fn next(answer: &mut Answer) -> Option<usize> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *answer).poll_frame(context));
        frame.await.map(|frame| frame.unwrap().into_data().unwrap().len())
    }

    #[test]
    fn a_connection_that_asks_nothing_is_let_go_and_an_idle_one_later() {
        let activity = Activity::new();
        assert_eq!(over(&activity, &PATIENCE, 9), None);
        assert_eq!(over(&activity, &PATIENCE, 10), Some(Over::Abusive));
        // A request that is being processed has the starter's whole request timeout.
        let request = activity.begin(false);
        assert_eq!(over(&activity, &PATIENCE, 100), None);
        drop(request);
        assert_eq!(over(&activity, &PATIENCE, 74), None);
        assert_eq!(over(&activity, &PATIENCE, 75), Some(Over::Idle));
        let soon = later(Instant::now(), Duration::from_secs(10));
        assert_eq!(activity.look(&PATIENCE, true, soon), Err(Over::Idle), "places are few");
    }

    #[tokio::test]
    async fn a_caller_who_does_not_read_is_let_go_and_one_who_waits_for_news_is_not() {
        let activity = Activity::new();
        let news = stream::iter(["one", "two"]).map(Ok::<_, axum::Error>).chain(stream::pending());
        let mut answer = Answer::new(AnyBody::from_stream(news), activity.begin(false), None);
        for _ in 0..2 {
            assert_eq!(next(&mut answer).await, Some(3));
            assert_eq!(over(&activity, &PATIENCE, 29), None);
            assert_eq!(over(&activity, &PATIENCE, 30), Some(Over::Abusive));
        }
        // It asks for more while there is none, which is not the client's fault.
        let none = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut answer).poll_frame(context).is_pending())
        });
        assert!(none.await);
        assert_eq!(over(&activity, &PATIENCE, 800), None);
        assert_eq!(over(&activity, &PATIENCE, 900), Some(Over::Abusive), "it never ends");
    }

    #[tokio::test]
    async fn a_short_answer_is_to_be_read_like_a_long_one() {
        let activity = Activity::new();
        let mut answer = Answer::new(AnyBody::from("ok"), activity.begin(false), None);
        assert_eq!(over(&activity, &PATIENCE, 29), None);
        assert_eq!(over(&activity, &PATIENCE, 30), Some(Over::Abusive), "nothing is taken");
        assert_eq!(next(&mut answer).await, Some(2));
        assert!(answer.is_end_stream());
        assert_eq!(over(&activity, &PATIENCE, 30), Some(Over::Abusive), "it is not on its way");
        drop(answer);
        assert_eq!(over(&activity, &PATIENCE, 30), None);
    }

    #[test]
    fn a_stream_without_end_is_not_waited_for_when_the_process_ends() {
        let activity = Activity::new();
        let watching = activity.begin(true);
        assert_eq!(over(&activity, &PATIENCE, 800), None);
        let hurry = Patience { endless: false, ..PATIENCE };
        assert_eq!(over(&activity, &hurry, 800), Some(Over::Idle));
        let asking = activity.begin(false);
        assert_eq!(over(&activity, &hurry, 800), None);
        drop((watching, asking));
    }

    #[tokio::test]
    async fn a_large_answer_is_handed_over_in_parts_of_known_length() {
        let activity = Activity::new();
        let mut answer = Answer::new(AnyBody::from(vec![0; 150_000]), activity.begin(false), None);
        let mut left = 150_000;
        for part in [65_536, 65_536, 18_928] {
            assert_eq!(answer.size_hint().exact(), Some(left));
            assert_eq!(next(&mut answer).await, Some(part));
            left = answer.size_hint().exact().unwrap();
        }
        assert!(answer.is_end_stream());
        assert_eq!(left, 0);
    }
}
