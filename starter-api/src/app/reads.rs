//! Batches concurrent reads of single rows into one query.
//!
//! While a query runs, further callers queue; the next query reads all their rows. So a caller of
//! an idle starter is served at once, a busy starter sends one query for many callers, and nobody
//! waits for a timer.
//!
//! Each row is read by a query that began after its caller asked, so a caller always sees what was
//! committed before (read-your-writes).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::database::DatabaseFault;
use sqlx::PgPool;
use tokio::sync::oneshot;

use crate::error::Problem;

/// The number of concurrent queries for one kind of row. More would make each batch smaller.
const QUERIES: usize = 2;

/// The number of concurrent queries while many callers wait, because the database has to read from
/// disk.
const QUERIES_MAX: usize = 4;

/// The number of waiting callers per running query above which more queries start.
const CALLERS_FEW: usize = 16;

/// The maximum number of keys in one query, which bounds the size of its result.
const CALLERS_MAX: usize = 64;

/// A row that is read by its key.
pub(crate) trait KeyedRow: Clone + Send + Sync + 'static {
    /// The type of the key.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;

    /// This row's key.
    fn key(&self) -> Self::Key;

    /// Reads the rows with these keys, in any order. The keys are distinct.
    fn with_keys(
        database: &PgPool,
        keys: &[Self::Key],
    ) -> impl Future<Output = Result<Vec<Self>, sqlx::Error>> + Send;
}

/// A batching reader of one kind of row. Clones share the queue.
pub(crate) struct Reads<R: KeyedRow> {
    database: PgPool,
    queue: Arc<Mutex<Queue<R>>>,
}

/// The callers that wait for a row.
struct Queue<R: KeyedRow> {
    callers: VecDeque<Waiting<R>>,
    queries: usize,
}

struct Waiting<R: KeyedRow> {
    key: R::Key,
    answer: oneshot::Sender<Found<R>>,
}

/// The row, if it exists. All callers of a failed query share its error.
type Found<R> = Result<Option<R>, Arc<sqlx::Error>>;

#[derive(Debug, thiserror::Error)]
#[error("the query for a row has ended without an answer")]
struct NoAnswer;

impl<R: KeyedRow> Clone for Reads<R> {
    fn clone(&self) -> Self {
        Self { database: self.database.clone(), queue: Arc::clone(&self.queue) }
    }
}

impl<R: KeyedRow> fmt::Debug for Reads<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads").finish_non_exhaustive()
    }
}

impl<R: KeyedRow> Reads<R> {
    /// A reader for this database.
    pub(crate) fn of(database: PgPool) -> Self {
        let queue = Queue { callers: VecDeque::new(), queries: 0 };
        Self { database, queue: Arc::new(Mutex::new(queue)) }
    }

    /// Reads the row with this key, if it exists. `doing` names the operation in errors.
    ///
    /// **Errors.** 503 while the database does not answer.
    pub(crate) async fn one(&self, doing: &'static str, key: R::Key) -> Result<Option<R>, Problem> {
        let (answer, answered) = oneshot::channel();
        if self.queue().join(Waiting { key, answer }) {
            // A separate task: the queries continue even if the caller that started them is
            // cancelled.
            tokio::spawn(Querying { reads: self.clone(), is_counted: true }.run());
        }
        match answered.await {
            Ok(found) => found.map_err(|error| Problem::of_database(doing, &error)),
            Err(_gone) => Err(Problem::internal(doing, &NoAnswer)),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: KeyedRow> Queue<R> {
    /// Queues a caller; returns whether to start another query task.
    fn join(&mut self, caller: Waiting<R>) -> bool {
        self.callers.push_back(caller);
        let is_crowded = self.callers.len() > self.queries.saturating_mul(CALLERS_FEW);
        let is_needed = self.queries < QUERIES || (is_crowded && self.queries < QUERIES_MAX);
        if is_needed {
            self.queries = self.queries.saturating_add(1);
        }
        is_needed
    }

    /// Takes the callers of the next query; empty if nobody waits.
    fn next(&mut self) -> Vec<Waiting<R>> {
        let count = self.callers.len().min(CALLERS_MAX);
        self.callers.drain(..count).collect()
    }
}

/// A task that runs queries until the queue is empty.
struct Querying<R: KeyedRow> {
    reads: Reads<R>,
    is_counted: bool,
}

impl<R: KeyedRow> Querying<R> {
    /// Runs queries for as long as callers wait.
    async fn run(mut self) {
        while let Some(callers) = self.next() {
            answer(&self.reads.database, callers).await;
        }
    }

    /// Takes the callers of the next query. If there are none, the task is deregistered under the
    /// same lock, so that the next caller starts a new one.
    fn next(&mut self) -> Option<Vec<Waiting<R>>> {
        let mut queue = self.reads.queue();
        let callers = queue.next();
        if callers.is_empty() {
            queue.queries = queue.queries.saturating_sub(1);
            drop(queue);
            self.is_counted = false;
            return None;
        }
        Some(callers)
    }
}

/// Deregisters a task that has panicked, too; otherwise no queries would run after a few panics.
impl<R: KeyedRow> Drop for Querying<R> {
    fn drop(&mut self) {
        if self.is_counted {
            let mut queue = self.reads.queue();
            queue.queries = queue.queries.saturating_sub(1);
        }
    }
}

/// Reads the rows of all these callers in one query, and answers them.
async fn answer<R: KeyedRow>(database: &PgPool, callers: Vec<Waiting<R>>) {
    let mut waiting = HashMap::<_, Vec<_>>::with_capacity(callers.len());
    // A cancelled caller needs no row.
    for Waiting { key, answer } in callers.into_iter().filter(|it| !it.answer.is_closed()) {
        waiting.entry(key).or_default().push(answer);
    }
    let keys = waiting.keys().cloned().collect::<Vec<_>>();
    if keys.is_empty() {
        return;
    }
    match R::with_keys(database, &keys).await {
        // A row that cannot be decoded must only fail its own callers, so each key is read
        // separately.
        Err(error) if keys.len() > 1 && DatabaseFault::of(&error) == DatabaseFault::Broken => {
            for (key, answers) in waiting {
                let found = R::with_keys(database, slice::from_ref(&key)).await;
                hand_over(found, HashMap::from([(key, answers)]));
            }
        }
        found => hand_over(found, waiting),
    }
}

/// Sends each row to the callers that wait for it. Cancelled callers are skipped.
fn hand_over<R: KeyedRow>(
    found: Result<Vec<R>, sqlx::Error>,
    mut waiting: HashMap<R::Key, Vec<oneshot::Sender<Found<R>>>>,
) {
    let rows = match found {
        Ok(rows) => rows,
        Err(error) => {
            let error = Arc::new(error);
            let all = waiting.into_values().flatten();
            return all.for_each(|answer| drop(answer.send(Err(Arc::clone(&error)))));
        }
    };
    for row in rows {
        let mut answers = waiting.remove(&row.key()).unwrap_or_default();
        // Most rows have a single caller, which gets the row without a copy.
        let last = answers.pop();
        for answer in answers {
            drop(answer.send(Ok(Some(row.clone()))));
        }
        if let Some(answer) = last {
            drop(answer.send(Ok(Some(row))));
        }
    }
    let missing = waiting.into_values().flatten();
    missing.for_each(|answer| drop(answer.send(Ok(None))));
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::error::Kind;

    /// A test row that is its own key. Odd keys exist; a query for 0 panics, one for 2 gets no
    /// answer, and the row of 4 cannot be decoded.
    #[derive(Clone, Debug, PartialEq)]
    struct Odd(u32);

    /// Lets the test release queries one by one.
    static MAY_GO_ON: Semaphore = Semaphore::const_new(0);
    static ASKED: Mutex<Vec<Vec<u32>>> = Mutex::new(Vec::new());

    impl KeyedRow for Odd {
        type Key = u32;

        fn key(&self) -> u32 {
            self.0
        }

        async fn with_keys(_database: &PgPool, keys: &[u32]) -> Result<Vec<Self>, sqlx::Error> {
            let mut sorted = keys.to_vec();
            sorted.sort_unstable();
            ASKED.lock().unwrap().push(sorted);
            assert!(!keys.contains(&0), "a bug");
            MAY_GO_ON.acquire().await.unwrap().forget();
            if keys.contains(&2) {
                return Err(sqlx::Error::PoolTimedOut);
            }
            if keys.contains(&4) {
                return Err(sqlx::Error::Decode("no row of this release".into()));
            }
            Ok(keys.iter().filter(|key| *key % 2 == 1).map(|key| Self(*key)).collect())
        }
    }

    fn asked() -> Vec<Vec<u32>> {
        ASKED.lock().unwrap().clone()
    }

    /// Yields to other tasks until the condition holds.
    async fn until(is_so: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if is_so() {
                return;
            }
            tokio::task::yield_now().await;
        }
        assert!(is_so());
    }

    fn reads() -> Reads<Odd> {
        Reads::of(PgPool::connect_lazy("postgres://127.0.0.1:9/nothing").unwrap())
    }

    async fn one(reads: &Reads<Odd>, key: u32) -> Result<Option<Odd>, Kind> {
        reads.one("testing", key).await.map_err(|problem| problem.kind())
    }

    #[tokio::test]
    async fn whoever_asks_while_queries_run_is_answered_by_the_next_one() {
        let reads = reads();
        let ask = |keys: &'static [u32]| {
            let reads = reads.clone();
            tokio::spawn(async move { join_all(keys.iter().map(|key| one(&reads, *key))).await })
        };
        let first = ask(&[1]);
        until(|| asked() == [vec![1]]).await;
        let second = ask(&[3]);
        until(|| asked() == [[1], [3]]).await;
        let then = ask(&[5, 6, 5, 7]);
        until(|| reads.queue().callers.len() == 4).await;
        assert_eq!(asked(), [[1], [3]], "two queries run, and no more");
        MAY_GO_ON.add_permits(3);
        assert_eq!(first.await.unwrap(), [Ok(Some(Odd(1)))]);
        assert_eq!(second.await.unwrap(), [Ok(Some(Odd(3)))]);
        let some = |key| Ok(Some(Odd(key)));
        assert_eq!(then.await.unwrap(), [some(5), Ok(None), some(5), some(7)]);
        assert_eq!(asked()[2..], [[5, 6, 7]], "each row is read once");

        // If the database does not answer, all callers get an error; an undecodable row fails only
        // its own callers.
        MAY_GO_ON.add_permits(4);
        let failed = join_all([2, 9].map(|key| one(&reads, key))).await;
        assert_eq!(failed, [Err(Kind::TryAgain), Err(Kind::TryAgain)]);
        let bad = join_all([4, 9].map(|key| one(&reads, key))).await;
        assert_eq!(bad, [Err(Kind::Internal), some(9)]);

        // After a panic in a query, later callers are still answered.
        for _ in 0..=QUERIES {
            assert_eq!(one(&reads, 0).await, Err(Kind::Internal));
        }
        MAY_GO_ON.add_permits(1);
        assert_eq!(one(&reads, 11).await, Ok(Some(Odd(11))));
        assert_eq!(reads.queue().queries, 0);
    }

    #[test]
    fn more_queries_run_only_while_many_callers_wait() {
        let mut queue = Queue::<Odd> { callers: VecDeque::new(), queries: 0 };
        let mut begun = Vec::new();
        for number in 1..=1_000 {
            let (answer, _answered) = oneshot::channel();
            if queue.join(Waiting { key: 1, answer }) {
                begun.push(number);
            }
        }
        assert_eq!(begun, [1, 2, 33, 49]);
        assert_eq!(queue.next().len(), CALLERS_MAX);
    }
}
