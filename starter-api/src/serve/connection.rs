//! One caller's connection, and when it is let go: one that has sent no request yet, one that is
//! idle, one whose caller does not read what it asked for, and one that asks without end.
//!
//! A connection is a place that another caller could have. hyper's own limit for reading a head
//! begins only once it is known which HTTP a caller speaks, and does not see HTTP/2; so time is
//! taken here, from outside, and the same for both.

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

/// An answer is handed over in parts of this size, so that it shows whether the caller reads on.
const PART_BYTES: usize = 65_536;

/// How long one request may go on to be answered: longer than any stream of events is open.
const ANSWERED_WITHIN: Duration = Duration::from_mins(15);

/// How patient the starter is with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With one that has not sent a whole request yet, and with an idle one while places are few.
    pub(super) first: Duration,
    /// With one that is idle.
    pub(super) idle: Duration,
    /// With a caller who does not take the next part of an answer.
    pub(super) unread: Duration,
    /// With streams that do not end by themselves. Without it, a connection that has nothing else
    /// is idle.
    pub(super) endless: bool,
}

/// Why a connection is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing is under way: what there was is answered.
    Idle,
    /// It never asked, does not read, or never ends.
    Abusive,
}

/// What is under way on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    next: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    has_asked: bool,
    /// Since when no request is under way.
    quiet_since: Instant,
    requests: HashMap<u64, Progress>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    since: Instant,
    /// Whether its answer is a stream that does not end by itself, not even with the process.
    is_endless: bool,
    /// Since when the caller has not asked for the next part of the answer.
    unread_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let requests = HashMap::new();
        let known = Known { has_asked: false, quiet_since: Instant::now(), requests };
        Arc::new(Self { next: AtomicU64::new(0), known: Mutex::new(known) })
    }

    /// A request has come; it is under way until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_endless: bool) -> UnderWay {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let progress = Progress { since: Instant::now(), is_endless, unread_since: None };
        let mut known = self.known();
        known.has_asked = true;
        known.requests.insert(id, progress);
        drop(known);
        UnderWay { activity: Arc::clone(self), id }
    }

    /// Whether the connection is to be let go now, and otherwise when to look at it again.
    pub(super) fn look(
        &self,
        patience: &Patience,
        is_crowded: bool,
        now: Instant,
    ) -> Result<Instant, Over> {
        let known = self.known();
        let soon = patience.first.min(patience.idle).min(patience.unread);
        // Whatever begins after this look cannot last too long before the next one.
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

/// A request that is being answered.
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

/// The body of an answer, which tells whether its caller reads it.
#[derive(Debug)]
pub(super) struct Answer {
    body: axum::body::Body,
    /// What was taken from the body and is yet to be handed over.
    rest: Bytes,
    request: UnderWay,
    /// What the answer takes until it is over.
    _held: Option<Turn>,
}

impl Answer {
    /// From here on it is for the caller to read it. One that lets nothing be sent, as it may in
    /// HTTP/2, has hyper keep even the shortest answer.
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

    /// What a look says so many seconds from now.
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
        // A request that is being worked on has all the time that the starter takes for it.
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
        // It asks for more, and there is none: that is not its fault.
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
