//! Batches work of concurrent callers.
//!
//! Whatever was queued while the last batch ran forms the next batch. So a caller of an idle
//! starter is served at once, batches grow with the load, and nobody waits for a timer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A kind of work that is done in batches.
pub(crate) trait Work: Send + Sync + 'static {
    /// One caller's item.
    type Item: Send + 'static;
    /// The result for one caller.
    type Outcome: Send + 'static;

    /// The maximum number of concurrent batches.
    const BATCHES: usize;
    /// The maximum number of items in a batch.
    const ITEMS: usize;
    /// The maximum number of queued items.
    const QUEUE: usize;

    /// Carries out a batch; returns an outcome for each item, in the order of the items.
    fn carry_out(&self, items: Vec<Self::Item>) -> impl Future<Output = Vec<Self::Outcome>> + Send;
}

/// A batcher. Clones share the queue.
pub(crate) struct Together<W: Work> {
    work: Arc<W>,
    queue: Arc<Mutex<Queue<W>>>,
}

struct Queue<W: Work> {
    waiting: VecDeque<Waiting<W>>,
    batches: usize,
}

struct Waiting<W: Work> {
    item: W::Item,
    tell: oneshot::Sender<W::Outcome>,
}

/// Why a caller gets no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untold {
    /// The queue is full. Nothing was done.
    #[error("the queue is full")]
    Full,
    /// The batch ended without an outcome, which is a bug. Whether it was carried out is unknown.
    #[error("a batch has ended without an outcome")]
    Broken,
}

impl<W: Work> Clone for Together<W> {
    fn clone(&self) -> Self {
        Self { work: Arc::clone(&self.work), queue: Arc::clone(&self.queue) }
    }
}

impl<W: Work> fmt::Debug for Together<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").finish_non_exhaustive()
    }
}

impl<W: Work> Together<W> {
    pub(crate) fn on(work: W) -> Self {
        let queue = Queue { waiting: VecDeque::new(), batches: 0 };
        Self { work: Arc::new(work), queue: Arc::new(Mutex::new(queue)) }
    }

    /// Queues an item and waits for its outcome. An item whose caller is cancelled before its batch
    /// begins is dropped.
    pub(crate) async fn bring(&self, item: W::Item) -> Result<W::Outcome, Untold> {
        let (tell, told) = oneshot::channel();
        let begins_batches = self.queue().join(Waiting { item, tell })?;
        if begins_batches {
            // A separate task: it continues even if the caller that started it is cancelled.
            tokio::spawn(Batches { of: self.clone(), is_counted: true }.run());
        }
        told.await.map_err(|_gone| Untold::Broken)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Queue<W> {
    /// Queues an item; returns whether to start another task.
    fn join(&mut self, one: Waiting<W>) -> Result<bool, Untold> {
        if self.waiting.len() >= W::QUEUE {
            return Err(Untold::Full);
        }
        self.waiting.push_back(one);
        let is_needed = self.batches < W::BATCHES;
        if is_needed {
            self.batches = self.batches.saturating_add(1);
        }
        Ok(is_needed)
    }

    /// Takes the next batch, of callers that still wait; `None` if nothing is queued.
    fn next(&mut self) -> Option<Batch<W>> {
        let mut batch = (Vec::new(), Vec::new());
        while batch.0.len() < W::ITEMS {
            let Some(Waiting { item, tell }) = self.waiting.pop_front() else { break };
            if !tell.is_closed() {
                batch.0.push(item);
                batch.1.push(tell);
            }
        }
        (!batch.0.is_empty()).then_some(batch)
    }
}

/// A batch, with the channels for its outcomes.
type Batch<W> = (Vec<<W as Work>::Item>, Vec<oneshot::Sender<<W as Work>::Outcome>>);

/// A task that carries out batches until the queue is empty.
struct Batches<W: Work> {
    of: Together<W>,
    /// Whether it is counted as a running task.
    is_counted: bool,
}

impl<W: Work> Batches<W> {
    /// Carries out batches for as long as items are queued.
    async fn run(mut self) {
        while let Some((items, tells)) = self.next() {
            let outcomes = self.of.work.carry_out(items).await;
            for (tell, outcome) in tells.into_iter().zip(outcomes) {
                // A cancelled caller has dropped its receiver.
                drop(tell.send(outcome));
            }
        }
    }

    /// Takes the next batch. If there is none, the task is deregistered under the same lock, so
    /// that the next caller starts a new one.
    fn next(&mut self) -> Option<Batch<W>> {
        let mut queue = self.of.queue();
        let batch = queue.next();
        if batch.is_none() {
            queue.batches = queue.batches.saturating_sub(1);
            drop(queue);
            self.is_counted = false;
        }
        batch
    }
}

/// Deregisters a task that has panicked, too; otherwise no batches would run after a few panics.
impl<W: Work> Drop for Batches<W> {
    fn drop(&mut self) {
        if self.is_counted {
            let mut queue = self.of.queue();
            queue.batches = queue.batches.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use futures::poll;
    use std::pin::pin;
    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles numbers, batch by batch, as the test releases them; 0 panics.
    struct Doubling {
        may_go_on: Semaphore,
        batches: Mutex<Vec<Vec<u32>>>,
    }

    impl Work for Doubling {
        type Item = u32;
        type Outcome = u32;
        const BATCHES: usize = 1;
        const ITEMS: usize = 3;
        const QUEUE: usize = 5;

        async fn carry_out(&self, items: Vec<u32>) -> Vec<u32> {
            self.batches.lock().unwrap().push(items.clone());
            assert!(!items.contains(&0), "a bug");
            self.may_go_on.acquire().await.unwrap().forget();
            items.into_iter().map(|item| item.saturating_mul(2)).collect()
        }
    }

    fn doubling() -> Together<Doubling> {
        let batches = Mutex::default();
        Together::on(Doubling { may_go_on: Semaphore::new(0), batches })
    }

    async fn until_batches(doubling: &Together<Doubling>, number: usize) {
        while doubling.work.batches.lock().unwrap().len() < number {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_has_queued_meanwhile_is_the_next_batch() {
        let doubling = doubling();
        let mut first = pin!(doubling.bring(1));
        assert!(poll!(first.as_mut()).is_pending());
        until_batches(&doubling, 1).await;
        let mut later = pin!(join_all([2, 3, 4, 5].map(|item| doubling.bring(item))));
        assert!(poll!(later.as_mut()).is_pending());
        doubling.work.may_go_on.add_permits(3);
        assert_eq!(first.await, Ok(2));
        assert_eq!(later.await, [4, 6, 8, 10].map(Ok));
        let batches = vec![vec![1], vec![2, 3, 4], vec![5]];
        assert_eq!(*doubling.work.batches.lock().unwrap(), batches);
    }

    #[tokio::test]
    async fn one_too_many_is_refused_and_one_who_has_gone_is_left_out() {
        let doubling = doubling();
        let mut first = pin!(doubling.bring(1));
        assert!(poll!(first.as_mut()).is_pending());
        until_batches(&doubling, 1).await;
        let mut queued = Box::pin(join_all([2, 3, 4, 5].map(|item| doubling.bring(item))));
        assert!(poll!(queued.as_mut()).is_pending());
        let mut last = pin!(doubling.bring(6));
        assert!(poll!(last.as_mut()).is_pending());
        assert_eq!(doubling.bring(7).await, Err(Untold::Full));
        drop(queued);
        doubling.work.may_go_on.add_permits(2);
        assert_eq!((first.await, last.await), (Ok(2), Ok(12)));
        assert_eq!(*doubling.work.batches.lock().unwrap(), [vec![1], vec![6]]);
    }

    #[tokio::test]
    async fn a_bug_in_one_batch_does_not_keep_later_ones_from_being_carried_out() {
        let doubling = doubling();
        for _ in 0..2 {
            assert_eq!(doubling.bring(0).await, Err(Untold::Broken));
        }
        doubling.work.may_go_on.add_permits(1);
        assert_eq!(doubling.bring(4).await, Ok(8));
    }
}
