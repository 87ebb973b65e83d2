//! Queues for articles, within one process.
//!
//! Each article is one row, and a transaction that changes it waits for the row's lock while it
//! holds a connection. If another transaction holds that lock for long, the orders for this article
//! would soon occupy every connection, and block all other orders. Here they queue without a
//! connection.

use std::sync::Arc;
use std::time::Duration;

use domain::{ClaimLine, Order, Sku};
use moka::future::Cache;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::ActivityFault;

/// Shorter than a quick attempt. An order that waits longer is better retried later.
const PATIENCE: Duration = Duration::from_secs(2);

/// If nobody has requested the article for this long, its queue is empty.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// A queue per article.
///
/// **Shape.** Clones share the queues. They only save connections: correctness comes from the lock
/// on the row, which other processes take too.
#[derive(Clone, Debug)]
pub struct ArticleQueues(Cache<Sku, Arc<Mutex<()>>>);

/// An order's turn at its articles, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _articles: Vec<OwnedMutexGuard<()>>,
}

impl Default for ArticleQueues {
    fn default() -> Self {
        Self(Cache::builder().time_to_idle(FORGOTTEN_AFTER).build())
    }
}

impl ArticleQueues {
    /// Waits for the order's turn at all of its articles, and holds none of them while it waits.
    ///
    /// **Errors.** Unavailable if that takes too long.
    pub(crate) async fn turn(&self, order: &Order) -> Result<Turn, ActivityFault> {
        self.turn_at(&order.stock_claim().lines).await
    }

    async fn turn_at(&self, lines: &[ClaimLine]) -> Result<Turn, ActivityFault> {
        let mut queues = Vec::with_capacity(lines.len());
        for ClaimLine { sku, .. } in lines {
            queues.push(self.0.get_with_by_ref(sku, async { Arc::default() }).await);
        }
        timeout(PATIENCE, all(&queues)).await.map_err(|elapsed| ActivityFault::Unavailable {
            doing: "waiting for an article that other orders change",
            retry_after: None,
            source: elapsed.into(),
        })
    }
}

async fn all(queues: &[Arc<Mutex<()>>]) -> Turn {
    let mut waited_for = None;
    loop {
        match at_once(queues, waited_for) {
            Ok(turn) => return turn,
            Err(busy) => {
                let guard = Arc::clone(&queues[busy]).lock_owned().await;
                waited_for = Some((busy, guard));
            }
        }
    }
}

/// **Errors.** The first queue in which somebody else has the turn.
fn at_once(
    queues: &[Arc<Mutex<()>>],
    mut waited_for: Option<(usize, OwnedMutexGuard<()>)>,
) -> Result<Turn, usize> {
    let mut articles = Vec::with_capacity(queues.len());
    for (number, queue) in queues.iter().enumerate() {
        let guard = match waited_for.take_if(|(waited, _)| *waited == number) {
            Some((_, guard)) => guard,
            None => Arc::clone(queue).try_lock_owned().map_err(|_busy| number)?,
        };
        articles.push(guard);
    }
    Ok(Turn { _articles: articles })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn articles(skus: &[&str]) -> Vec<ClaimLine> {
        let line = |sku: &&str| ClaimLine { sku: Sku::parse(*sku).unwrap(), quantity: 1 };
        skus.iter().map(line).collect()
    }

    #[tokio::test]
    async fn an_article_in_use_stops_nobody_elses_orders() {
        let queues = ArticleQueues::default();
        let (busy, both, other) = (articles(&["A"]), articles(&["A", "B"]), articles(&["B"]));
        let first = queues.turn_at(&busy).await.unwrap();
        let (stopped, free) = tokio::join!(queues.turn_at(&both), queues.turn_at(&other));
        assert!(matches!(stopped, Err(ActivityFault::Unavailable { .. })), "{stopped:?}");
        free.unwrap();
        drop(first);
        queues.turn_at(&both).await.unwrap();
    }

    #[tokio::test]
    async fn orders_for_one_article_follow_each_other() {
        let queues = ArticleQueues::default();
        let article = articles(&["A"]);
        let first = queues.turn_at(&article).await.unwrap();
        let second = queues.turn_at(&article);
        let (second, ()) = tokio::join!(second, async { drop(first) });
        second.unwrap();
    }
}
